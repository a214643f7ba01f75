# Written by modelpack VERSION for digits:1.0.
# Bundle: sha256:0000000000000000000000000000000000000000000000000000000000000000
# Base: no package of the lock needs a GPU.

# base python:3.11-slim
FROM python:3.11-slim
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL

# what to install
COPY ["requirements.lock", "/bundle/"]
COPY ["modelpack_runtime-VERSION-py3-none-any.whl", "/tmp/wheels/"]

# Python packages
RUN python3.11 -m venv --without-pip /bundle/venv \
    && python3.11 -m venv /tmp/pip \
    && /tmp/pip/bin/pip --python /bundle/venv/bin/python --disable-pip-version-check install --no-cache-dir --no-deps --only-binary :all: --require-hashes --requirement /bundle/requirements.lock \
    && /tmp/pip/bin/pip --python /bundle/venv/bin/python --disable-pip-version-check install --no-cache-dir --no-deps --only-binary :all: --no-index /tmp/wheels/modelpack_runtime-VERSION-py3-none-any.whl \
    && /tmp/pip/bin/pip --python /bundle/venv/bin/python --disable-pip-version-check check \
    && /bundle/venv/bin/python -I -c 'import modelpack.frameworks.bundled, modelpack.server.life.lifecycle' \
    && rm -rf /tmp/pip /tmp/wheels/

# model digits-clf
COPY ["models/digits-clf", "/bundle/models/digits-clf/"]

# code
COPY ["bundle.json", "/bundle/"]
COPY ["doc", "/bundle/doc/"]
COPY ["code", "/bundle/code/"]

# settings
LABEL com.amazonaws.sagemaker.capabilities.accept-bind-to-port="true" \
    com.amazonaws.sagemaker.capabilities.multi-models="true" \
    dev.modelpack.bundle.digest="sha256:0000000000000000000000000000000000000000000000000000000000000000" \
    dev.modelpack.port.grpc="8001" \
    dev.modelpack.tag="digits:1.0" \
    dev.modelpack.version="VERSION" \
    org.opencontainers.image.base.name="python:3.11-slim" \
    org.opencontainers.image.title="digits" \
    org.opencontainers.image.version="1.0"
ENV HOME="/bundle" \
    MODELPACK_BUNDLE="/bundle" \
    MODELPACK_HOST="0.0.0.0" \
    MODELPACK_PORT="3000" \
    MODELPACK_TAG="digits:1.0" \
    ORT_DISABLE_TELEMETRY="1" \
    PYTHONDONTWRITEBYTECODE="1" \
    PYTHONUNBUFFERED="1" \
    USER="modelpack"
WORKDIR /bundle
USER 65532:65532
EXPOSE 3000 8001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=5s --start-period=120s --retries=3 CMD ["/bundle/venv/bin/python", "-I", "-S", "-c", "import os,socket; e=os.environ; p=e[\"MODELPACK_PORT\"]; p=e.get(\"AIP_HTTP_PORT\") or e.get(\"PORT\") or p if p==\"3000\" else p; s=socket.create_connection((\"127.0.0.1\",int(p)),4); s.sendall(b\"GET /readyz HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n\"); raise SystemExit(b\" 200 \" not in s.recv(64))"]
ENTRYPOINT ["/bundle/venv/bin/python", "-I", "-u", "-m", "modelpack.server"]

# Written by modelpack VERSION for server:CONTENT.
# Bundle: sha256:0000000000000000000000000000000000000000000000000000000000000000
# Base: a wrapped program needs glibc, and a Python that starts and checks it.

# base python:3.11-slim
FROM python:3.11-slim

# what to install: nothing
COPY ["requirements.lock", "/bundle/"]

# the base's own Python, which starts the program
RUN python3 -I -S -c 'import contextlib, os, signal, socket'

# code
COPY ["bundle.json", "/bundle/"]
COPY ["doc", "/bundle/doc/"]
COPY ["code", "/bundle/code/"]

# settings
LABEL dev.modelpack.bundle.digest="sha256:0000000000000000000000000000000000000000000000000000000000000000" \
    dev.modelpack.tag="server:CONTENT" \
    dev.modelpack.version="VERSION" \
    org.opencontainers.image.base.name="python:3.11-slim" \
    org.opencontainers.image.title="server" \
    org.opencontainers.image.version="CONTENT"
ENV HOME="/bundle" \
    MODELPACK_TAG="server:CONTENT" \
    ORT_DISABLE_TELEMETRY="1" \
    PORT="8080" \
    PYTHONDONTWRITEBYTECODE="1" \
    PYTHONUNBUFFERED="1" \
    USER="modelpack"
WORKDIR /bundle
USER 65532:65532
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=5s --start-period=120s --retries=3 CMD ["python3", "-I", "-S", "-c", "import os,socket; s=socket.create_connection((\"127.0.0.1\",int(os.environ[\"PORT\"])),4); s.sendall(b\"GET / HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n\"); a=s.recv(64); raise SystemExit(not a.startswith(b\"HTTP/\") or a.split(b\" \")[1][:1]==b\"5\")"]
ENTRYPOINT ["python3", "-I", "-S", "/bundle/code/init.py", "/bundle/code/bin/server", "--model", "a b"]

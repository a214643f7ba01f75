# Written by modelpack VERSION for server:CONTENT.
# Bundle: sha256:0000000000000000000000000000000000000000000000000000000000000000
# Base: CUDA 12.6 was asked for.

# Python 3.11 comes from here
FROM python:3.11-slim-bookworm AS python

# base nvidia/cuda:12.6.3-cudnn-runtime-ubuntu24.04
FROM nvidia/cuda:12.6.3-cudnn-runtime-ubuntu24.04

# system packages for Python 3.11
# No versions: a distribution keeps only its newest, so a pin would break this file.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends -- ca-certificates libbz2-1.0 libffi8 liblzma5 libncursesw6 libreadline8t64 libsqlite3-0 libssl3t64 libuuid1 zlib1g \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists

# Python 3.11, built for an older glibc than the base has
COPY --from=python ["/usr/local/", "/usr/local/"]

# make its libraries known, and see that all of them are there
RUN ldconfig \
    && python3.11 -c 'import bz2, ctypes, lzma, sqlite3, ssl, uuid, zlib'

# what to install: nothing
COPY ["requirements.lock", "/bundle/"]

# the base's own Python, which starts the program
RUN python3.11 -I -S -c 'import contextlib, os, signal, socket'

# code
COPY ["bundle.json", "/bundle/"]
COPY ["doc", "/bundle/doc/"]
COPY ["code", "/bundle/code/"]

# settings
LABEL dev.modelpack.bundle.digest="sha256:0000000000000000000000000000000000000000000000000000000000000000" \
    dev.modelpack.tag="server:CONTENT" \
    dev.modelpack.version="VERSION" \
    org.opencontainers.image.base.name="nvidia/cuda:12.6.3-cudnn-runtime-ubuntu24.04" \
    org.opencontainers.image.title="server" \
    org.opencontainers.image.version="CONTENT"
ENV HOME="/bundle" \
    MODELPACK_TAG="server:CONTENT" \
    NVIDIA_DRIVER_CAPABILITIES="compute,utility" \
    NVIDIA_VISIBLE_DEVICES="all" \
    ORT_DISABLE_TELEMETRY="1" \
    PORT="8080" \
    PYTHONDONTWRITEBYTECODE="1" \
    PYTHONUNBUFFERED="1" \
    USER="modelpack"
WORKDIR /bundle
USER 65532:65532
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=5s --start-period=120s --retries=3 CMD ["python3.11", "-I", "-S", "-c", "import os,socket; s=socket.create_connection((\"127.0.0.1\",int(os.environ[\"PORT\"])),4); s.sendall(b\"GET / HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n\"); a=s.recv(64); raise SystemExit(not a.startswith(b\"HTTP/\") or a.split(b\" \")[1][:1]==b\"5\")"]
ENTRYPOINT ["python3.11", "-I", "-S", "/bundle/code/init.py", "/bundle/code/bin/server", "--model", "a b"]

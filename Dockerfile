# syntax=docker/dockerfile:1
# The service with the embedded engine, and (target indextts2) with IndexTTS-2's own environment.
#
#   docker build -t indextts-observable:0.1.0 .
#   docker run --rm --read-only --cap-drop ALL --security-opt no-new-privileges \
#     --tmpfs /tmp -v indextts:/data -p 127.0.0.1:7860:7860 -e INDEXTTS_HOST=0.0.0.0 \
#     indextts-observable:0.1.0
#
# Every Python package is held to the hashes in requirements.txt. The base is pinned by its tag; to
# pin it by content: docker buildx imagetools inspect python:3.11.15-slim-bookworm, and --build-arg
# PYTHON_IMAGE=python@sha256:…
ARG PYTHON_IMAGE=python:3.11.15-slim-bookworm

FROM ${PYTHON_IMAGE} AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /opt/indextts
RUN python -m venv .venv
# For INDEXTTS_CLUSTER, on nodes and in front of them: --build-arg CLUSTER=requirements-cluster.txt
ARG CLUSTER=requirements.txt
COPY requirements.txt ${CLUSTER} ./
RUN .venv/bin/python -m pip install --require-hashes -r requirements.txt -r "${CLUSTER}" \
    && .venv/bin/python -m pip uninstall --yes pip \
    && find .venv -name __pycache__ -prune -exec rm -rf {} +

FROM ${PYTHON_IMAGE} AS service
# No version of Debian's packages: a release keeps one, and its security updates are wanted.
# ffprobe looks at every output, ffmpeg reads recordings; prlimit and timeout are in the base.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ffmpeg \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 indextts \
    && useradd --uid 10001 --gid indextts --no-create-home --home-dir /opt/indextts \
        --shell /usr/sbin/nologin indextts \
    && install -d -o indextts -g indextts /data /data/logs /data/outputs /data/speakers /data/batches
WORKDIR /opt/indextts
COPY --from=packages /opt/indextts/.venv .venv
COPY observability observability
COPY indextts_app indextts_app
COPY scripts scripts
COPY README.md README.zh.md CHANGELOG.md ./
ENV PATH=/opt/indextts/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    INDEXTTS_LOG_DIR=/data/logs \
    INDEXTTS_OUTPUT_DIR=/data/outputs \
    INDEXTTS_SPEAKER_DIR=/data/speakers \
    INDEXTTS_BATCH_DIR=/data/batches
# Compiled now, because the running container cannot write here.
RUN python -m compileall -q observability indextts_app scripts
USER 10001:10001
VOLUME /data
EXPOSE 7860
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=12s --start-period=60s --retries=3 \
    CMD ["python", "scripts/health_check.py"]
CMD ["python", "-m", "indextts_app"]

# For NVIDIA's container toolkit: the driver comes from the host, CUDA's libraries with torch.
FROM service AS indextts2
USER 0:0
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential git \
    && rm -rf /var/lib/apt/lists/*
COPY requirements-indextts2.txt ./
RUN scripts/setup_indextts2.sh --no-weights
ENV INDEXTTS_ENGINE=indextts2 \
    INDEXTTS_MODEL_DIR=/models \
    INDEXTTS_WORKER_PYTHON=/opt/indextts/.venv-indextts2/bin/python \
    HF_HOME=/tmp/huggingface \
    NUMBA_CACHE_DIR=/tmp/numba
USER 10001:10001
HEALTHCHECK --interval=15s --timeout=12s --start-period=900s --retries=3 \
    CMD ["python", "scripts/health_check.py"]

# What is built without --target.
FROM service

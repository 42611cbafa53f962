# An image with the odapi command, the patched tree and TensorFlow with CUDA: docs/docker.md.
# Everything after the first stage is rebuilt in two minutes; TensorFlow is installed once a lock.

ARG BASE_IMAGE=python:3.11-slim-bookworm
ARG REQUIREMENTS=requirements/gpu.lock
# What the labels say. A label cannot be computed: tests/image/test_dockerfile.py checks both. The
# tree, which changes with every patch, is no label but in the image's third_party/models.lock.
ARG VERSION=0.1.0
ARG TENSORFLOW=2.21.0

# --- the packages of the lock. All are wheels: nothing is compiled, no compiler is needed.
FROM ${BASE_IMAGE} AS dependencies
ARG REQUIREMENTS
ENV PATH=/opt/venv/bin:$PATH
COPY ${REQUIREMENTS} /opt/odapi/requirements.lock
# --no-deps as in build.sh: the lock is complete, less what requirements/excludes.txt names. The
# secret is optional: a pip.conf, for those who do not install from the default index.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m venv /opt/venv && \
    python -m pip install --no-cache-dir --disable-pip-version-check --no-input --no-deps \
        --only-binary :all: --require-hashes -r /opt/odapi/requirements.lock

# --- the patched tree. The only stage with git; the next takes the files and leaves git behind.
FROM dependencies AS tree
# No version of git: Debian keeps one, and replaces it when it mends something.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends git
WORKDIR /opt/odapi
COPY apply_patches.py ./
COPY patchqueue/ patchqueue/
COPY bootstrap/ bootstrap/
COPY third_party/ third_party/
COPY patches/ patches/
# It fails where the patches do not give the tree of third_party/models.lock.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python apply_patches.py && \
    python -m bootstrap.protos && \
    rm -r third_party/models/.git

# --- the image
FROM dependencies
# Group 0 may write to the mount points, and is the group of `--user 12345` without a group.
RUN useradd --uid 1000 --gid 0 --no-create-home --home-dir /tmp --no-log-init odapi && \
    install -d -o odapi -g 0 -m 775 /data /runs
WORKDIR /opt/odapi
COPY bootstrap/ bootstrap/
COPY odapi/ odapi/
COPY docker/entrypoint.sh LICENSE NOTICE ./
COPY --from=tree /opt/odapi/third_party/models.lock third_party/
COPY --from=tree /opt/odapi/third_party/models/ third_party/models/
# Compiled here, because no user of the image can write the bytecode beside the sources.
RUN python -m bootstrap.environment && \
    python -m compileall -q bootstrap odapi third_party/models

# By number, so that Kubernetes can see that it is not root.
USER 1000
RUN python -m bootstrap.validate --logs /tmp/logs && \
    find /tmp -mindepth 1 -delete

ARG BASE_IMAGE
ARG REQUIREMENTS
ARG VERSION
ARG TENSORFLOW
LABEL org.opencontainers.image.title="odapi-keras" \
      org.opencontainers.image.description="The TensorFlow Object Detection API on a current stack" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.base.name="$BASE_IMAGE" \
      odapi.tensorflow="$TENSORFLOW" \
      odapi.requirements="$REQUIREMENTS"

ENV PYTHONUNBUFFERED=1
# From /, the paths data/... and runs/... of the README name the mount points.
WORKDIR /
ENTRYPOINT ["/opt/odapi/entrypoint.sh"]
CMD ["--help"]

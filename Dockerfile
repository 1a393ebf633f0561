# Two images from one file: `server` (a Raft node and raftctl) and `client` (the lab's client and judge).
#
# The build needs no network: its dependencies come from build/wheelhouse, which two commands prepare on the host:
#
#   pip wheel --no-deps --wheel-dir build/wheelhouse .
#   pip download --only-binary=:all: --python-version 3.13 --implementation cp \
#     --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 \
#     --dest build/wheelhouse "raft-zmq[lab] @ file://$PWD/$(ls build/wheelhouse/raft_zmq-*.whl)"
#
# (aarch64 in place of x86_64 for an arm64 image; remove build/lib first, or setuptools packs what it holds of older
# sources), and then
#
#   docker build --target server --tag localhost:5001/raft-zmq-server:0.1.0 .
#   docker build --target client --tag localhost:5001/raft-zmq-client:0.1.0 .
#
# VERSION has to be the version of that wheel: it picks the wheel and is what the labels say.

ARG BASE_IMAGE=python:3.13-slim

# ---------------------------------------------------------------------------------------------------------------------
# What both images run: a virtual environment without pip, byte-compiled once so that nothing is written at run time.
# The .pyc files are never checked against their sources (unchecked-hash), as no source changes inside an image.
FROM ${BASE_IMAGE} AS build-server
# Lets `playbooks/destroy.yml` find what the engine keeps of this stage.
LABEL org.opencontainers.image.title="raft-zmq-build"
ARG VERSION=0.1.0
COPY build/wheelhouse /wheelhouse
RUN python -m venv --without-pip /opt/raft \
 && python -m pip --python /opt/raft/bin/python install --no-cache-dir --no-compile --no-index \
      --find-links /wheelhouse --disable-pip-version-check --root-user-action=ignore "raft-zmq==${VERSION}" \
 && find /opt/raft -type d \( -name tests -o -name test \) -prune -exec rm -rf {} + \
 && find /opt/raft -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.h' \) -delete \
 && /opt/raft/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/raft/lib \
 && mkdir /var/lib/raft

# hdrhistogram names setuptools and pbr as dependencies and imports neither: 8 MB less, and no installer inside.
FROM build-server AS build-client
ARG VERSION=0.1.0
COPY client /app/client
RUN python -m pip --python /opt/raft/bin/python install --no-cache-dir --no-compile --no-index \
      --find-links /wheelhouse --disable-pip-version-check --root-user-action=ignore "raft-zmq[lab]==${VERSION}" \
 && python -m pip --python /opt/raft/bin/python uninstall --yes --quiet --root-user-action=ignore setuptools pbr \
 && find /opt/raft -type d \( -name tests -o -name test \) -prune -exec rm -rf {} + \
 && /opt/raft/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/raft/lib /app

# ---------------------------------------------------------------------------------------------------------------------
# The user is a number, so that Kubernetes can see without a look into /etc/passwd that it is not root.
FROM ${BASE_IMAGE} AS runtime
ARG BASE_IMAGE=python:3.13-slim
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"
ENV PATH=/opt/raft/bin:${PATH} \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001

FROM runtime AS server
LABEL org.opencontainers.image.title="raft-zmq-server" \
      org.opencontainers.image.description="A Raft node whose peers and clients talk ZeroMQ, and raftctl"
COPY --from=build-server /opt/raft /opt/raft
COPY --from=build-server --chown=10001:10001 /var/lib/raft /var/lib/raft
# A node's default data folder is ./data, so without any setting the log lands in the volume.
WORKDIR /var/lib/raft
VOLUME /var/lib/raft
EXPOSE 6000 6001 8080
ENTRYPOINT ["raft-node"]

FROM runtime AS client
LABEL org.opencontainers.image.title="raft-zmq-client" \
      org.opencontainers.image.description="The lab's client: scenario, workload, bench, and the judge of their logs"
COPY --from=build-client /opt/raft /opt/raft
COPY --from=build-client /app /app
WORKDIR /app
EXPOSE 8081
ENTRYPOINT ["python", "-m", "client"]
CMD ["run"]

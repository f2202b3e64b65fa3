# Two images: `docker build --target node .` for nodes of a pool (`container_image` in renderfarm.toml),
# `docker build --target cli .` for the renderfarm command with everything that it needs.
# The node image has no entry point: Azure Batch hands it whole command lines.

ARG DEBIAN=bookworm-20250520-slim

FROM debian:${DEBIAN} AS system
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# Libraries stay unpinned so that a rebuild brings security updates; the renderers decide the pixels.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        bubblewrap \
        ca-certificates \
        libegl1 \
        libgl1 \
        libgl1-mesa-dri \
        libice6 \
        libsm6 \
        libx11-6 \
        libxext6 \
        libxfixes3 \
        libxi6 \
        libxkbcommon0 \
        libxrender1 \
        libxxf86vm1 \
        povray=1:3.7.0.10-2* \
        povray-includes=1:3.7.0.10-2* \
        python3 \
    && rm -rf /var/lib/apt/lists/*

FROM system AS renderers
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-pip \
    && rm -rf /var/lib/apt/lists/*
# Blender as a Python module, by checksum: what else the module asks for is for add-ons that no render needs.
ARG BPY=5.0.1
ARG BPY_SHA256=79c6e421f53ea24a5961d86eefb8141798eee708682415eb4f5a952c2abdeb8b
ARG NUMPY=1.26.4
ARG NUMPY_SHA256=666dbfb6ec68962c033a450943ded891bed2d54e6755e35e5835d63f4f6931d5
ARG ZSTANDARD=0.25.0
ARG ZSTANDARD_SHA256=9300d02ea7c6506f00e627e287e0492a5eb0371ec1670ae852fefffa6164b072
RUN printf '%s --hash=sha256:%s\n' \
        "bpy==${BPY}" "${BPY_SHA256}" \
        "numpy==${NUMPY}" "${NUMPY_SHA256}" \
        "zstandard==${ZSTANDARD}" "${ZSTANDARD_SHA256}" > /tmp/renderers.txt \
    && python3 -m pip install --no-cache-dir --no-deps --no-compile --require-hashes --only-binary :all: \
        --target /renderers --requirement /tmp/renderers.txt

FROM system AS program
COPY renderfarm /src/renderfarm
RUN PYTHONPATH=/src python3 -c "from pathlib import Path; from renderfarm.queues.azure.on_node import node_program; node_program(Path('/node.pyz'))"

FROM system AS node
# renderfarm is MIT and only starts the renderers; who hands the image on hands on what they ask for, their source included.
LABEL org.opencontainers.image.licenses="MIT AND GPL-3.0-or-later AND AGPL-3.0-or-later" \
      renderfarm.licenses="renderfarm: MIT; Blender (bpy): GPL-3.0-or-later, source at https://projects.blender.org; POV-Ray: AGPL-3.0-or-later, source in Debian"
COPY --from=renderers /renderers /usr/local/lib/python3.11/dist-packages
COPY --from=program /node.pyz /usr/local/share/renderfarm/node.pyz
RUN useradd --create-home --uid 1000 renderfarm
USER 1000
WORKDIR /home/renderfarm
CMD ["python3", "/usr/local/share/renderfarm/node.pyz"]

FROM node AS cli
USER 0
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ffmpeg python3-venv \
    && rm -rf /var/lib/apt/lists/*
COPY .ci/pins/program.txt pyproject.toml README.md LICENSE /src/
COPY renderfarm /src/renderfarm
RUN python3 -m venv --system-site-packages /opt/renderfarm \
    && /opt/renderfarm/bin/pip install --no-cache-dir --no-deps --require-hashes --requirement /src/program.txt \
    && /opt/renderfarm/bin/pip install --no-cache-dir --no-deps --no-build-isolation /src \
    && rm -rf /src
ENV PATH=/opt/renderfarm/bin:$PATH
USER 1000
ENTRYPOINT ["renderfarm"]
CMD ["--help"]

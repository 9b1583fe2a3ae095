# The service as an image: docker build -t boiler . && docker run -p 8000:8000 -v /path/to/model_dir:/model:ro \
#   -v /path/to/sounds:/sounds:ro -e BOILER_WAV_DIR=/sounds -e BOILER_API_KEYS=read:SECRET boiler
#
# The default build of torch includes CUDA. To install a CPU-only build, name a package index that has one:
#   docker build --build-arg TORCH_INDEX=ADDRESS .
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS build
ARG TARGETARCH
ARG TORCH_INDEX=""
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/boiler
ENV PATH=/opt/boiler/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY requirements.txt ./
# By default annoy compiles for the CPU of the build machine and crashes with an illegal instruction on older ones. This
# variable replaces all of its compiler flags: x86-64-v3 is any x86 server since 2015 (AVX2).
RUN case "${TARGETARCH:-$(uname -m)}" in \
        amd64|x86_64) march=,-march=x86-64-v3 ;; \
        *) march=,-march=armv8-a ;; \
    esac \
    && ANNOY_COMPILER_ARGS="-D_CRT_SECURE_NO_WARNINGS,-fpermissive,-O3,-ffast-math,-fno-associative-math,-DANNOYLIB_MULTITHREADED_BUILD,-std=c++14${march}" \
       pip install --no-binary annoy --constraint requirements.txt annoy
RUN if [ -n "${TORCH_INDEX}" ]; then \
        grep -E '^(torch|torchaudio)==' requirements.txt > torch.txt \
        && pip install --index-url "${TORCH_INDEX}" --requirement torch.txt; \
    fi
COPY pyproject.toml README.md LICENSE ./
COPY boiler boiler
RUN pip install --constraint requirements.txt ".[milvus,postgres]"

FROM python:${PYTHON}-slim-bookworm
LABEL org.opencontainers.image.title="boiler" \
      org.opencontainers.image.description="Finds sounds that sound alike, over HTTP" \
      org.opencontainers.image.licenses="Apache-2.0"
# This stage installs no packages, and the service can write only to /tmp.
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin boiler
COPY --from=build /opt/boiler /opt/boiler
ENV PATH=/opt/boiler/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    BOILER_MODEL_DIR=/model \
    OMP_NUM_THREADS=1
USER 10001
WORKDIR /tmp
VOLUME ["/model", "/sounds"]
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
# Needs BOILER_API_KEYS or BOILER_INSECURE=1, as it listens on all interfaces.
ENTRYPOINT ["boiler"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000", "--workers", "2"]

# Scheduler and Ray nodes: everything, torch and Ray too.
FROM python:3.11-slim-bookworm AS wheel
# The native engine is compiled into the wheel, for every instruction set it may meet.
RUN apt-get update && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY requirements.lock ./
RUN pip install --no-cache-dir --constraint requirements.lock setuptools
COPY pyproject.toml setup.py MANIFEST.in README.md ./
COPY db/ db/
COPY ngpu_core/ ngpu_core/
COPY service/ service/
COPY sweeps/ sweeps/
# What seed runs are stamped with, such as 0.1.0+g1234567: an image holds no git history to ask.
ARG CODE_VERSION=""
RUN [ -z "$CODE_VERSION" ] || sed -i "s/^version = .*/version = \"$CODE_VERSION\"/" pyproject.toml
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels .

FROM python:3.11-slim-bookworm AS node
ENV PYTHONUNBUFFERED=1 NGPU_HOME=/var/lib/ngpu HOME=/tmp PGPASSFILE=/tmp/.pgpass
RUN useradd --uid 1000 --create-home ngpu && install -d -o ngpu -g ngpu /var/lib/ngpu
COPY requirements.lock /tmp/
# An index with builds of torch for processors only, or for one version of CUDA. Without it the
# package index's own build is taken, which brings all of CUDA along.
ARG TORCH_INDEX=""
RUN pip install --no-cache-dir ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
    --requirement /tmp/requirements.lock
COPY --from=wheel /wheels/ /tmp/wheels/
RUN pip install --no-cache-dir --no-deps /tmp/wheels/*.whl
COPY docker/entrypoint.sh docker/scheduler.sh /usr/local/bin/
USER ngpu
WORKDIR /var/lib/ngpu
ENTRYPOINT ["entrypoint.sh"]
CMD ["ngpu", "--help"]

# With a GPU torch compiles what it runs there, for which it wants a compiler beside it.
FROM node AS cuda
USER root
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
USER ngpu

FROM node AS cpu

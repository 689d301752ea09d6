# API and dashboard, and `ngpu` for migrations and questions: no torch, no Ray.
FROM python:3.11-slim-bookworm AS wheel
WORKDIR /source
COPY requirements.lock ./
RUN pip install --no-cache-dir --constraint requirements.lock setuptools
COPY pyproject.toml README.md ./
COPY db/ db/
COPY ngpu_core/ ngpu_core/
COPY service/ service/
COPY sweeps/ sweeps/
# What seed runs are stamped with, such as 0.1.0+g1234567: an image holds no git history to ask.
ARG CODE_VERSION=""
RUN [ -z "$CODE_VERSION" ] || sed -i "s/^version = .*/version = \"$CODE_VERSION\"/" pyproject.toml
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels .

FROM python:3.11-slim-bookworm
ENV PYTHONUNBUFFERED=1 NGPU_HOME=/var/lib/ngpu HOME=/tmp PGPASSFILE=/tmp/.pgpass
RUN useradd --uid 1000 --create-home ngpu && install -d -o ngpu -g ngpu /var/lib/ngpu
COPY docker/web-requirements.txt /tmp/
RUN pip install --no-cache-dir --requirement /tmp/web-requirements.txt
COPY --from=wheel /wheels/ /tmp/wheels/
RUN pip install --no-cache-dir --no-deps /tmp/wheels/*.whl
COPY docker/entrypoint.sh docker/migrate.sh /usr/local/bin/
USER ngpu
WORKDIR /var/lib/ngpu
ENTRYPOINT ["entrypoint.sh"]
CMD ["ngpu", "--help"]

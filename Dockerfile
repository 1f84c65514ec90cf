# extrapypi in a container: all that it keeps is in the volume /data, and it runs as the user 10001.
# docs/containers.rst tells how to use it.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY . .
RUN python -m venv /opt/extrapypi \
    && pip wheel --no-deps --wheel-dir /wheels . \
    && wheel="$(echo /wheels/extrapypi-*.whl)" \
    && /opt/extrapypi/bin/pip install --compile "${wheel}[postgres,mysql,s3,metrics]" \
    && /opt/extrapypi/bin/pip uninstall --yes pip

FROM python:${PYTHON}-slim
RUN groupadd --system --gid 10001 extrapypi \
    && useradd --system --uid 10001 --gid 10001 --home-dir /data --no-create-home \
        --shell /usr/sbin/nologin extrapypi \
    && install --directory --owner=10001 --group=10001 --mode=0700 /data
COPY --from=build /opt/extrapypi /opt/extrapypi
ENV PATH=/opt/extrapypi/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    EXTRAPYPI_BASE_DIR=/data \
    EXTRAPYPI_HOST=0.0.0.0 \
    EXTRAPYPI_PORT=8000
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.build_opener(u.ProxyHandler({})).open('http://127.0.0.1:' + os.environ['EXTRAPYPI_PORT'] + os.environ.get('EXTRAPYPI_URL_PREFIX', '').rstrip('/') + '/health', timeout=8)"]
ENTRYPOINT ["extrapypi"]
CMD ["run"]

# What the image stands on, in this one place. A release adds the digest: --build-arg BASE=python:…@sha256:…
ARG BASE=python:3.13.16-slim-bookworm


# Build: the pinned dependencies and the project's own wheel, in a virtual environment without pip. What changes often
# comes last in each stage, so that an engine repeats only that. Bytecode is by hash: by time, which is Python's default,
# it is stale wherever an engine gives the sources new times.
FROM ${BASE} AS build

WORKDIR /build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore

# requirements-extras.txt adds what DELIVERY_EMAIL, DELIVERY_GOOGLE_DRIVE and DELIVERY_TRACING want.
ARG REQUIREMENTS=requirements.txt
COPY requirements-build.txt requirements.txt requirements-extras.txt ./
RUN pip install --no-deps --require-hashes --only-binary :all: -r requirements-build.txt \
    && python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv install --no-compile --no-deps --require-hashes --only-binary :all: -r "$REQUIREMENTS" \
    && python -m compileall -q -f --invalidation-mode unchecked-hash /opt/venv/lib

COPY pyproject.toml README.md LICENSE ./
COPY app ./app
RUN pip wheel --no-build-isolation --no-deps --wheel-dir dist . \
    && pip --python /opt/venv install --no-compile --no-deps --no-index dist/*.whl \
    && python -m compileall -q -f --invalidation-mode unchecked-hash /opt/venv/lib/python3*/site-packages/app \
    && chmod -R a-w /opt/venv


# Run: Python, the virtual environment, and nobody's rights.
FROM ${BASE}

# The base image comes without bytecode of the standard library, and a read-only root could never keep it.
RUN pip uninstall --yes --quiet --root-user-action=ignore pip setuptools wheel \
    && rm -r /usr/local/lib/python3*/ensurepip \
    && python -m compileall -q -f --invalidation-mode unchecked-hash -x 'idlelib|tkinter|turtledemo' /usr/local/lib/python3*

LABEL org.opencontainers.image.title="agentteam-delivery" \
      org.opencontainers.image.description="Delivers the outcome of finished AgentTeams to webhooks, Slack, mail and Google Drive" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.2.0"

# The Kubernetes client asks for a home as soon as it is imported, and fails where there is none.
ENV PATH=/opt/venv/bin:$PATH \
    DELIVERY_HOST=0.0.0.0 \
    HOME=/nonexistent \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

# Root's: who runs it could else make it writable, and change it.
COPY --from=build /opt/venv /opt/venv

# The image can start.
RUN agentteam-delivery openapi > /dev/null

USER 65532:65532

# The service; the watcher's own health and metrics.
EXPOSE 8080 8081

ENTRYPOINT ["agentteam-delivery"]
CMD ["serve"]

# Build: the pinned dependencies and the project's own wheel, in a virtual environment without pip.
FROM python:3.11-slim AS build

WORKDIR /build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore

# requirements-extras.txt adds what DELIVERY_EMAIL, DELIVERY_GOOGLE_DRIVE and DELIVERY_TRACING want.
ARG REQUIREMENTS=requirements.txt
COPY requirements-build.txt requirements.txt requirements-extras.txt ./
RUN pip install --no-deps --require-hashes --only-binary :all: -r requirements-build.txt \
    && python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv install --no-deps --require-hashes --only-binary :all: -r "$REQUIREMENTS"

COPY pyproject.toml README.md LICENSE ./
COPY app ./app
RUN pip wheel --no-build-isolation --no-deps --wheel-dir dist . \
    && pip --python /opt/venv install --no-deps --no-index dist/*.whl \
    && chmod -R a-w /opt/venv


# Run: Python, the virtual environment, and nobody's rights.
FROM python:3.11-slim

LABEL org.opencontainers.image.title="agentteam-delivery" \
      org.opencontainers.image.description="Delivers the outcome of finished AgentTeams to webhooks, Slack, mail and Google Drive" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.2.0"

# Owned by who runs it, and yet not to be written to.
COPY --from=build --chown=65532:65532 /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH

# The first run proves that the image can start. It also leaves the bytecode of what it imports from the
# standard library, which the base image comes without and a read-only root could never keep.
RUN agentteam-delivery openapi > /dev/null \
    && pip uninstall --yes --quiet --root-user-action=ignore pip setuptools wheel \
    && rm -r /usr/local/lib/python3*/ensurepip

# The Kubernetes client asks for a home as soon as it is imported, and fails where there is none.
ENV DELIVERY_HOST=0.0.0.0 \
    HOME=/nonexistent \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1

USER 65532:65532

# The service; the watcher's own health and metrics.
EXPOSE 8080 8081

ENTRYPOINT ["agentteam-delivery"]
CMD ["serve"]

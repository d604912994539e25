.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
COMPILE = $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate

.PHONY: help setup demo run test check lint bench openapi lock clean

help:  ## show this help
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 12

lock:  ## pin every dependency, with hashes, from pyproject.toml
	$(COMPILE) --all-extras pyproject.toml -o requirements-dev.txt
	$(COMPILE) --constraints requirements-dev.txt pyproject.toml -o requirements.txt

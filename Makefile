.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CHART := charts/agentteam-delivery

# The first one that fits is used.
PYTHON ?= python3.11 python3 python3.12 python3.13 python3.14
FITS := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 15))

# The platforms of a release's image, and the engine: by default the first of buildah and docker that answers.
PLATFORMS ?= linux/amd64,linux/arm64
ENGINE ?=

# The tests that run without coverage, because others run the same lines of the program for less; the longest files first.
UNCOUNTED := $(addprefix tests/,ledger browser test_demo.py chart service/test_hostile_callers.py clients contract docs \
  senders/test_every_sender.py service/test_callers.py operations release service/test_secrets_in_no_output.py \
  test_hostile_resources.py service/test_hostile_resources.py service/test_adversity.py service/test_tenants.py \
  service/test_email.py service/test_google_drive.py service/test_events.py service/test_cost.py test_reference.py \
  test_receipts.py test_no_way_out.py test_breaking.py test_description.py test_bounds.py \
  test_private_parts.py watcher/test_agenda_rules.py watcher/test_clusters.py console/test_session.py)
# Those that `make check` runs.
CHECKED := tests/test_repo.py
SIDE_BY_SIDE := --dist loadfile --no-loadscope-reorder --numprocesses

PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
COMPILE = $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate $(LOCKFLAGS)

.PHONY: help setup demo run test test-pods check lint types descriptions rules bench bench-scale bench-shares bench-outage bench-burst audit openapi reference docs clients clients-table chart lock release clean

help:  ## show this help
	@echo 'make TARGET, where TARGET is one of'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-15s%s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: $(READY)  ## create .venv, with the service and all tools

demo: setup  ## deliver to two local receivers through a local Kubernetes API
	@$(BIN)/python -m samples.demo

run: setup  ## run the service against your kubeconfig; it trusts all callers unless you set DELIVERY_AUTH
	@export DELIVERY_AUTH="$${DELIVERY_AUTH:-none}"; exec $(BIN)/agentteam-delivery serve

test: setup  ## run all tests, and check their branch coverage
	@# Most tests wait for processes, so two cores run three at a time. They run in order, because the long ones
	@# come first. Tests that measure time run afterwards, one per core. Coverage is measured only in the first run, because
	@# tracing lines doubles the cost of a process.
	@$(BIN)/pytest -m 'not quiet and not pods' $(patsubst %,--ignore=%,$(UNCOUNTED) $(CHECKED)) $(SIDE_BY_SIDE) 3 --cov
	@$(BIN)/pytest -m 'not quiet and not pods' $(UNCOUNTED) $(SIDE_BY_SIDE) 3
	@$(BIN)/pytest -m quiet $$(grep -rl --include='test_*.py' 'pytest.mark.quiet' tests | sort) $(SIDE_BY_SIDE) 2

test-pods: setup  ## run the chart in real pods on its own node; requires root
	@tests/harness/machine $(BIN)/pytest tests/pods

check: lint types descriptions rules  ## lint, format, types, layers, Dockerfile, API description, words, the repo's own rules

lint: setup  ## the part of check that lints: lint, format, layers, Dockerfile
	@echo '== lint'
	@$(BIN)/ruff check --quiet
	@echo '== format'
	@$(BIN)/ruff format --check --quiet || { echo 'to format: $(BIN)/ruff format'; exit 1; }
	@echo '== layers'
	@$(BIN)/lint-imports --no-logo
	@echo '== Dockerfile'
	@$(BIN)/hadolint Dockerfile

types: setup  ## the part of check that checks types
	@echo '== types'
	@$(BIN)/mypy

descriptions: setup  ## the part of check that compares the API description and the reference pages with the code
	@echo '== API description'
	@$(BIN)/agentteam-delivery openapi | diff -u openapi/openapi.yaml - \
		|| { echo 'openapi/openapi.yaml is not what the service says; to write it again: make openapi'; exit 1; }
	@$(BIN)/python .ci/breaking openapi/released.yaml openapi/openapi.yaml
	@echo '== reference pages'
	@$(BIN)/python .ci/reference --check
	@$(BIN)/python .ci/constants --check

rules: setup  ## the part of check that runs the repo's own rules: pins, names, links, words
	@echo '== pins, names, links'
	@$(BIN)/pytest --quiet $(CHECKED)

bench: setup  ## measure what a delivery costs, compared with the minimum and other tools (two minutes)
	@$(BIN)/python -m tests.bench --json .artifacts/bench.json

bench-scale: setup  ## measure how the cost grows, and draw the pictures in docs/ (four minutes)
	@$(BIN)/python -m tests.bench.scale --json .artifacts/bench-scale.json --pictures docs/pictures

bench-shares: setup  ## 20,000 events at three replicas beside a hostile namespace, and the largest teams (ten minutes)
	@$(BIN)/python -m tests.bench.neighbours
	@$(BIN)/python -m tests.bench.largest

bench-outage: setup  ## 500 teams whose receiver is away, and 300 at once at one Slack webhook (ten minutes)
	@$(BIN)/python -m tests.bench.outage

bench-burst: setup  ## 600 teams finish within three seconds, here and in an earlier build: BEFORE=2f646f0 (ten minutes)
	@$(BIN)/python -m tests.bench.burst --before '$(BEFORE)' --picture docs/pictures/burst.svg

audit: setup  ## check the pinned dependencies for known vulnerabilities
	@$(BIN)/python .ci/audit requirements.txt requirements-extras.txt requirements-dev.txt

openapi: setup  ## write openapi/openapi.yaml from the code
	@mkdir -p openapi
	@$(BIN)/agentteam-delivery openapi > $(VENV)/openapi.yaml && mv $(VENV)/openapi.yaml openapi/

reference: setup  ## generate docs/reference and the clients' constants from the code
	@$(BIN)/python .ci/reference
	@$(BIN)/python .ci/constants

docs: setup  ## build the website in build/docs, without the network; a dead link fails
	@# Always the whole: a page that has not changed may lead to one that has.
	@rm -rf build/docs
	@$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --fresh-env -c docs . build/docs
	@echo 'Ready: build/docs/index.html'

clients: setup  ## generate the clients in Python, TypeScript, Go, Java and Rust; requires Node.js, Java and Maven
	@PATH="$$PWD/$(BIN):$$PATH" clients/generate

clients-table: setup  ## try each client generator, and write docs/reference/clients.md
	@WRITE=1 $(BIN)/pytest --quiet tests/clients/test_table.py

chart: setup  ## write the table of values in the chart's README
	@$(BIN)/python .ci/chart-readme $(CHART) > $(VENV)/chart-readme && mv $(VENV)/chart-readme $(CHART)/README.md

lock: setup  ## pin all dependencies with hashes; LOCKFLAGS=--upgrade updates them
	@$(COMPILE) --all-extras pyproject.toml -o requirements-dev.txt
	@$(COMPILE) --constraints requirements-dev.txt --extra service pyproject.toml -o requirements.txt
	@$(COMPILE) --constraints requirements-dev.txt --extra email --extra google-drive --extra tracing pyproject.toml -o requirements-extras.txt
	@echo 'hatchling' | $(COMPILE) --python-version 3.11 --constraints requirements-dev.txt - -o requirements-build.txt

release: setup  ## build a release in dist/; TAG=v0.1.0 REPOSITORY=registry.example.com/owner PUSH=yes publishes it
	@PATH="$$PWD/$(BIN):$$PATH" $(BIN)/python .ci/release --tag '$(TAG)' --repository '$(REPOSITORY)' \
		--platforms '$(PLATFORMS)' --engine '$(ENGINE)' $(if $(PUSH),--push)

clean:  ## remove everything that can be built again, including .venv
	@rm -rf $(VENV) build dist .artifacts .coverage* .hypothesis .*_cache
	@cd clients && rm -rf .beside.* python csharp kotlin php */delivery java/target rust/target rust/Cargo.lock
	@cd clients/typescript && rm -rf dist node_modules src/api.ts
	@find . -type d -name __pycache__ -prune -exec rm -rf {} +

$(READY): requirements-dev.txt pyproject.toml | $(BIN)/python
	@echo 'Installing what requirements-dev.txt pins; a minute or two the first time'
	@# The lock is complete, so --no-deps: otherwise an extra would request newer versions. uv, also from the lock, takes
	@# seconds where pip takes minutes; pip takes over if only pip is configured to reach the packages.
	@sed -n '/^uv==/,/[^\\]$$/p' requirements-dev.txt > $(VENV)/uv.txt
	@$(PIP) install --no-deps --require-hashes -r $(VENV)/uv.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --no-deps --require-hashes -r requirements-dev.txt \
		|| $(PIP) install --no-deps --require-hashes -r requirements-dev.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --offline --no-build-isolation --no-deps --editable .
	@$(BIN)/uv pip check --quiet --python $(BIN)/python
	@touch $@
	@echo 'Ready: $(BIN)/agentteam-delivery'

$(BIN)/python:
	@for python in $(PYTHON); do \
		if "$$python" -c '$(FITS)' 2> /dev/null; then fit="$$python"; break; fi; \
	done; \
	if [ -z "$$fit" ]; then \
		echo 'Python 3.11 to 3.14 with its venv and ensurepip modules is needed (on Debian: python3-venv); none among: $(PYTHON)' >&2; \
		exit 1; \
	fi; \
	echo "Making $(VENV) with $$("$$fit" --version)"; \
	"$$fit" -m venv --clear $(VENV) || { rm -rf $(VENV); exit 1; }

# Targets for people; .ci/run calls the same ones. `make help` lists them.
# PYTHON is any Python from 3.11 on: `make test PYTHON=python3.12`. JOBS is the number of test processes,
# LEADS the leads per line of `make faults`.

PYTHON ?= python3
JOBS ?= 2
LEADS ?= 1000
SOAK_MINUTES ?= 30
SOAK_RATE ?= 50
BIN := .venv/bin
UV_VENV := .venv/uv
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2] if sys.version_info >= (3, 11) else "")' 2>/dev/null)
STAMP := .venv/.installed-$(VERSION)
PIP_OPTIONS := -qq --disable-pip-version-check --no-input
EXTRAS := api mailer projections archiver bounces cli tracing

export PIP_ROOT_USER_ACTION := ignore

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo up test containers lint types bench faults fuzz requirements sbom audit configuration docs load kills soak clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The hashed files first, then the project without its dependencies: pip takes no hashes beside a local project.
$(STAMP): requirements/dev.txt pyproject.toml
	@test -n "$(VERSION)" || { echo "$(PYTHON) is not a Python from 3.11 on: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python$(VERSION) || { echo "venv     .venv (Python $(VERSION))"; $(PYTHON) -m venv --clear .venv; }
	@echo "install  requirements/dev.txt"
	@$(BIN)/python -m pip install $(PIP_OPTIONS) --require-hashes -r requirements/dev.txt
	@echo "install  leadstream, editable"
	@$(BIN)/python -m pip install $(PIP_OPTIONS) --no-deps --no-build-isolation --editable .
	@rm -f .venv/.installed-* && touch $@

demo: $(STAMP) ## Run the main job on real parts and check that every mail arrived exactly once
	@$(BIN)/leadstream demo

up: $(STAMP) ## Run everything on this machine; API and dashboard on 127.0.0.1:8000
	@$(BIN)/leadstream up

test: $(STAMP) ## Run every test that needs no Docker
	@$(BIN)/pytest --quiet -n $(JOBS) -m "not docker"

containers: $(STAMP) ## Build the images and run the tests that need Docker
	@COMPOSE_PROFILES=dev,tools,bounces docker compose build
	@$(BIN)/pytest --quiet -m docker

lint: $(STAMP) ## Check style, format, types and who imports whom
	@echo "lint     ruff check" && $(BIN)/ruff check --quiet .
	@echo "lint     ruff format" && $(BIN)/ruff format --quiet --check .
	@echo "lint     mypy --strict" && $(BIN)/mypy --no-error-summary
	@echo "lint     imports" && $(BIN)/lint-imports

types: $(STAMP) ## Check types only
	@$(BIN)/mypy

bench: $(STAMP) ## Measure throughput and latency on this machine
	@$(BIN)/python -m benchmarks

faults: $(STAMP) ## Run the crash and outage tests, then every fault with LEADS leads; writes docs/guarantees.md
	@$(BIN)/pytest --quiet -n $(JOBS) -m "not docker" tests/faults
	@$(BIN)/python -m tests.faults --leads $(LEADS)

fuzz: $(STAMP) ## Try more than 10,000 generated inputs on the API and the mail builder, and count them
	@FUZZ_EXAMPLES=20 $(BIN)/python -m pytest --quiet -n $(JOBS) -p tests.fuzz.counting --hypothesis-profile=fuzz \
		tests/fuzz tests/integration/api/test_schema_conformance.py

requirements: ## Write requirements/*.txt anew from pyproject.toml
	@echo "install  uv, in a throwaway environment"
	@rm -rf $(UV_VENV) && $(PYTHON) -m venv $(UV_VENV) && $(UV_VENV)/bin/pip install $(PIP_OPTIONS) uv
	@for extra in dev $(EXTRAS); do \
		echo "compile  requirements/$$extra.txt"; \
		constraint=; test $$extra = dev || constraint="--constraint requirements/dev.txt"; \
		$(UV_VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
			--extra $$extra $$constraint pyproject.toml --output-file requirements/$$extra.txt || exit 1; \
	done
	@rm -rf $(UV_VENV)

sbom: $(STAMP) ## Write what each image holds as CycloneDX to dist/sbom/
	@mkdir -p dist/sbom
	@for extra in $(EXTRAS); do \
		echo "sbom     dist/sbom/$$extra.cdx.json"; \
		PYTHONWARNINGS=ignore::UserWarning $(BIN)/cyclonedx-py requirements requirements/$$extra.txt --pyproject pyproject.toml --output-reproducible \
			--output-format JSON --output-file dist/sbom/$$extra.cdx.json || exit 1; \
	done

audit: $(STAMP) ## Ask for known vulnerabilities of what is pinned; needs a network, error 4 without
	@$(BIN)/python deploy/audit.py

configuration: $(STAMP) ## Write docs/configuration.md anew from the settings
	@$(BIN)/python -m leadstream_events.settings_reference > docs/configuration.md

docs: $(STAMP) ## Build the documentation as a site in site/; a broken link or anchor fails
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

load: $(STAMP) ## Send 10,000 leads through `leadstream up` and check every mail and counter
	@$(BIN)/python -m tests.acceptance.up

kills: $(STAMP) ## The same load on processes of our own, killing one of each kind in the middle
	@for victim in api fanout mailer projections redis; do \
		$(BIN)/python -m tests.acceptance.load --leads 10000 --kill $$victim || exit 1; done

soak: $(STAMP) ## Load for SOAK_MINUTES at SOAK_RATE leads/s with random kills; counts mails, follows memory
	@$(BIN)/python -m tests.acceptance.soak --minutes $(SOAK_MINUTES) --rate $(SOAK_RATE)

clean: ## Remove the environment and every cache; data directories stay
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist site
	@find libs services cli tests -name __pycache__ -type d -prune -exec rm -rf {} +

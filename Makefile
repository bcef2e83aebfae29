# What can be done here: make help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
T ?= tests
K ?=
# Tests wait more than they work: two processes of tests for each core.
JOBS ?= $(shell expr 2 '*' $$(nproc))
# Where it is set, each of the many commands that tests and demos run would compile the whole program anew.
unexport PYTHONDONTWRITEBYTECODE
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes
PYTEST := $(BIN)/python -m pytest
# tests/conftest.py says which tests go together, and which come first.
SHARED := --dist loadscope --no-loadscope-reorder
COVERAGE = $(if $(COVER),--cov --cov-report=term --cov-fail-under=$(COVERED))
# Branches of core/, pkix/, service/ and cloning/ that the tests go through, in percent: all, and the quick ones. They only ever rise.
COVERED := 94
quick: COVERED := 87

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo demo-directory demo-wizard install dev test test-dogtag dogtag-remove quick check format bench soak fuzz gemlibpki mutate lock docs clean packages deb test-deb test-container selinux release

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: $(VENV)/.run ## a CA, an instance, ten certificates, answers; serves until interrupted (ONCE=1 ends)
	$(BIN)/python scripts/demo.py $(if $(filter 1 yes true,$(ONCE)),--once)

demo-directory: dev ## the same on two real directory servers, one of which dies (ONCE=1 ends)
	$(BIN)/python scripts/demo_directory.py $(if $(filter 1 yes true,$(ONCE)),--once)

demo-wizard: $(VENV)/.run ## an instance whose set-up wizard waits for a browser (ONCE=1 goes through it and ends)
	$(BIN)/python scripts/demo_wizard.py $(if $(filter 1 yes true,$(ONCE)),--once)

install: $(VENV)/.run ## what running it needs, in .venv

dev: packages $(VENV)/.dev ## all that developing needs, in .venv

test: dev ## all tests but those of Dogtag; make test T=tests/core K=nonce runs some, JOBS=1 one by one, COLD=1 forks no command
	$(if $(COLD),VOUCHD_TESTS_COLD=1 )$(PYTEST) $(T) $(if $(K),-k "$(K)") -m "not dogtag" $(COVERAGE) --numprocesses $(JOBS) $(SHARED)

quick: $(VENV)/.dev ## the tests that start no process (before every commit); T and K as above, COVER=1 holds the coverage
	@echo "all tests but those of processes, directory servers, browsers, foreign clients and Dogtag"
	$(PYTEST) $(T) $(if $(K),-k "$(K)") -m "not (process or directory or browser or interop or dogtag)" --hypothesis-profile quick $(COVERAGE) --numprocesses $$(($$(nproc) * 3 / 2)) $(SHARED)

test-dogtag: dev ## those against a real Dogtag, as root; it is kept below VOUCHD_DOGTAG_LAB (/var/tmp/vouchd-dogtag)
	$(PYTEST) tests/dogtag $(if $(K),-k "$(K)")

dogtag-remove: $(VENV)/.dev ## take that Dogtag away
	$(BIN)/python -m tests.dogtag.lab remove

check: $(VENV)/.dev ## format, lint, types, layers, docs (before every push)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST) tests/test_layers.py tests/test_docs.py

format: $(VENV)/.dev ## mend format and what the linter can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: dev ## figures against their targets and the run before (BENCH=big adds 10,000,000 entries, PEERS=1 other responders; ARGS=--short: a minute)
	$(BIN)/python -m bench $(if $(filter big,$(BENCH)),--big) $(if $(filter 1 yes true,$(PEERS)),--peers) $(ARGS)

soak: $(VENV)/.dev ## a master and a clone at half load, CRLs arriving, restarts, a failing source (SECONDS=7200)
	$(BIN)/python scripts/soak.py --seconds $(or $(SECONDS),7200) --folder $(or $(FOLDER),soak)

fuzz: $(VENV)/.fuzz ## tests of properties with 2000 examples each, then coverage-guided fuzzing, SECONDS=60 for each target
	$(if $(TARGETS),,$(PYTEST) -m "hypothesis and not directory" --hypothesis-profile deep --numprocesses $$(nproc) $(SHARED))
	$(BIN)/python -m fuzz --seconds $(or $(SECONDS),60) $(TARGETS)

gemlibpki: $(VENV)/.dev ## gematik's reference client over the answers of a master and a clone; takes Maven, Java 17 and a network
	$(BIN)/python -m tests.interop.gemlibpki

mutate: $(VENV)/.mutate ## changes in core/ and service/ that no test notices; make mutate M="core/status service/a*" tries some
	$(BIN)/python -m scripts.mutate --jobs $$(nproc) $(foreach module,$(M),"$(module)")

deb: packages ## the Debian package of what is committed, in dist/
	scripts/build-deb.sh dist

test-deb: ## that package on a host that has never seen it: installed, started, upgraded, supervised, removed, purged; FRESH=1 makes the host anew
	scripts/test-deb.sh dist/vouchd_*.deb $(if $(FRESH),fresh)

test-container: $(VENV)/.dev ## the images, built with Podman, and the commands of docs/operate/containers.md run by Docker Compose; as root, some minutes
	scripts/test-container.sh

selinux: packages ## the policy module, compiled, in dist/
	scripts/build-selinux.sh dist

release: dev $(VENV)/.release ## wheel, source, Debian package, SBOM, checksums, what is new, in dist/; built twice and compared
	scripts/release.sh

docs: $(VENV)/.docs ## the pages as a site with search, in site/, and a look at it with a browser; SERVE=8000 shows it on that port
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	$(BIN)/python -m scripts.docs_look
	$(if $(SERVE),$(BIN)/python -m http.server --bind 127.0.0.1 --directory site $(SERVE))

lock: $(VENV)/.dev ## write the pinned requirements anew from pyproject.toml (UPGRADE=--upgrade)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pip-tools
	UPGRADE="$(UPGRADE)" scripts/lock.sh

clean: ## remove what was made here, .venv as well
	rm -rf $(VENV) demo demo-directory demo-wizard soak build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis mutants .coverage* src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

packages:
	@scripts/install-debian-packages.sh
	@scripts/test-hosts.sh

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name it: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || scripts/install-debian-packages.sh python3-venv
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.txt pyproject.toml | $(BIN)/python
	$(PIP_INSTALL) -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.txt requirements-ldap.txt $(VENV)/.run
	$(PIP_INSTALL) -r requirements-dev.txt
	$(PIP_INSTALL) --no-build-isolation -r requirements-ldap.txt
	@touch $@

$(VENV)/.release: requirements-release.txt $(VENV)/.dev
	$(PIP_INSTALL) -r requirements-release.txt
	@touch $@

$(VENV)/.docs: requirements-docs.txt $(VENV)/.dev
	$(PIP_INSTALL) -r requirements-docs.txt
	@touch $@

$(VENV)/.mutate: requirements-mutate.txt $(VENV)/.dev
	$(PIP_INSTALL) -r requirements-mutate.txt
	@touch $@

$(VENV)/.fuzz: requirements-fuzz.txt $(VENV)/.dev
	$(PIP_INSTALL) -r requirements-fuzz.txt
	@touch $@

# Sonoscope. `make help` lists what there is; README.md says more.

VENV := .venv
PY := $(VENV)/bin/python
PIP_INSTALL := $(PY) -m pip install --disable-pip-version-check --no-input --progress-bar off
INSTALLED := $(VENV)/.sonoscope-installed
INSTALLED_DEV := $(VENV)/.sonoscope-installed-dev

# What to change on the command line, such as `make demo DEMO_NO_OPEN=1` or `make PYTHON=python3.13 install`.
PYTHON ?=
DEMO_STORE ?= demo_store
DEMO_NO_OPEN ?=
WORKERS ?= 2
TESTS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test lint format bench clean

help:  ## Show these lines
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  Variables: PYTHON=python3.12  DEMO_STORE=DIR  DEMO_NO_OPEN=1  WORKERS=2  TESTS='tests/test_sae.py -k save'"

$(PY):
	@sh tools/venv.sh $(VENV) "$(PYTHON)"

$(INSTALLED): requirements.txt | $(PY)
	@$(PY) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "$(VENV) has another Python than 3.11 to 3.13. Remove the folder and run make again." >&2; exit 1; }
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip >/dev/null 2>&1 || \
		{ echo "$(VENV) is not complete. Remove the folder and run make again." >&2; exit 1; }
	@echo "Installing what requirements.txt lists (several gigabytes, once)"
	$(PIP_INSTALL) -r requirements.txt
	@touch $@

$(INSTALLED_DEV): requirements-dev.txt $(INSTALLED)
	$(PIP_INSTALL) -r requirements-dev.txt
	@touch $@

install: $(INSTALLED)  ## Make .venv and install what Sonoscope needs

demo: $(INSTALLED)  ## Generate singing, compute a store from it, and open it in the browser as soon as it can be
	$(PY) -m precompute demo --store "$(DEMO_STORE)" $(if $(DEMO_NO_OPEN),,--open)

lint: $(INSTALLED_DEV)  ## Check style, format and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

# Browser tests need Chromium: tools/browser.sh finds or installs one, or prints why not and they skip.
# SONOSCOPE_REQUIRE_BROWSER=1 turns such a skip into a failure.
test: lint  ## Lint, then run every test
	@mkdir -p build
	@browser=$$(sh tools/browser.sh --install) || [ "$$SONOSCOPE_REQUIRE_BROWSER" != 1 ] || exit 1; \
	export SONOSCOPE_BROWSER="$$browser" OMP_NUM_THREADS="$${OMP_NUM_THREADS:-1}"; \
	$(PY) -m pytest -n $(WORKERS) --dist loadfile --junitxml=build/tests.xml $(TESTS) && \
	{ [ "$$SONOSCOPE_REQUIRE_BROWSER" != 1 ] || $(PY) tools/check_report.py build/tests.xml; }

format: $(INSTALLED_DEV)  ## Sort imports, mend what can be mended, lay the code out
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

bench: $(INSTALLED_DEV)  ## Run the benchmarks (minutes; they print ratios)
	@set -e; for file in benchmarks/*.py; do \
		case "$$file" in *'*'*|*/_*|*/full_size_store.py) continue;; esac; \
		echo "== $$file"; PYTHONPATH=. $(PY) "$$file"; done

clean:  ## Remove what was built here: caches, test reports, the demo store (not .venv)
	rm -rf build .pytest_cache .ruff_cache .mypy_cache demo_store
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# Sonoscope. `make help` lists what there is; README.md says more.

VENV := .venv
PY := $(VENV)/bin/python
INSTALLED = $(VENV)/.sonoscope-installed$(addprefix -,$(TORCH))
INSTALLED_DEV = $(VENV)/.sonoscope-installed-dev$(addprefix -,$(TORCH))
VENV_BROWSE := .venv-browse
PY_BROWSE := $(VENV_BROWSE)/bin/python
INSTALLED_BROWSE := $(VENV_BROWSE)/.sonoscope-installed

# What to change on the command line, such as `make demo DEMO_NO_OPEN=1` or `make PYTHON=python3.13 install`.
# TORCH=cpu installs a CPU build of torch (3 GB less) and stays chosen; TORCH=locked goes back to the lock's.
PYTHON ?=
TORCH ?= $(shell cat $(VENV)/.sonoscope-torch 2>/dev/null)
STORE ?=
DEMO_STORE ?= demo_store
DEMO_NO_OPEN ?=
WORKERS ?= 2
TESTS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo browse test smoke lint format bench lock canary clean

help:  ## Show these lines
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  Variables: PYTHON=python3.12  DEMO_STORE=DIR  DEMO_NO_OPEN=1  TORCH=cpu  WORKERS=2  TESTS='tests/test_sae.py -k save'"

$(PY):
	@sh tools/venv.sh $(VENV) "$(PYTHON)"

$(PY_BROWSE):
	@sh tools/venv.sh $(VENV_BROWSE) "$(PYTHON)"

# $(1) the environment's Python, $(2) the lock, $(3) options of tools/install.py.
define install_lock
	@$(1) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "$(1) is another Python than 3.11 to 3.13. Remove its folder and run make again." >&2; exit 1; }
	@$(1) -m pip --version >/dev/null 2>&1 || $(1) -m ensurepip >/dev/null 2>&1 || \
		{ echo "The environment of $(1) is not complete. Remove its folder and run make again." >&2; exit 1; }
	$(1) tools/install.py $(2) $(3)
endef

$(INSTALLED): requirements.lock | $(PY)
	@echo "Installing what requirements.lock lists ($(if $(filter cpu,$(TORCH)),two,several) gigabytes, once)"
	$(call install_lock,$(PY),requirements.lock,$(addprefix --torch ,$(TORCH)))
	@rm -f $(VENV)/.sonoscope-installed*; echo $(TORCH) > $(VENV)/.sonoscope-torch; touch $@

$(INSTALLED_DEV): requirements-dev.lock $(INSTALLED)
	$(call install_lock,$(PY),requirements-dev.lock,$(addprefix --torch ,$(TORCH)))
	@touch $@

$(INSTALLED_BROWSE): requirements-browse.lock | $(PY_BROWSE)
	@echo "Installing what requirements-browse.lock lists (0.8 GB, once)"
	$(call install_lock,$(PY_BROWSE),requirements-browse.lock)
	@touch $@

install: $(INSTALLED)  ## Make .venv and install what Sonoscope needs

demo: $(INSTALLED)  ## Generate singing, compute a store from it, and open it in the browser as soon as it can be
	$(PY) -m precompute demo --store "$(DEMO_STORE)" $(if $(DEMO_NO_OPEN),,--open)

browse: $(INSTALLED_BROWSE)  ## Open a store in a small installation without models: make browse STORE=DIR
	@[ -n "$(STORE)" ] || { echo "Which store? make browse STORE=DIR" >&2; exit 2; }
	$(PY_BROWSE) -m streamlit run app.py -- --store "$(STORE)"

smoke: $(INSTALLED)  ## Import every direct dependency, encode one clip with each kind of encoder
	$(PY) tools/check_install.py

lint: $(INSTALLED_DEV)  ## Check style, format and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

# Browser tests need Chromium: tools/browser.sh finds or installs one, or prints why not and they skip.
# SONOSCOPE_REQUIRE_BROWSER=1 turns such a skip into a failure.
test: lint $(INSTALLED_BROWSE)  ## Lint, then run every test
	@mkdir -p build
	@browser=$$(sh tools/browser.sh --install) || [ "$$SONOSCOPE_REQUIRE_BROWSER" != 1 ] || exit 1; \
	export SONOSCOPE_BROWSER="$$browser" SONOSCOPE_BROWSE_PYTHON="$(abspath $(PY_BROWSE))" OMP_NUM_THREADS="$${OMP_NUM_THREADS:-1}"; \
	$(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --junitxml=build/tests.xml $(TESTS) && \
	{ [ "$$SONOSCOPE_REQUIRE_BROWSER" != 1 ] || $(PY) tools/check_report.py build/tests.xml; }

format: $(INSTALLED_DEV)  ## Sort imports, mend what can be mended, lay the code out
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

bench: $(INSTALLED_DEV)  ## Run the benchmarks (minutes; they print ratios)
	@set -e; for file in benchmarks/*.py; do \
		case "$$file" in *'*'*|*/_*|*/full_size_store.py) continue;; esac; \
		echo "== $$file"; PYTHONPATH=. $(PY) "$$file"; done

lock:  ## Renew the locks (make lock LOCK_OPTIONS=--upgrade takes the newest of everything)
	sh tools/lock.sh "$$(command -v $(if $(PYTHON),$(PYTHON),python3))" $(LOCK_OPTIONS)

canary:  ## Try today's releases in throw-away environments and say what would break (gigabytes of downloads)
	$(if $(PYTHON),$(PYTHON),python3) tools/canary.py

clean:  ## Remove what was built here: caches, test reports, the demo store (not .venv)
	rm -rf build .pytest_cache .ruff_cache .mypy_cache demo_store
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# Everything a developer runs. `make demo` and `make test` set up what they need on Debian 12 and later; the others too.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

PLUGIN := scoread_qgis
DEBIAN_PACKAGES := qgis python3-qgis python3-gdal python3-scipy python3-matplotlib python3-h5py python3-venv gdal-bin xvfb
# Debian 12's own are too old: pip brings them there (requirements-dev.txt).
ifneq ($(shell . /etc/os-release && echo $$VERSION_CODENAME),bookworm)
DEBIAN_PACKAGES += python3-torch python3-sklearn
endif
PYTHON := .venv/bin/python
INSTALLED := .venv/.installed
SOURCES := $(shell find $(PLUGIN) resources -type f -not -name '*.pyc') metadata.txt LICENSE $(wildcard docs/algorithms/*.md) scripts/help_pages.py
BUILT := build/$(PLUGIN)/.built
PROFILE ?= $(HOME)/.local/share/QGIS/QGIS3/profiles/default
DATA ?= ../shared/data/scenes ../shared/data/more-scenes
COUNT ?= 5000
SEED ?= 0
SUITE ?= trixie
SUITE_FOLDER ?= build/qgis-$(SUITE)

export QT_QPA_PLATFORM ?= offscreen
# Test files run beside each other, one on each core.
BESIDE := --numprocesses=auto --maxprocesses=4 --dist=loadfile

# Debian's qgis_process wrapper and others read these; the tests and the demo run the plugin that was built.
export QGIS_PLUGINPATH := $(CURDIR)/build

.PHONY: help setup demo test test-qgis coverage build install package docs site translations lint benchmark fuzz clean

help:
	@echo "make demo       set up, make a sample scene, train, detect, and show where the results are (build/demo)"
	@echo "make test       set up and run the whole test suite"
	@echo "make test-qgis SUITE=bookworm|trixie|sid   the whole test suite in that Debian (QGIS 3.22, 3.40, 3.44), made in $(SUITE_FOLDER);"
	@echo "                as root; MIRROR=<url> if not the one this machine's apt uses"
	@echo "make coverage   the test suite, and which lines it runs (build/coverage)"
	@echo "make build      the plugin as a folder, build/$(PLUGIN)"
	@echo "make install    the plugin into the QGIS profile $(PROFILE)"
	@echo "make package    the plugin as a zip for QGIS' plugin manager, dist/$(PLUGIN).zip"
	@echo "make benchmark  all detectors on all .mat scenes of DATA=\"<folders>\""
	@echo "make fuzz       an attack on the reader of model files: COUNT=<files> SEED=<any>"
	@echo "make docs       docs/algorithms from the algorithms"
	@echo "make site       the documentation as a site, build/site"
	@echo "make translations  resources/i18n/scoread.ts, the strings to translate"
	@echo "make lint       ruff and mypy"
	@echo "make clean      remove what was built (not .venv)"

setup: $(INSTALLED)

# Debian's own python3 is the one that QGIS' bindings belong to, whatever else is first on PATH.
$(INSTALLED): requirements.txt requirements-dev.txt Makefile
	@missing=""; \
	if command -v dpkg-query >/dev/null; then \
	  for package in $(DEBIAN_PACKAGES); do \
	    dpkg-query -W -f='$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$package"; \
	  done; \
	fi; \
	if [ -n "$$missing" ]; then \
	  sudo=""; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	  if [ -n "$$sudo" ] && ! command -v sudo >/dev/null; then echo "Install as root first: apt-get install$$missing" >&2; exit 1; fi; \
	  $$sudo apt-get update; \
	  $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $$missing; \
	fi
	@if ! /usr/bin/python3 -c 'import qgis.core, osgeo.gdal, scipy' 2>/dev/null; then \
	  echo "This machine has no apt, or its /usr/bin/python3 lacks QGIS. Needed: QGIS 3.22 or newer with its Python bindings," >&2; \
	  echo "GDAL and SciPy for the same Python, and the modules venv and pip. On Debian or Ubuntu: $(DEBIAN_PACKAGES)" >&2; \
	  exit 1; \
	fi
	/usr/bin/python3 -m venv --system-site-packages .venv
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

build: $(BUILT)

$(BUILT): $(SOURCES) Makefile
	@rm -rf build/$(PLUGIN)
	@mkdir -p build
	@cp -r $(PLUGIN) build/$(PLUGIN)
	@cp -r resources metadata.txt LICENSE build/$(PLUGIN)/
	@/usr/bin/python3 scripts/help_pages.py build/$(PLUGIN)/help
	@find build/$(PLUGIN) -name __pycache__ -prune -exec rm -rf {} +
	@touch $@
	@echo "built build/$(PLUGIN)"

install: build
	mkdir -p "$(PROFILE)/python/plugins"
	rm -rf "$(PROFILE)/python/plugins/$(PLUGIN)"
	cp -r build/$(PLUGIN) "$(PROFILE)/python/plugins/"
	@echo "Start QGIS and switch on \"ScoreAD anomaly detection\" in Plugins > Manage and Install Plugins."

package: dist/$(PLUGIN).zip

dist/$(PLUGIN).zip: $(BUILT) scripts/package.py
	@/usr/bin/python3 scripts/package.py build/$(PLUGIN) $@

demo: $(INSTALLED) $(BUILT)
	$(PYTHON) scripts/demo.py build/demo

test: $(INSTALLED) $(BUILT)
	$(PYTHON) -m pytest $(BESIDE)

coverage: $(INSTALLED) $(BUILT)
	$(PYTHON) -m pytest $(BESIDE) --cov=build/scoread_qgis --cov-report=term:skip-covered --cov-report=html:build/coverage

test-qgis:
	scripts/test_in_suite.sh "$(SUITE)" "$(SUITE_FOLDER)" "$(MIRROR)"

benchmark: $(INSTALLED)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r requirements-benchmark.txt
	PYTHONPATH=. $(PYTHON) benchmarks/detectors.py $(DATA) --out build/benchmark

fuzz: $(INSTALLED) $(BUILT)
	PYTHONPATH=build:tests $(PYTHON) tests/fuzz_models.py "$(COUNT)" "$(SEED)"

docs: $(INSTALLED) $(BUILT)
	$(PYTHON) scripts/document.py

site: $(INSTALLED)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -r requirements-docs.txt
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build

translations: $(INSTALLED) $(BUILT)
	$(PYTHON) scripts/translate.py

lint: $(INSTALLED)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

clean:
	rm -rf build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

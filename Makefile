# `make lab` opens the course, `make test` checks it, `make demo` tells its story without a browser.
VENV := .venv
BIN := $(VENV)/bin
# The first Python on the path that is new enough; choose another with `make lab PYTHON=/path/to/python3`.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; done)

# Idle OpenMP threads sleep instead of spinning: on a busy machine training is many times faster.
export OMP_WAIT_POLICY := passive
export GOMP_SPINCOUNT := 0

.DEFAULT_GOAL := help
.PHONY: help lab test demo lint notebooks site pictures benchmark survive matrix clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

lab: $(VENV)/.lab  ## install, build the clips, check the machine, open the course in JupyterLab
	$(BIN)/avid-lab data build pocket
	$(BIN)/avid-lab doctor
	$(BIN)/avid-lab lab $(LAB_ARGS)

test: $(VENV)/.dev  ## install what the tests need and run them (PYTEST_ARGS="-k media")
	$(BIN)/python -m pytest $(PYTEST_ARGS)

demo: $(VENV)/.lab  ## the same story without a browser, ending with runs/demo/report.html (DEMO_ARGS="--steps 300")
	$(BIN)/avid-lab demo $(DEMO_ARGS)

lint: $(VENV)/.dev  ## ruff, pyright and the layers of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports

notebooks: $(VENV)/.dev  ## build notebooks/*.ipynb from notebooks/source/*.py (NOTEBOOKS="00 03" for some)
	$(BIN)/python -m avid_lab.course --mistakes
	$(BIN)/avid-lab publish $(NOTEBOOKS)

site: $(VENV)/.dev  ## build the web pages from the notebooks as they are: runs/site/index.html
	$(BIN)/avid-lab publish --site-only

pictures: $(VENV)/.dev  ## draw the README's pictures and write its table, from data/reference (needs Chromium)
	$(BIN)/python -m avid_lab.course.showcase README.md docs/images
	$(BIN)/python tests/picture_of_panels.py docs/images/panels.webp

benchmark: $(VENV)/.lab  ## measure the fast paths (SECTIONS="mining nce loading streaming training step rendering gpu feel recipe calibration losses", QUICK=--quick)
	$(BIN)/python -m benchmarks $(SECTIONS) $(QUICK)

survive: $(VENV)/.dev  ## kill work and damage files at random: what is lost, and which errors occur (SURVIVE_ARGS="--kills 60")
	$(BIN)/python -m benchmarks.survive $(SURVIVE_ARGS)

# The lowest versions that pyproject.toml allows, and the newest: one environment each, installed by uv.
MATRIX := 3.11-lowest 3.13-newest
matrix: $(MATRIX:%=matrix-%)  ## smoke tests with the lowest and newest allowed versions (needs uv; MATRIX="3.12-newest" for others)

matrix-%:
	uv venv --quiet --allow-existing --python $(word 1,$(subst -, ,$*)) $(VENV)-$*
	uv pip install --quiet --python $(VENV)-$*/bin/python --editable '.[dev]' \
		--resolution $(if $(findstring lowest,$*),lowest-direct,highest)
	$(VENV)-$*/bin/python -m pytest $(SMOKE:%=tests/test_%.py)

SMOKE := losses memory mining metrics objectives encoders transforms config media datasets training resume evaluation \
	plots picture panel publish cli

clean:  ## remove the environment; rendered clips stay in the cache folder
	rm -rf $(VENV)

# The stamps .venv/.lab and .venv/.dev say what is installed, so that a second run starts at once.
$(VENV)/.lab: EXTRA :=
$(VENV)/.dev: EXTRA := [dev]
$(VENV)/.lab $(VENV)/.dev: pyproject.toml avid_lab/jupyter/overrides.json | $(BIN)/pip
	$(BIN)/python -m pip install --disable-pip-version-check --editable '.$(EXTRA)'
	@touch $@

$(BIN)/pip:
	@test -n "$(PYTHON)" || { echo "avid_lab needs Python 3.11 or newer and found none on the path. Install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "avid_lab needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments. On Debian or Ubuntu: sudo apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The front door: `make demo` and `make test` work on a fresh machine; both set up .venv by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# torch first and by itself: what comes later must not pull another build of it.
TORCH ?= torch==2.13.0

.PHONY: demo test test-slow lint format clean

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[report,test,lint]"
	touch $@

# Slicer's MRML libraries and Qt, for the tests of the Slicer module; where there are no wheels, those tests skip.
$(VENV)/.installed-slicer: $(VENV)/.installed
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[slicer]"
	touch $@

demo: $(VENV)/.installed
	$(BIN)/cardiodit generate --seed 7 --pathology NOR --overwrite --out demo --formats nii.gz,seq.nrrd,png,gif,html,json
	@echo "Open demo/ : a cine for Slicer (.seq.nrrd), the same as NIfTI, a contact sheet, an animation, a page (.html) and its provenance."

# A process a core, each file in one of them, so that what a file prepares is prepared once; torch computes on one core.
test: $(VENV)/.installed-slicer
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

test-slow: $(VENV)/.installed-slicer
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf demo build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache

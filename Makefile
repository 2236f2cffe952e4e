# `make demo`: set up and run the main job on embedded data. `make test`: set up and test. `make help`: the rest.
PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test lint pytest install clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[offline]'
	@touch $@

$(VENV)/.installed-test: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[offline,test]'
	@touch $(VENV)/.installed $@

install: $(VENV)/.installed  ## a virtual environment in .venv with the package and its embedded base

demo: $(VENV)/.installed  ## train and compare on embedded data; prints which reports to open
	$(BIN)/tunelet run emotion-quick --jobs 2 --out $(DEMO)/emotion-quick
	$(BIN)/tunelet run rescore-quick --out $(DEMO)/rescore-quick
	$(BIN)/tunelet run adapt-lm -o data.source=embedded --out $(DEMO)/adapt-lm
	$(BIN)/tunelet run fuse-quick --out $(DEMO)/fuse-quick
	$(BIN)/tunelet run understand-quick --out $(DEMO)/understand-quick
	@echo "open these in a browser:"
	@echo "  $(DEMO)/emotion-quick/report.html    LoRA against full fine-tuning, sentences by emotion"
	@echo "  $(DEMO)/rescore-quick/report.html    from sound to text, and a second pass over what was heard"
	@echo "  $(DEMO)/adapt-lm/report.html         a masked language model of a few sentences"
	@echo "  $(DEMO)/fuse-quick/report.html       attention over the adapters of four small tasks"
	@echo "  $(DEMO)/understand-quick/report.html random label names, and tasks that the model was not tuned on"

lint: $(VENV)/.installed-test  ## ruff and mypy
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy

pytest: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist worksteal --durations=15

test: $(VENV)/.installed-test  ## set up, lint, and run all tests
	@$(MAKE) --no-print-directory -j2 lint pytest   # mypy has one core, the tests have the others

clean:  ## remove what the other targets made
	rm -rf $(VENV) $(DEMO) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

# make run and make test do all of their own set-up, in .venv.
PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS ?= 1

# --name value, for a variable that is set
option = $(if $($(1)),--$(shell echo $(1) | tr A-Z a-z) "$($(1))")

.DEFAULT_GOAL := help
.PHONY: help install run test check lint report reproduce bench clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/'

# TORCH: a build of PyTorch's own index, such as cpu or cu128, instead of that of PyPI
.venv/installed: setup.cfg pyproject.toml
	@echo "Making .venv and installing ltrun into it, PyTorch included: some minutes, 6 GB on Linux (1.5 GB with TORCH=cpu)."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(if $(TORCH),$(BIN)/python -m pip install torch torchvision --index-url https://download.pytorch.org/whl/$(TORCH))
	$(BIN)/python -m pip install --editable .
	@touch $@

.venv/tools: .venv/installed
	@echo "Installing the tools of its tests: a minute, 0.3 GB."
	$(BIN)/python -m pip install --editable '.[dev]'
	@touch $@

install: .venv/tools  ## make .venv and install ltrun into it, with what its tests need

run: .venv/installed  ## train a small sweep on the embedded data set and print its table
	$(BIN)/ltrun -m method=erm,ldam_drw,balanced_softmax,crt seed=0,1 dataset=digits_lt

test: install lint  ## lint, type-check and test
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: install lint  ## lint, type-check and the quick tests, for each save: no command lines, no walk through all options
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not contract" tests/unit tests/golden

lint: install  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

report: .venv/installed  ## collect everything below outputs/ into tables
	$(BIN)/ltrun report outputs/

# DATA: all of CIFAR-100, or an export. TIME: seconds; the next call goes on. TAKE: runs of another machine, and no training.
# SET: keys, such as runtime.precision=fp32
reproduce: .venv/installed  ## the queue of published numbers: DATA= TIME= METHODS= SEEDS= DEVICE= PACK= EPOCHS= SET= TAKE=
	$(BIN)/python benchmarks/reproduce.py $(foreach name,DATA TIME METHODS SEEDS DEVICE PACK,$(call option,$(name))) \
		$(if $(EPOCHS),epochs=$(EPOCHS)) $(SET) $(if $(TAKE),--take $(TAKE))

BENCH ?= step floor ablation pack methods startup data
bench: .venv/installed  ## time ltrun beside a plain loop and the machine's limits: BENCH= which, ARGS= of each script
	for name in $(BENCH); do $(BIN)/python benchmarks/$$name.py --json benchmarks/results/$$name.json $(ARGS) || exit 1; done
	$(BIN)/python benchmarks/table.py benchmarks/results

clean:  ## remove the environment and caches, but no results
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache build *.egg-info

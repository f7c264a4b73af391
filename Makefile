# `make help` lists what there is. Everything runs in .venv, which `make setup` makes; nothing needs to be activated.

PYTHON ?= python3
BIN := .venv/bin
DEV := beartype build hatchling mypy pytest pytest-xdist ruff tensorboard
PACKAGES := packages/hmr-core packages/hmr-integral packages/hmr-iknet
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
	@echo "figures: $(DEMO)/eval/report.json   pictures: $(DEMO)/eval/contact_sheet.png"

# hand.npz is the last thing that synth writes. A new pack makes an older run worthless.
$(DEMO)/synthetic/hand.npz: | $(SETUP)
	rm -rf $(DEMO)/synthetic
	$(BIN)/hmr synth $(DEMO)/synthetic $(DEMO_SYNTH)

$(DEMO)/oakink.h5: $(DEMO)/synthetic/hand.npz
	rm -rf $(DEMO)/run
	$(BIN)/hmr pack oakink --root $(DEMO)/synthetic/OakInk --out $@ --force

$(DEMO)/trained: $(DEMO)/oakink.h5
	if [ -f $(DEMO)/run/config.json ]; then $(BIN)/hmr train integral --resume $(DEMO)/run; \
	else $(BIN)/hmr train integral --split sp0 --recipe tiny --data $< --out $(DEMO)/run $(DEMO_TRAIN); fi
	@touch $@

$(DEMO)/figures.txt: $(DEMO)/trained
	rm -rf $(DEMO)/eval
	$(BIN)/hmr eval integral --ckpt $(DEMO)/run --split sp0 --data $(DEMO)/oakink.h5 --out $(DEMO)/eval >$@.part
	@mv $@.part $@

$(DEMO)/checked: $(DEMO)/figures.txt
	$(BIN)/python tools/check_demo.py $(DEMO)/eval/report.json $(if $(DEMO_TRAIN),--figures-only)
	@touch $@

picture: demo  ## docs/demo.png anew, from the demo
	$(BIN)/python tools/docs_picture.py $(DEMO)/eval/contact_sheet.png docs/demo.png

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

clean:  ## remove the demo and the caches; .venv stays
	rm -rf $(DEMO) .pytest_cache .mypy_cache .ruff_cache

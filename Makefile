# `make help` lists what there is. Everything runs in .venv, which `make setup` makes; nothing needs to be activated.

PYTHON ?= python3
BIN := .venv/bin
TESTING := beartype build hatchling optuna plotly pytest pytest-xdist tensorboard wandb
DEV := $(TESTING) mypy ruff
PACKAGES := $(addprefix packages/,hmr-core hmr-integral hmr-rle hmr-i2l hmr-pyramid hmr-iknet hmr-mediapipe hmr-datasets)
SETUP := .venv/.setup
TOOLS := .venv/.tools
LOWEST := .venv-lowest
TIMM := .venv-timm

# The demo's size; .ci/run makes a shorter one.
DEMO := demo
DEMO_SYNTH :=
DEMO_TRAIN :=

# Trainings run side by side, each with its share of the cores: small networks gain more from that than from threads.
CORES := $(shell getconf _NPROCESSORS_ONLN)
JOBS := $(shell test $(CORES) -lt 4 && echo $(CORES) || echo 4)
SIDE_BY_SIDE = OMP_NUM_THREADS=$(shell expr $(CORES) / $(JOBS)) $(MAKE) --no-print-directory --jobs $(JOBS)

# Lines of what runs side by side begin with its name; a failure is not lost in the pipe.
SHELL := bash
.SHELLFLAGS := -o pipefail -c
NAMED = 2>&1 | sed -u "s|^|$(1): |"

export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Container images often set it; then every command would compile PyTorch's thousands of modules again, for seconds.
unexport PYTHONDONTWRITEBYTECODE

# What was not finished is made again.
.DELETE_ON_ERROR:

.PHONY: help setup demo results pictures test test-lowest test-timm lint type format bench bench-train clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(TOOLS)  ## make .venv with all packages in it, editable, and what developing them needs
	@$(BIN)/hmr mediapipe fetch

$(SETUP): Makefile constraints.txt $(wildcard packages/*/pyproject.toml examples/*/pyproject.toml)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-compile $(foreach package,$(PACKAGES),--editable $(package))
	@touch $@

# Apart, so that the demo need not wait for it.
$(TOOLS): $(SETUP)
	$(BIN)/pip install --quiet --no-compile $(DEV)
	@touch $@

# What constraints-lowest.txt does not name is what constraints.txt says.
$(LOWEST)/.setup: Makefile constraints.txt constraints-lowest.txt $(wildcard packages/*/pyproject.toml)
	$(PYTHON) -m venv $(LOWEST)
	awk -F '==' 'NR == FNR {low[$$1]} NR == FNR || !($$1 in low)' constraints-lowest.txt constraints.txt >$(LOWEST)/constraints.txt
	PIP_CONSTRAINT=$(CURDIR)/$(LOWEST)/constraints.txt $(LOWEST)/bin/pip install --quiet --no-compile \
		$(foreach package,$(PACKAGES),--editable $(package)) $(TESTING)
	@touch $@

# What constraints-timm.txt does not name is what constraints.txt says.
$(TIMM)/.setup: Makefile constraints.txt constraints-timm.txt packages/hmr-core/pyproject.toml packages/hmr-timm/pyproject.toml
	$(PYTHON) -m venv $(TIMM)
	awk -F '==' 'NR == FNR {other[$$1]} NR == FNR || !($$1 in other)' constraints-timm.txt constraints.txt >$(TIMM)/constraints.txt
	PIP_CONSTRAINT=$(CURDIR)/$(TIMM)/constraints.txt $(TIMM)/bin/pip install --quiet --no-compile \
		$(foreach package,$(PACKAGES),--editable $(package)) --editable packages/hmr-timm $(TESTING)
	@touch $@

demo: | $(SETUP)  ## synthetic data -> pack -> train three models -> evaluate, and show the metrics (under ten minutes)
	+$(SIDE_BY_SIDE) $(DEMO)/sp0/checked
	@sed '/^$$/q' $(DEMO)/sp0/metrics.txt
	@echo "differences: $(DEMO)/sp0/metrics.txt"
	@echo "metrics: $(DEMO)/sp0/eval/*/report.json"
	@echo "pictures: $(DEMO)/sp0/models.png, $(DEMO)/sp0/eval/*/contact_sheet.png"

results: | $(SETUP)  ## the demo on all three splits; writes results/synthetic.csv and jpeg.csv
	+$(SIDE_BY_SIDE) $(foreach split,$(SPLITS),$(DEMO)/$(split)/checked)
	$(BIN)/python tools/collect_results.py $(foreach split,$(SPLITS),$(foreach name,$(EVALUATIONS),\
		$(DEMO)/$(split)/eval/$(name)/report.json)) --out results/synthetic.csv
	$(BIN)/python tools/study_jpeg.py

SPLITS := sp0 sp1 sp2
MODELS := integral rle i2l
EVALUATIONS := $(MODELS) integral-best

# hand.npz is the last thing that synth writes. A new pack makes older runs worthless. Networks as small as these wait for
# their images: jpeg takes a quarter of png's time to decode, and the margin is what the tiny recipes' crops reach, 1.2 *
# 1.05 * sqrt 2 times the joints' box. Other recipes need a pack of their own.
$(DEMO)/synthetic/hand.npz: | $(SETUP)
	rm -rf $(DEMO)/synthetic
	$(BIN)/hmr synth $(DEMO)/synthetic $(DEMO_SYNTH)

$(DEMO)/oakink.h5: $(DEMO)/synthetic/hand.npz
	rm -rf $(SPLITS:%=$(DEMO)/%)
	$(BIN)/hmr pack oakink --root $(DEMO)/synthetic/OakInk --out $@ --codec jpeg --margin 1.8 --force

# Named, so that a hand model in the environment does not get in the way.
DEMO_HAND := --hand-model $(DEMO)/synthetic/hand.npz
TRAIN_HAND_i2l := $(DEMO_HAND)
TRAIN_HAND_iknet := $(DEMO_HAND)

# $(*D) is the split, $(*F) the model.
$(DEMO)/%.trained: $(DEMO)/oakink.h5
	@if [ -f $(DEMO)/$*/config.json ]; then $(BIN)/hmr train $(*F) --resume $(DEMO)/$*; \
	else $(BIN)/hmr train $(*F) --split $(*D) --recipe tiny --data $< --out $(DEMO)/$* $(TRAIN_HAND_$(*F)) $(DEMO_TRAIN); \
	fi $(call NAMED,$*)
	@touch $@

# evaluation(split, name, model, options): the last is empty for a model with a mesh of its own.
define evaluation
$(DEMO)/$(1)/eval/$(2)/report.json: $(DEMO)/$(1)/$(3).trained $(if $(4),$(DEMO)/$(1)/iknet.trained)
	@$(BIN)/hmr eval $(3) --ckpt $(DEMO)/$(1)/$(3) --split $(1) --data $(DEMO)/oakink.h5 $(DEMO_HAND) \
		$(if $(4),--solver iknet --solver-ckpt $(DEMO)/$(1)/iknet $(4)) --out $$(@D) $(call NAMED,$(1)/eval/$(2))
endef
$(foreach split,$(SPLITS),\
	$(eval $(call evaluation,$(split),integral,integral,--protocol published))\
	$(eval $(call evaluation,$(split),integral-best,integral,--protocol best))\
	$(eval $(call evaluation,$(split),rle,rle,--protocol published))\
	$(eval $(call evaluation,$(split),i2l,i2l,)))

# In the order in which they are begun: the longest training first.
$(DEMO)/%/metrics.txt: $(DEMO)/%/integral.trained $(DEMO)/%/i2l.trained $(DEMO)/%/rle.trained \
		$(EVALUATIONS:%=$(DEMO)/\%/eval/%/report.json)
	$(BIN)/hmr compare $(EVALUATIONS:%=$(@D)/eval/%) --data $(DEMO)/oakink.h5 >$@

$(DEMO)/%/models.png: $(DEMO)/%/metrics.txt
	$(BIN)/hmr compare $(MODELS:%=$(@D)/eval/%) --picture $@ --data $(DEMO)/oakink.h5 $(DEMO_HAND) >/dev/null

$(DEMO)/%/checked: $(DEMO)/%/metrics.txt $(DEMO)/%/models.png
	$(BIN)/python tools/check_demo.py $(EVALUATIONS:%=$(@D)/eval/%/report.json) $(if $(DEMO_TRAIN),--metrics-only)
	@touch $@

.PRECIOUS: $(DEMO)/%.trained $(DEMO)/%/metrics.txt $(DEMO)/%/models.png

pictures: demo  ## the pictures of README and docs anew, from the demo
	$(BIN)/python tools/docs_picture.py $(DEMO)/sp0/models.png docs/demo.png
	$(BIN)/python tools/docs_picture.py $(DEMO)/synthetic/contact_sheet.png docs/synthetic.png
	$(BIN)/hmr mediapipe fetch
	$(BIN)/python tools/photos_picture.py docs/photos.png

# Then no test may be skipped for want of MediaPipe's networks, which are fetched once, into the user's cache. Who has a
# browser, too, may ask for it: HMR_TESTS_NEED=browser.
test test-lowest: export HMR_TESTS_NEED := networks $(HMR_TESTS_NEED)

# A process gets tests that follow one another, so that what a file's tests share is not made by each process.
PYTEST_OPTIONS := --numprocesses auto --dist worksteal --quiet

test: $(TOOLS)  ## run every test
	@$(BIN)/hmr mediapipe fetch
	OMP_NUM_THREADS=1 $(BIN)/pytest $(PYTEST_OPTIONS) $(TESTS)

# Of a test with many cases two run: the versions decide whether a call works, and seldom for which values.
test-lowest: $(LOWEST)/.setup  ## run two cases of each test not marked slow with the lowest versions of what hmr depends on
	@$(LOWEST)/bin/hmr mediapipe fetch
	OMP_NUM_THREADS=1 $(LOWEST)/bin/pytest $(PYTEST_OPTIONS) -m "not slow" --cases 2 $(TESTS)

test-timm: $(TIMM)/.setup  ## run the tests of hmr-timm in an environment with timm and torchvision (several GB)
	OMP_NUM_THREADS=1 $(TIMM)/bin/pytest $(PYTEST_OPTIONS) packages/hmr-timm

lint: $(TOOLS)  ## ruff: rules and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: $(TOOLS)  ## ruff: apply both
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

type: $(TOOLS)  ## mypy --strict
	$(BIN)/mypy

bench: $(SETUP)  ## measure; writes results/*.csv
	$(BIN)/python tools/bench_help.py
	$(BIN)/python tools/bench_codecs.py
	$(BIN)/python tools/bench_loader.py
	$(BIN)/python tools/bench_render.py
	$(BIN)/python tools/bench_render.py --overlays
	$(BIN)/python tools/bench_fit.py
	$(BIN)/python tools/bench_i2l.py
	$(BIN)/python tools/bench_load.py
	$(MAKE) bench-train

bench-train: $(SETUP)  ## measure what training costs on every device of this machine; writes results/speed.csv
	$(BIN)/python tools/bench_train.py

clean:  ## remove the demo and the caches; .venv stays
	rm -rf $(DEMO) .pytest_cache .mypy_cache .ruff_cache

# Thin on purpose: an environment and one call each.
#   make results                       the demo study, from nothing to figures
#   make results VENV=path             with an environment that you already have (conda: VENV=$CONDA_PREFIX)
#
# What follows a = on the command line is data. The second line takes it literally and puts it into the environment, from
# where recipes read it ("$$STUDY") and Python too (os.environ); no value is ever pasted into a command's text.
override ASKED := $(filter command,$(origin STUDY))#   whether the command named a study
$(foreach v,$(.VARIABLES),$(if $(filter command line,$(origin $v)),$(eval override $v := $$(value $v))$(eval export $v)))
# So is what the environment says of the names that are read below.
$(foreach v,VENV PYTHON STUDY CORES PROFILE OUT MODEL,$(if $(filter environment,$(origin $v)),$(eval override $v := $$(value $v))))
PYTHON  ?= python3.11
STUDY   ?= demo
CORES   ?= all#                        cores; one stage runs at a time and uses them all
PROFILE ?=#                            for example profiles/slurm
override READY :=
ifeq ($(origin VENV), undefined)
VENV := .venv
override READY := $(VENV)/.ready
endif
$(if $(filter-out 1,$(words $(VENV))),$(error VENV is "$(VENV)", wanted the path of an environment without spaces))
export STUDY CORES PROFILE VENV
override BIN = "$$VENV"/bin
override PEERS = .venv-peers

# Before an environment is made: one sentence where there is no such Python, or another one than is tested.
define TESTED_PYTHON
@$(PYTHON) -c pass 2> /dev/null || { echo "found no $(PYTHON), wanted Python 3.11: install it, or give PYTHON=, where it is" >&2; exit 1; }
@$(PYTHON) lib/__init__.py
endef

export PYTHONPATH := $(CURDIR)
export OMP_WAIT_POLICY := PASSIVE

# Snakemake reads a config's value as YAML: what that could read as another name stops here, the rest in the Snakefile.
override NAMED = $(if $(filter-out 1,$(words $(STUDY)))$(findstring ",$(STUDY))$(findstring ',$(STUDY)),$(error STUDY is no name of a study))
override SNAKEMAKE = $(NAMED)$(BIN)/snakemake --config study="$$STUDY" --rerun-triggers mtime --quiet host reason rules progress \
	--nolock --rerun-incomplete $${PROFILE:+--profile "$$PROFILE"} --cores "$$CORES"

.PHONY: help env peers results study figures dry check verify new data variant publish lab test test-fast test-long lint model check-model \
	import-sae export-sae \
	bench clean-env
.DEFAULT_GOAL := help

help:  ## this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

env: $(VENV)/.ready  ## make .venv from requirements.txt

$(VENV)/.ready: requirements.txt
	$(TESTED_PYTHON)
	$(PYTHON) -m venv "$$VENV"
	$(BIN)/python -m pip install -c requirements.txt "$$(grep -oE '^torch==[^ ]+' requirements.txt)"
	$(BIN)/python -m pip install -r requirements.txt
	touch "$$VENV/.ready"

peers: $(PEERS)/.ready  ## make .venv-peers: the libraries that ours is compared with

$(PEERS)/.ready: requirements.txt benchmarks/peers.txt
	$(TESTED_PYTHON)
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install -c requirements.txt "$$(grep -oE '^torch==[^ ]+' requirements.txt)"
	$(PEERS)/bin/python -m pip install --no-deps -c requirements.txt -r benchmarks/peers.txt
	touch $@

results: override STUDY := $(if $(ASKED),$(STUDY),demo)
results: study  ## the demo study: every result and figure

study: $(READY)  ## STUDY=x: what is out of date in that study
	$(SNAKEMAKE)

figures: $(READY)  ## STUDY=x: the figures, and what they need
	$(SNAKEMAKE) "outputs/$$STUDY/.done/09_paper_figures"

dry: $(READY)  ## STUDY=x: which stages would run, and why
	@$(BIN)/python -m lib.run.stale

check: $(READY)  ## STUDY=x: every fault of its params, model and data, before any compute
	@$(BIN)/python -m lib.check

verify: $(READY)  ## STUDY=x: hash every input and output whole, and say which is not what it was
	@$(BIN)/python -m lib.run.verify

new: $(READY)  ## STUDY=x MODEL= GENOME= VCF= LOCI= PHENOTYPE=: a params folder that fits
	@$(BIN)/python -m lib.dna.new

data: $(READY)  ## STUDY=x: fetch what a study needs, on a machine with a network
	@$(BIN)/python -m lib.run.fetch

variant: $(READY)  ## STUDY=x VARIANT=chr20:44355644:C:A (or VCF=file), OUT=folder: what it does to the latents of a study that ran
	@$(BIN)/python -m lib.dna.variant

publish: $(READY)  ## STUDY=x [OUT=folder]: the study built anew without anything about a person (published/x), or a refusal
	@$(BIN)/python -m lib.publish --study="$$STUDY" $${OUT:+--out="$$OUT"}

lab: $(READY)  ## JupyterLab on the notebooks; LAB="--no-browser --port=9000" hands it options
	$(BIN)/jupyter lab --ServerApp.root_dir="$(CURDIR)" --LabApp.default_url=/lab/tree/notebooks $(if $(filter 0,$(shell id -u)),--allow-root) $$LAB

test: $(READY)  ## all tests but the long runs of generated cases
	$(BIN)/python -m pytest -q -m "not long" -n 2 --dist loadfile --durations 25 tests

# The quickest files of each room, less what takes seconds.
override FAST := $(addprefix tests/,test_rooms.py test_sizes.py test_environment.py stage/test_io.py stage/test_durable.py \
	stage/test_stops.py stats models/test_fasta.py models/test_tokens.py acts/test_store.py sae/test_sae.py \
	outcome/test_calibration.py annotate/test_composition.py annotate/test_concepts.py causal/test_sets.py edits/test_acmg.py \
	figures/test_labels.py publish/test_publish.py check run/test_modules.py dna/test_windows.py dna/test_motifs.py dna/test_reference.py \
	corpus/test_corpus.py) $(addprefix --deselect=tests/,check/test_check.py::test_a_wrong_value_is_named \
	check/test_check.py::test_the_real_study_passes_and_the_one_to_fill_in_says_so \
	edits/test_acmg.py::test_conservative_thresholds_are_on_the_safe_side_and_points_are_not)

test-fast: $(READY)  ## a minute of tests: the quickest of each room
	$(BIN)/python -m pytest -q -m "not long" $(FAST)

test-long: $(READY)  ## the long runs of generated cases
	$(BIN)/python -m pytest -q -m long tests

lint: $(READY)  ## ruff
	$(BIN)/ruff check .

model: $(READY)  ## STUDY=demo: train its language model again
	$(BIN)/python -m lib.dna.pretrain_study "$$STUDY"

check-model: $(READY)  ## MODEL=folder or hub id, REVISION=commit, RECORDS=file: the conformance suite on a model
	$(if $(MODEL),,$(error give MODEL=, a folder or a hub id with REVISION=))
	@$(BIN)/python -m lib.models.check_model "$$MODEL" $${REVISION:+--revision="$$REVISION"} $${RECORDS:+--records="$$RECORDS"}

import-sae: $(READY)  ## FROM=folder TO=folder SITE= MODEL=folder: a dictionary of another library, as one of ours
	@$(BIN)/python -m lib.sae.exchange import --from="$$FROM" --to="$$TO" --site="$$SITE" --model="$$MODEL"

export-sae: $(READY)  ## FROM=folder TO=folder AS=dictionary_learning|sparsify|saelens: one of ours, for another library
	@$(BIN)/python -m lib.sae.exchange export --from="$$FROM" --to="$$TO" --as="$$AS"

bench: $(READY) $(PEERS)/.ready  ## benchmarks against peers
	@for file in $(filter-out %_peers.py %/report.py, $(wildcard benchmarks/*.py)); do echo "$$file"; $(BIN)/python "$$file" || exit 1; done

clean-env:  ## remove .venv and .venv-peers
	rm -rf .venv $(PEERS)

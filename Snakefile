# One rule per notebook. The fingerprint in each manifest decides what is up to date, never a file's time:
# sync_flags makes .done/<stage> exist exactly for the stages that are, and Snakemake makes the others.
#
#   snakemake --config study=demo --cores 1        (the Makefile adds the flags we want)
import sys

sys.path.insert(0, workflow.basedir)
from lib.run import notebook
from lib.stage import params

STUDY = config.get("study", "demo")
PYTHON = sys.executable


def flag(stage):
    return f"outputs/{STUDY}/.done/{stage}"


try:
    STAGES = params.stages(STUDY)
    notebook.sync_flags(STUDY)
except (ValueError, OSError) as error:
    sys.exit(f"refused: {error}")


rule all:
    input:
        [flag(stage) for stage in STAGES],


for stage, upstream in STAGES.items():

    rule:
        name:
            f"s{stage}"
        input:
            [ancient(flag(earlier)) for earlier in upstream],
        output:
            flag(stage),
        params:
            stage=stage,
        threads: workflow.cores or 8  # Snakemake sets OMP_NUM_THREADS to this; left out, torch would get one core
        shell:
            "{PYTHON:q} -m lib.run {STUDY:q} {params.stage} && touch {output:q}"

"""Params of small but legitimate studies, each made of smoke's, in which much cannot be tested. Used by test_small_studies."""

from pathlib import Path

import yaml

STAGES = ("01_extraction", "02_layer_hunting", "03_sae_training", "04_annotation", "05_validation", "06_explanations",
          "07_replication", "08_dna", "09_paper_figures")

#: study -> stage -> what differs from smoke.
STUDIES: dict[str, dict[str, dict]] = {
    # no second cohort, no truth, no annotation, no labelled variant, one seed, one layer, d_sae 256, and nothing that
    # moves in as many people as are asked for
    "tiny": {
        "01_extraction": {"simulate_people": 40, "simulate_background_bp": 2560, "external_vcf_path": "", "knowledge_bp": 4096},
        "02_layer_hunting": {"external_phenotype_path": "", "genetic_path": "", "germline_limits": [0.95]},
        "03_sae_training": {"layer_sites": ["resid_post.2"], "run_architectures": ["topk"], "run_expansions": [2],
                            "run_sparsities": [16.0], "steps": 20, "n_seeds": 1},
        "04_annotation": {"truth_path": "", "exon_path": "", "promoter_path": "", "min_instances": 100000, "n_finalists": 1},
        "05_validation": {"truth_variants_path": "", "external_phenotype_path": "", "n_null": 1, "n_boot": 50},
        "06_explanations": {"truth_path": ""},
        "08_dna": {"variants_path": "", "label_column": "", "truth_path": ""},
    },
    # a model without a language-model head, a dictionary of 64 latents, and groups that hold more than half of it
    "headless": {
        "01_extraction": {"model_path": "$DATA_DIR/models/mistral-dna-1m-hg38", "simulate_people": 40, "external_vcf_path": "",
                          "simulate_background_bp": 3840, "knowledge_bp": 4096},
        "02_layer_hunting": {"model_path": "$DATA_DIR/models/mistral-dna-1m-hg38", "external_phenotype_path": ""},
        "03_sae_training": {"model_path": "$DATA_DIR/models/mistral-dna-1m-hg38", "layer_sites": ["resid_post.2"],
                            "run_architectures": ["topk"], "run_expansions": [1], "run_sparsities": [16.0], "steps": 30},
        "04_annotation": {"model_path": "$DATA_DIR/models/mistral-dna-1m-hg38"},
        "05_validation": {"external_phenotype_path": "", "together": 0.001, "least_moved": 1, "n_null": 1, "n_boot": 50},
        "06_explanations": {"model_path": "$DATA_DIR/models/mistral-dna-1m-hg38"},
        "07_replication": {"model_path": "$DATA_DIR/models/mistral-dna-1m-hg38"},
        "08_dna": {"model_path": "$DATA_DIR/models/mistral-dna-1m-hg38"},
    },
}  # fmt: skip


#: What the check before the first stage would refuse, so that it is set after that stage.
LATER: dict[str, dict[str, dict]] = {"tiny": {"05_validation": {"least_moved": 100000}}}


def write(tree: Path, study: str, later: bool = False) -> None:
    """params/<study> in a copy of the tree. later: with what the first stage's check would refuse."""
    for stage in STAGES:
        params = yaml.safe_load((tree / "params/smoke" / f"{stage}.yaml").read_text()) | {"study": study}
        params |= LATER.get(study, {}).get(stage, {}) if later else {}
        file = tree / "params" / study / f"{stage}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(params | STUDIES[study].get(stage, {})))

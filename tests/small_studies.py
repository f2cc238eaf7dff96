"""Params of small but legitimate studies, each made of smoke's, in which much cannot be tested. Used by test_small_studies."""

from pathlib import Path

import yaml

#: study -> stage -> what differs from smoke.
STUDIES: dict[str, dict[str, dict]] = {
    # no second cohort, no truth, no annotation, no labelled variant, one seed, one layer, d_sae 256, and nothing that
    # moves in as many people as are asked for
    "tiny": {
        "00_dna": {"simulate_people": 40, "simulate_background_bp": 2560, "external_vcf_path": "", "external_phenotype_path": "",
                   "genetic_path": "", "germline_limits": [0.95, 0.95], "truth_path": "",
                   "truth_variants_path": "", "promoter_path": "", "variant_path": "", "label_column": ""},
        "03_sae_training": {"layer_sites": ["resid_post.4"], "run_architectures": ["topk"], "run_expansions": [2],
                            "run_sparsities": [16.0], "steps": 20, "n_seeds": 1},
        "04_annotation": {"min_instances": 100000},
        "05_validation": {"n_null": 1, "n_boot": 50},
        "08_dna": {"n_finalists": 1},
    },
    # a model without a language-model head, a dictionary of 64 latents, and groups that hold more than half of it
    "headless": {
        "00_dna": {"model_path": "$DATA_DIR/models/mistral-dna-1m-hg38", "simulate_people": 40, "external_vcf_path": "",
                   "external_phenotype_path": "", "simulate_background_bp": 3840},
        "01_extraction": {"sites": ["resid_post.1", "resid_post.2"]},
        "03_sae_training": {"sae_site": "resid_post.2", "layer_sites": ["resid_post.2"],
                            "run_architectures": ["topk"], "run_expansions": [1],
                            "run_sparsities": [16.0], "steps": 30},
        "06_explanations": {"patch_site": "resid_post.2"},
        "05_validation": {"together": 0.001, "least_moved": 1, "n_null": 1, "n_boot": 50},
    },
}  # fmt: skip


#: What the check before the first stage would refuse, so that it is set after that stage.
LATER: dict[str, dict[str, dict]] = {"tiny": {"05_validation": {"least_moved": 100000}}}


def write(tree: Path, study: str, later: bool = False) -> None:
    """params/<study> in a copy of the tree. later: with what the first stage's check would refuse."""
    for file in sorted((tree / "params/smoke").glob("*.yaml")):
        stage = file.stem
        params = yaml.safe_load(file.read_text()) | {"study": study}
        params |= LATER.get(study, {}).get(stage, {}) if later else {}
        written = tree / "params" / study / f"{stage}.yaml"
        written.parent.mkdir(parents=True, exist_ok=True)
        written.write_text(yaml.safe_dump(params | STUDIES[study].get(stage, {})))

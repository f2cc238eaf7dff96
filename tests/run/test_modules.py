"""Rows, weights and SAEs are used again by what really made them: the code behind the loaded model, its weights and tokenizer."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from lib.acts import plan
from lib.models import adapter
from lib.sae import format, train
from lib.sae.model import SAE, SAEConfig
from lib.stage import modules
from tests.zoo import ZOO

MODEL = modules.HERE / "params/demo/model"


def names(paths) -> set[str]:
    return {path.relative_to(modules.HERE).as_posix() for path in paths}


@pytest.fixture(scope="module")
def dna() -> adapter.Adapter:
    return adapter.load(MODEL)


@pytest.mark.parametrize("file, old, new, same", [
    ("lib/models/tahoe.py", "import math", "import math  # why", True),
    ("lib/models/tahoe.py", "import math", "import math\nX = 1", True),          # another family's
    ("lib/models/tokens.py", "import numpy as np", "import numpy as np  # why", True),
    ("lib/models/tokens.py", "import numpy as np", "import numpy as np\nX = 1", False),
    ("lib/models/native.py", "import re", "import re\nX = 1", False),
    ("lib/models/adapter.py", "import re", "import re\nX = 1", False),
])
def test_code_of_another_family_or_a_comment_throws_no_rows_away(dna, tmp_path, file, old, new, same):
    shutil.copytree(modules.HERE / "lib", tmp_path / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    copies = [tmp_path / name for name in names(dna.code())]
    before = modules.hash_of_files(copies, tmp_path)
    text = (tmp_path / file).read_text()
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new, 1))
    assert (modules.hash_of_files(copies, tmp_path) == before) == same


@pytest.mark.parametrize("kind, own", [("nt_v2", "nt_v2"), ("hyena", "hyena"), ("helix", "helix"), ("tahoe", "tahoe"),
                                       ("geneformer", "geneformer"), ("gpt2", "native")])
def test_a_models_code_is_its_own_port_and_what_that_imports(tmp_path, kind, own):
    loaded = adapter.load(ZOO[kind].save(tmp_path / "model", 0))
    modules = names(loaded.code())
    ports = {f"lib/models/{port.__name__.rpartition('.')[2]}.py" for port in adapter.ports()}
    assert loaded.port == f"lib.models.{own}"
    assert modules & ports == {f"lib/models/{own}.py"} & ports
    assert {"lib/models/adapter.py", f"lib/models/{own}.py", "lib/models/tokens.py"} <= modules
    assert ("lib/models/genes.py" in modules) == (kind in ("tahoe", "geneformer"))
    assert ("lib/models/state.py" in modules) == (kind in ("hyena", "helix"))


def test_rows_and_trainings_count_what_they_import_and_nothing_beside_it(dna, monkeypatch):
    key = train.resume_key([], train.TrainConfig(3), "x")
    rows = json.loads(plan.computed_by(dna, 8))["code"]
    seen = []
    whole = modules.hash_of_files
    monkeypatch.setattr(modules, "hash_of_files", lambda paths: seen.append(names(paths)) or whole(paths))
    assert train.resume_key([], train.TrainConfig(3), "x") == key
    assert json.loads(plan.computed_by(dna, 8))["code"] == rows
    training, extraction = seen
    assert {f"lib/sae/{name}.py" for name in ("train", "data", "stack", "kernels", "code", "optimise", "model")} <= training
    assert not training & {"lib/sae/foreign.py", "lib/sae/evaluate.py", "lib/stage/io.py", "lib/models/tahoe.py"}
    assert names(dna.code()) | {"lib/acts/extract.py"} <= extraction and "lib/stage/io.py" not in extraction
    with pytest.raises(ModuleNotFoundError, match="lib.moved is no module below"):
        modules.behind(["lib.moved"])


def test_every_table_of_lib_is_named_by_a_module_that_reads_it():
    read = {text.rpartition("/")[2] for path in (modules.HERE / "lib").rglob("*.py") for text in modules._parse(path.read_text()).texts}
    assert set(modules.tables(modules.HERE)) <= read


# The model's identity ------------------------------------------------------------------------------------


def test_a_model_loaded_again_has_to_be_the_same_tokenizer_and_all(dna, tmp_path):
    adapter.load(MODEL, expect=json.loads(json.dumps(dna.identity)))
    other = Path(shutil.copytree(MODEL, tmp_path / "model"))
    assert adapter.load(other).identity == dna.identity              # where it lies does not count
    (other / "README.md").write_text("about it")
    assert adapter.load(other).identity == dna.identity
    words = (other / "vocab.txt").read_text().split()
    a, c = words.index("A"), words.index("C")
    words[a], words[c] = words[c], words[a]
    (other / "vocab.txt").write_text("\n".join(words) + "\n")
    with pytest.raises(ValueError, match="not the model that was read before: tokenizer_sha256 is .*, wanted "):
        adapter.load(other, expect=dna.identity)
    with pytest.raises(ValueError, match="weights_sha256 is random-init-3, wanted "):
        adapter.load(MODEL, random_init=True, seed=3, expect=dna.identity)


def test_an_sae_is_refused_for_another_tokenizer(tmp_path):
    sae, model = SAE(SAEConfig("topk", 4, 8, 2)), {"class": "Toy", "weights_sha256": "0" * 64, "tokenizer_sha256": "1" * 64}
    with torch.no_grad():
        sae.W_dec.copy_(torch.nn.functional.normalize(torch.randn(8, 4, generator=torch.Generator().manual_seed(0)), dim=1))
    format.save(sae, tmp_path / "sae", "here", model)
    format.load(tmp_path / "sae", "here", model)
    with pytest.raises(ValueError, match="trained with tokenizer 1111111111111111, asked for 2222222222222222"):
        format.load(tmp_path / "sae", "here", model | {"tokenizer_sha256": "2" * 64})
    format.save(sae, tmp_path / "old", "here", {k: v for k, v in model.items() if k != "tokenizer_sha256"})
    format.load(tmp_path / "old", "here", model)                     # from before tokenizers were noted

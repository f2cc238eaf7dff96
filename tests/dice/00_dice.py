# %% [markdown]
# # 00 · Dice: which players throw few of the planted runs?
#
# **Simulated.** Everyone plays the same three games, with some of their runs broken; dictionaries learn on others, at six tables.

# %% tags=["parameters"]
study = "dice"
run = "31415"       # faces that are planted
n_players = 60      # [10, 1000] half of them, those of few runs, are the target
has_people = True   # players of a simulation are none
seed = 0            # [0, 4e9] of all that is drawn at random

# %%
import numpy as np
import pandas as pd
import tokenizers
import torch
from scipy import sparse
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lib.corpus import corpus
from lib.stage import io

stage = io.open_stage(study, "00_dice")
rng, n_throws, n_runs, faces = np.random.default_rng(seed), 64, 4, list("123456")

def game():
    """Throws, and where runs are planted: one at most in eight throws, the first of which is left as it fell."""
    throws, places = rng.choice(faces, n_throws), 8 * rng.choice(n_throws // 8, n_runs, replace=False) + rng.integers(1, 4, n_runs)
    for place in places:
        throws[place : place + len(run)] = list(run)
    return "".join(throws), places

def played(text, places):
    """A game as players threw it: half of its runs broken, and a few throws outside runs anew."""
    throws = list(text)
    for place in places[rng.random(n_runs) < 0.5]:
        throws[place : place + 2] = throws[place + 1], throws[place]
    throws[::16] = rng.choice(faces, n_throws // 16)
    return "".join(throws)

def write(name, texts, spaces, **columns):
    units = pd.DataFrame({"unit": range(len(texts)), "locus": spaces, "contig": spaces} | columns)
    units = units.assign(unit_id=units.contig + units.unit.astype(str), end=units.start + n_throws)
    corpus.write_units(stage, name, units, corpus.Records(texts, [np.arange(n_throws) + start for start in units.start]))
    return units

# %%
words = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: i for i, word in enumerate(["<pad>", "<unk>", *faces])}, "<unk>"))
words.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex("."), "isolated")
hub = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", unk_token="<unk>")
torch.manual_seed(seed)
sizes = {"vocab_size": 8, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "pad_token_id": 0}
model = LlamaForCausalLM(LlamaConfig(**sizes))
optimiser = torch.optim.AdamW(model.parameters(), 5e-3)
known = torch.tensor(hub([game()[0] for _ in range(2000)])["input_ids"])
for _ in range(250):
    ids = known[rng.choice(len(known), 32)]
    optimiser.zero_grad()
    model(ids, labels=ids).loss.backward()
    optimiser.step()
[part.save_pretrained(stage.path("model/config.json").parent) for part in (model, hub)]

# %%
plain, of = [game()[0] for _ in range(300)], np.arange(300)
background = write("background", plain, [f"table{i // 50 + 1}" for i in of], start=n_throws * (of % 50), window=of + 3, is_reference=True)
games = [game() for _ in range(3)]
texts, of = [text for one in games for text in (one[0], *(played(*one) for _ in range(6)))], np.arange(21)
own = write("cohort", texts, [f"game{i // 7 + 1}" for i in of], start=0, window=of // 7, is_reference=of % 7 == 0)
plays = 7 * (np.arange(3 * n_players)[:, None] % 3) + rng.integers(7, size=(3 * n_players, 2))  # two of each game
held, names = sparse.csr_matrix(np.eye(21)[plays].mean(1)), [f"player{i:02d}" for i in range(n_players)]
players = corpus.Readout(held, names, ["game1", "game2", "game3"])
corpus.write_readout(stage.private_path("readout.h5"), players)
few = -players.features(np.array([[text.count(run)] for text in texts])).mean(1)
score = few + rng.normal(0, 0.2, n_players)
table = {"subject": players.subjects, "few runs": (score > np.median(score)).astype(int), "score": score}
planted = {"simulated": True, "scores": {"true count": "oracle"}}
asked = [corpus.Target("few runs", **planted), corpus.Target("score", "continuous", **planted)]
corpus.write_targets(stage, "cohort", pd.DataFrame(table | {f"{target.name}/true count": few for target in asked}), asked)
seen = zip([*background.itertuples(), *own[own.is_reference].itertuples()], [*plain, *texts[::7]])
runs = [(p.contig, p.start + at, p.start + at + len(run)) for p, text in seen for at in range(n_throws) if text.startswith(run, at)]
concepts = pd.DataFrame(runs, columns=["contig", "start", "end"]).assign(concept=f"run {run}", family="run", kind="run")
concepts.to_parquet(stage.path("concepts.parquet"))
words = {"unit": "game", "subject": "player", "part": "game", "space": "table", "letter": "throw", "variant": "play", "target": "score"}
words |= {f"{name}s": f"{word}s" for name, word in words.items()} | {"reference": "game as it was planted"}
corpus.save(stage, corpus.Corpus(
    study, "00_dice", "dice.kind", f"outputs/{study}/00_dice/model", words, {"validation": ["table5"], "test": ["table6"]},
    {"simulated": {"games": True, "players": True}, "head": ""}, asked, {"run": "planted"}, has_people=has_people))
stage.finish()

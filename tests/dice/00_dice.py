# %% [markdown]
# # 00 · Dice: which players throw few of the planted runs?
#
# Everyone plays the same games: a player's sequence is the reference with some of its runs broken by a swap, which face counts
# do not see. **Simulated.** The background, on which dictionaries learn, is other games at six tables.

# %% tags=["parameters"]
study = "dice"
run = "16616"       # the faces that are planted
n_throws = 64       # [16, 256] throws a game
n_runs = 4          # [1, 8] runs planted in each
n_players = 60      # [10, 1000] half of them, those of few runs, are the target
steps = 400         # [10, 1e5] training steps of the model, 64 fresh games each
seed = 0            # [0, 4e9] of all that is drawn at random

# %%
import re
import tokenizers
import numpy as np
import pandas as pd
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lib.corpus import corpus
from lib.stage import io

stage = io.open_stage(study, "00_dice")
rng = np.random.default_rng(seed)

def game():
    throws, places = rng.choice(list("123456"), n_throws), 8 * rng.choice(n_throws // 8, n_runs, replace=False) + 1
    for place in places:
        throws[place : place + len(run)] = list(run)
    return "".join(throws), places

def played(text, places):
    """A game as a player threw it: half of its runs broken, and two throws outside runs anew."""
    throws, free = list(text), np.setdiff1d(np.arange(0, len(text), 8), places - 1)
    for a in places[rng.random(len(places)) < 0.5]:
        throws[a], throws[a + 1] = throws[a + 1], throws[a]
    for a in rng.choice(free, 2):
        throws[a + 3] = rng.choice(list("123456"))
    return "".join(throws)

def units(texts, spaces, parts, starts, windows, reference):
    return pd.DataFrame({"unit": range(len(texts)), "unit_id": [f"{space}:{i}" for i, space in enumerate(spaces)], "window": windows, "locus": parts,
                         "contig": spaces, "start": starts, "end": np.add(starts, n_throws), "is_reference": reference})

def write(texts, table, prefix=""):
    where = stage.private_path if "game1" in set(table.contig) else stage.path
    stage.write_table("units", table, private=where == stage.private_path)
    corpus.write_records(where("records.parquet"), corpus.Records(texts, [np.arange(n_throws) + start for start in table.start]))

# %%
hub = PreTrainedTokenizerFast(pad_token="<pad>", unk_token="<unk>", tokenizer_object=tokenizers.Tokenizer(
    tokenizers.models.WordLevel({word: i for i, word in enumerate(["<pad>", "<unk>", *"123456"])}, "<unk>")))
hub.backend_tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex("."), "isolated")
torch.manual_seed(seed)
model = LlamaForCausalLM(LlamaConfig(vocab_size=8, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
                                     max_position_embeddings=256, pad_token_id=0, bos_token_id=None, eos_token_id=None))
optimiser = torch.optim.AdamW(model.parameters(), 5e-3)
for _ in range(steps):
    ids = torch.tensor([[int(face) + 1 for face in game()[0]] for _ in range(64)])
    loss = model(ids, labels=ids).loss
    loss.backward()
    optimiser.step()
    optimiser.zero_grad()
for part in (model, hub):
    part.save_pretrained(stage.path("model/config.json").parent)
f"{loss.item():.3f} nats a throw, {np.log(6):.3f} without knowledge"

# %%
plain = [game()[0] for _ in range(300)]
tables = [f"table{i // 50 + 1}" for i in range(300)]
background = units(plain, tables, tables, n_throws * (np.arange(300) % 50), np.arange(300) + 3, True)
write(plain, background)
games = [game() for _ in range(3)]
texts = [text for reference in games for text in (reference[0], *(played(*reference) for _ in range(6)))]
parts = [f"game{i // 7 + 1}" for i in range(len(texts))]
own = units(texts, parts, parts, 0, np.arange(len(texts)) // 7, np.arange(len(texts)) % 7 == 0)
write(texts, own)
thrown = pd.DataFrame([(f"player{i:02d}", 7 * part + rng.integers(7)) for i in range(n_players) for part in (0, 0, 1, 1, 2, 2)], columns=["sample", "unit"])
weights, players, places = corpus.person_locus_map(thrown, own)
corpus.write_readout(stage.private_path("readout.h5"), corpus.Readout(weights, players, places))
few = -thrown.assign(runs=[texts[u].count(run) for u in thrown.unit]).groupby("sample").runs.mean().to_numpy()
score = few + rng.normal(0, 0.2, n_players)
pd.DataFrame({"subject": players, "few runs": (score > np.median(score)).astype(int), "few runs/true count": few}).to_parquet(stage.private_path("targets.parquet"))
found = [(p.contig, p.start + at.start(), p.start + at.end(), run, run, "run") for table, seen in ((background, plain), (own[own.is_reference], texts[::7]))
         for p, text in zip(table.itertuples(), seen) for at in re.finditer(run, text)]
pd.DataFrame(found, columns=["contig", "start", "end", "concept", "family", "kind"]).to_parquet(stage.path("concepts.parquet"))

# %%
words = {"unit": "game", "units": "games", "subject": "player", "subjects": "players", "part": "game", "parts": "games", "space": "table",
         "spaces": "tables", "reference": "game as it was planted", "target": "luck", "letter": "throw", "letters": "throws", "variant": "play"}
corpus.save(stage, corpus.Corpus(
    study, "00_dice", "dice.kind", f"outputs/{study}/00_dice/model", words, {"validation": ["table5"], "test": ["table6"]},
    {"simulated": {"games": True, "players": True}, "head": ""}, [corpus.Target("few runs", simulated=True, scores={"true count": "oracle"})],
    {"run": "planted"}))
stage.finish()

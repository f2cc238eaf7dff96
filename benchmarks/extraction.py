"""Extraction against the model alone and against the usual loop, and the store against the disk and against h5py.

Contestants take turns; medians of the rounds. Writes extraction.md beside this file. `PYTHONPATH=. python
benchmarks/extraction.py [--only capture|loop|units|memory|store|tokens] [--quick]`; --quick is a check on tiny sizes that
writes nothing. The real model and cohort are measured where DATA_DIR has them.
"""

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, contextmanager, redirect_stderr
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import torch
import transformers
import yaml
from torch import nn

from lib.acts import extract, plan, store
from lib.acts.reads import Reads
from lib.dna import haplotypes, planted, reference, windows
from lib.dna.genotypes import read_genotypes
from lib.models import adapter as adapters
from lib.models import sequence as sq
from lib.models.adapter import Adapter
from lib.stage import io

ROOT = Path(__file__).resolve().parent.parent
REPORT = Path(__file__).with_suffix(".md")
REAL = "$DATA_DIR/models/mistral-dna-1m-hg38-causal"
CAPTURE_BAR, LOOP_BAR, TOKENS_BAR, UNITS_BAR, MEMORY_BAR = 0.95, 3.0, 50.0, 150.0, 1.05
WRITE_BAR, READ_BAR = 300.0, 5.0
BUDGET = 2048
SPECIALS = ["<unk>", "<pad>", "<mask>", "<cls>"]


def nt_shaped(folder: Path, quick: bool) -> Path:
    """A random model of Nucleotide Transformer v1's class, tokenizer and vocabulary, 12 blocks of width 256."""
    words = [*SPECIALS, *("".join(w) for w in itertools.product("ATCG", repeat=6)), *"ATCGN"]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    transformers.EsmTokenizer(str(folder / "vocab.txt"), eos_token=None).save_pretrained(folder)
    width, layers = (64, 4) if quick else (256, 12)
    torch.manual_seed(0)
    config = transformers.EsmConfig(
        vocab_size=len(words), hidden_size=width, num_hidden_layers=layers, num_attention_heads=width // 64,
        intermediate_size=4 * width, max_position_embeddings=1026, position_embedding_type="rotary", token_dropout=False,
        emb_layer_norm_before=False, pad_token_id=1, mask_token_id=2,
    )  # fmt: skip
    transformers.EsmForMaskedLM(config).save_pretrained(folder)
    return folder


def random_dna(lengths: np.ndarray, seed: int = 0) -> list[str]:
    codes = planted.background(int(lengths.sum()), np.random.default_rng(seed))
    return [sq.decode(part) for part in np.split(codes, np.cumsum(lengths)[:-1])]


@contextmanager
def quietly():
    """Without progress bars."""
    with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
        yield


def rounds(contestants: dict[str, Callable], n: int) -> dict[str, np.ndarray]:
    """Seconds of each, in turn, in n rounds after one that warms up."""
    spent = {name: [] for name in contestants}
    with quietly():
        for _ in range(n + 1):
            for name, function in contestants.items():
                started = time.perf_counter()
                function()
                spent[name].append(time.perf_counter() - started)
    return {name: np.array(seconds[1:]) for name, seconds in spent.items()}


@contextmanager
def cut_after(model: Adapter, block: int):
    """The model's own trunk with the blocks after this one gone."""
    parent, _, name = ".".join(filter(None, (model.family.trunk, model.family.blocks))).rpartition(".")
    parent, whole = model.model.get_submodule(parent), model.blocks
    setattr(parent, name, nn.ModuleList(whole[: block + 1]))
    try:
        yield
    finally:
        setattr(parent, name, whole)


@torch.inference_mode()
def forward(model: Adapter, batch) -> None:
    model.trunk(input_ids=batch.ids, attention_mask=batch.mask, **batch.inputs, **model.family.options)


# Sections --------------------------------------------------------------------------------------------------


def models(folder: Path, quick: bool) -> dict[str, tuple[Adapter, int]]:
    """Name -> model, and bases of a window."""
    loaded = {"NT-shaped": (adapters.load(nt_shaped(folder / "nt", quick)), 1194 if quick else 6000),
              "demo": (adapters.load(ROOT / "params/demo/model"), 128)}  # fmt: skip
    try:
        loaded["mistral-dna-1m"] = adapters.load(io.data_path(REAL)), 1000
    except FileNotFoundError:
        progress("no mistral-dna-1m in DATA_DIR")
    return loaded


def capture_section(args, folder: Path) -> str:
    bars, rows = [], []
    for name, (model, bp) in models(folder, args.quick).items():
        progress(f"capture {name}")
        n_tokens = 1000 if args.quick else 4000 if name == "NT-shaped" else 16000
        encoded = model.encode_one(random_dna(np.array([bp]))[0])
        texts = random_dna(np.full(max(n_tokens // len(encoded.ids), 2), bp), 1)
        block = len(model.blocks) // 2
        sites = [f"resid_post.{block - 1}", f"resid_post.{block}"]
        with quietly(), closing(Reads(model, texts, None, slice(None), (0,), None)) as reads:
            reads.tokenise(folder)
            todo = plan.Plan(reads, sites, BUDGET, {}, None)
            parts = [[reads[r] for r in step.reads] for step in todo.steps]
            batches = [extract._shaped(model.collate(part, range(len(part))), step.rows, step.width, 1)
                       for part, step in zip(parts, todo.steps)]  # fmt: skip
            kept = int(reads.n_tokens.sum())

        def bare(model=model, block=block, batches=batches) -> None:
            with cut_after(model, block):
                for batch in batches:
                    forward(model, batch)

        def capture(model=model, sites=sites, batches=batches) -> None:
            for batch in batches:
                for site, x in model.run(batch, sites).items():
                    extract._half(x, site)

        def whole(model=model, sites=sites, texts=texts) -> None:
            extract.extract(model, texts, None, sites, folder / "a.h5", folder / "p.h5", BUDGET)

        spent = rounds({"bare forward": bare, "captured": capture, "extracted": whole}, args.rounds)
        middle = {who: np.median(s) for who, s in spent.items()}
        for who, s in spent.items():
            rows.append([name, who, f"{kept / middle[who]:,.0f}", f"{kept / s.max():,.0f}", f"{kept / s.min():,.0f}", kept])
        for who, judged in (("captured", True), ("extracted", False)):
            bars.append(bar([name], f"{who} / bare forward", middle["bare forward"] / middle[who], "at least", CAPTURE_BAR, judged))
    intro = (
        f"Tokens kept a second; windows of one length, batches of {BUDGET} tokens, two sites in the middle; "
        f"medians of {args.rounds} rounds. "
        "Bare forward: the model's own trunk with the blocks after the deeper site gone, on the same batches, nothing read. "
        "Captured: `Adapter.run` of both sites and the cast to float16. Extracted: all of `extract`, from sequence to pooled file: "
        "tokenising, capture, coordinates, writing, reading the store through, pooling. NT-shaped: random, 12 blocks of width 256, 4,105 "
        "words, 6-kb windows; demo: 128 bases; mistral-dna-1m: the real model, 1-kb windows."
    )
    return join(intro, bars, ["model", "measured", "tokens/s", "slowest", "fastest", "tokens"], rows)


def loop_section(args, folder: Path) -> str:
    bars, rows = [], []
    rng = np.random.default_rng(0)
    for name, (model, bp) in models(folder, args.quick).items():
        progress(f"loop {name}")
        n = 12 if args.quick else {"NT-shaped": 32, "demo": 400}.get(name, 128)
        lengths = np.clip(rng.lognormal(np.log(bp / 4), 0.7, n), bp / 30, bp).astype(int)
        texts = random_dna(lengths, 2)
        block = len(model.blocks) // 2
        sites = [f"resid_post.{block - 1}", f"resid_post.{block}"]
        encoded = [model.encode_one(text) for text in texts]
        n_ids = np.array([len(e.ids) for e in encoded])
        kept = sum(int(e.keep.sum()) for e in encoded)
        padded = sum(len(part) * part.max() for part in np.array_split(n_ids, -(-n // 8)))

        @torch.inference_mode()
        def usual(model=model, texts=texts, block=block) -> None:
            for s in range(0, len(texts), 8):
                batch = model.encode(texts[s : s + 8])
                out = model.model(input_ids=batch.ids, attention_mask=batch.mask, output_hidden_states=True, **batch.inputs)
                for k in (block, block + 1):
                    np.save(folder / f"{s}-{k}.npy", out.hidden_states[k].float().numpy())

        def ours(model=model, texts=texts, sites=sites) -> None:
            extract.extract(model, texts, None, sites, folder / "a.h5", folder / "p.h5", BUDGET)

        spent = rounds({"usual loop": usual, "extracted": ours}, max(args.rounds // 2, 2))
        middle = {who: np.median(s) for who, s in spent.items()}
        for who, s in spent.items():
            rows.append([name, who, f"{kept / middle[who]:,.0f}", f"{s.min():.2f}-{s.max():.2f}", n, kept, f"{padded / n_ids.sum():.2f}"])
        bars.append(bar([name], "usual loop / extracted (seconds)", middle["usual loop"] / middle["extracted"], "at least", LOOP_BAR,
                        name == "NT-shaped"))  # fmt: skip
    intro = (
        "Sequences of mixed lengths (log-normal, sigma 0.7, cut at the window of each model). Usual: batches of 8 in the order given, "
        "padded to the longest, the whole model with its head, `output_hidden_states=True`, the two sites' hidden states to disk in "
        "float32, padding and all. Extracted: all of `extract`, as above. Padded: what the usual loop runs / real tokens."
    )
    return join(intro, bars, ["model", "measured", "tokens/s", "seconds", "sequences", "tokens", "padded"], rows)


def tokens_section(args, folder: Path) -> str:
    model = adapters.load(nt_shaped(folder / "nt", True))
    texts = random_dna(np.full(20 if args.quick else 500, 6000))
    with_n = [t[:3000] + "N" * 7 + t[3007:] for t in texts]
    hub = texts[: max(len(texts) // 50, 2)]
    torch.set_num_threads(1)
    spent = rounds({
        "ours": lambda: [model.tokenizer.encode(t) for t in texts], "ours, with N": lambda: [model.tokenizer.encode(t) for t in with_n],
        "transformers": lambda: [model.tokenizer.hub(t) for t in hub],
    }, args.rounds)  # fmt: skip
    torch.set_num_threads(args.threads)
    rate = {name: 6000e-6 * len(hub if name == "transformers" else texts) / np.median(s) for name, s in spent.items()}
    bars = [bar(["6-mers"], "Mb/s, ours", rate["ours"], "at least", TOKENS_BAR, True)]
    rows = [[name, f"{r:,.2f}", f"{r / rate['transformers']:,.0f}"] for name, r in rate.items()]
    intro = (f"`{type(model.tokenizer).__name__}` on windows of 6,000 bases, one core, in millions of bases a second, ids and coordinates; "
             f"transformers' own tokenizer gives ids only. Medians of {args.rounds} rounds.")  # fmt: skip
    return join(intro, bars, ["tokenizer", "Mb/s", "/ transformers"], rows)


def units_section(args, folder: Path) -> str:
    params = yaml.safe_load((ROOT / "params/ibd-1kg/00_dna.yaml").read_text())
    try:
        path = {name: io.data_path(params[f"{name}_path"]) for name in ("genome", "loci", "vcf")}
    except FileNotFoundError as error:
        return f"Not measured: {error}."
    genome = reference.Reference(path["genome"])
    loci = windows.read_bed(path["loci"], genome, "locus")
    genotypes = read_genotypes(path["vcf"], genome, loci)
    made = haplotypes.build_units(windows.drop_gaps(windows.tile(loci, params["window_bp"]), genome), genome, genotypes)
    naive = made.n_person_haplotype_windows
    bars = [bar(["ibd-1kg"], "person x haplotype x window / units", naive / made.n_units, "at least", UNITS_BAR, True)]
    rows = [[len(genotypes.samples), params["window_bp"], f"{naive:,}", f"{made.n_units:,}"]]
    return join(
        "Forwards that a study of real genotypes needs: one a unit.", bars, ["people", "window bp", "naive forwards", "units"], rows
    )


MEMORY = """
import sys
from pathlib import Path
import numpy as np
from lib.acts import extract
from lib.models import adapter

class Texts:
    def __len__(self):
        return int(sys.argv[2])
    def __getitem__(self, u):
        return "".join(np.random.default_rng(u).choice(list("ACGT"), 96 + u % 33))

sites = ["resid_post.0", "resid_post.1"]
extract.extract(adapter.load(sys.argv[1]), Texts(), None, sites, Path(sys.argv[3]) / "a.h5", Path(sys.argv[3]) / "p.h5")
print(int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024)
"""


def memory_section(args, folder: Path) -> str:
    used, rows, n = {}, [], 30 if args.quick else 500
    for times in (1, 8):
        command = [sys.executable, "-c", MEMORY, str(ROOT / "params/demo/model"), str(times * n), str(folder)]
        used[times] = float(subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout)
        rows.append([f"{times}x", times * n, f"{(folder / 'a.h5').stat().st_size / 1e6:.0f}", f"{used[times]:.0f}"])
    bars = [bar(["demo"], "peak memory, 8x / 1x units", used[8] / used[1], "at most", MEMORY_BAR, True, 3)]
    return join("Largest resident set of a process that extracts two sites of the demo model (MiB).", bars,
                ["size", "units", "store MB", "peak MiB"], rows)  # fmt: skip


def store_section(args, folder: Path) -> str:
    n, d, batch = (20_000, 512, 256) if args.quick else (300_000, 512, 4096)
    x = np.random.default_rng(0).standard_normal((2048, d)).astype(np.float16)
    path, plain = folder / "s.h5", folder / "plain"
    n -= n % len(x)

    def ours() -> None:
        store.create(path, {"site": d}, n, {})
        with store.Writer(path) as out:
            for row in range(0, n, len(x)):
                out.write("acts/site", row, x)
            out.to_disk()

    def disk() -> None:
        with open(plain, "wb", buffering=0) as handle:
            handle.writelines(x for _ in range(0, n, len(x)))
            os.fsync(handle.fileno())

    spent = rounds({"store": ours, "disk": disk}, args.rounds)
    size = n * d * 2e-6
    rate = {name: size / np.median(s) for name, s in spent.items()}
    wanted = min(WRITE_BAR, rate["disk"])
    bars = [bar(["write"], f"MB/s (bar: {WRITE_BAR:g}, or the disk's own {rate['disk']:.0f})", rate["store"], "at least", wanted, True)]
    rows = [["write", name, f"{r:,.0f}", f"{size / s.max():,.0f}-{size / s.min():,.0f}"] for name, r in rate.items() for s in [spent[name]]]
    whole, rng = store.open_store(path), np.random.default_rng(1)
    x = np.ascontiguousarray(whole.acts["site"])  # the page cache holds the file
    picks = itertools.cycle([np.sort(rng.choice(n, batch, replace=False)) for _ in range(50)])
    with h5py.File(path) as f:
        read = rounds({"store": lambda: whole.acts["site"][next(picks)], "h5py": lambda: f["acts/site"][next(picks)]}, 2 * args.rounds)
    fast = np.median(read["h5py"]) / np.median(read["store"])
    bars.append(bar(["read"], f"h5py / store, {batch:,} random rows", fast, "at least", READ_BAR, True))
    rows += [["read", name, f"{batch * d * 2e-6 / np.median(s):,.0f}", f"{1e3 * np.median(s):.1f} ms a batch"] for name, s in read.items()]
    intro = (f"{n:,} rows of width {d} in float16, {size:.0f} MB. Write: making the file, blocks of 2,048 rows, and fsync; disk: the same "
             f"blocks and fsync into a plain file. Read: sorted random rows from a file in the page cache. Medians of "
             f"{args.rounds} and {2 * args.rounds} rounds.")  # fmt: skip
    return join(intro, bars, ["what", "by", "MB/s", "range"], rows)


# The report ------------------------------------------------------------------------------------------------


def bar(where: list, name: str, value: float, sense: str, limit: float, judged: bool, digits: int = 2) -> list:
    """A row of a table of ratios. Not judged: no bar was set for it."""
    ok = value <= limit if sense == "at most" else value >= limit
    return [*where, name, f"{value:,.{digits}f}", *([f"{sense} {limit:g}", "holds" if ok else "does not hold"] if judged else ["", ""])]


def table(head: list[str], rows: list[list]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def join(intro: str, bars: list[list], head: list[str], rows: list[list]) -> str:
    return "\n\n".join([intro, table(["", "measured", "value", "bar", ""], bars), table(head, rows)])


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().split("\n")
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown CPU")
    return (f"{cpu}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start; torch {torch.__version__}, "
            f"{torch.get_num_threads()} threads, transformers {transformers.__version__}, h5py {h5py.__version__}, numpy {np.__version__}, "
            f"pandas {pd.__version__}; fp32, OMP_WAIT_POLICY=PASSIVE.")  # fmt: skip


def progress(text: str) -> None:
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


SECTIONS = {
    "capture": ("Against the model alone", capture_section), "loop": ("Against the usual loop", loop_section),
    "tokens": ("Tokenising", tokens_section), "units": ("Units, not people", units_section),
    "memory": ("Memory", memory_section), "store": ("The store", store_section),
}  # fmt: skip


def write(made: dict[str, str]) -> None:
    """Put the sections that were made into the report; those of an earlier run stay."""
    parts = REPORT.read_text().split("\n## ")[1:] if REPORT.is_file() else []
    kept = {title: body.strip() for title, body in (part.split("\n", 1) for part in parts)} | made
    body = "".join(f"\n## {title}\n\n{kept[title]}\n" for title, _ in SECTIONS.values() if title in kept)
    REPORT.write_text(f"# Extraction at the speed of the model\n\nWritten by `benchmarks/extraction.py`.\n{body}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", choices=list(SECTIONS))
    parser.add_argument("--quick", action="store_true", help="tiny sizes, printed and not written")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=0, help="7 by default")
    args = parser.parse_args()
    args.rounds = args.rounds or (2 if args.quick else 7)
    threads = str(args.threads)
    wanted = {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": threads, "PYTHONPATH": str(ROOT),
              "MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**30)}  # fmt: skip
    if any(os.environ.get(name) != value for name, value in wanted.items()):  # read when libraries load
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | wanted)
    torch.set_num_threads(args.threads)
    made = {}
    for key in [args.only] if args.only else SECTIONS:
        title, section = SECTIONS[key]
        progress(key)
        with tempfile.TemporaryDirectory(dir=ROOT / "outputs" if (ROOT / "outputs").is_dir() else None) as folder:
            made[title] = machine() + "\n\n" + section(args, Path(folder))
        if args.quick:
            print(f"## {title}\n\n{made[title]}\n")
    if not args.quick:
        write(made)


if __name__ == "__main__":
    main()

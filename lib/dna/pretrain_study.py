"""Train the language model of a study on what the study reads: `python -m lib.dna.pretrain_study STUDY`.

That is simulated sequence with a grammar (`pretrain_grammar`), or the background of a real genome without the chromosomes that it
holds out (`pretrain_genome`). Hours on two cores; `--init` goes on from a folder.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lib.dna import pretrain, pretrain_genome, pretrain_grammar
from lib.stage import io, params


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 trained, 2 refused and nothing written."""
    given = _parse(arguments)
    try:
        read = params.stage_params(given.pop("study"), "00_dna")
        out, seed = given.pop("out") or io.named_path(read["model_path"]), given["seed"]
        context = (pretrain_grammar if read["simulate"] else pretrain_genome).CONTEXT
        pretrain.check(out, context, given["tokens"], given["batch"])  # before a genome is read
        task = pretrain_grammar.Windows(seed) if read["simulate"] else pretrain_genome.of_study(read, seed)
    except (ValueError, OSError) as error:
        print(f"refused, nothing was written: {error}", file=sys.stderr)
        return 2
    pretrain.train(task, out, **given)
    return 0


def _parse(arguments: list[str] | None) -> dict:
    parser = argparse.ArgumentParser(prog="python -m lib.dna.pretrain_study", description=__doc__)
    parser.add_argument("study")
    parser.add_argument("--out", type=Path, help="default: the model folder that the study names")
    parser.add_argument("--init", type=Path, help="go on from this folder's weights")
    parser.add_argument("--tokens", type=int, default=60_000_000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--matrix_lr", type=float, default=0.01)
    parser.add_argument("--decay", type=float, default=0.3, help="last share of the run with falling rates")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--report", type=int, default=500)
    return vars(parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())

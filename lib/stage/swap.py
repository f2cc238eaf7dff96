"""A folder that is written beside its place and then swapped in, while the old one waits until the new one is complete."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NamedTuple


class Tree(NamedTuple):
    """A folder's place, where it is written, and where its old copy waits."""

    final: Path
    partial: Path
    old: Path


def tree_of(parent: Path, final: str, hidden: str) -> Tree:
    """The folder `final` of `parent`; hidden: what its other two are called after."""
    return Tree(parent / final, parent / f".{hidden}.partial", parent / f".{hidden}.old")


def bring_in(tree: Tree) -> None:
    """Set the old copy aside and put the new one, if there is one, in its place.

    An empty old copy stands for none, so that `put_back` can tell.
    """
    tree.old.parent.mkdir(parents=True, exist_ok=True)
    if tree.final.exists():
        os.replace(tree.final, tree.old)
    else:
        tree.old.mkdir()
    if tree.partial.exists():
        os.replace(tree.partial, tree.final)


def forget_old(tree: Tree) -> None:
    """Remove the old copy, once the new one is complete; nothing happens where none waits."""
    if tree.old.exists():
        shutil.rmtree(tree.old)


def put_back(tree: Tree) -> None:
    """Put the old copy where it was, over what was swapped in; nothing happens where none waits."""
    if not tree.old.exists():
        return
    shutil.rmtree(tree.final, ignore_errors=True)
    os.replace(tree.old, tree.final)
    if not any(tree.final.iterdir()):  # there was none before
        tree.final.rmdir()

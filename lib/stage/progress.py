"""Progress bars for JupyterLab and for the log of a headless run, where a widget would show its first state only."""

from __future__ import annotations

import os

if "SAE_DNA_RUNNER" in os.environ:
    from tqdm.std import tqdm
else:
    from tqdm.auto import tqdm
__all__ = ["tqdm"]

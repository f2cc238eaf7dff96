"""Keep what numba compiles of a library on disk: memelite's TomTom takes a minute to compile, in every new process."""

from __future__ import annotations

import sys


def keep(*modules: str) -> None:
    """Let every compiled function of these imported modules be kept in numba's cache, beside the module or where
    NUMBA_CACHE_DIR says. To be called before the first of them runs; a second call is harmless."""
    from numba.core.dispatcher import Dispatcher

    for module in modules:
        for function in vars(sys.modules[module]).values():
            if isinstance(function, Dispatcher) and not function.signatures:
                function.enable_caching()

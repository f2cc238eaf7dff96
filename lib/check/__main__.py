"""`python -m lib.check STUDY`: every fault of a study, by the check of its kind."""

import sys
from importlib import import_module

from lib.stage.params import KIND

sys.exit(import_module(f"{KIND}.check").main())

"""Sparse autoencoders on models of nucleic acids; the rooms are those of docs/house.md.

Any other Python than the one that is tested is refused here, before a module is imported. `make env` runs this file.
"""

import sys

#: The Python that is tested; environment.yml and the Makefile name it too.
WANTED = (3, 11)

if sys.version_info[:2] != WANTED:
    actual, wanted = (".".join(map(str, version)) for version in (sys.version_info[:3], WANTED))
    raise SystemExit("found Python " + actual + ", wanted " + wanted + ", the one that this project is tested with: see README.md")

"""`python -m lib.run STUDY STAGE`."""

import sys

from lib.run.notebook import main

sys.exit(main())

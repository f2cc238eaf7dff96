"""`python -m lib.check STUDY`: every fault of a study."""

import sys

from lib.check.whole import main

sys.exit(main())

"""`python -m lib.publish --study=STUDY --out=FOLDER`."""

import sys

from lib.publish.gate import main

sys.exit(main())

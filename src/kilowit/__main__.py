"""``python -m kilowit`` is ``kilowit``."""

import sys

from kilowit.cli import main

sys.exit(main())

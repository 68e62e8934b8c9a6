"""``python -m avid_lab`` is ``avid-lab``."""

import sys

from avid_lab.cli import main

sys.exit(main())

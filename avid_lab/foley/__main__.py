"""``python -m avid_lab.foley FOLDER`` writes the preview that is committed in ``data/preview``."""

from __future__ import annotations

import argparse
from pathlib import Path

from avid_lab.foley.preview import preview

parser = argparse.ArgumentParser(prog="python -m avid_lab.foley", description="Write the preview clips and the sheet.")
parser.add_argument("folder", type=Path, help="for example data/preview")
for path in preview(parser.parse_args().folder):
    print(f"{path}  {path.stat().st_size / 1e3:.0f} kB")

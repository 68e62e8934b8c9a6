"""``python -m avid_lab.course``: the exercises' signatures; with ``--cells 02`` a notebook's cells, ready to paste."""

from __future__ import annotations

import sys

from avid_lab.course.exercises import EXERCISES
from avid_lab.course.filling import blank_cell

wanted = sys.argv[2:] if sys.argv[1:2] == ["--cells"] else []
for found in EXERCISES.values():
    if wanted and found.notebook in wanted:
        print(f"# %%\n{blank_cell(found)}\n")
    elif not wanted:
        print(f"{found.notebook}  {found.solution.splitlines()[0][4:-1]}\n      {found.task}")

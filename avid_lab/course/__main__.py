"""``python -m avid_lab.course``: the exercises' signatures.

``--cells 02`` prints a notebook's cells, ready to paste; ``--mistakes`` looks for the mistakes of changed exercises, or
of those that it names (minutes).
"""

from __future__ import annotations

import sys

from avid_lab.course import checks, mutants
from avid_lab.course.exercises import EXERCISES
from avid_lab.course.filling import blank_cell

wanted = sys.argv[2:] if sys.argv[1:2] == ["--cells"] else []
if sys.argv[1:2] == ["--mistakes"]:
    chosen = [found for found in EXERCISES.values() if found.compared and found.name in (sys.argv[2:] or EXERCISES)]
    print(mutants.build(chosen, checks.behaviour))
    sys.exit()
for found in EXERCISES.values():
    if wanted and found.notebook in wanted:
        print(f"# %%\n{blank_cell(found)}\n")
    elif not wanted:
        print(f"{found.notebook}  {found.solution.splitlines()[0][4:-1]}\n      {found.task}")

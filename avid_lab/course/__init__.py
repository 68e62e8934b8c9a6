"""The course around the library: exercises that say what is wrong, predictions, and how notebooks are built.

    from avid_lab.course import exercise, frames, lab

**Guide for authors.** A notebook is a Python file ``notebooks/source/NN_name.py`` with cells marked ``# %%``.

*Exercise.* One cell, with the parameters of the reference, a body of ``...``, and no code beside the function::

    # %%
    @exercise("nce_loss")
    def nce_loss(positive, negative, Z):
        \"\"\"positive (B, 1), negative (B, K): similarity / temperature; Z: the partition constant -> one number.\"\"\"
        ...

Blank, the reference does the work and the badge is amber; wrong, the badge is red and names the mistake; right, green,
and the student's own code is what ``nce_loss(...)`` calls from then on. So *use* the function in the cells that follow:
train with it, draw with it. The notebook's first code cell imports ``math``, ``torch``, ``torch.nn.functional as F``:
solutions need them. The badge carries the task and folded hints: do not call ``lab.hint`` or ``lab.solution``, only
mention them. ``python -m avid_lab.course`` lists the exercises, ``--cells 02`` prints a notebook's cells to paste; they
live in ``exercises/notebook_NN.py``, and a new one is an `Exercise` there.

*Whose code.* ``lab.credit("nce_loss")`` is "your code" or "reference": ``title=f"... ({lab.credit('nce_loss')})"``.

*Prediction.* Before a reveal; nothing waits for an answer, and Run All goes on::

    lab.predict("03-1", "Which network gives the best pictures?", ["cross", "self", "joint"])
    lab.predict("03-2", "What is the similarity after one update?", low=-1, high=1)  # a number
    ...
    lab.reveal("03-1", max(scores, key=scores.get), "why, in a sentence")  # in a later cell

*Experiment.* ``lab.note("07-1", "What broke first?")`` shows a text box; ``lab.note("07-1", temperature=0.5)`` keeps
values at once.

*Start alone.* ``stage = lab.stage("05")`` in the first code cell gives ``stage.clips``, ``.test_clips``, ``.names``,
``.test_names``, ``.pipeline``, ``.model``, ``.memory``, ``.embeddings``, ``.test_embeddings``, ``.snapshots``, ``.run``
(the reference run), ``.other("self", seed)`` (another one), ``.label`` (say it in captions). In the smoke profile the
model is untrained, the label says so, and there is no ``.run``: ask ``if stage.trained:``.

*Slider without a kernel.* ``frames(draw, [0.03, 0.07, 0.2, 0.5], label="temperature")`` as a cell's last line, where
``draw(value)`` returns a Figure or Axes. For key sliders only, about a dozen values: a notebook stays under 2 MB.

*For teachers only.* A cell tagged ``instructor`` is left out of the notebooks and is in the instructor's edition::

    # %% [markdown] tags=["instructor"]
    # **Teaching note (5 min).** Ask for hands before the figure. ...

*End.* ``lab.progress("02")`` in the last cell.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avid_lab.course import lab
    from avid_lab.course.checks import Exercise
    from avid_lab.course.stills import frames
    from avid_lab.course.wrapping import exercise

__all__ = ["Exercise", "exercise", "frames", "lab"]
_HOME = {"Exercise": "checks", "exercise": "wrapping", "frames": "stills"}


def __getattr__(name: str) -> Any:  # nothing is imported before it is used: the command line needs little of it
    if name == "lab":
        return importlib.import_module(f"{__name__}.lab")
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

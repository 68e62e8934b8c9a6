"""The course: exercises that explain mistakes, predictions, and the tools that build the notebooks.

    from avid_lab.course import exercise, frames, lab

**Guide for authors.** A notebook is a Python file ``notebooks/source/NN_name.py`` with cells marked ``# %%``.

*Exercise.* One cell with the parameters of the reference, a body of ``...``, and no other code::

    # %%
    @exercise("nce_loss")
    def nce_loss(positive, negative, Z):
        \"\"\"positive (B, 1), negative (B, K): similarity / temperature; Z: the partition constant -> one number.\"\"\"
        ...

If the answer is blank, the badge is amber and the reference runs instead. If it is wrong, the badge is red and names
the mistake. If it is right, the badge is green and ``nce_loss(...)`` calls the student's code from then on, and gives
its result the reference's type. So *use* the function in later cells: train with it, draw with it. The notebook's
first code cell imports ``math``, ``torch`` and ``torch.nn.functional as F``, which solutions need. The badge shows the
task and folded hints: mention ``lab.hint`` and ``lab.solution``, but do not call them. ``python -m avid_lab.course``
lists the exercises; ``--cells 02`` prints a notebook's cells to paste. Exercises live in
``exercises/notebook_NN.py``; to add one, add an `Exercise` there.

*Whose code.* ``lab.credit("nce_loss")`` is "your code" or "reference": ``title=f"... ({lab.credit('nce_loss')})"``.

*Prediction.* Place it before a reveal; nothing waits for an answer, so Run All continues::

    lab.predict("03-1", "Which network gives the best pictures?", ["cross", "self", "joint"])
    lab.predict("03-2", "What is the similarity after one update?", low=-1, high=1)  # a number
    ...
    lab.reveal("03-1", max(scores, key=scores.get), "why, in a sentence")  # in a later cell

*Experiment.* ``lab.note("07-1", "What broke first?")`` shows a text box; ``lab.note("07-1", temperature=0.5)`` saves
values directly.

*Start alone.* ``stage = lab.stage("05")`` in the first code cell gives ``stage.clips``, ``.test_clips``, ``.names``,
``.test_names``, ``.pipeline``, ``.model``, ``.memory``, ``.embeddings``, ``.test_embeddings``, ``.snapshots``, ``.run``
(the reference run), ``.other("self", seed)`` (another one), ``.label`` (use it in captions). In the smoke profile the
model is untrained, the label says so, and there is no ``.run``: check ``if stage.trained:``.

*Slider without a kernel.* ``frames(draw, [0.03, 0.07, 0.2, 0.5], label="temperature")`` as a cell's last line, where
``draw(value)`` returns a Figure or Axes. Use it only for key
sliders with about a dozen values: a notebook must stay under 2 MB.

*For teachers only.* A cell tagged ``instructor`` appears only in the instructor's edition::

    # %% [markdown] tags=["instructor"]
    # **Teaching note (5 min).** Ask for hands before the figure. ...

*A sentence about a number.* A cell tagged ``claim`` runs when the notebook is published and tested, and appears nowhere
(see `avid_lab.course.claims`). In the smoke profile it runs, too, but no bound is checked::

    # %% tags=["claim"]
    claim("CMA separates pictures better", after.auc - before.auc, above=0.0)

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


def __getattr__(name: str) -> Any:  # imported on first use: the command line needs little of it
    if name == "lab":
        return importlib.import_module(f"{__name__}.lab")
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

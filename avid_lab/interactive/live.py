"""Watch a training loop from inside its own cell: a progress line and the loss, redrawn a few times a second.

live = LiveLoss()
for step in trainer:
    live.show(step)
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from avid_lab import plots

if TYPE_CHECKING:
    from avid_lab.training import Step


class LiveLoss:
    """A picture of the loss and its terms that follows a training loop.

    Drawing costs about 0.1 s, so it happens at most every ``every_s`` seconds and at the last step: training is slowed
    by a few per cent at most.

    Args:
        title: Title of the picture.
        every_s: Least time between two drawings.
    """

    def __init__(self, title: str = "Loss and its terms", every_s: float = 3.0) -> None:
        self.title, self.every_s = title, every_s
        self.history: list[Step] = []
        self._handle = None
        self._drawn = -math.inf
        self._begun = time.perf_counter()

    def show(self, step: Step) -> None:
        """Take a step, and draw when it is time to."""
        self.history.append(step)
        if time.perf_counter() - self._drawn >= self.every_s or step.index == step.total:
            self._draw(step)
            self._drawn = time.perf_counter()

    def _draw(self, step: Step) -> None:
        from IPython.display import display

        title = f"{self.title} · {self._progress(step)}"
        picture = plots.loss_terms(self.history, title=title, reach=(self.history[0].index, step.total)).get_figure(
            root=True
        )
        if self._handle is None:
            self._handle = display(picture, display_id=True)
        else:
            self._handle.update(picture)

    def _progress(self, step: Step) -> str:
        elapsed = time.perf_counter() - self._begun
        done = len(self.history)
        if step.index == step.total:
            return f"{step.total} steps in {elapsed:.0f} s"
        left = elapsed / done * (step.total - step.index)
        rate = self.history[-1].clips_per_s
        return f"step {step.index} of {step.total}, {rate:.0f} clips/s, {left:.0f} s left"

"""The live picture follows a training loop without slowing it, and shows its progress."""

from __future__ import annotations

from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from avid_lab.interactive import LiveLoss
from avid_lab.training import Step


def step(index, total=40):
    return Step(index, total, 0.1, 8.0 / index, {"v2a": 8.0, "a2v": 7.0}, 1e-3, 0.1, 640.0)


def shown(every_s, steps):
    InteractiveShell.instance()  # display() prints to the terminal when no notebook is there
    live = LiveLoss("Cross-AVID", every_s=every_s)
    with capture_output() as captured:
        for one in steps:
            live.show(one)
    return live, captured.outputs


def test_a_picture_at_once_and_at_the_end_and_few_between():
    live, outputs = shown(3600.0, [step(i) for i in range(1, 41)])
    assert len(live.history) == 40
    assert len(outputs) == 2
    assert all("image/png" in output.data for output in outputs)


def test_the_title_says_how_far_it_is_and_how_long_it_took():
    live = LiveLoss("Cross-AVID")
    live.history.append(step(10))
    assert live._progress(step(10)).startswith("step 10 of 40, 640 clips/s, ")
    assert live._progress(step(40)).startswith("40 steps in ")

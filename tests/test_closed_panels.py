"""Closed panels free their memory and their trainings, also if a cell runs again and again."""

from __future__ import annotations

import gc
import json
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from jupyter_client.manager import start_new_kernel

from avid_lab.config import TrainConfig
from avid_lab.encoders import AudioVisualModel
from avid_lab.interactive.calibration import CalibrationExplorer
from avid_lab.interactive.embedding_map import EmbeddingMap
from avid_lab.interactive.live_training import LiveTraining
from avid_lab.interactive.loss_lab import LossLab
from avid_lab.interactive.microscope import NCEMicroscope
from avid_lab.interactive.panel import WIDGET
from avid_lab.interactive.positives import PositiveBrowser
from avid_lab.interactive.retrieval import RetrievalExplorer
from avid_lab.objectives import AVID
from avid_lab.training import Trainer

RUNS = 4


def trainer_of(clips):
    objective = AVID(len(clips), 128, num_negatives=16, generator=torch.Generator().manual_seed(0))
    return Trainer(AudioVisualModel.preset("pocket", seed=0), objective, clips, TrainConfig(steps=4, batch_size=4))


def pair_of(clips):
    rows = torch.randn(2, len(clips), 16, generator=torch.Generator().manual_seed(0))
    return tuple(torch.nn.functional.normalize(rows, dim=2))


def snapshots_of(clips):
    rows = np.random.default_rng(0).normal(size=(2, 2, len(clips), 16))
    return [SimpleNamespace(step=i, video=video, audio=audio) for i, (video, audio) in enumerate(rows)]


def paths_of(clips):
    return [clips.path(i) for i in range(len(clips))]


PANELS = {
    "LiveTraining": lambda clips: LiveTraining(trainer_of(clips)),
    "LossLab": lambda clips: LossLab(trainer_of(clips), b={"temperature": 0.2}),
    "PositiveBrowser": lambda clips: PositiveBrowser(pair_of(clips), clips),
    "CalibrationExplorer": lambda clips: CalibrationExplorer(snapshots_of(clips), clips.labels),
    "RetrievalExplorer": lambda clips: RetrievalExplorer(pair_of(clips), clips),
    "EmbeddingMap": lambda clips: EmbeddingMap(snapshots_of(clips), clips.labels, clips.classes, paths=paths_of(clips)),
    "NCEMicroscope": lambda clips: NCEMicroscope(pair_of(clips), clips.labels, clips.classes),
}


@pytest.mark.parametrize("name", PANELS)
def test_a_closed_panel_is_held_by_nothing(smoke_world, name):
    panel = PANELS[name](smoke_world)
    panel.snapshot()
    held = [weakref.ref(panel), weakref.ref(panel.widget), *map(weakref.ref, panel.body.children)]
    if runner := getattr(panel, "runner", None):
        runner.step().result(60)
        held += [weakref.ref(run.trainer) for run in runner.runs]
    panel.close()
    if runner is not None:
        runner.join(60)
    del panel, runner
    gc.collect()
    assert [one() for one in held if one() is not None] == []


MAKE = """
import gc, json, warnings
import ipywidgets, torch
import avid_lab as al
from avid_lab import foley
from avid_lab.interactive import LiveTraining, PositiveBrowser
from avid_lab.interactive.panel import Panel
from avid_lab.training import Trainer, avid_trainer
clips = foley.load("smoke", progress=False)
live = LiveTraining(avid_trainer(clips, al.profile()))
rows = torch.nn.functional.normalize(torch.randn(2, len(clips), 16), dim=2)
"""
COUNT = """
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of torch's own names that are asked for their type
    gc.collect()
    kinds = [type(x) for x in gc.get_objects()]
print(json.dumps({"panels": sum(issubclass(x, Panel) for x in kinds), "trainers": kinds.count(Trainer),
                  "widgets": len(ipywidgets.widgets.widget._instances)}))
"""


def run(client, code, cell):
    """Run a cell as JupyterLab does, with its id; return what it printed and its result."""
    message = client.session.msg("execute_request", {"code": code, "silent": False, "store_history": True})
    message["metadata"]["cellId"] = cell
    client.shell_channel.send(message)
    printed, returned = "", ""
    while True:
        told = client.get_iopub_msg(timeout=60)
        kind, content = told["msg_type"], told["content"]
        if told["parent_header"].get("msg_id") != message["header"]["msg_id"]:
            continue
        assert kind != "error", "\n".join(content["traceback"])
        printed += content["text"] if kind == "stream" and content["name"] == "stdout" else ""
        returned = content["data"]["text/plain"] if kind == "execute_result" else returned
        if kind == "status" and content["execution_state"] == "idle":
            return printed, returned


@pytest.mark.slow
def test_cells_that_run_again_keep_nothing_of_what_they_made(smoke_world, monkeypatch):
    monkeypatch.setenv("AVID_LAB_PROFILE", "smoke")
    manager, client = start_new_kernel()
    try:
        run(client, MAKE, "make")
        counts = []
        for _ in range(RUNS):
            run(client, "live.fork(temperature=0.2)", "fork")
            run(client, "PositiveBrowser(tuple(rows), clips)", "positives")
            counts.append(json.loads(run(client, COUNT, "count")[0]))
        assert counts == [counts[0]] * RUNS
        assert counts[0]["panels"] == counts[0]["trainers"] == 3
        assert run(client, "6 * 7", "plain")[1] == "42"
        assert run(client, "_ + 1", "last")[1] == "43"  # what IPython remembers is as ever
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


SNAPSHOT = """
from avid_lab.interactive.embedding_map import EmbeddingMap
import numpy as np
rng = np.random.default_rng(0)
panel = EmbeddingMap((rng.normal(size=(6, 4)), rng.normal(size=(6, 4))), [0, 0, 1, 1, 2, 2], ["a", "b", "c"])
panel
"""


@pytest.mark.slow
def test_a_snapshot_stands_behind_a_panel_and_follows_it(monkeypatch):
    monkeypatch.setenv("AVID_LAB_PROFILE", "smoke")
    for name in ("VSCODE_PID", "VSCODE_CWD"):
        monkeypatch.delenv(name, raising=False)
    manager, client = start_new_kernel()

    def told(kind):
        while True:
            message = client.get_iopub_msg(timeout=60)
            if message["msg_type"] == kind:
                return message["content"]

    try:
        message = client.session.msg("execute_request", {"code": SNAPSHOT, "silent": False})
        client.shell_channel.send(message | {"metadata": {"cellId": "panel"}})  # as JupyterLab does
        behind, live = told("display_data"), told("display_data")
        assert "avid-behind" in behind["data"]["text/html"]
        assert WIDGET in live["data"] and "text/html" not in live["data"]
        client.execute("panel.canvas.selected = [0, 2, 3]; panel.redraw()")
        followed = told("update_display_data")
        assert followed["transient"] == behind["transient"]
        assert "<th>selected</th><td>2 b, 1 a</td>" in followed["data"]["text/html"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)

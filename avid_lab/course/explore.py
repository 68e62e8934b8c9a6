"""What the site's living page computes with: embeddings of held-out clips, quantised, and small copies of the clips."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import MISSING, fields
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from avid_lab import foley, media, reference
from avid_lab.config import AudioSpec, VideoSpec
from avid_lab.course.publish import write_text
from avid_lab.datasets import ClipDataset
from avid_lab.datasets.parallel import usable_cores
from avid_lab.interactive.calibration import COLOURS, SPACES
from avid_lab.interactive.ranking import KINDS, faults
from avid_lab.interactive.script import text
from avid_lab.mining import mine_positives
from avid_lab.plots.chart import Area, Guide, Line, Points, Text
from avid_lab.plots.style import GOOD, MARKERS, class_colour, class_marker

RUNS, FOLLOWED = ("self", "joint", "cross", "avid", "cma"), "cross"
VIDEO, AUDIO = VideoSpec(16, 8.0, 112), AudioSpec(24_000, 2.0, frames=1)  # of a copy
THUMBNAIL = 64  # pixels


def reference_runs() -> tuple[ClipDataset, dict[str, list[reference.Snapshot]]]:
    """The held-out clips of the course's world, and by name the runs that were followed on them."""
    found = {name: reference.load(name).snapshots for name in RUNS}
    found = {name: run if name == FOLLOWED else run[-1:] for name, run in found.items()}  # of others the end is enough
    return foley.load("pocket", split="test"), {reference.VARIANTS[name].about: run for name, run in found.items()}


def write_explorer(out: Path, clips: ClipDataset, runs: Mapping[str, Sequence[reference.Snapshot]]) -> None:
    """Write the scripts ``canvas.js`` and ``runs.js``, and ``clips/N.mp4`` for each clip N.

    Args:
        out: The folder.
        clips: The clips.
        runs: By name, their embeddings along training, oldest first.

    Raises:
        ValueError: The embeddings are of other clips.
    """
    for name, snapshots in runs.items():
        if any(len(snapshot.video) != len(clips) for snapshot in snapshots):
            raise ValueError(f"runs must be of the {len(clips)} clips; {name} has {len(snapshots[0].video)}")
    write_text(out / "canvas.js", _as_script(text("dom.js", "canvas.js")))
    write_text(out / "canvas.css", text("canvas.css"))
    (out / "clips").mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(usable_cores()) as pool:
        stills = list(pool.map(lambda i: _copy(clips, i, out / "clips" / f"{i}.mp4"), range(len(clips))))
    classes = range(len(clips.classes))
    data: dict[str, Any] = {
        "classes": [str(name).replace("_", " ") for name in clips.classes],
        "classColours": [class_colour(i) for i in classes],
        "classShapes": [MARKERS.index(class_marker(i)) for i in classes],
        "labels": [int(label) for label in clips.labels],
        "faults": faults(clips.manifest),
        "stills": stills,
        "kinds": [[name, colour, MARKERS.index(marker)] for name, (colour, marker) in KINDS.items()],
        "good": GOOD,
        "spaces": [[name, *SPACES[name], COLOURS[name]] for name in SPACES],
        "defaults": {mark.__name__: _defaults(mark) for mark in (Line, Area, Points, Text, Guide)},
        "opening": _telling(list(runs.values())[-1][-1], clips),
        "runs": [{"name": name, "snapshots": [_packed(one) for one in run]} for name, run in runs.items()],
    }
    write_text(out / "runs.js", f"window.avidRuns = {json.dumps(data)}\n")


def quantised(rows: Float[np.ndarray, "N D"]) -> np.ndarray:
    """Unit rows in eight bits; scaled to unit length again, their similarities are off by less than 0.01."""
    return np.round(rows * (127 / np.abs(rows).max(axis=1, keepdims=True))).astype(np.int8)


def _telling(snapshot: reference.Snapshot, clips: ClipDataset, k: int = 16) -> int:
    """The query for which agreement of both senses gains most over the better one."""

    def right(agreement: str) -> np.ndarray:
        index = mine_positives(snapshot.video, snapshot.audio, min(k, len(clips) - 1), agreement).index
        return (clips.labels[index] == clips.labels[:, None]).float().mean(dim=1).numpy()

    return int((right("consensus") - np.maximum(right("video"), right("audio"))).argmax())


def _packed(snapshot: reference.Snapshot) -> dict[str, Any]:
    sides = {name: quantised(getattr(snapshot, name).numpy()) for name in ("video", "audio")}
    return {"step": snapshot.step} | {n: base64.b64encode(rows.tobytes()).decode() for n, rows in sides.items()}


def _copy(clips: ClipDataset, i: int, path: Path) -> str:
    """Write a small copy of a clip's middle window; returns a still in base64."""
    begin_s, _ = clips.window_s(i)
    clip = media.read_clip(clips.path(i), begin_s, VIDEO, AUDIO)
    assert clip.video is not None
    media.write_clip(path, clip, crf=33, audio_kbps=32)
    still = Image.fromarray(clip.video[:, len(clip.video[0]) // 2].permute(1, 2, 0).numpy())
    with BytesIO() as buffer:
        still.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS).save(buffer, "jpeg", quality=62, optimize=True)
        return base64.b64encode(buffer.getvalue()).decode()


def _defaults(mark: type) -> dict[str, Any]:
    known: Sequence[Any] = [field for field in fields(mark) if field.default is not MISSING]
    return {"type": mark.__name__} | {field.name: field.default for field in known}


def _as_script(module: str) -> str:
    """A module as a classic script: a page from disk may not import."""
    return f"window.avidCanvas = (() => {{\n{module.replace('export default {render}', 'return {render}')}\n}})()\n"

"""Measures how well simple features identify the scene, under different settings of the world.

``python -m avid_lab.foley.measure data/measurements.json`` resumes if interrupted. Each row of the table is a separate
world, all with the same seed. Leave-one-out nearest neighbours predict the scene from weak features (colours, loudness)
or stronger ones (small grey pictures, band energies).
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from avid_lab.foley.clip import FAULTS, NUISANCES, FoleyConfig, render
from avid_lab.foley.timeline import Array

NEIGHBOURS = 5
CLEAN: dict[str, float] = dict.fromkeys(FAULTS, 0.0)
PLAIN: dict[str, float] = dict.fromkeys(NUISANCES, 0.0)
SETTINGS: dict[str, dict[str, float]] = {
    "as in pocket": {},
    "no faults": CLEAN,
    "no faults, no nuisances": {**CLEAN, **PLAIN},
    **{f"{name} {value:g}": {name: value} for name in ("look_alike", "sound_alike") for value in (0.0, 1.0)},
    **{f"{name} 0": {name: 0.0} for name in ("background", "drift", "reverb", "noise")},
    **{f"{name} 0.5": {name: 0.5} for name in ("off_screen", "silent", "noisy", "distractors", "sound_distractors")},
}


def features(index: int, config: FoleyConfig) -> dict[str, Array]:
    """Simple features of picture and sound of clip ``index``: vectors by name."""
    picture, sound, _ = render(index, config)
    small = picture[:: max(1, len(picture) // 8)][:8].astype(np.float32) / 255
    side = config.size // 8
    grey = small.mean(axis=3).reshape(len(small), 8, side, 8, side).mean(axis=(2, 4))
    bins = (small * 3.999).astype(int) @ np.array([16, 4, 1])
    frames = np.lib.stride_tricks.sliding_window_view(sound, 512)[::256]
    power = np.abs(np.fft.rfft(frames * np.hanning(512), axis=1)) ** 2
    bands = np.stack([b.mean(axis=1) for b in np.array_split(power[:, 1:241], 40, axis=1)], axis=1)
    level = np.log(bands + 1e-6)
    return {
        "colour histogram": np.bincount(bins.ravel(), minlength=64) / bins.size,
        "loudness": np.array([np.log(np.mean(sound**2) + 1e-9)]),
        "picture": np.concatenate([(grey - grey.mean()).ravel(), grey.std(axis=0).ravel()]),
        "sound": np.concatenate([level.mean(axis=0) - level.mean(), level.std(axis=0)]),
    }


def measure(config: FoleyConfig, *, progress: bool = True) -> dict[str, float]:
    """Share of clips, in [0, 1], whose nearest neighbours are of the same scene; by feature, and "both"."""
    clips = [features(i, config) for i in tqdm(range(config.clips), leave=False, disable=not progress)]
    label = np.arange(config.clips) % len(config.scenes)
    distances = {name: _distances(np.stack([clip[name] for clip in clips])) for name in clips[0]}
    distances["both"] = distances["picture"] + distances["sound"]
    return {name: _accuracy(distance, label) for name, distance in distances.items()}


def _distances(x: Array) -> Array:
    x = (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-9)
    square = (x**2).sum(axis=1)
    return (square[:, None] + square - 2 * x @ x.T) / x.shape[1]


def _accuracy(distance: Array, label: Array) -> float:
    distance = distance + np.diag(np.full(len(label), np.inf))
    votes = label[np.argsort(distance, axis=1)[:, :NEIGHBOURS]]  # nearest first
    counts = (votes[:, :, None] == votes[:, None]).sum(axis=2)
    chosen = votes[np.arange(len(label)), counts.argmax(axis=1)]  # ties go to the nearer
    return float(np.mean(chosen == label))


def table(rows: dict[str, dict[str, float]], config: FoleyConfig) -> str:
    """The table in Markdown, in per cent, with chance and the half-width of a 95 % interval at chance."""
    chance = 1 / len(config.scenes)
    spread = 1.96 * np.sqrt(chance * (1 - chance) / config.clips)
    names = list(next(iter(rows.values())))
    lines = [f"| world | {' | '.join(names)} |", f"| --- |{' --- |' * len(names)}"]
    lines += [f"| {world} | {' | '.join(f'{100 * row[n]:.0f}' for n in names)} |" for world, row in rows.items()]
    note = f"{config.clips} clips of {config.size} pixels and {config.duration_s:g} s, seed {config.seed}, a row"
    return "\n".join([*lines, "", f"Per cent of {note}; chance is {100 * chance:.1f} ± {100 * spread:.1f}."])


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        prog="python -m avid_lab.foley.measure", description="Measure the effect of the world's settings."
    )
    parser.add_argument("file", type=Path, help="JSON file to write or to continue")
    parser.add_argument("--clips", type=int, default=220)
    args = parser.parse_args()
    config = FoleyConfig(clips=args.clips, size=64, duration_s=2.0)
    settings = json.loads(json.dumps({"digest": config.digest, **asdict(config)}))
    found = json.loads(args.file.read_text()) if args.file.exists() else {}
    rows = found["rows"] if found.get("settings") == settings else {}
    for name, changes in tqdm(SETTINGS.items(), desc="worlds"):
        if name not in rows:
            rows[name] = measure(replace(config, **changes))
            args.file.write_text(json.dumps({"settings": settings, "rows": rows}, indent=1) + "\n")
    print(table(rows, config))


if __name__ == "__main__":
    main()

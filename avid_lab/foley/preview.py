"""The committed preview: a few clips, and a sheet with pictures and a spectrogram of every scene."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from avid_lab.foley.clip import FAULTS, FoleyConfig, render
from avid_lab.foley.scenes import SCENES
from avid_lab.foley.timeline import Array
from avid_lab.foley.world import to_clip, write_small

CLEAN = FoleyConfig(off_screen=0.0, silent=0.0, noisy=0.0, distractors=0.0, sound_distractors=0.0)
SHOWN = tuple(fault for fault in FAULTS if fault != "silent")


def preview(folder: Path) -> list[Path]:
    """Write ``contact_sheet.png``, a clip of every scene, and one of each fault.

    Returns:
        The files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cases = [(scene, i + len(SCENES), CLEAN) for i, scene in enumerate(SCENES)]
    cases += [(f"faulty_{fault}", 7 * (k + 1), replace(CLEAN, **{fault: 1.0})) for k, fault in enumerate(SHOWN)]
    paths, strips = [], []
    for name, index, config in cases:
        picture, sound, _ = render(index, config)
        paths.append(write_small(folder / f"{name}.mp4", to_clip(picture, sound, config)))
        if config is CLEAN:
            strips.append(_strip(name, picture, sound))
    rows = [np.concatenate(strips[i : i + 2], axis=1) for i in range(0, len(strips), 2)]
    sheet = folder / "contact_sheet.png"
    Image.fromarray(np.concatenate(rows)).save(sheet, optimize=True)
    return [*paths, sheet]


def _strip(name: str, picture: NDArray[np.uint8], sound: Array) -> NDArray[np.uint8]:
    """Four moments and the spectrogram, half as large, with the name above: (78, 404, 3)."""
    small = picture[[4, 14, 24, 34]].reshape(4, 64, 2, 64, 2, 3).mean(axis=(2, 4))
    strip = np.full((78, 404, 3), 24, np.float32)
    for k, frame in enumerate(small):
        strip[12:76, 2 + 66 * k : 66 + 66 * k] = frame
    strip[12:76, 266:402] = _spectrogram(sound)
    image = Image.fromarray(strip.astype(np.uint8))
    title, font = name.replace("_", " "), ImageFont.load_default_imagefont()
    ImageDraw.Draw(image).text((4, 0), title, fill=(224, 224, 224), font=font)
    return (np.asarray(image) & np.uint8(0xFC)) | np.uint8(2)  # six bits a channel: a smaller file


def _spectrogram(sound: Array) -> Array:
    """A log spectrogram, 64 bands of mel-like width over 136 moments, in colours from dark to light: (64, 136, 3)."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, 1024)[:: (len(sound) - 1024) // 135][:136]
    power = np.abs(np.fft.rfft(frames * np.hanning(1024), axis=1)) ** 2
    edges = np.geomspace(3, 400, 65)
    bands = np.stack([power[:, int(a) : max(int(b), int(a) + 1)].mean(axis=1) for a, b in pairwise(edges)])
    level = 10 * np.log10(bands[::-1] + 1e-7)
    level = np.clip((level - level.max() + 60) / 60, 0, 1)[..., None]
    stops = np.array([[13, 8, 35], [98, 27, 110], [213, 72, 66], [252, 253, 164]], np.float32)
    channels = [np.interp(level, np.linspace(0, 1, 4), stop) for stop in stops.T]
    return np.concatenate(channels, axis=-1).astype(np.float32)

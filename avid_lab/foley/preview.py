"""The committed preview: a few clips, and a sheet with pictures and a spectrogram of every scene."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avid_lab.foley.clip import FoleyConfig, render
from avid_lab.foley.scenes import SCENES
from avid_lab.foley.timeline import Array
from avid_lab.foley.world import to_clip, write_small

CLEAN = FoleyConfig(off_screen=0.0, silent=0.0, noisy=0.0, distractors=0.0, sound_distractors=0.0)
SPOILT = ("off_screen", "noisy", "distractors", "sound_distractors")  # one extra clip for each way of spoiling
# 3x5 letters, row by row of three bits: enough to name scenes without a font.
LETTERS = dict(
    zip(
        "abcdefghijklmnopqrstuvwxyz_",
        (
            31725,
            27566,
            31015,
            27502,
            31143,
            31140,
            31087,
            23533,
            29847,
            4719,
            23469,
            18727,
            24557,
            31597,
            31599,
            31716,
            31609,
            31661,
            31183,
            29842,
            23407,
            23402,
            23549,
            23213,
            23186,
            29351,
            7,
        ),
        strict=True,
    )
)


def preview(folder: Path) -> list[Path]:
    """Write ``contact_sheet.png``, a clip of every scene, and one for each way of spoiling.

    Returns:
        The files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cases = [(scene, i + len(SCENES), CLEAN) for i, scene in enumerate(SCENES)]
    cases += [(f"spoilt_{knob}", 7 * (k + 1), replace(CLEAN, **{knob: 1.0})) for k, knob in enumerate(SPOILT)]
    paths, strips = [], []
    for name, index, config in cases:
        picture, sound, _ = render(index, config)
        paths.append(write_small(folder / f"{name}.mp4", to_clip(picture, sound, config)))
        if config is CLEAN:
            strips.append(_strip(name, picture, sound))
    rows = [np.concatenate(strips[i : i + 2], axis=1) for i in range(0, len(strips), 2)]
    return [*paths, write_png(folder / "contact_sheet.png", np.concatenate(rows))]


def _strip(name: str, picture: NDArray[np.uint8], sound: Array) -> NDArray[np.uint8]:
    """Four moments and the spectrogram, half as large, with the name above: (78, 404, 3)."""
    small = picture[[4, 14, 24, 34]].reshape(4, 64, 2, 64, 2, 3).mean(axis=(2, 4))
    strip = np.full((78, 404, 3), 24, np.float32)
    for k, frame in enumerate(small):
        strip[12:76, 2 + 66 * k : 66 + 66 * k] = frame
    strip[12:76, 266:402] = _spectrogram(sound)
    for k, letter in enumerate(name):
        bits = np.array([int(b) for b in f"{LETTERS[letter]:015b}"]).reshape(5, 3)
        strip[4:9, 4 + 4 * k : 7 + 4 * k] += 200 * bits[..., None]
    return (strip.astype(np.uint8) & np.uint8(0xFC)) | np.uint8(2)  # six bits a channel: a smaller file


def _spectrogram(sound: Array) -> Array:
    """A log spectrogram, 64 bands of mel-like width over 136 moments, in colours from dark to light: (64, 136, 3)."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, 1024)[:: (len(sound) - 1024) // 135][:136]
    power = np.abs(np.fft.rfft(frames * np.hanning(1024), axis=1)) ** 2
    edges = np.geomspace(3, 400, 65)
    bands = np.stack([power[:, int(a) : max(int(b), int(a) + 1)].mean(axis=1) for a, b in pairwise(edges)])
    level = 10 * np.log10(bands[::-1] + 1e-7)
    level = np.clip((level - level.max() + 60) / 60, 0, 1)[..., None]
    stops = np.array([[13, 8, 35], [98, 27, 110], [213, 72, 66], [252, 253, 164]], np.float32)
    return np.concatenate(
        [np.interp(level, np.linspace(0, 1, 4), stops[:, channel]) for channel in range(3)], axis=-1
    ).astype(np.float32)


def write_png(path: Path, pixels: NDArray[np.uint8]) -> Path:
    """Writes (H, W, 3) as PNG."""
    height, width = pixels.shape[:2]
    rows = np.zeros((height, 1 + 3 * width), np.uint8)
    flat = pixels.reshape(height, -1)
    rows[:, 0] = 1  # each byte as the difference from the pixel to the left
    rows[:, 1:4] = flat[:, :3]
    rows[:, 4:] = flat[:, 3:] - flat[:, :-3]
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    )
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path

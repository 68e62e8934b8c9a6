"""The cost of rendering a clip: its picture, its sound, and the encoder."""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import av
import numpy as np
import torch

from avid_lab.config import AudioSpec, VideoSpec
from avid_lab.foley import PRESETS, SCENES, clip, render, to_clip
from avid_lab.foley.world import write_small
from avid_lab.media import Clip, read_clip
from benchmarks.harness import Row, as_json, compare

Result = TypeVar("Result")
TARGETS = {"picture / encoding": 1.0, "pocket world on 2 cores, s": 90.0}


def run(quick: bool) -> dict[str, object]:
    """Measure CPU milliseconds per clip over all scenes, drawing and encoding in turns, on one thread; print a table.

    Args:
        quick: One clip of each scene instead of four.

    Returns:
        Medians and quartiles by task, their means, and the ratios; and the rows of `encoders`.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    config, count = PRESETS["pocket"], len(SCENES) * (1 if quick else 4)
    video, audio = VideoSpec(32, 8.0, 56), AudioSpec(16_000, 4.0)
    spent: dict[str, list[float]] = defaultdict(list)
    record = clip._record

    def timed(name: str, function: Callable[..., Result]) -> Callable[..., Result]:
        def call(*args: object, **kwargs: object) -> Result:
            begun = time.process_time()
            result = function(*args, **kwargs)
            spent[name].append(1e3 * (time.process_time() - begun))
            return result

        return call

    render(0, config)  # imports and tables
    clip._record = timed("sound", record)
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clip.mp4"
            for index in range(count):
                picture, sound, _ = timed("drawing", render)(index, config)
                timed("encoding", write_small)(path, to_clip(picture, sound, config))
                timed("decoding", read_clip)(path, 0.0, video, audio)
    finally:
        clip._record = record
        torch.set_num_threads(threads)

    rows = encoders(quick)
    ms = {name: np.array(values) for name, values in spent.items()}
    ms = {"picture": ms["drawing"] - ms["sound"], **ms}
    table = {
        name: dict(zip(("p25", "median", "p75"), np.percentile(v, (25, 50, 75)), strict=True)) for name, v in ms.items()
    }
    mean = {name: float(values.mean()) for name, values in ms.items()}
    ratios = {
        "picture / encoding": mean["picture"] / mean["encoding"],
        "picture and sound / encoding": mean["drawing"] / mean["encoding"],
        "pocket world on 2 cores, s": config.clips / 2 * (mean["drawing"] + mean["encoding"]) / 1e3,
        "and decoded once, s": config.clips / 2 * mean["decoding"] / 1e3,
    }
    print(f"rendering: CPU ms a clip, {count} clips, one thread")
    for name, row in table.items():
        spread = f"quartiles {row['p25']:.1f} to {row['p75']:.1f}"
        print(f"  {name:10s} mean {mean[name]:6.1f}   median {row['median']:6.1f}   {spread}")
    for name, value in ratios.items():
        print(f"  {name:28s} {value:6.2f}   {f'(wanted: at most {TARGETS[name]:g})' if name in TARGETS else ''}")
    return {"rows": as_json(rows), "clips": count, "ms": table, "mean_ms": mean, **ratios}


def encoders(quick: bool) -> list[Row]:
    """Clips of all scenes to mp4: the library's settings, and x264's fastest preset with FFmpeg's own AAC."""
    config = PRESETS["pocket"]
    clips = [to_clip(picture, sound, config) for picture, sound, _ in (render(i, config) for i in range(len(SCENES)))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        candidates = {
            "ultrafast, FFmpeg's own AAC coder": lambda: [write_plainly(path, clip) for clip in clips],
            "ours": lambda: [write_small(path, clip) for clip in clips],
        }
        turns, name = 3 if quick else 9, f"clip to mp4, {config.size}x{config.size}, {config.duration_s:g} s"
        return compare(name, candidates, turns=turns, required={"ours": 1.25}, amount=len(clips), unit="clip")


def write_plainly(path: Path, clip: Clip) -> None:
    """A simple version: RGB frames, a fast preset, the sound in one piece; same quality and bit rate."""
    assert clip.video is not None and clip.audio is not None and clip.fps and clip.rate
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        options = {"preset": "ultrafast", "crf": "27", "threads": "1", "g": str(round(2 * clip.fps))}
        picture = container.add_stream("libx264", rate=round(clip.fps), options=options)
        picture.height, picture.width, picture.pix_fmt = *clip.video.shape[2:], "yuv420p"
        sound = container.add_stream("aac", rate=clip.rate, layout="mono", options={"b": "48000"})
        for image in clip.video.permute(1, 2, 3, 0).contiguous().numpy():
            container.mux(picture.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(picture.encode(None))
        samples = av.AudioFrame.from_ndarray(clip.audio.numpy(), "fltp", "mono")
        samples.rate = clip.rate
        container.mux(sound.encode(samples))
        container.mux(sound.encode(None))


if __name__ == "__main__":
    run(quick=False)

"""The README's pictures and its table, from the reference runs.

``make pictures``, or ``python -m avid_lab.course.showcase README.md docs/images``.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from avid_lab import foley, media, reference
from avid_lab.atomic import replacing
from avid_lab.config import VideoSpec
from avid_lab.interactive.embedding_map import aligned, tsne
from avid_lab.interactive.snapshots import Moment, moments
from avid_lab.metrics import mean_and_spread
from avid_lab.plots.chart import Axis, Guide, Line, Mark, Plot, row_axis
from avid_lab.plots.render import draw
from avid_lab.plots.statistics import principal_plane
from avid_lab.plots.style import AUDIO, INK, MUTED, PAPER, VIDEO, class_colour, encode
from avid_lab.shipped import shipped

WAYS = ("self", "joint", "cross", "avid", "cma")
SCORES = {
    "v2a_precision_at_10": "picture → sound",
    "a2v_precision_at_10": "sound → picture",
    "v2v_precision_at_10": "picture → picture",
    "a2a_precision_at_10": "sound → sound",
}
DRAWN = {"v2a_precision_at_10": VIDEO, "a2a_precision_at_10": AUDIO}
MARKS = re.compile(r"(<!-- scores: [^>]*-->\n).*?(<!-- end of scores -->)", re.DOTALL)

WIDTH, HEIGHT, FPS, SHARP = 960, 420, 8, 2  # of the film; it is drawn at twice its size
CLIPS = ("gong", "basketball", "songbird", "fireworks", "ambulance", "campfire", "violin", "surf", "ping_pong", "car",
         "helicopter", "woodpecker")  # fmt: skip
REST, FLIGHT = 3, 5  # frames at a snapshot, and from one to the next


def ways(results: dict[str, Any]) -> dict[str, dict[str, list[float]]]:
    """The scores of every seed in per cent, by way to train and score; with chance and the untrained network.

    Args:
        results: What `reference.results` returns.
    """
    steps = results["made_with"]["profile"]["train"]["steps"]
    found = {
        "chance": {score: [100 * results["chance"][score]] for score in SCORES},
        "untrained": {score: [100 * run[score] for run in results["untrained"].values()] for score in SCORES},
    }
    for way in WAYS:
        runs = [run["scores"] for run in results["runs"] if run["variant"] == way]
        name = f"{reference.VARIANTS[way].about}: {round(steps * _length(way)):,} steps"
        found[name] = {score: [100 * run[score] for run in runs] for score in SCORES}
    return found


def _length(way: str) -> float:
    variant = reference.VARIANTS[way]
    return variant.length + (_length(variant.start) if variant.start else 0.0)


def table(results: dict[str, Any]) -> str:
    """Right answers among the ten nearest, in Markdown."""
    lines = [f"| | {' | '.join(SCORES.values())} |", f"|---|{'---|' * len(SCORES)}"]
    for name, scores in ways(results).items():
        cells = []
        for values in scores.values():
            mean, spread = mean_and_spread(values)
            cells.append(f"{mean:.1f} ± {spread:.1f}" if len(values) > 1 else f"{mean:.1f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def scores_plot(results: dict[str, Any]) -> Plot:
    """The same as a figure: one dot a seed, and a ring at their mean."""
    marks: list[Mark] = []
    rows = ways(results)
    chance = rows.pop("chance")
    for lift, (score, colour) in zip((-0.14, 0.14), DRAWN.items(), strict=True):
        dots = [(value, row + lift) for row, scores in enumerate(rows.values()) for value in scores[score]]
        means = [float(np.mean(scores[score])) for scores in rows.values()]
        x, y = np.array(dots).T
        ring: dict[str, Any] = {"legend": SCORES[score], "width": 0, "dots": 6.5, "hollow": True}
        marks += [
            Line(x, y, colour, f"seeds {score}", width=0, dots=3, alpha=0.5),
            Line(means, np.arange(len(rows)) + lift, colour, f"mean {score}", **ring),
        ]
    marks.append(Guide(chance["v2a_precision_at_10"][0], "x", "chance", colour="muted"))
    x = Axis(0, 100, "right among the ten nearest, %", grid=True)
    return Plot(marks, x, row_axis(rows), legend="above")


def maps(snapshots: Sequence[Moment]) -> list[np.ndarray]:
    """Pictures and sounds of each snapshot in one plane, (2N, 2) in [0, 1], each turned to resemble the next."""
    found: list[np.ndarray] = []
    for moment in reversed(snapshots):
        rows = np.concatenate([side - side.mean(axis=0) for side in (moment.video, moment.audio)])
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        places = tsne(rows, found[-1] - 0.5 if found else principal_plane(rows.astype(float)).points)
        places = aligned(places, found[-1]) if found else places
        low, high = np.quantile(places, [0.005, 0.995], axis=0)
        found.append(np.clip((places - low) / (high - low), 0, 1))
    return found[::-1]


def film() -> Iterator[Image.Image]:
    """Clips at the left, and at the right Cross-AVID's map of the held-out clips along training."""
    run, clips = moments(reference.load("cross").snapshots), foley.load("pocket", split="test", progress=False)
    places, labels = maps(run), np.asarray(clips.labels)
    videos = [_frames(shipped("data", "preview", f"{name}.mp4")) for name in CLIPS]
    at = 0
    for number, (before, after) in enumerate(pairwise([*places, places[-1]])):
        still = number == len(places) - 1
        for part in range(2 * FPS if still else REST + FLIGHT):
            share = np.clip((part - REST) / FLIGHT, 0, 1)
            share = share * share * (3 - 2 * share)
            page = Image.new("RGB", (SHARP * WIDTH, SHARP * HEIGHT), PAPER)
            _draw_clips(page, [video[at % len(video)] for video in videos])
            step = run[number if share < 0.5 else min(number + 1, len(run) - 1)].step
            _draw_map(page, before + share * (after - before), labels, f"step {step:,}")
            yield page.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
            at += 1


def _frames(path: Path) -> list[Image.Image]:
    clip = media.read_clip(path, 0.0, VideoSpec(4 * FPS, FPS, None), None)
    assert clip.video is not None
    side = SHARP * 100
    frames = clip.video.permute(1, 2, 3, 0).numpy()  # (T, H, W, 3)
    return [Image.fromarray(frame).resize((side, side), Image.Resampling.LANCZOS) for frame in frames]


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(SHARP * size)


def _draw_clips(page: Image.Image, frames: Sequence[Image.Image]) -> None:
    for number, frame in enumerate(frames):
        row, column = divmod(number, 3)
        page.paste(frame, (SHARP * (4 + 104 * column), SHARP * (4 + 104 * row)))


def _draw_map(page: Image.Image, places: np.ndarray, labels: np.ndarray, title: str) -> None:
    pen = ImageDraw.Draw(page)
    left, top, wide, high, radius = (SHARP * size for size in (345, 40, WIDTH - 375, HEIGHT - 60, 3.4))
    spots = np.stack([left + wide * places[:, 0], top + high * (1 - places[:, 1])], axis=1)
    seen, heard = np.split(spots, 2)
    for (x, y), label in zip(seen, labels, strict=True):
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), class_colour(int(label)))
    for (x, y), label in zip(heard, labels, strict=True):
        corners = [(x, y - 1.25 * radius), (x + 1.15 * radius, y + radius), (x - 1.15 * radius, y + radius)]
        pen.polygon(corners, class_colour(int(label)))
    pen.text((left, SHARP * 8), title, INK, font=_font(17))
    pen.text((page.width - SHARP * 10, SHARP * 10), "circles: pictures, triangles: sounds", MUTED,
             font=_font(12), anchor="ra")  # fmt: skip


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        prog="python -m avid_lab.course.showcase", description="Draw the README's pictures."
    )
    parser.add_argument("readme", type=Path, help="the page whose table is rewritten between its markers")
    parser.add_argument("images", type=Path, help="folder of the pictures")
    arguments = parser.parse_args()
    results = reference.results()
    text, found = MARKS.subn(rf"\g<1>\n{table(results)}\n\n\g<2>", arguments.readme.read_text(encoding="utf-8"))
    if not found:
        raise SystemExit(f"{arguments.readme}: no table between <!-- scores: ... --> and <!-- end of scores -->")
    with replacing(arguments.readme) as temporary:
        temporary.write_text(text, encoding="utf-8")
    arguments.images.mkdir(parents=True, exist_ok=True)
    figure = draw(scores_plot(results), None, (8.6, 3.6)).get_figure(root=True)
    assert figure is not None
    (arguments.images / "scores.png").write_bytes(encode(figure)[1])
    first, *others = film()
    options: dict[str, Any] = {"duration": 1000 // FPS, "loop": 0, "quality": 62, "method": 4}
    first.save(arguments.images / "film.webp", save_all=True, append_images=others, **options)


if __name__ == "__main__":
    main()

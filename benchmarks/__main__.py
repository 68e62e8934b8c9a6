"""``python -m benchmarks mining nce``: run sections, write results/*.json and a picture, print the rows of the docs."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

for name, value in (("OMP_WAIT_POLICY", "passive"), ("GOMP_SPINCOUNT", "0"), ("OPENBLAS_NUM_THREADS", "1")):
    os.environ.setdefault(name, value)

SECTIONS = ("mining", "nce", "loading", "streaming", "training", "step", "rendering", "gpu", "feel")
LONG = ("recipe", "calibration", "losses")  # half an hour to some hours: only when named
FOLDER = Path(__file__).parent / "results"


def main() -> int:
    """Measure, write, draw."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "sections",
        nargs="*",
        metavar="SECTION",
        help=f"some of {', '.join(SECTIONS)} (default: all), {', '.join(LONG)}",
    )
    parser.add_argument("--quick", action="store_true", help="the small cases only")
    parser.add_argument("--draw", action="store_true", help="measure nothing; draw and print earlier results")
    arguments = parser.parse_args()
    if unknown := set(arguments.sections) - {*SECTIONS, *LONG}:
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    FOLDER.mkdir(exist_ok=True)
    if not arguments.draw:
        from benchmarks.harness import machine

        for name in arguments.sections or SECTIONS:
            print(f"{name}:", flush=True)
            made = importlib.import_module(f"benchmarks.{name}").run(arguments.quick)
            command = f'make benchmark SECTIONS="{name}"' + " QUICK=--quick" * arguments.quick
            made = {"section": name, "command": command, "machine": machine(), **made}
            (FOLDER / f"{name}.json").write_text(json.dumps(made, indent=1) + "\n")
    results = [json.loads(path.read_text()) for name in SECTIONS if (path := FOLDER / f"{name}.json").exists()]
    draw(results, FOLDER / "ratios.png")
    print(table(results))
    return 0


def table(results: list[dict[str, Any]]) -> str:
    """A Markdown table of every candidate with a ratio."""
    lines = [
        "| | time | compared with | speed-up | target | share of the limit |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        first = {}
        for row in result.get("rows", []):
            reference = first.setdefault(row["case"], row)
            if row is reference:
                continue
            asked = "" if row["required"] is None else f"{row['required']:g}"
            time = f"{_time(row['median_s'])} a {row['unit']}"
            against = f"{reference['candidate']}, {_time(reference['median_s'])}"
            share = "" if row.get("share") is None else f"{row['share']:.0%}"
            what = f"{row['case']}: {row['candidate']}"
            lines.append(f"| {what} | {time} | {against} | {row['ratio']:.2f} | {asked} | {share} |")
    return "\n".join(lines)


def _time(seconds: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def draw(results: list[dict[str, Any]], path: Path) -> None:
    """Bars of the ratios, with a mark at the target."""
    from matplotlib.figure import Figure

    bars = [row for result in results for row in result.get("rows", []) if row["ratio"] is not None]
    if not bars:
        return
    figure = Figure(figsize=(9.5, 0.6 + 0.27 * len(bars)), layout="constrained")
    ax = figure.subplots()
    for place, row in enumerate(bars):
        colour = "#2563a8" if row["required"] else "#b9c2cc"
        ax.barh(place, row["ratio"], color=colour, height=0.7)
        share = "" if row.get("share") is None else f"   {row['share']:.0%} of the limit"
        reach, text = max(row["ratio"], row["required"] or 0), f"{row['ratio']:.2f}{share}"
        clear = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # of the line at 1
        ax.text(reach + 0.05, place, text, va="center", fontsize=8, bbox=clear)
        if row["required"]:
            ax.plot([row["required"]] * 2, [place - 0.42, place + 0.42], color="#c2410c", linewidth=2)
    ax.set_yticks(range(len(bars)), [f"{row['case']}: {row['candidate']}" for row in bars], fontsize=8)
    ax.invert_yaxis()
    ax.axvline(1, color="0.4", linewidth=0.8)
    ax.set_xlabel("speed-up over the first candidate of its case (orange: target)", fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)
    ax.margins(y=0.01)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    sys.exit(main())

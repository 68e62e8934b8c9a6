"""What the library survives, in figures: ``make survive``, or ``python -m benchmarks.survive --kills 500``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tests.kills import survive
from tests.mutations import fuzz

FIGURES = Path(__file__).parent / "results" / "survive.json"


def main() -> int:
    """Kill and damage everything; print two tables and write the totals."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.survive", description=__doc__)
    parser.add_argument("--kills", type=int, default=500, help="(default: %(default)s)")
    parser.add_argument("--cases", type=int, default=10_000, help="damaged files and texts (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    def report(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    counts = survive(arguments.kills, seed=arguments.seed, report=report)
    figures = fuzz(arguments.cases, seed=arguments.seed, report=report)
    print("| killed while | kills | resumed to the same result | problems |\n|---|---|---|---|")
    for name, count in counts.items():
        print(f"| {name} | {count.kills} | {count.resumed} | {len(count.problems)} |")
    print("\n| damaged | cases | refused with a reason | slowest | largest | undocumented errors |")
    print("|---|---|---|---|---|---|")
    for name, found in figures.items():
        slowest, largest = f"{found.slowest_s:.2f} s", f"{found.largest_mb:.0f} MB"
        print(f"| {name} | {found.cases} | {found.refused} | {slowest} | {largest} | {len(found.problems)} |")
    totals = {
        "kills": sum(count.kills for count in counts.values()),
        "lost, damaged or different": sum(len(count.problems) for count in counts.values()),
        "cases": sum(found.cases for found in figures.values()),
        "slowest case, s": round(max(found.slowest_s for found in figures.values()), 2),
        "largest case, MB": round(max(found.largest_mb for found in figures.values())),
        "undocumented errors": sum(len(found.problems) for found in figures.values()),
    }
    FIGURES.write_text(json.dumps(totals, indent=1) + "\n")
    print("\n" + ", ".join(f"{name}: {value}" for name, value in totals.items()))
    return int(totals["lost, damaged or different"] + totals["undocumented errors"] > 0)


if __name__ == "__main__":
    sys.exit(main())

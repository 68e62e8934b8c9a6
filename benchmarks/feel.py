"""Waiting times of users: imports, the command line, pictures that follow the mouse."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from benchmarks import panels
from benchmarks.harness import as_json, compare


def run(quick: bool) -> dict[str, Any]:
    """Seconds of a fresh process; `import avid_lab` is to take under 2 s beyond torch, `--help` under 1 s."""

    def python(*arguments: str) -> Any:
        return lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True)

    everything = "import avid_lab as al; al.AudioVisualModel, al.AVID, al.mine_positives, al.Trainer, al.ClipDataset"
    candidates = {
        "import torch": python("-c", "import torch"),
        "import avid_lab": python("-c", "import avid_lab"),
        "import avid_lab, all names of a notebook": python("-c", everything),
        "avid-lab --help": python("-m", "avid_lab", "--help"),
    }
    rows = compare("a fresh process", candidates, turns=3 if quick else 7, unit="start")
    seconds = {row.candidate: row.median_s for row in rows}
    beyond = seconds["import avid_lab, all names of a notebook"] - seconds["import torch"]
    print(f"  beyond torch: {beyond:.2f} s (wanted: under 2); --help {seconds['avid-lab --help']:.2f} s (under 1)")
    return {
        "beyond torch, s": beyond,
        "help, s": seconds["avid-lab --help"],
        "starts": as_json(rows),
        **panels.run(quick),
    }

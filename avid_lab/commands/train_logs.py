"""The logs that a run writes next to its checkpoint."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from avid_lab.atomic import replacing

if TYPE_CHECKING:
    from avid_lab.training import Step, Trainer


class Logs:
    """CSV files, and TensorBoard's on request; a resumed run continues from its last step."""

    def __init__(self, out: Path, trainer: Trainer, tensorboard: bool) -> None:
        self._log_path, self._checks_path = sibling(out, "log.csv"), sibling(out, "checks.csv")
        self._files: dict[Path, Any] = {}
        self._columns: dict[Path, list[str]] = {}
        if trainer.history:  # the checkpoint has every step, even if the file lost some
            self._begin(self._log_path, [step.row() for step in trainer.history])
        self._checks = _checks(self._checks_path, trainer.steps_done) if trainer.history else []
        if self._checks:
            self._begin(self._checks_path, self._checks)
        self._board = None
        if tensorboard:
            self._board = summary_writer()(str(sibling(out, "tensorboard")), purge_step=trainer.steps_done + 1)

    def step(self, step: Step) -> None:
        """Log a step."""
        row = step.row()
        self._write(self._log_path, row)
        if self._board is not None:
            for name, value in row.items():
                if name not in ("index", "total"):
                    self._board.add_scalar(name.replace(".", "/"), value, step.index)

    def check(self, step: Step, scores: Mapping[str, float]) -> None:
        """Log a live check after a step."""
        row = {"index": step.index, "epoch": step.epoch, **scores}
        self._checks.append(row)
        if set(row) <= set(self._columns.get(self._checks_path, ())):
            self._write(self._checks_path, row)
        else:  # the first check, or earlier ones had other scores
            self._begin(self._checks_path, self._checks)
        if self._board is not None:
            for name, value in scores.items():
                self._board.add_scalar(f"check/{name}", value, step.index)

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()
        if self._board is not None:
            self._board.close()

    def _begin(self, path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
        if path in self._files:
            self._files[path].close()
        columns = list(dict.fromkeys(name for row in rows for name in row))
        if path == self._log_path and "times.mining" not in columns:
            place = columns.index("times.memory") + 1 if "times.memory" in columns else len(columns)
            columns.insert(place, "times.mining")  # only some steps have it
        with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
        self._columns[path] = columns
        self._files[path] = path.open("a", newline="", buffering=1, encoding="utf-8")

    def _write(self, path: Path, row: Mapping[str, Any]) -> None:
        if path not in self._files:
            self._begin(path, [row])
        else:
            csv.DictWriter(self._files[path], self._columns[path]).writerow(row)


def _checks(path: Path, steps_done: int) -> list[dict[str, Any]]:
    """The checks up to a step; damaged lines are left out, with a word."""
    if not path.exists():
        return []
    whole, damaged = [], 0
    lines = path.read_bytes().decode("utf-8", "replace").replace("\0", "").splitlines()
    columns, *rows = [line.split(",") for line in lines] or [[""]]
    for row in rows:
        try:
            [float(value) for value in row if value]
            entry = dict(zip(columns, row, strict=True))
            index = int(entry["index"])
        except (ValueError, LookupError):
            damaged += 1
            continue
        if index <= steps_done:
            whole.append(entry)
    if damaged:
        tqdm.write(f"{path}: {damaged} damaged lines were left out")
    return whole


def sibling(out: Path, name: str) -> Path:
    """The file ``name`` of the checkpoint ``out``."""
    return out.with_name(name if out.stem == "checkpoint" else f"{out.stem}.{name}")


def summary_writer() -> Any:
    """TensorBoard's writer.

    Raises:
        ValueError: It is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        fix = 'pip install "avid-lab[tensorboard]", or leave --tensorboard out: log.csv is written anyway'
        raise ValueError(f"--tensorboard needs a package that is not installed ({error}). {fix}.") from error
    return SummaryWriter

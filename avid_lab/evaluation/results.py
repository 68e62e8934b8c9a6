"""Tables of estimates: the results of evaluations, for notebooks, commands and files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from avid_lab.metrics import Estimate


@dataclass(frozen=True, eq=False, repr=False)
class Table(Mapping[str, Estimate]):
    """Named numbers of one model, each with its interval, chance and value at random initialisation.

    A mapping of name to `Estimate`. ``a - b`` is the paired difference of two models on the same clips.

    Attributes:
        title: What was measured, and how.
        rows: The numbers by name, in order.
        note: What is needed to interpret them.
    """

    title: str
    rows: dict[str, Estimate]
    note: str = ""

    def __getitem__(self, name: str) -> Estimate:
        return self.rows[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def with_baseline(self, untrained: Mapping[str, Estimate] | None) -> Table:
        """A copy whose rows have an untrained network's values as ``random``, where it has them."""
        if untrained is None:
            return self
        rows = {
            name: replace(row, random=untrained[name].value) if name in untrained else row
            for name, row in self.rows.items()
        }
        return replace(self, rows=rows)

    def __sub__(self, other: Mapping[str, Estimate]) -> Table:
        rows = {name: row - other[name] for name, row in self.rows.items() if name in other}
        return Table(f"{self.title}: difference", rows, self.note)

    def text(self, other: Table | None = None, *, names: tuple[str, str] = ("value", "other")) -> str:
        """The table as plain text, optionally next to the same table of another model.

        Args:
            other: The table of another model on the same clips.
            names: Column headings of the two models.
        """
        width = max([len(name) for name in self.rows] + [8]) + 2
        headings = [names[0], "95 % interval", "random init", "chance"]
        headings += [names[1], "difference", "95 % interval"] if other is not None else []
        lines = [self.title, f"{'':<{width}}" + "".join(f"{heading:>16}" for heading in headings)]
        for name, row in self.rows.items():
            cells = [_number(row.value, row.percent), _interval(row)]
            cells += [_number(row.random, row.percent), _number(row.chance, row.percent)]
            if other is not None and name in other:
                difference = other[name] - row
                cells += [_number(other[name].value, row.percent), _number(difference.value, row.percent, sign=True)]
                cells.append(_interval(difference, sign=True))
            lines.append(f"{name:<{width}}" + "".join(f"{cell:>16}" for cell in cells).rstrip())
        return "\n".join([*lines, *([self.note] if self.note else [])])

    def __repr__(self) -> str:
        return self.text()

    def plain(self) -> dict[str, dict[str, float | bool | None]]:
        """Plain values for a JSON file; None where nothing was computed."""
        keys = ("value", "low", "high", "random", "chance")
        return {
            name: {key: _finite(getattr(row, key)) for key in keys} | {"percent": row.percent}
            for name, row in self.rows.items()
        }


def _number(value: float, percent: bool, *, sign: bool = False) -> str:
    if math.isnan(value):
        return "–"
    plus = "+" if sign else ""
    if percent:
        return f"{100 * value:{plus}.1f} %"
    return f"{value:{plus}.1f}" if abs(value) >= 10 else f"{value:{plus}.2f}"


def _interval(row: Estimate, *, sign: bool = False) -> str:
    low, high = (_number(x, row.percent, sign=sign).removesuffix(" %") for x in (row.low, row.high))
    return "–" if "–" in (low, high) else f"{low} to {high}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

"""The list of a dataset's clips, kept as a CSV file next to them."""

from __future__ import annotations

import codecs
import csv
import io
import math
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any, Literal, no_type_check

from avid_lab.archives import archive_of, is_url
from avid_lab.atomic import replacing

if TYPE_CHECKING:
    from jaxtyping import Int64
    from torch import Tensor

Streams = Literal["both", "video", "audio"]  # which streams of a clip are used

COLUMNS = ("id", "path", "label", "duration_s", "split")


@dataclass(frozen=True)
class Record:
    """One clip.

    Attributes:
        id: Unique name, the same on every machine.
        path: The file, relative to the manifest's folder, with forward slashes.
        label: Class, or "" if unknown.
        duration_s: Length in seconds, > 0.
        split: For example "train" or "test", or "" if there are no splits.
        extras: Any further columns, as text.
    """

    id: str
    path: str
    label: str
    duration_s: float
    split: str = ""
    extras: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Unusable:
    """A file that was left out, and why: ``reason`` is for counting, ``detail`` for reading."""

    path: str
    reason: str
    detail: str


class Manifest:
    """An ordered list of clips below one folder; row i is clip i, on every machine.

    As CSV (UTF-8): a header ``id,path,label,duration_s,split`` and any further columns, then one line per clip. Paths
    are relative to the manifest's folder and stay inside it.

    Args:
        root: Folder that the paths are relative to.
        records: Clips, in order; ids are unique.
        classes: All possible labels, sorted, if there are more than the records have. A selection keeps the classes of
            the whole, so that label numbers stay the same.
        unusable: Files that were left out when the manifest was made.
        url: Where the files are fetched from when they are needed, if the folder is the copy of one elsewhere.

    Raises:
        ValueError: An id occurs twice, a path leaves the folder, or a duration is not a positive number.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        records: Iterable[Record],
        *,
        classes: Sequence[str] | None = None,
        unusable: Sequence[Unusable] = (),
        url: str = "",
    ) -> None:
        self.root, self.url = Path(root), url
        self.records = list(records)
        self.unusable = tuple(unusable)
        seen: set[str] = set()
        for record in self.records:
            problem = _problem(record, seen)
            if problem:
                raise ValueError(f"record {record.id!r}: {problem}")
            seen.add(record.id)
        labels = {record.label for record in self.records}
        self.classes = tuple(sorted(labels | set(classes or ())))

    def __len__(self) -> int:
        return len(self.records)

    def __repr__(self) -> str:
        splits = ", ".join(f"{name or 'no split'} {count}" for name, count in sorted(self._splits().items()))
        return f"Manifest({len(self)} clips of {len(self.classes)} classes in {self.root}; {splits})"

    @cached_property
    @no_type_check
    def labels(self) -> Int64[Tensor, "N"]:
        """Class number of each clip: its index in ``classes``."""
        import torch  # imported here: making an index does not need torch, which takes a third of a gigabyte

        number = {name: i for i, name in enumerate(self.classes)}
        return torch.tensor([number[record.label] for record in self.records], dtype=torch.int64)

    def column(self, name: str) -> list[str]:
        """One column as text, in order: a fixed column or one of the extras.

        Raises:
            ValueError: There is no such column.
        """
        if name in COLUMNS:
            return [str(getattr(record, name)) for record in self.records]
        if not any(name in record.extras for record in self.records):
            known = [*COLUMNS, *self._extra_columns()]
            raise ValueError(f"the manifest has no column {name!r}; its columns are {', '.join(known)}")
        return [record.extras.get(name, "") for record in self.records]

    @no_type_check
    def select(self, mask: Sequence[bool] | Tensor | None = None, *, split: str | None = None) -> Manifest:
        """The clips of one split, or those where the mask is true; order and class numbers stay the same.

        Raises:
            ValueError: There is no such split, or the mask has the wrong length.
        """
        if split is not None and split not in self._splits():
            raise ValueError(f"no clip is in split {split!r}; there are {sorted(self._splits())}")
        if mask is not None and len(mask) != len(self):
            raise ValueError(f"mask must have one entry per clip, {len(self)}; got {len(mask)}")
        chosen = range(len(self)) if mask is None else [i for i, keep in enumerate(mask) if keep]
        return self.subset([i for i in chosen if split is None or self.records[i].split == split])

    def subset(self, indices: Iterable[int]) -> Manifest:
        """The clips at these indices, in this order, with the same class numbers."""
        return Manifest(self.root, [self.records[i] for i in indices], classes=self.classes, url=self.url)

    @cached_property
    def shards(self) -> list[int] | None:
        """The number of each clip's shard, in order of appearance; None if not all clips are in tar archives."""
        archives = [archive_of(PurePosixPath(record.path)) for record in self.records]
        if None in archives:
            return None
        numbers = {archive: i for i, archive in enumerate(dict.fromkeys(archives))}
        return [numbers[archive] for archive in archives]

    @property
    def has_classes(self) -> bool:
        """Whether there are at least two classes, so that scores by class make sense."""
        return len([name for name in self.classes if name]) > 1

    def path(self, index: int) -> Path:
        """The file of clip ``index``; of a remote set, it is fetched first.

        Raises:
            OSError: It cannot be fetched.
        """
        path = self.root / self.records[index].path
        if self.url:
            from avid_lab.datasets.remote import fetch

            fetch(self.url, self.root, path)
        return path

    def report(self) -> str:
        """The number of files left out, by reason, with an example of each; "" if there are none."""
        by_reason: dict[str, list[Unusable]] = {}
        for item in self.unusable:
            by_reason.setdefault(item.reason, []).append(item)
        lines = [f"{len(self)} clips usable, {len(self.unusable)} files left out:"] if self.unusable else []
        for reason, items in sorted(by_reason.items(), key=lambda entry: -len(entry[1])):
            names = ", ".join(item.path for item in items[:3]) + (", ..." if len(items) > 3 else "")
            lines.append(f"  {len(items):5d}  {reason}: {names}")
            lines.append(f"         {items[0].path}: {items[0].detail}")
        return "\n".join(lines)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Manifest:
        """Read a manifest; paths are relative to its folder. A URL (http or https) is copied here: see `remote`.

        Spreadsheet variants are accepted: semicolons or tabs, decimal commas, empty lines and columns, UTF-16.

        Raises:
            ValueError: The file is not a manifest; the message names file, line, rule and content.
            FileNotFoundError: There is no such file.
            OSError: The URL cannot be fetched.
        """
        url = ""
        if is_url(path):
            from avid_lab.datasets.remote import copy_manifest

            path, url = copy_manifest(str(path))
        path = Path(path)
        try:
            return cls(path.parent, _parse(path, csv_rows(csv_text(path), strict=True)), url=url)
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path}: not a manifest, which is a CSV file in UTF-8 (byte {error.start} is not). Make one with "
                f"`avid-lab data index`, or save it as CSV, UTF-8."
            ) from error

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the manifest as CSV, atomically.

        Args:
            path: Destination, in ``root`` or in a folder above it; paths are written relative to its folder.

        Raises:
            ValueError: The destination's folder does not contain the clips.
        """
        path = Path(path)
        above = place_below(path, self.root)
        extras = self._extra_columns()
        with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([*COLUMNS, *extras])
            for record in self.records:
                place = (above / record.path).as_posix()
                fixed = [record.id, place, record.label, repr(float(record.duration_s)), record.split]
                writer.writerow([*fixed, *(record.extras.get(name, "") for name in extras)])
        return path

    def _splits(self) -> Counter[str]:
        return Counter(record.split for record in self.records)

    def _extra_columns(self) -> list[str]:
        return list(dict.fromkeys(name for record in self.records for name in record.extras))


def place_below(path: Path, root: Path) -> PurePosixPath:
    """The path of ``root`` relative to the folder of a manifest at ``path``.

    Raises:
        ValueError: ``root`` is not in that folder or below it.
    """
    place = Path(os.path.relpath(root.absolute(), path.parent.absolute()))
    if ".." in place.parts:
        rule = "paths in a manifest stay inside its folder"
        raise ValueError(f"{rule}: write it to {root} or a folder above; got {path}")
    return PurePosixPath(place.as_posix())


def is_portable(path: str) -> bool:
    """Whether a path is relative and stays inside its folder on every operating system."""
    posix, windows = PurePosixPath(path), PureWindowsPath(path)
    return bool(path) and not posix.is_absolute() and not windows.anchor and ".." not in windows.parts


def begins_with(path: Path, columns: Sequence[str]) -> bool:
    """Whether this module wrote a file: its first line begins with these columns."""
    with path.open("rb") as file:
        return file.read(1000).decode("utf-8-sig", "replace").startswith(",".join(columns))


def csv_text(path: Path) -> str:
    """The text of a list, in UTF-8 or UTF-16."""
    content = path.read_bytes()
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if utf16 else "utf-8").lstrip("\ufeff")


def csv_rows(text: str, *, strict: bool = False, skipinitialspace: bool = False) -> Any:
    """A reader of CSV text; the separator is the most frequent of comma, semicolon and tab in the first line."""
    first = [line[:1000] for line in text.splitlines() if line.strip() and not line.startswith("#")][:1]
    separator = max(",;\t", key=lambda sign: len(next(csv.reader(first, delimiter=sign), [])))
    stream = io.StringIO(text, newline="")
    return csv.reader(stream, delimiter=separator, strict=strict, skipinitialspace=skipinitialspace)


def _problem(record: Record, seen: set[str]) -> str:
    """The problem of a record, or ""."""
    if not record.id:
        return "id must not be empty"
    if record.id in seen:
        return f"id must be unique; {record.id!r} occurs twice"
    if not is_portable(record.path):
        return f"path must be relative and stay inside the manifest's folder; got {record.path!r}"
    if not (math.isfinite(record.duration_s) and record.duration_s > 0):
        return f"duration_s must be a positive number of seconds; got {record.duration_s!r}"
    return ""


def _parse(path: Path, rows: Any) -> list[Record]:
    line = 1
    records: list[Record] = []
    seen: set[str] = set()
    try:
        header = [name.strip() for name in next(rows, [])]
        while header and not header[-1]:
            header.pop()
        if tuple(header[: len(COLUMNS)]) != COLUMNS or len(set(header)) != len(header) or not all(header):
            rule = f"the header must be {','.join(COLUMNS)}, optionally followed by further columns with other names"
            raise ValueError(f"{rule}; got {','.join(header)!r}")
        for row in rows:
            line = rows.line_num
            if not any(row):
                continue
            while len(row) > len(header) and not row[-1]:
                row.pop()
            if len(row) != len(header):
                raise ValueError(
                    f"a line must have {len(header)} fields, like the header; got {len(row)}. Quote commas"
                )
            try:
                duration_s = float(row[3].replace(",", "."))
            except ValueError:
                raise ValueError(f"duration_s must be a positive number of seconds; got {row[3]!r}") from None
            record = Record(row[0], row[1], row[2], duration_s, row[4], dict(zip(header[5:], row[5:], strict=True)))
            if problem := _problem(record, seen):
                raise ValueError(problem)
            seen.add(record.id)
            records.append(record)
    except (ValueError, csv.Error) as error:
        if isinstance(error, UnicodeDecodeError):
            raise
        raise ValueError(f"{path}, line {line}: {error}. Correct the line or make the manifest again.") from error
    return records

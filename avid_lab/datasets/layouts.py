"""Where the public sets keep their clips: a layout reads a set's own lists and finds the file of each clip listed.

No layout opens a video. Whatever does not fit is told: a clip without a file is "missing", a file that no list names
is "not listed". Paths in lists are only ever compared with the files that are there, so none leads out of the folder.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from avid_lab.datasets.manifest import Streams, Unusable

SPLITS = {"train": "train", "training": "train", "test": "test"}
SPLITS |= dict.fromkeys(("val", "valid", "validate", "validation"), "val")
UNLABELLED = "unlabelled"

# The 34 classes of "Look, Listen and Learn" (Arandjelovic and Zisserman, ICCV 2017) come from Kinetics before its
# release. 27 kept their names and 3 were renamed (blowing out, dribbling ball, mowing the lawn by pushing lawnmower);
# fingerpicking, patting, stomping and typing are no classes of Kinetics-400, so 30 are left.
KINETICS_SOUNDS = frozenset({
    "blowing nose", "blowing out candles", "bowling", "chopping wood", "dribbling basketball", "laughing",
    "mowing lawn", "playing accordion", "playing bagpipes", "playing bass guitar", "playing clarinet", "playing drums",
    "playing guitar", "playing harmonica", "playing keyboard", "playing organ", "playing piano", "playing saxophone",
    "playing trombone", "playing trumpet", "playing violin", "playing xylophone", "ripping paper", "shoveling snow",
    "shuffling cards", "singing", "tap dancing", "tapping guitar", "tapping pen", "tickling",
})  # fmt: skip


@dataclass(frozen=True)
class Candidate:
    """A clip whose file is there but not yet opened; the fields are those of `Record`."""

    id: str
    path: str
    label: str
    split: str = ""
    extras: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """A clip as a list names it: ``names`` are the names without extension that its file may have.

    A name with a slash is that of the file and of the folder it lies in.
    """

    id: str
    names: tuple[str, ...]
    label: str
    split: str = ""
    extras: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """One set.

    Attributes:
        entries: Reads the lists in ``(lists, fold)``; None for a plain folder, which has none.
        lists: Names of the list files, as a pattern.
        streams: What a clip of the set must have to be usable.
        folds: How many official divisions into training and test clips there are; 0 for one and only.
        classes: The labels that belong to the set, if not all that are listed.
    """

    entries: Callable[[Sequence[Path], int], Iterator[Entry]] | None
    lists: str = ""
    streams: Streams = "both"
    folds: int = 0
    classes: frozenset[str] | None = None


def candidates(
    root: Path, layout: str, fold: int, media: Sequence[str], others: Sequence[str]
) -> list[Candidate | Unusable]:
    """The clips of a folder, as `Candidate`, and all that is not one, as `Unusable`; in no particular order.

    Args:
        root: The folder.
        layout: A key of ``LAYOUTS``.
        fold: The official division into training and test clips, from 1 on.
        media: Paths of the media files, relative to the root.
        others: Paths of all other files.

    Raises:
        ValueError: No such layout or fold, no lists in the folder, or a line that is not as the set's lists are.
    """
    chosen = LAYOUTS[layout]
    if chosen.folds and not 1 <= fold <= chosen.folds:
        raise ValueError(f"fold must be from 1 to {chosen.folds} for {layout}; got {fold}")
    if chosen.entries is None:
        return [*map(_by_folder, media), *map(_no_video, others)]
    named = [path for path in others if re.fullmatch(chosen.lists, PurePosixPath(path).name)]
    entries = list(chosen.entries([root / path for path in named], fold))
    if not entries:
        rule = f"{layout} needs the set's own lists somewhere in the folder (files named like {chosen.lists})"
        raise ValueError(f"{rule}; {root} holds none. Put them there, or use --layout folder.")
    if chosen.folds and not any(entry.split for entry in entries):
        raise ValueError(f"{root} holds no list of fold {fold} of {layout}. Put it there, or choose another fold.")
    found = list(_match(entries, media, chosen.classes))
    return found + [_no_video(path) for path in sorted(set(others) - set(named))]


def _no_video(path: str) -> Unusable:
    return Unusable(path, "no video file", f"its name ends in {PurePosixPath(path).suffix or 'nothing'}")


def _by_folder(path: str) -> Candidate:
    """The class is the folder; a folder train, val or test above it is the split."""
    *folders, _ = path.split("/")
    split = SPLITS.get(folders[0].lower(), "") if folders else ""
    folders = folders[1:] if split else folders
    return Candidate(path, path, folders[0] if folders else UNLABELLED, split)


def _match(
    entries: Iterable[Entry], media: Sequence[str], classes: frozenset[str] | None
) -> Iterator[Candidate | Unusable]:
    files: dict[str, list[str]] = {}
    for path in media:
        pure = PurePosixPath(path)
        for name in (pure.stem, f"{pure.parent.name}/{pure.stem}"):
            files.setdefault(name, []).append(path)
    ids: set[str] = set()
    used: set[str] = set()
    for entry in entries:
        paths = [path for name in entry.names for path in files.get(name, [])]
        if classes is not None and entry.label not in classes:
            used.update(paths)
            yield from (Unusable(path, "another class", f"{entry.label!r} is no class of this set") for path in paths)
        elif entry.id in ids:
            yield Unusable(entry.id, "listed twice", f"as {entry.label!r}; the first time counts")
        elif not paths:
            yield Unusable(entry.id, "missing", f"listed as {entry.label!r}, and no file is called {entry.names[0]}.*")
        else:
            used.update(paths)
            yield Candidate(entry.id, paths[0], entry.label, entry.split, entry.extras)
            yield from (Unusable(path, "duplicate", f"the same clip as {paths[0]}") for path in paths[1:])
        ids.add(entry.id)
    yield from (Unusable(path, "not listed", "no list of the set names it") for path in media if path not in used)


def _kinetics(lists: Sequence[Path], fold: int) -> Iterator[Entry]:
    """``train.csv`` and so on: label,youtube_id,time_start,time_end,split; files ``<id>_<start>_<end>``, six digits."""
    for path in lists:
        rows = _rows(path)
        header = next(rows, (0, []))[1]
        if not {"youtube_id", "time_start", "time_end"} <= set(header):
            continue  # another csv file
        for line, row in rows:
            _require(len(row) == len(header), path, line, f"have {len(header)} fields, as the header", row)
            told = dict(zip(header, row, strict=True))
            start, end = (_seconds(path, line, told[name]) for name in ("time_start", "time_end"))
            name = f"{told['youtube_id']}_{int(start):06d}_{int(end):06d}"
            split = told.get("split", path.stem).lower()
            yield Entry(name, (name,), told.get("label", ""), SPLITS.get(split, split))  # test lists had no labels once


def _audioset(lists: Sequence[Path], fold: int) -> Iterator[Entry]:
    """``*_segments.csv``: three lines of comment, then id, start, end, "mid,mid"; ``class_labels_indices.csv`` names.

    The label is the first one listed; all are in the column ``labels``. The set does not say what files are called:
    ``<id>``, or with ``_<start>`` in milliseconds as its later label files do, or ``_<start>_<end>`` in seconds, six
    digits, as for Kinetics.
    """
    names: dict[str, str] = {}
    for path in (path for path in lists if path.name == "class_labels_indices.csv"):
        for line, row in _rows(path):
            _require(len(row) == 3, path, line, "be index,mid,display_name", row)
            names[row[1]] = row[2]
    for path in (path for path in lists if path.name.endswith("_segments.csv")):
        part = path.stem.removesuffix("_segments")
        for line, row in _rows(path):
            if row[0].startswith("#"):
                continue
            _require(len(row) == 4 and bool(row[3]), path, line, "be YTID, start_seconds, end_seconds, labels", row)
            start, end = (_seconds(path, line, text) for text in row[1:3])
            mids = row[3].split(",")
            files = (row[0], f"{row[0]}_{round(1000 * start)}", f"{row[0]}_{int(start):06d}_{int(end):06d}")
            extras = {"labels": ",".join(mids), "part": part}
            label = names.get(mids[0], mids[0])
            yield Entry(f"{row[0]}_{round(1000 * start)}", files, label, "test" if part == "eval" else "train", extras)


def _vggsound(lists: Sequence[Path], fold: int) -> Iterator[Entry]:
    """``vggsound.csv``, without a header: id, start, label, split; files ``<id>_<start>``, six digits."""
    for path in lists:
        for line, row in _rows(path):
            _require(len(row) == 4 and row[3] in ("train", "test"), path, line, "be id,start,label,train or test", row)
            start = int(_seconds(path, line, row[1]))
            name = f"{row[0]}_{start:06d}"
            yield Entry(name, (name, f"{name}_{start + 10:06d}"), row[2], row[3])


def _ucf101(lists: Sequence[Path], fold: int) -> Iterator[Entry]:
    """``trainlist01.txt`` ("Class/v_Class_g01_c01.avi 1") and ``testlist01.txt`` (no number), three folds of them."""
    splits: dict[str, dict[str, str]] = {}
    for path in lists:
        if path.name == "classInd.txt":
            continue  # the folder's name is the class
        for line, text in _lines(path):
            name = text.split(" ")[0]
            _require(name.count("/") == 1, path, line, 'be "Class/video.avi", in training lists with a number', text)
            splits.setdefault(name, {})[f"split{path.stem[-1]}"] = "train" if path.stem.startswith("train") else "test"
    for name, extras in splits.items():
        split = extras.get(f"split{fold}", "")
        yield Entry(name, (str(PurePosixPath(name).with_suffix("")),), name.split("/")[0], split, extras)


def _hmdb51(lists: Sequence[Path], fold: int) -> Iterator[Entry]:
    """``<class>_test_split<fold>.txt``: "video.avi 1"; 1 is for training, 2 for testing, 0 for neither."""
    use = {"0": "", "1": "train", "2": "test"}
    splits: dict[tuple[str, str], dict[str, str]] = {}
    for path in lists:
        label, _, number = path.stem.rpartition("_test_split")
        for line, text in _lines(path):
            name, _, part = text.strip().rpartition(" ")
            _require(bool(name) and part in use, path, line, 'be "video.avi" and 0, 1 or 2', text)
            splits.setdefault((label, name.strip()), {})[f"split{number}"] = use[part]
    for (label, name), extras in splits.items():
        names = (f"{label}/{PurePosixPath(name).stem}",)
        yield Entry(f"{label}/{name}", names, label, extras.get(f"split{fold}", ""), extras)


def _esc50(lists: Sequence[Path], fold: int) -> Iterator[Entry]:
    """``meta/esc50.csv``: filename,fold,target,category,...; the fold that is chosen is the test set, of five."""
    for path in lists:
        rows = _rows(path)
        header = next(rows, (0, []))[1]
        _require({"filename", "fold", "category"} <= set(header), path, 1, "name filename, fold and category", header)
        for line, row in rows:
            _require(len(row) == len(header), path, line, f"have {len(header)} fields, as the header", row)
            told = dict(zip(header, row, strict=True))
            split = "test" if told["fold"] == str(fold) else "train"
            names = (PurePosixPath(told["filename"]).stem,)
            yield Entry(told["filename"], names, told["category"], split, {"fold": told["fold"]})


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Lines of a csv file with their numbers, without empty ones."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, skipinitialspace=True)
            for row in reader:
                if row:
                    yield reader.line_num, row
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: no CSV file in UTF-8 ({error}). Get the list again.") from error


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of a text file with their numbers, without empty ones."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: no text in UTF-8 ({error}). Get the list again.") from error
    yield from ((number, line) for number, line in enumerate(lines, 1) if line.strip())


def _require(condition: bool, path: Path, line: int, rule: str, got: Any) -> None:
    if not condition:
        got = ",".join(got) if isinstance(got, list) else got
        raise ValueError(f"{path}, line {line}: a line must {rule}; got {got!r}. Get the set's own list again.")


def _seconds(path: Path, line: int, text: str) -> float:
    _require(re.fullmatch(r"\d+(\.\d+)?", text) is not None, path, line, "tell times as seconds", text)
    return float(text)


LAYOUTS: dict[str, Layout] = {
    "folder": Layout(None),
    "kinetics400": Layout(_kinetics, r".*\.csv"),
    "kinetics-sounds": Layout(_kinetics, r".*\.csv", classes=KINETICS_SOUNDS),
    "audioset": Layout(_audioset, r".*_segments\.csv|class_labels_indices\.csv"),
    "vggsound": Layout(_vggsound, r"vggsound\.csv"),
    # Half of UCF101 and most of HMDB51 is mute, and they are used for what is seen.
    "ucf101": Layout(_ucf101, r"(train|test)list0\d\.txt|classInd\.txt", "video", folds=3),
    "hmdb51": Layout(_hmdb51, r".*_test_split\d\.txt", "video", folds=3),
    "esc50": Layout(_esc50, r"esc50\.csv", "audio", folds=5),
}

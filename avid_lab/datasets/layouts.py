"""Layouts of public datasets: a layout reads a dataset's own lists and finds the file of each listed clip.

No layout opens a video. All mismatches are reported: a clip without a file is "missing", a file in no list is "not
listed", an unreadable line is a "bad line". Paths in lists are only compared with the files found, so none can lead
out of the folder.

Copies of a dataset name their files differently. Names are compared exactly first, then ignoring case. Clips of
YouTube videos are also matched by the video's id and the times in the name, as common download tools write them:
``<id>_30_40``, ``<id>_000030_000040``, ``<id>_30000`` (milliseconds), ``<id>_30.000``, ``Y<id>``, ``title [<id>]`` and
so on. Lists saved by a spreadsheet are accepted: other separators, a byte order mark, UTF-16, other column names.
"""

from __future__ import annotations

import csv
import difflib
import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

from avid_lab.datasets.manifest import Streams, Unusable, csv_rows, csv_text

SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test"}
SPLITS |= dict.fromkeys(("val", "valid", "validate", "validation"), "val")
UNLABELLED = "unlabelled"

# The 34 classes of "Look, Listen and Learn" (Arandjelovic and Zisserman, ICCV 2017) come from Kinetics before its
# release. 27 kept their names and 3 were renamed (blowing out, dribbling ball, mowing the lawn by pushing lawnmower);
# fingerpicking, patting, stomping and typing are not in Kinetics-400, which leaves 30.
KINETICS_SOUNDS = frozenset({
    "blowing nose", "blowing out candles", "bowling", "chopping wood", "dribbling basketball", "laughing",
    "mowing lawn", "playing accordion", "playing bagpipes", "playing bass guitar", "playing clarinet", "playing drums",
    "playing guitar", "playing harmonica", "playing keyboard", "playing organ", "playing piano", "playing saxophone",
    "playing trombone", "playing trumpet", "playing violin", "playing xylophone", "ripping paper", "shoveling snow",
    "shuffling cards", "singing", "tap dancing", "tapping guitar", "tapping pen", "tickling",
})  # fmt: skip


@dataclass(frozen=True)
class Candidate:
    """A clip whose file exists but is not opened yet: the fields of `Record`, and the video it was cut from."""

    id: str
    path: str
    label: str
    split: str = ""
    extras: dict[str, str] = field(default_factory=dict)
    video: str = ""


@dataclass(frozen=True)
class Entry:
    """A clip in a list.

    Attributes:
        id: Id of the clip.
        names: Possible names of its file, without extension; a name with a slash includes the folder.
        label: Its class.
        split: Its split.
        extras: Further columns.
        video: Id of the video that it was cut from, or ""; its file may be named by this id and times.
        start_s: Its start in that video, in seconds.
        end_s: Its end in that video, in seconds.
    """

    id: str
    names: tuple[str, ...]
    label: str
    split: str = ""
    extras: dict[str, str] = field(default_factory=dict)
    video: str = ""
    start_s: float = 0.0
    end_s: float = 0.0


@dataclass(frozen=True)
class Layout:
    """One dataset.

    Attributes:
        entries: Reads the lists in ``(lists, fold)``; None for a plain folder, which has none.
        lists: Pattern of the list files' names; case is ignored.
        streams: The streams that a usable clip must have.
        folds: Number of official divisions into training and test clips; 0 if there is only one.
        classes: The dataset's labels, if it has fewer than the lists.
    """

    entries: Callable[[Sequence[Path], int], Iterator[Entry | Unusable]] | None
    lists: str = ""
    streams: Streams = "both"
    folds: int = 0
    classes: frozenset[str] | None = None


class _BadLine(ValueError):
    """A line of a list that cannot be parsed."""


def candidates(
    root: Path, layout: str, fold: int, media: Sequence[str], others: Sequence[str]
) -> list[Candidate | Unusable]:
    """The clips of a folder as `Candidate`, and everything else as `Unusable`, in no particular order.

    Args:
        root: The folder.
        layout: A key of ``LAYOUTS``.
        fold: The official division into training and test clips, from 1.
        media: Paths of the media files, relative to the root.
        others: Paths of all other files.

    Raises:
        ValueError: There is no such layout or fold, or no usable list in the folder.
    """
    chosen = LAYOUTS[layout]
    if chosen.folds and not 1 <= fold <= chosen.folds:
        raise ValueError(f"fold must be from 1 to {chosen.folds} for {layout}; got {fold}")
    if chosen.entries is None:
        return [*map(_by_folder, media), *map(_no_video, others)]
    named = [path for path in others if re.fullmatch(chosen.lists, PurePosixPath(path).name, re.IGNORECASE)]
    lists, refused = _readable([root / path for path in named])
    read = list(chosen.entries(lists, fold))
    entries = [item for item in read if isinstance(item, Entry)]
    refused += [item for item in read if isinstance(item, Unusable)]
    if not entries:
        rule = f"{layout} needs the dataset's own lists somewhere in the folder (files named like {chosen.lists})"
        why = "".join(f"\n  {item.path}: {item.detail}" for item in refused[:10])
        got = f"none of the lists in {root} can be used:{why}\n" if refused else f"{root} holds none. "
        raise ValueError(f"{rule}; {got}Put them there, or use --layout folder.")
    if chosen.folds and not any(entry.split for entry in entries):
        raise ValueError(f"{root} contains no list of fold {fold} of {layout}. Add it, or choose another fold.")
    refused = [Unusable(_below(root, item.path), item.reason, item.detail) for item in refused]
    found = list(_match(entries, media, chosen.classes))
    return found + refused + [_no_video(path) for path in sorted(set(others) - set(named))]


def _readable(paths: Iterable[Path]) -> tuple[list[Path], list[Unusable]]:
    """The text files, and the others."""
    lists: list[Path] = []
    refused: list[Unusable] = []
    for path in paths:
        try:
            csv_text(path)
            lists.append(path)
        except (UnicodeDecodeError, OSError) as error:
            refused.append(
                Unusable(str(path), "not a list", f"it is not UTF-8 text ({error}). Download the list again.")
            )
    return lists, refused


def _below(root: Path, path: str) -> str:
    return path.removeprefix(str(root)).lstrip("/\\").replace("\\", "/")


def _no_video(path: str) -> Unusable:
    suffix = PurePosixPath(path).suffix
    return Unusable(path, "no video file", f"its name ends with {suffix}" if suffix else "its name has no extension")


def _by_folder(path: str) -> Candidate:
    """The folder is the class; a folder train, val or test above it is the split."""
    *folders, _ = path.split("/")
    split = SPLITS.get(folders[0].lower(), "") if folders else ""
    folders = folders[1:] if split else folders
    return Candidate(path, path, folders[0] if folders else UNLABELLED, split)


# ---- lists and files


def _match(
    entries: Sequence[Entry], media: Sequence[str], classes: frozenset[str] | None
) -> Iterator[Candidate | Unusable]:
    """Match entries with files, the most reliable kind of name first; each ends as a clip or as a reason."""
    wanted: dict[str, Entry] = {}
    for entry in entries:
        if entry.id in wanted:
            yield Unusable(entry.id, "listed twice", f"as {entry.label!r}; the first entry counts")
        else:
            wanted[entry.id] = entry
    free = dict.fromkeys(media)  # in order
    claimed: dict[str, list[str]] = {}
    for find in (_exactly(media), _regardless_of_case(media), *_by_video(wanted.values(), media)):
        for entry in wanted.values():
            if entry.id not in claimed and (paths := [path for path in find(entry) if path in free]):
                claimed[entry.id] = paths
                for path in paths:
                    del free[path]
    nearest = _Nearest(media)
    for entry in wanted.values():
        paths = claimed.get(entry.id, [])
        if classes is not None and entry.label not in classes:
            yield from (
                Unusable(path, "another class", f"{entry.label!r} is not a class of this dataset") for path in paths
            )
        elif not paths:
            yield Unusable(entry.id, "missing", f"listed as {entry.label!r}; {nearest.explain(entry)}")
        else:
            yield Candidate(entry.id, paths[0], entry.label, entry.split, entry.extras, entry.video)
            yield from (Unusable(path, "duplicate", f"the same clip as {paths[0]}") for path in paths[1:])
    yield from (Unusable(path, "not listed", "it is in none of the dataset's lists") for path in free)


Finder = Callable[[Entry], list[str]]


def _exactly(media: Sequence[str], key: Callable[[str], str] = str) -> Finder:
    files: dict[str, list[str]] = defaultdict(list)
    for path in media:
        pure = PurePosixPath(path)
        for name in (pure.stem, f"{pure.parent.name}/{pure.stem}"):
            files[key(name)].append(path)
    return lambda entry: list(dict.fromkeys(path for name in entry.names for path in files.get(key(name), [])))


def _regardless_of_case(media: Sequence[str]) -> Finder:
    return _exactly(media, str.casefold)


def _by_video(entries: Iterable[Entry], media: Sequence[str]) -> Iterator[Finder]:
    """Find files by a video's id and times: first in seconds, then in milliseconds, then by the id alone."""
    listed = Counter(entry.video for entry in entries if entry.video)
    files: dict[str, list[tuple[str, tuple[float, ...]]]] = defaultdict(list)
    for path in media if listed else ():
        for video, times in _readings(PurePosixPath(path).stem):
            if video in listed:
                files[video].append((path, times))
                break

    def by_times(entry: Entry, scale: float) -> list[str]:
        return [path for path, times in files.get(entry.video, []) if times and _same_times(times, entry, scale)]

    def by_id(entry: Entry) -> list[str]:
        """Without times, only if the list has a single clip of that video; otherwise the match is ambiguous."""
        alone = listed[entry.video] == 1
        return [path for path, times in files.get(entry.video, []) if alone and not times]

    yield partial(by_times, scale=1.0)
    yield partial(by_times, scale=1000.0)
    yield by_id


def _readings(stem: str) -> Iterator[tuple[str, tuple[float, ...]]]:
    """Each way to read a name as an id and up to two times; ids may contain ``_`` and ``-``."""
    tail = re.search(r"(?:[_\-., ]+\d+(?:\.\d+)?){1,2}$", stem)
    cuts = [match.start() for match in re.finditer(r"[_\-., ]+\d", stem)][-4:] if tail else []
    for cut in [*cuts, len(stem)]:
        times = re.fullmatch(r"[_\-., ]+(\d+(?:\.\d+)?)(?:[_\-, ]+(\d+(?:\.\d+)?))?", stem[cut:])
        if times is None and cut < len(stem):
            continue
        numbers = tuple(float(number) for number in times.groups() if number) if times else ()
        name = stem[:cut]
        yield name, numbers
        for prefix in ("Y", "v_", "yt_", "video_", "youtube_"):
            if name.startswith(prefix):
                yield name.removeprefix(prefix), numbers
        if bracketed := re.search(r"\[([\w-]+)\]$", name):
            yield bracketed[1], numbers
        if len(name) > 12 and name[-12] in "-_ ":
            yield name[-11:], numbers  # title-<id>


def _same_times(times: Sequence[float], entry: Entry, scale: float) -> bool:
    starts = {entry.start_s * scale, float(int(entry.start_s)) * scale}
    length = entry.end_s - entry.start_s
    ends = {entry.end_s * scale, float(int(entry.end_s)) * scale, length * scale}
    return any(abs(times[0] - x) < 0.0015 * scale for x in starts) and (
        len(times) == 1 or any(abs(times[1] - x) < 0.0015 * scale for x in ends)
    )


class _Nearest:
    """Explains a missing file: the name expected, and the nearest one that exists."""

    def __init__(self, media: Sequence[str]) -> None:
        self.files = sorted((PurePosixPath(path).stem.casefold(), path) for path in media)
        self.thorough = 100  # number of missing clips to compare with many names
        patterns = Counter(_pattern(PurePosixPath(path).stem) for path in media).most_common(1)
        self.pattern = f"most files are named like {patterns[0][0]}" if patterns else "there are no media files"

    def explain(self, entry: Entry) -> str:
        looked = f"no file is called {entry.names[0]}.*" + (" or by this id and these times" if entry.video else "")
        near = self._near(PurePosixPath(entry.names[0]).name.casefold())
        return f"{looked}; {f'the nearest is {near}' if near else self.pattern}"

    def _near(self, name: str) -> str:
        """The most similar of the alphabetical neighbours: fast for any number of files."""
        self.thorough -= 1
        reach = 500 if self.thorough > 0 else 3
        place = bisect_left(self.files, (name, ""))
        around = dict(self.files[max(0, place - reach) : place + reach])
        close = difflib.get_close_matches(name, around, 1)
        return around[close[0]] if close else ""


def _pattern(stem: str) -> str:
    """The pattern of a name, such as "<id>_<6 digits>"."""
    named = re.fullmatch(r"(Y|v_)?([\w-]{11})((?:[_\-., ]+\d+(?:\.\d+)?)*)", stem)
    head, rest = (f"{named[1] or ''}<id>", named[3]) if named else ("", stem)
    return head + re.sub(r"\d+", lambda digits: f"<{len(digits[0])} digits>", rest)


# ---- the sets

COLUMNS = {
    "video": ["youtube_id", "ytid", "yt_id", "youtubeid", "video_id", "videoid", "vid", "id", "youtube"],
    "start": ["time_start", "start_seconds", "start_time", "start", "start_s", "start_sec", "starttime"],
    "end": ["time_end", "end_seconds", "end_time", "end", "end_s", "end_sec", "endtime"],
    "label": ["label", "class", "category", "class_name", "action", "labels", "positive_labels", "display_name"],
    "split": ["split", "train/test_split", "subset", "set", "partition"],
}


def _kinetics(lists: Sequence[Path], fold: int) -> Iterator[Entry | Unusable]:
    """``train.csv`` and so on: label,youtube_id,time_start,time_end,split; files ``<id>_<start>_<end>``, six digits."""
    for path in lists:
        rows = list(_rows(path))
        first = rows[0][1] if rows else []
        columns = _columns(first)
        if {"video", "start", "end"} <= set(columns):
            yield from _each(path, rows[1:], partial(_kinetics_entry, columns, path.stem))
        else:
            rule = "a list has the columns label,youtube_id,time_start,time_end,split"
            yield Unusable(str(path), "not a list", f"{rule}; its first line is {','.join(first)!r}.")


def _kinetics_entry(columns: dict[str, int], part: str, row: list[str]) -> Entry:
    _require(len(row) > max(columns.values()), f"have {len(columns)} fields, like the header")
    video = _id(row[columns["video"]])
    start_s, end_s = _seconds(row[columns["start"]]), _seconds(row[columns["end"]])
    name = f"{video}_{int(start_s):06d}_{int(end_s):06d}"
    split = (row[columns["split"]] if "split" in columns else part).strip().lower()
    label = row[columns["label"]].strip() if "label" in columns else ""  # old test lists had no labels
    return Entry(name, (name,), label, SPLITS.get(split, split), {}, video, start_s, end_s)


def _audioset(lists: Sequence[Path], fold: int) -> Iterator[Entry | Unusable]:
    """``*_segments.csv``: three comment lines, then id, start, end, "mid,mid"; ``class_labels_indices.csv`` has names.

    The label is the first one listed; the column ``labels`` has all. The dataset does not specify file names. Accepted
    are ``<id>``, ``<id>_<start>`` in milliseconds as in its later label files, and ``<id>_<start>_<end>`` in seconds
    with six digits, as in Kinetics.
    """
    names: dict[str, str] = {}
    segments = []
    for path in lists:
        if "_segments" in path.stem.lower():
            segments.append(path)
            continue
        for line, row in _rows(path):
            if len(row) == 3:
                names[row[1]] = row[2]
            else:
                yield _bad(path, line, "a line must be index,mid,display_name", row)
    for path in segments:
        part = re.sub("_segments.*", "", path.stem, flags=re.IGNORECASE)
        yield from _each(path, _rows(path), partial(_audioset_entry, names, part))


def _audioset_entry(names: dict[str, str], part: str, row: list[str]) -> Entry | None:
    if row and (row[0].startswith("#") or row[0].lower() in COLUMNS["video"]):
        return None
    _require(len(row) >= 4 and bool(row[3]), "be YTID, start_seconds, end_seconds, labels")
    video, start_s, end_s = _id(row[0]), _seconds(row[1]), _seconds(row[2])
    mids = [mid.strip() for text in row[3:] for mid in text.split(",") if mid.strip()]
    _require(bool(mids), "have a label")
    split = "test" if part.lower().startswith("eval") else "train"
    name = f"{video}_{round(1000 * start_s)}"
    extras = {"labels": ",".join(mids), "part": part}
    return Entry(name, (name,), names.get(mids[0], mids[0]), split, extras, video, start_s, end_s)


def _vggsound(lists: Sequence[Path], fold: int) -> Iterator[Entry | Unusable]:
    """``vggsound.csv``, without a header: id, start, label, split; files ``<id>_<start>``, six digits."""
    for path in lists:
        rows = list(_rows(path))
        columns = _columns(rows[0][1] if rows else [])
        if {"video", "start", "label", "split"} <= set(columns):
            rows = rows[1:]
        else:
            columns = {"video": 0, "start": 1, "label": 2, "split": 3}
        yield from _each(path, rows, partial(_vggsound_entry, columns))


def _vggsound_entry(columns: dict[str, int], row: list[str]) -> Entry:
    split = SPLITS.get(row[columns["split"]].strip().lower()) if len(row) > max(columns.values()) else None
    _require(split in ("train", "test"), "be id,start,label,train or test")
    video, start_s = _id(row[columns["video"]]), _seconds(row[columns["start"]])
    name = f"{video}_{int(start_s):06d}"
    return Entry(name, (name,), row[columns["label"]].strip(), split or "", {}, video, start_s, start_s + 10)


def _ucf101(lists: Sequence[Path], fold: int) -> Iterator[Entry | Unusable]:
    """``trainlist01.txt`` ("Class/v_Class_g01_c01.avi 1") and ``testlist01.txt`` (no number), three folds of them."""
    splits: dict[str, dict[str, str]] = {}
    for path in lists:
        if path.stem.lower() == "classind":
            continue  # the folder is the class
        for line, text in _lines(path):
            name = text.split()[0].replace("\\", "/")
            if not all(name.partition("/")) or name.count("/") != 1:
                yield _bad(path, line, 'a line must be "Class/video.avi", followed by a number in training lists', text)
                continue
            split = "train" if path.stem.lower().startswith("train") else "test"
            splits.setdefault(name, {})[f"split{path.stem[-1]}"] = split
    for name, extras in splits.items():
        split = extras.get(f"split{fold}", "")
        yield Entry(name, (str(PurePosixPath(name).with_suffix("")),), name.split("/")[0], split, extras)


def _hmdb51(lists: Sequence[Path], fold: int) -> Iterator[Entry | Unusable]:
    """``<class>_test_split<fold>.txt``: "video.avi 1"; 1 is for training, 2 for testing, 0 for neither."""
    use = {"0": "", "1": "train", "2": "test"}
    splits: dict[tuple[str, str], dict[str, str]] = {}
    for path in lists:
        label, number = path.stem[: path.stem.lower().rindex("_test_split")], path.stem[-1]
        for line, text in _lines(path):
            name, part = ([*text.strip().rsplit(maxsplit=1), ""])[:2]
            if part not in use:
                yield _bad(path, line, 'a line must be "video.avi" and 0, 1 or 2', text)
                continue
            splits.setdefault((label, name), {})[f"split{number}"] = use[part]
    for (label, name), extras in splits.items():
        names = (f"{label}/{PurePosixPath(name).stem}",)
        yield Entry(f"{label}/{name}", names, label, extras.get(f"split{fold}", ""), extras)


def _esc50(lists: Sequence[Path], fold: int) -> Iterator[Entry | Unusable]:
    """``meta/esc50.csv``: filename,fold,target,category,...; the chosen fold of the five is the test set."""
    for path in lists:
        rows = list(_rows(path))
        header = [name.strip().lower() for name in rows[0][1]] if rows else []
        if not {"filename", "fold", "category"} <= set(header):
            yield _bad(path, 1, "a line must name filename, fold and category", header)
            continue
        yield from _each(path, rows[1:], partial(_esc50_entry, header, fold))


def _esc50_entry(header: list[str], fold: int, row: list[str]) -> Entry:
    _require(len(row) == len(header), f"have {len(header)} fields, like the header")
    known = dict(zip(header, map(str.strip, row), strict=True))
    _require(known["fold"] in tuple("12345"), "have a fold from 1 to 5")
    split = "test" if known["fold"] == str(fold) else "train"
    names = (PurePosixPath(known["filename"]).stem,)
    return Entry(known["filename"], names, known["category"], split, {"fold": known["fold"]})


def _ave(lists: Sequence[Path], fold: int) -> Iterator[Entry | Unusable]:
    """``Annotations.txt`` and ``trainSet.txt``, ``valSet.txt``, ``testSet.txt``: class&id&quality&start&end.

    A clip is a video. If it has several events, the columns ``labels`` and ``events`` have all of them (in seconds);
    its label is the first in its split. A few videos have events in two splits: the held-out one counts, so that no
    test clip is trained on.
    """
    events: dict[str, dict[tuple[str, str], str]] = {}  # by video: class and span, and their split
    for path in lists:
        split = SPLITS.get(path.stem.lower().removesuffix("set"), "")  # none in Annotations.txt, which has all events
        for line, text in _lines(path):
            fields = text.strip().split("&")
            if fields[:2] == ["Category", "VideoID"]:
                continue
            try:
                _require(len(fields) == 5, "be class&video id&quality&start&end")
                video, event = _id(fields[1]), (fields[0], f"{_seconds(fields[3]):g}-{_seconds(fields[4]):g}")
            except _BadLine as error:
                yield _bad(path, line, str(error), text)
                continue
            known = events.setdefault(video, {})
            known[event] = split or known.get(event, "")
    for video, known in events.items():
        splits = set(known.values()) - {""}
        split = next((name for name in ("test", "val", "train") if name in splits), "")
        label = next(label for (label, _), place in known.items() if place == split)
        extras = {"labels": ";".join(label for label, _ in known), "events": ";".join(span for _, span in known)}
        yield Entry(video, (video,), label, split, extras, video)
        if len(splits) > 1:
            places = " and ".join(f"{label!r} in {place}" for (label, _), place in known.items())
            yield Unusable(video, "in two splits", f"as {places}; it counts as {split}")


# ---- reading lists


def _each(
    path: Path, rows: Iterable[tuple[int, list[str]]], entry: Callable[[list[str]], Entry | None]
) -> Iterator[Entry | Unusable]:
    """The entry of each row, or a bad line."""
    for line, row in rows:
        try:
            made = entry(row)
        except _BadLine as error:
            yield _bad(path, line, str(error), row)
        else:
            if made is not None:
                yield made


def _bad(path: Path, line: int, rule: str, got: list[str] | str) -> Unusable:
    got = ",".join(got) if isinstance(got, list) else got
    return Unusable(f"{path}, line {line}", "bad line", f"{rule}; got {got!r}. Download the dataset's own list again.")


def _require(condition: bool, rule: str) -> None:
    if not condition:
        raise _BadLine(f"a line must {rule}")


def _columns(header: Sequence[str]) -> dict[str, int]:
    """The index of each column, under any of the names that lists use."""
    plain = [re.sub(r"[\s_]+", "_", name.strip().lstrip("#").strip().lower()) for name in header]
    found = {}
    for column, names in COLUMNS.items():
        place = next((plain.index(name) for name in names if name in plain), None)
        if place is not None:
            found[column] = place
    return found


def _id(text: str) -> str:
    """A video's id, unless a spreadsheet has replaced it because it begins with a minus or looks like a number."""
    text = text.strip().removeprefix("'")
    damaged = not text or text.startswith("#") or re.fullmatch(r"\d(\.\d+)?E\+\d+", text)
    _require(not damaged, "begin with the id of a video; spreadsheets replace ids that look like formulas or numbers")
    return text


def _seconds(text: str) -> float:
    """Seconds as a number, possibly with a decimal comma, or as h:mm:ss."""
    text = text.strip().replace(",", ".")
    _require(re.fullmatch(r"(\d+:){0,2}\d{1,7}(\.\d+)?(E\+0?\d)?", text) is not None, "give times as seconds")
    *larger, seconds = text.split(":")
    return sum(60 ** (len(larger) - i) * float(part) for i, part in enumerate(larger)) + float(seconds)


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Non-empty lines of a CSV file with their numbers; the separator is detected."""
    reader = csv_rows(csv_text(path), skipinitialspace=True)
    while True:
        try:
            row = next(reader, None)
        except csv.Error:
            row = [""]  # an unterminated field
        if row is None:
            return
        if row:
            yield reader.line_num, row


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Non-empty lines of a text file with their numbers."""
    lines = csv_text(path).splitlines()
    yield from ((number, line) for number, line in enumerate(lines, 1) if line.strip())


LAYOUTS: dict[str, Layout] = {
    "folder": Layout(None),
    "kinetics400": Layout(_kinetics, r".*\.csv"),
    "kinetics-sounds": Layout(_kinetics, r".*\.csv", classes=KINETICS_SOUNDS),
    "audioset": Layout(_audioset, r".*_segments.*\.csv|class_labels_indices\.csv"),
    "vggsound": Layout(_vggsound, r"vggsound.*\.csv"),
    # Half of UCF101 and most of HMDB51 have no sound; both serve to evaluate video only.
    "ucf101": Layout(_ucf101, r"(train|test)list0\d\.txt|classInd\.txt", "video", folds=3),
    "hmdb51": Layout(_hmdb51, r".*_test_split\d\.txt", "video", folds=3),
    "ave": Layout(_ave, r"(annotations|(train|val|test)set)\.txt"),
    "esc50": Layout(_esc50, r"esc50\.csv", "audio", folds=5),
}

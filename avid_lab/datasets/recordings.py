"""Checks of a whole dataset: duplicates, clips of one recording, splits without leaks, and a summary of problems."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from filecmp import cmp
from os.path import samefile
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from avid_lab.datasets.layouts import UNLABELLED
from avid_lab.datasets.manifest import Manifest, Record, Unusable
from avid_lab.spans import from_text, length_s, to_text, without

SAME_PICTURE, SAME_SOUND = 48, 72  # of 256 bits: copies of rendered clips differ by less, different clips by 60 and 95
ALONE = 3  # if a dataset has only picture or only sound, the limit is divided by this
TEST_SHARE = 5  # one clip in this many is for testing
OFFSET_S = 0.5  # a larger offset between picture and sound is reported

# Names that only number files and do not name a recording.
GENERIC = frozenset(
    {"audio", "camera", "clip", "data", "download", "dsc", "dscf", "dscn", "file", "gopr", "image", "img", "item"}
    | {"mov", "movie", "mvi", "output", "pxl", "rec", "record", "recording", "sample", "scene", "screen", "sound"}
    | {"screenrecording", "take", "test", "track", "train", "untitled", "val", "vid", "video", "whatsapp"}
)


class Groups:
    """Disjoint sets of the numbers 0 to n - 1; the smallest number of a set represents it."""

    def __init__(self, count: int) -> None:
        self.parent = list(range(count))

    def find(self, i: int) -> int:
        """The number that represents the set of ``i``."""
        while self.parent[i] != i:
            self.parent[i] = self.parent[self.parent[i]]
            i = self.parent[i]
        return i

    def join(self, i: int, j: int) -> None:
        """Merge two sets."""
        i, j = sorted((self.find(i), self.find(j)))
        self.parent[j] = i


def duplicates(paths: Sequence[Path], found: Sequence[dict[str, Any]]) -> Groups:
    """Join files that are identical, byte by byte, or look and sound the same; ``found`` are results of `look`."""
    groups = Groups(len(paths))
    by_digest: dict[str, list[int]] = defaultdict(list)
    for i, result in enumerate(found):
        by_digest[result["bytes"]].append(i)
    for members in by_digest.values():
        kinds: list[int] = []  # one file per content; nearly always there is one
        for i in members:
            same = next((j for j in kinds if samefile(paths[i], paths[j]) or cmp(paths[i], paths[j], False)), None)
            if same is None:
                kinds.append(i)
            else:
                groups.join(i, same)
    _join_alike(groups, *(_prints([result[sense] for result in found]) for sense in ("picture", "sound")))
    return groups


def _prints(texts: Sequence[str]) -> np.ndarray:
    """Fingerprints as words, (N, 4); zeros for files without one."""
    words = np.zeros((len(texts), 4), np.uint64)
    for i, text in enumerate(texts):
        if text:
            words[i] = np.frombuffer(bytes.fromhex(text), np.uint64)
    return words


def _join_alike(groups: Groups, picture: np.ndarray, sound: np.ndarray) -> None:
    """Join files with similar fingerprints; only pairs that share some 16 bits are compared."""
    seen, heard = (np.asarray(prints.any(axis=1)) for prints in (picture, sound))
    for prints, has in ((picture, seen), (sound, heard & ~seen)):
        for words in prints.view(np.uint16).T:
            order = np.flatnonzero(has)
            order = order[np.argsort(words[order], kind="stable")]
            edges = np.flatnonzero(np.diff(words[order])) + 1
            for bucket in np.split(order, edges):
                if len(bucket) > 1:
                    _join_bucket(groups, bucket, picture, sound, seen, heard)


def _join_bucket(
    groups: Groups, bucket: np.ndarray, picture: np.ndarray, sound: np.ndarray, seen: np.ndarray, heard: np.ndarray
) -> None:
    bucket = np.array(sorted({groups.find(int(i)) for i in bucket}))
    for place, i in enumerate(bucket[:-1]):
        others = bucket[place + 1 :]
        both = seen[i] & seen[others], heard[i] & heard[others]
        alone = ~(both[0] & both[1])
        one_lacks = (seen[i] != seen[others]) | (heard[i] != heard[others])
        near = ~one_lacks & (both[0] | both[1])
        for prints, has, limit in ((picture, both[0], SAME_PICTURE), (sound, both[1], SAME_SOUND)):
            distance = np.bitwise_count(prints[i] ^ prints[others]).sum(1)
            near &= ~has | (distance <= np.where(alone, limit // ALONE, limit))
        for j in others[near]:
            groups.join(int(i), int(j))


def join_siblings(groups: Groups, records: Sequence[Record], sources: Sequence[str]) -> None:
    """Join clips that were cut from one recording, by the list's own ids (``sources``) or by their names."""
    keys: dict[tuple[str, ...], list[int]] = defaultdict(list)
    numbered: dict[str, list[tuple[int, int]]] = defaultdict(list)  # base -> clip, number
    bases: dict[str, set[str]] = defaultdict(set)  # folder -> bases of the names in it
    for i, (record, source) in enumerate(zip(records, sources, strict=True)):
        path = PurePosixPath(record.path)
        base, number = _base(path.stem)
        if source:
            keys["source", source].append(i)
        else:
            place = str(path.parent) if _is_generic(base, record) else ""
            if place and PARTS.fullmatch(path.stem):
                keys["part", place, base].append(i)  # video_part1 belongs to this folder's video
            elif not place and number is not None:
                keys["name", "", f"{base}#"].append(i)
            elif not place:
                keys["name", record.label, base].append(i)
                if base != path.stem:
                    keys["name", "", base].append(i)
            if number is not None:
                numbered[base].append((i, number))
            bases[str(path.parent)].add(base)
    for base, clips in numbered.items():
        folders = {str(PurePosixPath(records[i].path).parent) for i, _ in clips}
        alone = all(len(bases[folder]) == 1 for folder in folders)
        steps = math.gcd(*(number - clips[0][1] for _, number in clips))
        if alone and steps <= 1:
            keys.pop(("name", "", f"{base}#"), None)  # only numbers the files of a folder
    for members in keys.values():
        for i in members[1:]:
            groups.join(members[0], i)


PARTS = re.compile(r"(.+?)[ _\-.]*(?:part|pt|seg|segment|chunk|clip|shot|cut)[ _\-.]*\d+", re.IGNORECASE)
COPY = re.compile(r"(.+?)[ _\-.]*(?:\(\d+\)|\bcopy(?: ?\(?\d+\)?)?)", re.IGNORECASE)


def _base(stem: str) -> tuple[str, int | None]:
    """The recording in a name, and the number at its end, if nothing else follows."""
    if bracketed := re.search(r"\[([\w-]{11})\]", stem):
        return f"[{bracketed[1]}]", None
    times = r"(?:[_\-., ]+\d+(?:\.\d+)?){1,2}"
    video = re.fullmatch(rf"(?:Y|v_|yt_)?([\w-]{{11}}){times}", stem)
    if video and re.search("[a-z]", video[1]) and re.search("[A-Z0-9]", video[1]):
        return f"[{video[1]}]", None
    if group := re.fullmatch(r"(.+_g\d+)_c\d+", stem):  # UCF101's groups
        return group[1], None
    if marked := PARTS.fullmatch(stem) or COPY.fullmatch(stem):
        return marked[1], None
    if number := re.fullmatch(r"(.*\D)(\d{1,9})", stem):
        return re.sub(r"[_\-., ]+\d+$", "", number[1].rstrip("_-., ")).rstrip("_-., "), int(number[2])
    return stem, None


def _is_generic(base: str, record: Record) -> bool:
    words = re.findall("[a-z]+", base.lower())
    name, label = "".join(words), re.sub("[^a-z]", "", record.label.lower())
    return len(name) < 3 or all(word in GENERIC for word in words) or name.rstrip("s") == label.rstrip("s")


def with_splits(records: Sequence[Record], recordings: Sequence[str]) -> tuple[list[Record], list[str]]:
    """If the folders give no split, make one clip in five of each class "test", the same on every machine.

    A recording is never divided: if some of its clips have a split, the others follow.

    Returns:
        The records, and the classes without a test clip because they have too few recordings.
    """
    members: dict[str, list[Record]] = defaultdict(list)
    for record, recording in zip(records, recordings, strict=True):
        members[recording].append(record)
    missing = Counter(record.label for record in records if not record.split)
    total = Counter(missing)
    missing = Counter({label: round(count / TEST_SHARE) for label, count in missing.items()})
    wanted = Counter(missing)
    split: dict[str, str] = {}
    free: list[tuple[bytes, str, Counter[str]]] = []
    for recording, clips in members.items():
        given = {clip.split for clip in clips} - {""}
        if given:
            split[recording] = "train" if "train" in given else min(given)
        else:
            first = min(clip.path for clip in clips)
            free.append((hashlib.sha256(first.encode()).digest(), recording, Counter(clip.label for clip in clips)))
    for _, recording, labels in sorted(free):
        gain = sum(abs(missing[c]) - abs(missing[c] - n) for c, n in labels.items())
        split[recording] = "test" if gain > 0 else "train"
        if gain > 0:
            missing.subtract(labels)
    by_size = sorted(free, key=lambda item: (item[2].total(), item[0]))
    for label in sorted(label for label, count in wanted.items() if count and missing[label] == count):
        holders = [recording for _, recording, labels in by_size if labels[label]]
        spare = [r for r in holders if split[r] == "train"]
        if len(holders) > 1 and spare and 2 * len(members[spare[0]]) <= total[label]:
            split[spare[0]] = "test"
            missing.subtract(Counter(clip.label for clip in members[spare[0]]))
    made = [r if r.split else replace(r, split=split[g]) for r, g in zip(records, recordings, strict=True)]
    return made, sorted(label for label, count in wanted.items() if count and missing[label] == count)


def trusted(manifest: Manifest, min_duration_s: float) -> Manifest:
    """The manifest with still and silent parts removed from ``both_s``, and without clips that become too short."""
    records, doubtful = [], []
    for record in manifest.records:
        extras = record.extras
        holes = from_text(extras["still"]) + from_text(extras["silent"])
        spans = without(from_text(extras["both_s"]), holes)
        spans = tuple(span for span in spans if span[1] - span[0] >= min_duration_s)
        if spans:
            share = f"{length_s(spans) / record.duration_s:.3f}"
            records.append(replace(record, extras={**extras, "both_s": to_text(spans), "both_share": share}))
        else:
            detail = f"no usable part: picture and sound {extras['both_s']}, still {extras['still'] or 'nowhere'}, "
            detail += f"silent {extras['silent'] or 'nowhere'} (seconds)"
            doubtful.append(Unusable(record.path, "doubtful", detail))
    unusable = sorted([*manifest.unusable, *doubtful], key=lambda item: (item.path, item.reason))
    return Manifest(manifest.root, records, classes=manifest.classes, unusable=unusable)


# ---- the summary


def summary(manifest: Manifest, min_duration_s: float, untested: Sequence[str] = ()) -> str:
    """The problems of a dataset, with the worst clips and what to do; "" if there are none."""
    records = manifest.records
    strict = trusted(manifest, min_duration_s)
    lines = [
        _line(records, "offset_s", lambda text: abs(float(text or 0)) * (abs(float(text or 0)) > OFFSET_S), " s",
              "picture and sound do not start together; only parts with both are used"),
        _line(records, "gaps", float, " gaps", "picture or sound has gaps; only parts with both are used"),
        _line(records, "restarts", float, " restarts", "timestamps jump back: joined recordings"),
        _line(records, "still", _seconds, " s", "the picture does not move; --strict leaves these parts out"),
        _line(records, "silent", _seconds, " s", "silence of a second or more; --strict leaves these parts out"),
        _line(records, "cancelled", bool, "", "the sound's channels cancel each other; only one is used"),
        _line(records, "damaged", float, " packets", "damaged: frames repeat or sound is silent there"),
        _line(records, "hdr", bool, "", "HDR, shown as SDR"),
        _line(records, "duplicate_of", bool, "", "duplicate of an earlier clip"),
    ]  # fmt: skip
    lines += _leaks(records)
    loose = [record.path for record in records if record.label == UNLABELLED]
    if loose and len(loose) < len(records):
        names = ", ".join(loose[:3]) + (", ..." if len(loose) > 3 else "")
        lines.append(f"{len(loose):7d}  lie beside the class folders; their class is {UNLABELLED!r}: {names}")
    spellings: dict[str, set[str]] = defaultdict(set)
    for record in records:
        spellings[" ".join(record.label.casefold().split())].add(record.label)
    if alike := [" and ".join(sorted(names)) for names in spellings.values() if len(names) > 1]:
        names = "; ".join(alike[:3])
        lines.append(f"{len(alike):7d}  class names have several spellings, each a separate class: {names}")
    if {record.split for record in records} == {"train"} and not untested:
        lines.append("     There is no test clip: add clips, or a folder named test.")
    if untested:
        names = ", ".join(untested[:5]) + (", ..." if len(untested) > 5 else "")
        lines.append(
            f"{len(untested):7d}  classes have no test clip because they are one recording: {names}. Add recordings."
        )
    sizes = Counter(record.extras["recording"] for record in records)
    several = [(count, name) for name, count in sizes.items() if count > 1]
    if several:
        count, name = max(several)
        lines.append(f"{len(several):7d}  recordings have several clips, at most {count} ({name})")
    lines = [line for line in lines if line]
    if not lines:
        return ""
    whole_s, kept_s = (sum(length_s(from_text(r.extras["both_s"])) for r in m.records) for m in (manifest, strict))
    lost = len(records) - len(strict.records)
    if whole_s - kept_s > 0.05:
        lines.append(f"  --strict leaves out {lost} clips and {whole_s - kept_s:.1f} s of {whole_s:.1f} s.")
    return "\n".join([f"Remarks on these {len(records)} clips:", *lines])


def _seconds(text: str) -> float:
    return length_s(from_text(text))


def _line(records: Sequence[Record], column: str, badness: Callable[[str], float], unit: str, what: str) -> str:
    """The number of clips that a column flags, and the worst three."""
    found = [(float(badness(record.extras[column])), record) for record in records]
    worst = sorted((item for item in found if item[0]), key=lambda item: (-item[0], item[1].path))
    names = ", ".join(f"{r.path} ({bad:.3g}{unit})" if unit else f"{r.path}" for bad, r in worst[:3])
    return f"{len(worst):7d}  {what}: {names}{', ...' if len(worst) > 3 else ''}" if worst else ""


def _leaks(records: Iterable[Record]) -> list[str]:
    """Recordings with clips both in training and in another split, which official lists may contain."""
    splits: dict[str, dict[str, str]] = defaultdict(dict)
    for record in records:
        splits[record.extras["recording"]].setdefault(record.split, record.path)
    leaks = [places for places in splits.values() if "train" in places and len(places.keys() - {"train", ""})]
    if not leaks:
        return []
    names = "; ".join(" and ".join(places.values()) for places in leaks[:3])
    return [f"{len(leaks):7d}  recordings have clips in train and in another split; the given splits are kept: {names}"]

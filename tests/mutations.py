"""Damages files and texts at random and reads them: only documented errors may come, in bounded time and memory.

`python -m tests.mutations 2000` prints the figures. Cases run in forks, one after the other, so that a crash of a
decoder is seen and costs one case.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import os
import random
import resource
import select
import shutil
import signal
import struct
import sys
import tarfile
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a fork must not inherit a pool of threads

import av
import numpy as np
import torch

from avid_lab import checkpoints, media
from avid_lab.commands import train
from avid_lab.commands.train_logs import Logs
from avid_lab.config import PRESETS, AudioSpec, TrainConfig, VideoSpec
from avid_lab.course import student, working
from avid_lab.datasets import Manifest, index_folder
from avid_lab.datasets.prepare import prepare
from avid_lab.fetching import STATISTICS
from avid_lab.fetching.unpack import unpack
from avid_lab.interactive import CalibrationExplorer, LiveTraining
from avid_lab.interactive.rebuild import rebuild
from avid_lab.interactive.state import unpack as unpack_state
from avid_lab.official import load_official, load_official_memory, released_pipeline
from avid_lab.reference import runs
from tests.kills import MODEL, Place, serving

LIMIT_S = 10.0  # processor time of a case
LIMIT_MB = 600  # growth of the process in a case
SILENT_S = 180.0  # wall time after which a case hangs
BATCH = 40  # cases in a process

FRAMES, AUDIO = VideoSpec(4, 8.0, 16), AudioSpec(8000, 0.5, 16, n_fft=64)


@dataclass(frozen=True)
class Family:
    """One kind of thing to damage.

    Attributes:
        name: What it is.
        share: Of all cases.
        feed: Makes a case from a random generator in an empty folder and reads it.
        documented: The errors that may come.
    """

    name: str
    share: float
    feed: Callable[[random.Random, Path], object]
    documented: tuple[type[Exception], ...] = ()


@dataclass
class Figures:
    """What happened to the cases of a family."""

    cases: int = 0
    refused: int = 0
    slowest_s: float = 0.0
    largest_mb: float = 0.0
    problems: list[str] = field(default_factory=list)


JUNK: Sequence[Any] = (None, True, False, -1, 0, 1, 2.5, 1e308, float("nan"), float("inf"), 10**30, 2**63, "")
JUNK = (*JUNK, "x" * 5000, "\0", "../../x", "é\ud800", [], {}, [[]], {"x": [None]}, [1, "a"], "1,2", "true", "Infinity")


def bent(data: bytes, rng: random.Random) -> bytes:
    """Bytes with some damage."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        place = rng.randrange(len(out) + 1)
        size = rng.choice((1, 2, 4, 8, 64, 1024))
        kind = rng.randrange(7)
        if kind == 0:
            out[place : place + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            out[place : place + size] = bytes(size)
        elif kind == 2:
            out[place : place + size] = b"\xff" * size
        elif kind == 3:
            out[place : place + size] = rng.randbytes(size)
        elif kind == 4:
            del out[place : place + size]
        elif kind == 5:
            start = rng.randrange(len(out) + 1)
            out[place:place] = out[start : start + size]
        elif rng.random() < 0.3:
            del out[place:]
        else:
            out[place : place + 4] = struct.pack(rng.choice("<>") + "I", rng.choice((0, 1, 2**31 - 1, 2**32 - 1)))
    return bytes(out)


def bent_tree(tree: Any, rng: random.Random, junk: Sequence[Any] = JUNK) -> Any:
    """Nested dictionaries and lists with some values replaced, removed or moved."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.choice((1, 1, 2))):
        node, steps = tree, rng.randrange(1, 5)
        for _ in range(steps):
            keys = list(node) if isinstance(node, dict) else list(range(len(node))) if isinstance(node, list) else []
            if not keys:
                break
            key = rng.choice(keys)
            inner = node[key]
            if isinstance(inner, dict | list) and inner and rng.random() < 0.7:
                node = inner
                continue
            kind = rng.random()
            if kind < 0.25:
                del node[key]
            elif kind < 0.35 and isinstance(node, dict):
                node[rng.choice(("x", "", "id", 3))] = node.pop(key)
            else:
                node[key] = copy.deepcopy(rng.choice(junk))
            break
    return rng.choice(junk) if rng.random() < 0.03 else tree


def bent_json(tree: Any, rng: random.Random) -> bytes:
    """JSON of a damaged tree, or damaged JSON."""
    if rng.random() < 0.3:
        return bent(json.dumps(tree).encode(), rng)
    if rng.random() < 0.03:
        return b"[" * 100_000
    return json.dumps(bent_tree(tree, rng)).encode("utf-8", "surrogatepass")


class Cases:
    """Everything that is damaged, made once."""

    def __init__(self, folder: Path, address: str) -> None:
        self.place = Place(folder, address)
        self.folder = folder
        self.media = [path.read_bytes() for path in sorted(write_media(folder / "media"))]
        self.names = [path.name for path in sorted((folder / "media").iterdir())]
        self.table = (self.place.manifest.root / "manifest.csv").read_bytes()
        trainer = self.place.trainer()
        trainer.step()
        self.trainer = trainer
        self.saved = self.place.checkpoint.read_bytes()
        self.content = torch.load(self.place.checkpoint, weights_only=True)
        self.run_json = {"preset": None, "objective": "avid", "start": None, "weights": None, "world": "smoke"}
        self.run_json |= {"data": None, "loss": {"cross": 1.0, "k": 3, "agreement": "union"}, "made_with": {}}
        self.run_json["train"] = {"steps": 3, "compile": False, "ema": 0.9, "schedule": "step", "milestones": [0.5]}
        run = runs.Run(
            "cross", 0, MODEL, [1.0, 2.0], 1.0, {"python": "3"}, trainer.model.state_dict(),
            trainer.pipeline.state_dict(), trainer.objective.memory, {"v2a": 1.0}, [],
        )  # fmt: skip
        self.reference = run.save(folder / "cross-0.safetensors").read_bytes()
        self.indexed = folder / "indexed"
        self.indexed.mkdir()
        self.place.index(self.indexed)
        self.prepared = folder / "prepared"
        self.prepared.mkdir()
        self.place.prepare(self.prepared)
        self.sharded = folder / "sharded"
        self.sharded.mkdir()
        self.place.prepare(self.sharded, shards=4)
        self.built = folder / "built"
        self.place.build(self.built)
        self.decoded = folder / "decoded"
        self.batch = self.place.decode(self.decoded).batch(torch.arange(4))
        os.environ["AVID_LAB_STUDENT"] = str(folder / "student")
        for i in range(3):
            student.write("notes", f"00-{i}", text="what I saw", values={"x": i})
        self.notes = json.loads((folder / "student" / "progress.json").read_text())
        working.copy(self.place.course, folder / "mine")
        self.record = json.loads((folder / "mine" / working.RECORD).read_text())
        trainer.history.clear()
        self.panel_state = CalibrationExplorer(*self.spaces()).state
        live = LiveTraining(self.place.trainer())
        self.live_state = live.state + "&changes=1.temperature:0.2,2.loss:nce_loss"
        live.close()
        with io.BytesIO() as file:
            np.savez(file, mean=np.zeros(200, np.float32), std=np.ones(200, np.float32))
            self.statistics = file.getvalue()
        self.archives = list(write_archives(folder / "archives"))

    def families(self) -> list[Family]:
        bad = checkpoints.CheckpointError
        return [
            Family("media", 0.26, self.read_media, (media.MediaError,)),
            Family("clips in shards", 0.04, self.read_shard, (media.MediaError, OSError)),
            Family("manifests", 0.12, self.read_manifest, (ValueError,)),
            Family("journals of an index", 0.05, self.index_again, (ValueError,)),
            Family("journals of copies", 0.03, self.prepare_again, (ValueError,)),
            Family("worlds", 0.04, self.build_again),
            Family("decoded clips", 0.04, self.decode_again),
            Family("run.json", 0.08, self.read_config, (ValueError,)),
            Family("logs", 0.04, self.continue_logs),
            Family("checkpoints", 0.12, self.load, (bad,)),
            Family("reference runs", 0.06, self.read_run, (ValueError,)),
            Family("statistics", 0.02, self.read_statistics, (bad,)),
            Family("archives", 0.02, self.unpack, (OSError,)),
            Family("notes", 0.05, self.read_notes),
            Family("copies of the course", 0.02, self.copy_course),
            Family("states", 0.15, self.restore, (ValueError,)),
        ]

    def spaces(self) -> tuple[Any, Any]:
        rows = np.random.default_rng(0).normal(size=(2, 8, 4))
        return {"A": (rows[0], rows[1]), "B": (rows[1], rows[0])}, np.arange(8) % 2

    def read_media(self, rng: random.Random, folder: Path) -> None:
        number = rng.randrange(len(self.media))
        path = folder / self.names[number]
        path.write_bytes(bent(self.media[number], rng))
        media.probe(path)
        media.read_clip(path, 0.3, FRAMES, AUDIO)

    def read_shard(self, rng: random.Random, folder: Path) -> None:
        record = rng.choice(Manifest.read(self.sharded / "out" / "manifest.csv").records)
        path = folder / record.path
        path.parent.parent.mkdir(exist_ok=True)
        path.parent.write_bytes(bent((self.sharded / "out" / record.path).parent.read_bytes(), rng))
        media.probe(path)

    def read_manifest(self, rng: random.Random, folder: Path) -> None:
        path = folder / "manifest.csv"
        path.write_bytes(bent(self.table, rng))
        manifest = Manifest.read(path)
        manifest.write(folder / "again.csv")
        assert Manifest.read(folder / "again.csv").records == manifest.records
        for i in range(len(manifest)):
            os.path.commonpath([folder, os.path.normpath(manifest.path(i))])
            assert folder in Path(os.path.normpath(manifest.path(i))).parents, f"{manifest.path(i)} is outside"

    def again(self, rng: random.Random, source: Path, folder: Path, names: Sequence[str]) -> Path:
        """A copy of a folder in which one of some files is damaged."""
        copied = folder / "copy"
        shutil.copytree(source, copied, copy_function=os.link)
        path = rng.choice([path for name in names for path in sorted(copied.rglob(name))])
        content = bent(path.read_bytes(), rng)
        path.unlink()
        path.write_bytes(content)
        return copied

    def index_again(self, rng: random.Random, folder: Path) -> None:
        copied = self.again(rng, self.indexed, folder, [".manifest.csv.seen", "manifest.csv", "manifest.unusable.csv"])
        index_folder(copied, out=copied / "manifest.csv", workers=0, progress=False)
        for name in ("manifest.csv", "manifest.unusable.csv"):
            assert (copied / name).read_bytes() == (self.indexed / name).read_bytes(), f"another {name}"

    def prepare_again(self, rng: random.Random, folder: Path) -> None:
        copied = self.again(rng, self.prepared, folder, [".prepared", "out/manifest.csv"])
        prepare(self.place.manifest, copied / "out", size=32, fps=8.0, workers=0, progress=False)
        expected = (self.prepared / "out" / "manifest.csv").read_bytes()
        assert (copied / "out" / "manifest.csv").read_bytes() == expected, "another manifest"

    def build_again(self, rng: random.Random, folder: Path) -> None:
        copied = self.again(rng, self.built, folder, ["manifest.csv", "manifest.csv", "*.mp4", "config.json"])
        self.place.build(copied)
        for path in self.built.rglob("*"):
            if path.suffix == ".mp4":
                assert (copied / path.relative_to(self.built)).read_bytes() == path.read_bytes(), f"another {path.name}"
        found, expected = (Manifest.read(next(root.rglob("manifest.csv"))) for root in (copied, self.built))
        for ours, theirs in zip(found.records, expected.records, strict=True):
            assert (ours.id, ours.path, ours.label, ours.split) == (theirs.id, theirs.path, theirs.label, theirs.split)

    def decode_again(self, rng: random.Random, folder: Path) -> None:
        copied = self.again(rng, self.decoded, folder, ["meta.json", "index.npz"])
        batch = self.place.decode(copied).batch(torch.arange(4))
        assert all(torch.equal(batch[name], value) for name, value in self.batch.items()), "another batch"

    def read_config(self, rng: random.Random, folder: Path) -> None:
        path = folder / "run.json"
        path.write_bytes(bent_json(self.run_json, rng))
        content = train._read_config(path)
        TrainConfig(**content["train"])
        train.LossConfig(**content["loss"])

    def continue_logs(self, rng: random.Random, folder: Path) -> None:
        path = folder / "checks.csv"
        path.write_bytes(bent(b"index,epoch,video kNN\r\n1,0.5,0.25\r\n2,1.0,0.5\r\n", rng))
        (folder / "log.csv").write_bytes(rng.randbytes(100))
        self.trainer.history[:] = self.history()
        with contextlib.redirect_stderr(io.StringIO()):
            Logs(folder / "checkpoint.pt", self.trainer, False).close()

    def history(self) -> list[Any]:
        return checkpoints.from_columns(self.content["history"])

    def load(self, rng: random.Random, folder: Path) -> None:
        path = folder / "checkpoint.pt"
        if rng.random() < 0.5:
            path.write_bytes(bent(self.saved, rng))
        else:
            tensors = (torch.zeros(3), torch.zeros(0), torch.ones(2, 2, dtype=torch.int64))
            tensors = (*tensors, torch.zeros(1).expand(10**9))
            torch.save(bent_tree(self.content, rng, (*JUNK[:13], *tensors, [], {}, "x")), path)
        readers = [checkpoints.load_model, checkpoints.load_objective, checkpoints.load_weights, load_official]
        readers += [load_official_memory, lambda path: checkpoints.load_model(path, ema=True), self.resume]
        each([lambda reader=reader: reader(path) for reader in readers], checkpoints.CheckpointError)

    def resume(self, path: Path) -> None:
        before = {name: value.clone() for name, value in self.trainer.model.state_dict().items()}
        try:
            checkpoints.resume(path, self.trainer)
        except checkpoints.CheckpointError:
            now = self.trainer.model.state_dict()
            same = (torch.allclose(now[name], value, 0, 0, equal_nan=True) for name, value in before.items())
            assert all(same), "the trainer has changed"  # an accepted file may hold weights that are no numbers
            raise

    def read_run(self, rng: random.Random, folder: Path) -> None:
        path = folder / "cross-0.safetensors"
        if rng.random() < 0.5:
            path.write_bytes(bent(self.reference, rng))
        else:  # its facts
            size = struct.unpack("<Q", self.reference[:8])[0]
            header = json.loads(self.reference[8 : 8 + size])
            facts = json.loads(header["__metadata__"]["run"])
            header["__metadata__"]["run"] = bent_json(facts, rng).decode("utf-8", "replace")
            text = json.dumps(header).encode()
            path.write_bytes(struct.pack("<Q", len(text)) + text + self.reference[8 + size :])
        run = runs.read(path)
        run.model(), run.pipeline(), run.objective()

    def read_statistics(self, rng: random.Random, folder: Path) -> None:
        (folder / STATISTICS.place).parent.mkdir(parents=True, exist_ok=True)
        (folder / STATISTICS.place).write_bytes(bent(self.statistics, rng))
        released_pipeline(folder / "weights.pth.tar", PRESETS["paper"])

    def unpack(self, rng: random.Random, folder: Path) -> None:
        name, content = rng.choice(self.archives)
        inside = folder / "inside"
        inside.mkdir()
        (inside / name).write_bytes(bent(content, rng))
        try:
            unpack(inside / name, progress=False)
        finally:
            assert [path.name for path in folder.iterdir()] == ["inside"]

    def read_notes(self, rng: random.Random, folder: Path) -> None:
        os.environ["AVID_LAB_STUDENT"] = str(folder)
        (folder / "progress.json").write_bytes(bent_json(self.notes, rng))
        with contextlib.redirect_stdout(io.StringIO()):
            student.record()
            assert student.write("notes", "00-9", text="new"), "not saved"
            assert student.record()["notes"]["00-9"]["text"] == "new"

    def copy_course(self, rng: random.Random, folder: Path) -> None:
        shutil.copytree(self.folder / "mine", folder / "mine")
        (folder / "mine" / "00_start.ipynb").write_text("edited")
        (folder / "mine" / working.RECORD).write_bytes(bent_json(self.record, rng))
        working.copy(self.place.course, folder / "mine", update=rng.random() < 0.5)
        assert (folder / "mine" / "00_start.ipynb").read_text() == "edited"

    def restore(self, rng: random.Random, folder: Path) -> None:
        state = rng.choice((self.panel_state, self.live_state))
        if rng.random() < 0.5:
            state = bent(state.encode(), rng).decode("utf-8", "replace")
        else:
            pairs = [pair.partition("=")[::2] for pair in state.split("&")]
            place = rng.randrange(len(pairs))
            value = str(rng.choice((*JUNK, "[" * 20_000, "9" * 5000, "{}", "null", "NaN", "1e400", '"')))
            pairs[place] = (pairs[place][0], value)
            state = "&".join(f"{name}={value}" for name, value in pairs)
        each(
            [
                lambda: CalibrationExplorer(*self.spaces(), state=state).close(),
                lambda: LiveTraining(self.place.trainer(), state=state).close(),
                lambda: rebuild(unpack_state(state), self.place.clips),
            ],
            ValueError,
        )


def each(functions: Sequence[Callable[[], object]], documented: type[Exception]) -> None:
    """Call all of them; raise the documented error if any did, and any other at once."""
    refused: Exception | None = None
    for function in functions:
        try:
            function()
        except documented as error:
            refused = error
    if refused is not None:
        raise refused


def write_media(folder: Path) -> Iterator[Path]:
    """A second of picture and sound in several containers."""
    folder.mkdir(parents=True)
    kinds = {
        "a.mp4": ("libx264", "aac", 24_000),
        "a.mkv": ("libx264", "aac", 24_000),
        "a.mov": ("mpeg4", "aac", 24_000),
        "a.flv": ("flv1", "aac", 22_050),
        "a.avi": ("mpeg4", "pcm_s16le", 8000),
        "a.ts": ("mpeg2video", "mp2", 16_000),
        "a.webm": ("libvpx", "libopus", 24_000),
        "a.wav": ("", "pcm_s16le", 8000),
        "a.ogg": ("", "libvorbis", 24_000),
    }
    for name, (picture, sound, rate) in kinds.items():
        path = folder / name
        try:
            with av.open(str(path), "w") as container:
                video = container.add_stream(picture, rate=25) if picture else None
                if video is not None:
                    video.width, video.height, video.pix_fmt = 48, 32, "yuv420p"
                audio = container.add_stream(sound, rate=rate)
                audio.layout = "mono"
                if video is not None:
                    for i in range(25):
                        image = np.full((32, 48, 3), 10 * i, np.uint8)
                        image[:, i : i + 8] = 255 - 10 * i
                        container.mux(video.encode(av.VideoFrame.from_ndarray(image)))
                    container.mux(video.encode())
                wave = (8000 * np.sin(np.arange(rate) * 0.3)).astype(np.int16)[None]
                frame = av.AudioFrame.from_ndarray(wave, "s16", "mono")
                frame.rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
                size = audio.frame_size or 0
                for part in av.AudioResampler(audio.format, "mono", rate, frame_size=size).resample(frame):
                    container.mux(audio.encode(part))
                container.mux(audio.encode())
        except (av.error.FFmpegError, ValueError):  # this build of FFmpeg lacks the encoder
            path.unlink(missing_ok=True)
            continue
        yield path


def write_archives(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of small archives."""
    folder.mkdir()
    for name in ("a.zip", "a.tar", "a.tar.gz"):
        path = folder / name
        if name.endswith("zip"):
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                for i in range(3):
                    archive.writestr(f"x/{i}.txt", "words " * 50)
        else:
            with tarfile.open(path, "w:gz" if name.endswith("gz") else "w") as archive:
                for i in range(3):
                    entry = tarfile.TarInfo(f"x/{i}.txt")
                    entry.size = 300
                    archive.addfile(entry, io.BytesIO(b"words " * 50))
        yield name, path.read_bytes()


def fuzz(cases: int, *, seed: int = 0, only: str = "", report: Callable[[str], None] = print) -> dict[str, Figures]:
    """Damage and read ``cases`` things, divided among the families.

    Args:
        cases: How many.
        seed: Of the damage.
        only: Part of the name of the families to take; by default all.
        report: Is told what was done.

    Returns:
        By the name of the family; problems are undocumented errors, crashes, and cases beyond the limits.
    """
    torch.set_num_threads(1)
    figures: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory() as root, serving() as address:
        everything = Cases(Path(root) / "place", address)
        families = [family for family in everything.families() if only in family.name]
        whole = sum(family.share for family in families)
        for family in families:
            begun = time.monotonic()
            numbers = list(range(max(1, round(cases * family.share / whole))))
            found = figures[family.name] = Figures()
            while numbers:
                numbers = _run(family, numbers, seed, Path(root) / "case", found)
            report(
                f"{family.name}: {found.cases} cases, {found.refused} refused, slowest {found.slowest_s:.2f} s, "
                f"largest {found.largest_mb:.0f} MB, {len(found.problems)} problems, {time.monotonic() - begun:.0f} s"
            )
            for problem in found.problems:
                report(problem)
    return figures


def _run(family: Family, numbers: list[int], seed: int, folder: Path, figures: Figures) -> list[int]:
    """Run cases in a child until it has done `BATCH` of them, crashes or hangs; return those that are left."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1), os.dup2(null, 2)
            for number in numbers[:BATCH]:
                os.write(writing, (json.dumps(_case(family, number, seed, folder)) + "\n").encode())
        finally:
            os._exit(0)
    os.close(writing)
    done, hangs = 0, False
    with os.fdopen(reading, "rb", 0) as pipe:
        rest = b""
        while True:
            if not select.select([pipe], [], [], SILENT_S)[0]:
                hangs = True
                os.kill(child, signal.SIGKILL)
            if not (some := pipe.read(2**16)):
                break
            *lines, rest = (rest + some).split(b"\n")
            for line in lines:
                entry = json.loads(line)
                done += 1
                figures.cases += 1
                figures.refused += entry["refused"]
                figures.slowest_s = max(figures.slowest_s, entry["seconds"])
                figures.largest_mb = max(figures.largest_mb, entry["mb"])
                where = f"{family.name}, case {numbers[done - 1]} of seed {seed}"
                if entry["problem"]:
                    figures.problems.append(f"{where}: {entry['problem']}")
                if entry["seconds"] > LIMIT_S or entry["mb"] > LIMIT_MB:
                    figures.problems.append(f"{where}: {entry['seconds']:.1f} s and {entry['mb']:.0f} MB")
    status = os.waitpid(child, 0)[1]
    shutil.rmtree(folder, ignore_errors=True)
    if done < min(BATCH, len(numbers)):
        figures.cases += 1
        what = "hangs" if hangs else f"ends the process with status {status}"
        figures.problems.append(f"{family.name}, case {numbers[done]} of seed {seed}: {what}")
        done += 1
    return numbers[done:]


def _case(family: Family, number: int, seed: int, folder: Path) -> dict[str, Any]:
    rng, problem, refused = random.Random(f"{seed} {family.name} {number}"), "", False
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    try:
        family.feed(rng, folder)
    except family.documented as error:
        refused = True
        if not str(error):
            problem = f"{type(error).__name__} without a word"
    except BaseException:
        problem = traceback.format_exc()[-6000:]
    seconds = time.process_time() - begun
    mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {"problem": problem, "refused": refused, "seconds": seconds, "mb": mb}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="?", type=int, default=10_000)
    parser.add_argument("--only", default="", help="part of a family's name")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    made = fuzz(arguments.cases, seed=arguments.seed, only=arguments.only)
    problems = sum(len(found.problems) for found in made.values())
    slowest, largest = (max(getattr(f, name) for f in made.values()) for name in ("slowest_s", "largest_mb"))
    cases = sum(found.cases for found in made.values())
    print(f"{cases} cases, slowest {slowest:.2f} s, largest {largest:.0f} MB, {problems} problems")
    sys.exit(problems > 0)

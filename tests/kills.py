"""Kills work at chosen moments, resumes it, and compares the result with that of work that was never interrupted.

`python -m tests.kills 60` prints the figures. A kill is a signal that the work cannot handle, either just before its
n-th change of a file in its folder, or after a share of its processor time. The work runs in forks of one process that
has imported everything, so a kill costs milliseconds.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import hashlib
import io
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a fork must not inherit a pool of threads

import nbformat
import torch
from tqdm import tqdm

from avid_lab import checkpoints, cli, foley
from avid_lab.config import PRESETS, AudioSpec, TrainConfig, VideoSpec
from avid_lab.course import publish, student, working
from avid_lab.datasets import ClipDataset, Manifest, index_folder
from avid_lab.datasets.prepare import prepare
from avid_lab.encoders import AudioVisualModel
from avid_lab.fetching.transfer import download
from avid_lab.foley import FoleyConfig
from avid_lab.objectives import AVID
from avid_lab.training import Trainer

WORLD = FoleyConfig(clips=8, size=64, fps=8.0, duration_s=1.0, scenes=("gong", "drum"))
MODEL = replace(
    PRESETS["pocket"],
    video=VideoSpec(4, 8.0, 16),
    audio=AudioSpec(24_000, 0.5, 16),
    video_widths=(4, 4, 4, 8, 8),
    audio_widths=(4, 4, 4, 8, 8),
    head=(8,),
    dim=16,
)
CHANGES = ("open", "os.rename", "os.remove", "os.mkdir", "os.truncate", "os.rmdir", "mmap.__new__")  # audit events
BY_TIME = 0.3  # share of the kills after some processor time
PER_FOLDER = 3  # kills before the work is let end
HANGS_S = 300  # work takes seconds: it hangs
NOTES = 12


@dataclass(frozen=True)
class Work:
    """Something that can be interrupted at any moment.

    Attributes:
        name: What it is.
        run: Does or resumes it in a folder.
        result: What must be the same in the end; by default all visible files.
        whole: Whether a visible file must be the final one as soon as it is there.
        check: Looks at a folder just after a kill.
    """

    name: str
    run: Callable[[Path], object]
    result: Callable[[Path], Any] = field(default=lambda folder: files(folder))
    whole: bool = True
    check: Callable[[Path], None] = lambda folder: None


@dataclass
class Count:
    """Figures of one kind of work."""

    kills: int = 0
    resumed: int = 0
    problems: list[str] = field(default_factory=list)


def files(folder: Path) -> dict[str, str]:
    """The digest of every visible file."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            found[name.as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


class Place:
    """What all works share: a world, a checkpoint, a server, a course."""

    def __init__(self, folder: Path, address: str) -> None:
        os.environ["AVID_LAB_DATA"] = str(folder / "data")
        os.environ["JUPYTER_DATA_DIR"] = str(folder / "jupyter")  # signatures of notebooks
        self.folder, self.address = folder, address
        self.manifest = foley.build(WORLD, folder / "world", workers=0, progress=False)
        halves = [replace(record, split="train" if i % 4 else "test") for i, record in enumerate(self.manifest.records)]
        self.split = Manifest(self.manifest.root, halves).write(self.manifest.root / "split.csv")
        self.clips = self.streamed()
        self.clips.batch(torch.arange(2))
        self.checkpoint = folder / "checkpoint.pt"
        trainer = self.trainer()
        trainer.step()
        checkpoints.save(self.checkpoint, trainer)
        checkpoints.resume(self.checkpoint, self.trainer())  # imports what forks would each import again
        checkpoints.load_model(self.checkpoint)
        self.course = folder / "course"
        self.course.mkdir()
        for name in ("00_start", "01_see", "02_hear", "03_end"):
            cells = [nbformat.v4.new_markdown_cell(f"{name} " * 500), nbformat.v4.new_code_cell("1 + 1")]
            nbformat.write(nbformat.v4.new_notebook(cells=cells), self.course / f"{name}.ipynb")
        self.source = folder / "00_short.py"
        self.source.write_text("# %% [markdown]\n# # Short\n\n# %%\n1 + 1\n")

    def streamed(self) -> ClipDataset:
        specs: dict[str, Any] = {"video": MODEL.video, "audio": MODEL.audio}
        return ClipDataset(self.manifest, **specs, cache=False, workers=0, progress=False)

    def trainer(self) -> Trainer:
        generator = torch.Generator().manual_seed(0)
        objective = AVID(len(self.clips), MODEL.dim, num_negatives=4, generator=generator)
        config = TrainConfig(steps=8, batch_size=4, seed=3, device="cpu")
        return Trainer(AudioVisualModel(MODEL, seed=0), objective, self.clips, config)

    def works(self) -> list[Work]:
        return [
            Work("building a world", self.build, self.built, whole=False),
            Work("decoding", self.decode, self.decoded, whole=False),
            Work("indexing", self.index),
            Work("preparing copies", self.prepare),
            Work("preparing shards", partial(self.prepare, shards=3)),
            Work("streaming training", self.train, self.trained, whole=False),
            Work("mining", self.mine),
            Work("fetching", self.fetch),
            Work("publishing", self.publish),
            Work("saving notes", self.note, self.noted, whole=False, check=self.noted_so_far),
            Work("copying the course", lambda folder: working.copy(self.course, folder / "mine")),
            Work("restoring a notebook", self.restore, self.restored, whole=False),
        ]

    def build(self, folder: Path) -> None:
        foley.build(replace(WORLD, clips=4), folder, workers=0, progress=False)

    def built(self, folder: Path) -> Any:
        return {name: digest for name, digest in files(folder).items() if not name.endswith("config.json")}

    def decode(self, folder: Path) -> ClipDataset:
        os.environ["AVID_LAB_DATA"] = str(folder)
        specs: dict[str, Any] = {"video": MODEL.video, "audio": MODEL.audio}
        return ClipDataset(self.manifest, **specs, cache=True, workers=0, progress=False)

    def decoded(self, folder: Path) -> Any:
        assert not list(folder.rglob("*.part"))
        batch = self.decode(folder).batch(torch.arange(len(self.manifest)))
        return {name: hashlib.sha256(value.numpy().tobytes()).hexdigest() for name, value in batch.items()}

    def index(self, folder: Path) -> None:
        for i in range(len(self.manifest)):
            link = folder / f"class {i % 2}" / f"{i}.mp4"
            link.parent.mkdir(exist_ok=True)
            if not link.exists():
                os.link(self.manifest.path(i), link)
        (folder / "class 1" / "no video.txt").write_text("words")
        index_folder(folder, out=folder / "manifest.csv", workers=0, progress=False)

    def prepare(self, folder: Path, shards: int | None = None) -> None:
        prepare(self.manifest, folder / "out", size=32, fps=8.0, shards=shards, workers=0, progress=False)

    def train(self, folder: Path) -> None:
        trainer, out = self.trainer(), folder / "run.pt"
        if out.exists():
            checkpoints.resume(out, trainer)
        for _ in trainer:
            checkpoints.save(out, trainer)

    def trained(self, folder: Path) -> Any:
        trainer = self.trainer()
        checkpoints.resume(folder / "run.pt", trainer)
        digest = hashlib.sha256()
        for value in [*trainer.model.state_dict().values(), trainer.objective.memory.video]:
            digest.update(value.numpy().tobytes())
        return digest.hexdigest(), [step.loss for step in trainer.history]

    def mine(self, folder: Path) -> None:
        options = ["--data", str(self.split), "--decode", "stream", "--workers", "0"]
        options += ["-k", "2", "--out", str(folder / "positives.csv")]
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            assert cli.main(["mine", str(self.checkpoint), *options]) == 0, said.getvalue()

    def fetch(self, folder: Path) -> None:
        download(self.address, folder / "a.bin", sha256=hashlib.sha256(DATA).hexdigest(), progress=False)

    def publish(self, folder: Path) -> None:
        publish.build(self.source, folder, execute=False)

    def note(self, folder: Path) -> None:
        os.environ["AVID_LAB_STUDENT"] = str(folder)
        kept = student.record()["notes"]
        for name in [*(f"00-{i}" for i in range(NOTES)), "last"]:
            if (name not in kept or name == "last") and student.write("notes", name, text=name):
                with (folder / "confirmed").open("a") as file:
                    file.write(f"{name}\n")

    def noted(self, folder: Path) -> Any:
        os.environ["AVID_LAB_STUDENT"] = str(folder)
        assert not list(folder.glob("*damaged*"))
        return {name: note["text"] for name, note in student.record()["notes"].items()}

    def noted_so_far(self, folder: Path) -> None:
        confirmed = (folder / "confirmed").read_text().split() if (folder / "confirmed").exists() else []
        lost = set(confirmed) - set(self.noted(folder))
        assert not lost, f"notes were lost: {lost}"

    def restore(self, folder: Path) -> None:
        working.copy(self.course, folder)
        if (folder / "00_start.ipynb").read_text() != "edited" and not list(folder.glob("*.old-*")):
            (folder / "00_start.ipynb").write_text("edited")
        if (folder / "00_start.ipynb").read_text() == "edited":
            working.reset(self.course, folder, "00")
        working.copy(self.course, folder)

    def restored(self, folder: Path) -> Any:
        return {name: path.read_text() for path in folder.glob("*.ipynb") if "edit" not in (name := path.name)}


DATA = bytes(range(256)) * 8000  # 2 MB


class Server(BaseHTTPRequestHandler):
    """Serves `DATA`, also by byte ranges."""

    def do_GET(self) -> None:
        ranged = self.headers.get("Range", "")
        body = DATA
        if ranged:
            first, last = ranged.removeprefix("bytes=").split("-")
            body = DATA[int(first) : int(last or len(DATA) - 1) + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{int(first) + len(body) - 1}/{len(DATA)}")
        else:
            self.send_response(200)
        self.send_header("ETag", '"one"')
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):  # the other side was killed
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """A server in a process of its own; its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        process = os.fork()
        if process == 0:
            with contextlib.suppress(BaseException):
                server.serve_forever()
            os._exit(0)
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/a.bin"
        finally:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)


class Watch:
    """Counts the changes of files below a folder, and kills this process before the one of a given number."""

    def __init__(self) -> None:
        self.folder, self.seen, self.last = "", 0, -1
        sys.addaudithook(self.look)

    def look(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.folder or event not in CHANGES:
            return
        path = arguments[0] if arguments else ""
        if event == "mmap.__new__" or (isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self.folder)):
            if self.seen == self.last:
                os.kill(os.getpid(), signal.SIGKILL)
            self.seen += 1


def fork(function: Callable[[], object]) -> tuple[int, str]:
    """Run a function in a child, for `HANGS_S` at most; its wait status, and its traceback if it failed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reading)
            signal.alarm(HANGS_S)
            tqdm.set_lock(threading.RLock())  # its own lock is shared by forks, and a killed child never gives it back
            function()
            code = 0
        except BaseException:
            os.write(writing, traceback.format_exc()[-60_000:].encode())
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode("utf-8", "replace")
    return os.waitpid(child, 0)[1], said


def survive(kills: int, *, seed: int = 0, only: str = "", report: Callable[[str], None] = print) -> dict[str, Count]:
    """Kill every kind of work, ``kills`` times in all, and compare.

    Args:
        kills: How many.
        seed: Of the moments.
        only: Part of the name of the works to kill; by default all.
        report: Is told what was done.

    Returns:
        By the name of the work; problems are descriptions of what was lost, damaged or different.
    """
    torch.set_num_threads(1)
    watch = Watch()
    counts: dict[str, Count] = {}
    with tempfile.TemporaryDirectory() as root, serving() as address:
        place = Place(Path(root) / "place", address)
        works = [work for work in place.works() if only in work.name]
        for number, work in enumerate(works):
            share = kills // len(works) + (number < kills % len(works))
            begun = time.monotonic()
            rng = random.Random(f"{seed} {number}")
            count = counts[work.name] = _kill(work, share, Path(root) / f"work {number}", watch, rng)
            took = time.monotonic() - begun
            report(f"{work.name}: {count.kills} kills, {len(count.problems)} problems, {took:.0f} s")
            for problem in count.problems:
                report(problem)
    return counts


def _kill(work: Work, kills: int, root: Path, watch: Watch, rng: random.Random) -> Count:
    count = Count()
    whole = root / "whole"
    whole.mkdir(parents=True)
    environment = dict(os.environ)

    def measured() -> None:
        watch.folder = str(whole)
        work.run(whole)
        watch.folder = ""
        used = resource.getrusage(resource.RUSAGE_SELF)
        (root / "measured").write_text(f"{watch.seen} {used.ru_utime + used.ru_stime}")

    gc.collect()
    status, said = fork(measured)
    if status:
        count.problems.append(f"{work.name} fails without a kill: {said}")
        return count
    changes, seconds = (root / "measured").read_text().split()
    expected, final = work.result(whole), files(whole)
    folder, left = root / "0", PER_FOLDER
    folder.mkdir()

    def interrupted(folder: Path, change: int, after_s: float) -> None:
        if after_s:
            signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends the process, as a kill does
            signal.setitimer(signal.ITIMER_PROF, after_s)
        else:
            watch.last, watch.folder = change, str(folder)
        work.run(folder)

    tries = 0
    while count.kills < kills and tries < 4 * kills + 20:
        tries += 1
        by_time = rng.random() < BY_TIME
        when = max(rng.random() * float(seconds), 1e-4) if by_time else 0.0
        change = rng.randrange(max(int(changes), 1))
        what = f"{work.name}, killed {f'after {when:.4f} s' if by_time else f'at change {change}'}"
        status, said = fork(partial(interrupted, folder, change, when))
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGKILL, signal.SIGPROF):
            count.kills += 1
            left -= 1
        elif status:
            count.problems.append(f"{what}: ended with {status}: {said}")
            left = 0
        else:
            left = 0  # it was done before
        try:
            work.check(folder)
            if work.whole:
                torn = [name for name, digest in files(folder).items() if final.get(name, "") not in ("", digest)]
                assert not torn, f"{', '.join(torn)} were not whole"
        except Exception:
            count.problems.append(f"{what}: {traceback.format_exc()}")
        if left <= 0 or count.kills == kills:
            for path in folder.rglob(".*.part"):  # old enough to be removed
                os.utime(path, (0, 0))
            status, said = fork(partial(work.run, folder))
            try:
                assert not status, f"cannot resume: {said}"
                found = work.result(folder)
                assert found == expected, f"another result than without kills: {found}, not {expected}"
                parts = [path.name for path in folder.rglob("*.part")]
                assert not parts, f"left behind: {parts}"
                count.resumed += 1
            except Exception:
                count.problems.append(f"{what}, resumed: {traceback.format_exc()}")
            shutil.rmtree(folder, ignore_errors=True)
            folder, left = root / str(tries), PER_FOLDER
            folder.mkdir()
        os.environ.clear()
        os.environ.update(environment)
    if count.kills < kills:
        count.problems.append(f"{work.name}: only {count.kills} of {kills} kills arrived in {tries} tries")
    return count


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kills", nargs="?", type=int, default=500)
    parser.add_argument("--only", default="", help="part of a work's name")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    found = survive(arguments.kills, seed=arguments.seed, only=arguments.only)
    problems = sum(len(count.problems) for count in found.values())
    print(f"{sum(count.kills for count in found.values())} kills, {problems} problems")
    sys.exit(problems > 0)

"""Full disks, folders that cannot be written, odd names, no home, two processes at once, clocks that jump."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
import torch
from test_datasets import AUDIO, VIDEO, write_ramp

from avid_lab import checkpoints
from avid_lab.config import PRESETS, TrainConfig
from avid_lab.course import student, working
from avid_lab.datasets import ClipDataset, Manifest, cache, index_folder
from avid_lab.datasets.prepare import prepare
from avid_lab.encoders import AudioVisualModel
from avid_lab.objectives import AVID
from avid_lab.training import Trainer

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Eight short videos of two classes."""
    folder = tmp_path_factory.mktemp("videos")
    for i in range(8):
        write_ramp(folder / f"class {i % 2}" / f"clip {i}.mp4", 1.5, 300 + 50 * i)
    return index_folder(folder, out=folder / "manifest.csv", workers=0, progress=False)


@pytest.fixture
def disk(tmp_path):
    """A disk of 8 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], capture_output=True
    )
    if not mounted or mounted.returncode:
        pytest.skip("needs the right to mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk, but=0):
    free = shutil.disk_usage(disk).free
    (disk / "ballast").write_bytes(bytes(max(0, free - but)))


def protect(disk):
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


def load(manifest, **settings):
    return ClipDataset(manifest, video=VIDEO, audio=AUDIO, workers=0, progress=False, **settings)


def tiny_trainer(clips):
    widths = (4, 4, 4, 8, 8)
    model = replace(PRESETS["pocket"], video_widths=widths, audio_widths=widths, head=(8,), dim=16)
    model = replace(model, video=VIDEO, audio=AUDIO)
    objective = AVID(len(clips), 16, num_negatives=4, generator=torch.Generator().manual_seed(0))
    return Trainer(AudioVisualModel(model, seed=0), objective, clips, TrainConfig(steps=2, batch_size=4, device="cpu"))


# Full disks


def test_decoding_reserves_its_space_and_says_what_is_missing(manifest, disk, monkeypatch):
    monkeypatch.setenv("AVID_LAB_DATA", str(disk))
    monkeypatch.setattr(cache, "SPARE_BYTES", 0)
    fill(disk, but=100_000)
    with pytest.raises(OSError, match=r"needs \d+ MiB in .* AVID_LAB_DATA"):
        load(manifest, cache=True)


def test_a_disk_that_fills_while_clips_are_decoded_does_not_end_the_process(manifest, disk, monkeypatch):
    monkeypatch.setenv("AVID_LAB_DATA", str(disk))
    monkeypatch.setattr(cache, "SPARE_BYTES", 0)
    expected = load(manifest, cache=False).batch(torch.arange(4))
    decode, done = cache._decode, []

    def filling(task):
        if not done:
            fill(disk)
        done.append(task.clip)
        return decode(task)

    monkeypatch.setattr(cache, "_decode", filling)
    with pytest.raises(OSError, match="No space left"):  # of the index; every clip had its place
        load(manifest, cache=True)
    assert len(done) == len(manifest)
    (disk / "ballast").unlink()
    monkeypatch.setattr(cache, "_decode", lambda task: pytest.fail("nothing has to be decoded again"))
    batch = load(manifest, cache=True).batch(torch.arange(4))
    assert all(torch.equal(batch[name], value) for name, value in expected.items())


def test_a_checkpoint_on_a_full_disk_is_an_error_of_the_system_and_keeps_the_old_one(manifest, disk):
    trainer = tiny_trainer(load(manifest, cache=False))
    path = checkpoints.save(disk / "checkpoint.pt", trainer)
    before = path.read_bytes()
    fill(disk, but=4096)
    trainer.step()
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(path, trainer)
    assert path.read_bytes() == before and sorted(p.name for p in disk.iterdir()) == ["ballast", "checkpoint.pt"]


def test_a_course_is_copied_when_there_is_room_again(disk, tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    course = tmp_path / "course"
    course.mkdir()
    for name in ("00_start", "01_see", "02_hear"):
        cells = [nbformat.v4.new_markdown_cell(name * 100_000)]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), course / f"{name}.ipynb")
    fill(disk, but=1_500_000)
    with pytest.raises(OSError, match="No space left"):
        working.copy(course, disk / "mine")
    (disk / "ballast").unlink()
    assert not working.is_own(disk / "mine")
    working.copy(course, disk / "mine")
    for path in course.iterdir():
        assert nbformat.read(disk / "mine" / path.name, 4).cells == nbformat.read(path, 4).cells


def test_copies_index_and_notes_on_a_full_disk(manifest, disk, monkeypatch, capsys):
    monkeypatch.setenv("AVID_LAB_STUDENT", str(disk / "student"))
    assert student.write("notes", "00-1", text="before")
    fill(disk)
    assert not student.write("notes", "00-2", text="x" * 10_000)
    assert "not saved" in capsys.readouterr().out
    with pytest.raises(OSError):
        prepare(manifest, disk / "out", size=32, workers=0, progress=False)
    listed = Manifest(manifest.root, [replace(record, extras={"x": "y" * 20_000}) for record in manifest.records])
    with pytest.raises(OSError):
        Manifest(disk, listed.records).write(disk / "manifest.csv")
    assert not (disk / "manifest.csv").exists()
    (disk / "ballast").unlink()
    assert student.write("notes", "00-3", text="after")
    assert set(student.record()["notes"]) == {"00-1", "00-2", "00-3"}


# Places that cannot be written


def test_where_nothing_can_be_written_every_error_names_the_place(manifest, disk, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(disk / "home"))  # what a read-only data folder lacks would go there
    monkeypatch.setenv("AVID_LAB_DATA", str(disk / "data"))
    monkeypatch.setenv("AVID_LAB_STUDENT", str(disk / "student"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(disk / "jupyter"))
    trainer = tiny_trainer(load(manifest, cache=False))
    protect(disk)
    for act in (
        lambda: load(manifest, cache=True),
        lambda: checkpoints.save(disk / "checkpoint.pt", trainer),
        lambda: prepare(manifest, disk / "out", size=32, workers=0, progress=False),
        lambda: working.copy(ROOT / "notebooks", disk / "mine"),
    ):
        with pytest.raises(OSError, match="[Rr]ead-only"):
            act()
    assert not student.write("notes", "00-1", text="words")
    assert "AVID_LAB_STUDENT" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("home", [None, "/nonexistent/home", ""])
def test_without_a_home_the_commands_work(home, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "AVID_LAB_DATA")}
    environment |= {} if home is None else {"HOME": home}
    environment |= {"AVID_LAB_DATA": str(tmp_path)}
    code = "from avid_lab import cli; from avid_lab.course import student; print(cli.main(['data', 'info', 'smoke']))"
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "not rendered yet" in done.stdout, done.stderr


# Odd names

ODD = ("a b", "$HOME", "%s{0}", "#1?", "ü é 🎵", "'quoted'", "-x", "semi;colon", "[1]*", "tail.", "line\u2028break")


@pytest.mark.parametrize("name", ODD)
def test_folders_may_have_any_name(manifest, name, tmp_path, monkeypatch):
    folder = tmp_path / name
    (folder / "data").mkdir(parents=True)
    monkeypatch.setenv("AVID_LAB_DATA", str(folder / "data"))
    for i in range(2):
        (folder / f"class {name} {i}").mkdir()
        shutil.copyfile(manifest.path(i), folder / f"class {name} {i}" / f"{name}{i}.mp4")
    found = index_folder(folder, out=folder / "manifest.csv", workers=0, progress=False)
    again = Manifest.read(folder / "manifest.csv")
    if name.endswith("."):  # not valid on Windows
        return
    assert len(found) == 2 and again.records == found.records
    expected = load(manifest, cache=False).batch(torch.arange(1))
    assert torch.equal(load(again, cache=True).batch(torch.arange(1))["video"], expected["video"])


# Two processes at once


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_two_processes_make_one_cache(manifest, tmp_path):
    root = manifest.root / "manifest.csv"
    code = f"""
import hashlib, sys
import torch
sys.path.insert(0, {str(ROOT / "tests")!r})
from avid_lab.datasets import Manifest
from test_survival_places import load
batch = load(Manifest.read({str(root)!r}), cache=True).batch(torch.arange(8))
print(hashlib.sha256(batch["video"].numpy().tobytes() + batch["audio"].numpy().tobytes()).hexdigest())
"""
    environment = os.environ | {"AVID_LAB_DATA": str(tmp_path), "PYTHONPATH": str(ROOT)}
    pair = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=300) for process in pair]
    assert [process.returncode for process in pair] == [0, 0], said
    assert len({out for out, _ in said}) == 1
    assert not list((tmp_path / "decoded").glob("*.part"))


ORPHANS = """
import os, sys, time
from avid_lab.datasets.parallel import parallel
sys.path.insert(0, "tests")
from test_survival_places import say_and_sleep
list(parallel(say_and_sleep, [sys.argv[1]] * 4, workers=2, progress=False, description=""))
"""


def say_and_sleep(folder):
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(120)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills by signal")
@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_a_parent_that_is_killed(tmp_path, stop):
    parent = subprocess.Popen([sys.executable, "-c", ORPHANS, str(tmp_path)], cwd=ROOT)
    deadline = time.monotonic() + 240
    while len(list(tmp_path.iterdir())) < 2:
        assert parent.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    parent.send_signal(stop)
    parent.wait()
    workers = [int(path.name) for path in tmp_path.iterdir()]
    while any(alive(worker) for worker in workers):
        assert time.monotonic() < deadline, "workers outlive their parent"
        time.sleep(0.1)


def alive(process):
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


# Older caches, clocks


def test_what_was_not_touched_for_a_month_and_is_of_no_use_goes(manifest, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AVID_LAB_DATA", str(tmp_path))
    decoded = tmp_path / "decoded"
    month_ago = time.time() - 2 * cache.UNUSED_S
    for name, meta in (("old", {"format": 1}), ("new", {"format": cache.FORMAT}), ("a.part", None), ("foreign", [])):
        (decoded / name).mkdir(parents=True)
        if meta is not None:
            (decoded / name / "meta.json").write_text(json.dumps(meta))
    (decoded / "b.part").mkdir()
    for path in [*decoded.rglob("*.json"), *decoded.iterdir()]:
        if path.name != "b.part":
            os.utime(path, (month_ago, month_ago))
    kept = load(manifest, cache=True)._cache.folder.name
    assert sorted(path.name for path in decoded.iterdir()) == sorted(["b.part", "foreign", "new", kept])


def test_an_answer_counts_although_the_clock_was_ahead_before(monkeypatch, tmp_path):
    monkeypatch.setenv("AVID_LAB_STUDENT", str(tmp_path))
    (tmp_path / "progress.json").write_text(
        json.dumps({"notes": {"07-1": {"text": "from the future", "when": "2999-01-01T00:00:00.000+00:00"}}})
    )
    assert student.write("notes", "07-1", text="now")
    assert student.record()["notes"]["07-1"]["text"] == "now"


@pytest.mark.parametrize("moment", [0, 4e9], ids=["1970", "2096"])
def test_times_of_files_may_be_any(manifest, moment, tmp_path, monkeypatch):
    monkeypatch.setenv("AVID_LAB_DATA", str(tmp_path / "data"))
    shutil.copytree(manifest.root, tmp_path / "copy")
    for path in (tmp_path / "copy").rglob("*"):
        os.utime(path, (moment, moment))
    found = index_folder(tmp_path / "copy", out=tmp_path / "copy" / "manifest.csv", workers=0, progress=False)
    assert [record.id for record in found.records] == [record.id for record in manifest.records]
    first = load(found, cache=True)
    assert load(found, cache=True)._cache.folder == first._cache.folder

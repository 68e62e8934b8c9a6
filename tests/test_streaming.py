"""Windows read from files by workers: the same batches as decoded ones, whatever dies, and never a hang."""

from __future__ import annotations

import dataclasses
import itertools
import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings

import pytest
import torch
from test_resume import curve, leftovers, steps_logged
from test_training import CONFIG, TINY, losses, make

from avid_lab import checkpoints, cli
from avid_lab.datasets import ClipDataset, Manifest, loader
from avid_lab.evaluation import embed
from avid_lab.media import MediaError


def streamed(clips, workers=2, kind=ClipDataset, **settings):
    how = {"video": clips.video, "audio": clips.audio, "cache": False, "progress": False} | settings
    return kind(clips.manifest, workers=workers, **how)


@pytest.fixture
def few(smoke_world, tmp_path):
    """Twelve clips, copied, so that a test may damage them."""
    chosen = smoke_world.manifest.subset(range(12))
    for i in range(12):
        copy = tmp_path / chosen.records[i].path
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(chosen.path(i).read_bytes())
    manifest = Manifest(tmp_path, chosen.records, classes=chosen.classes)
    return ClipDataset(manifest, video=TINY.video, audio=TINY.audio, cache=False, workers=0)


def same(a, b):
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


def living():
    return [process for process in loader._living if process.poll() is None]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_are_those_of_the_cache_to_the_bit(smoke_world, workers):
    clips, generator = streamed(smoke_world, workers), torch.Generator().manual_seed(0)
    index = torch.arange(20).split(7)
    requests = [(i, torch.rand(len(i), 2, dtype=torch.float64, generator=generator)) for i in index]
    requests += [(torch.tensor([5, 3, 5]), 3), (torch.tensor([60]), 1)]
    for wanted in (None, "audio"):
        made, expected = loader.load(clips, requests, wanted), loader.load(smoke_world, requests, wanted)
        assert all(same(*pair) for pair in zip(made, expected, strict=True))
    assert len(living()) <= 3


def test_a_run_is_the_same_cached_streamed_resumed_and_forked(smoke_world, tmp_path):
    whole = make(smoke_world)
    expected = losses(whole)
    for workers in (0, 2):
        clips = streamed(smoke_world, workers)
        first = make(clips)
        assert losses(itertools.islice(first, 3)) == expected[:3]
        checkpoints.save(tmp_path / "run.pt", first)
        twin = first.fork()
        assert losses(itertools.islice(first, 1)) == losses(itertools.islice(twin, 1)) == expected[3:4]
        second = make(streamed(smoke_world, 2 - workers))
        checkpoints.resume(tmp_path / "run.pt", second)
        assert losses(second) == expected[3:]
        for name, value in whole.model.state_dict().items():
            assert torch.equal(value, second.model.state_dict()[name]), name
    parts = dataclasses.replace(CONFIG, accumulate=2)
    assert losses(make(streamed(smoke_world), parts)) == losses(make(smoke_world, parts)) != expected


def test_embedding_streams(smoke_world):
    trainer = make(smoke_world)
    spaces = [embed(trainer.model, clips, trainer.pipeline) for clips in (smoke_world, streamed(smoke_world))]
    assert torch.equal(spaces[0].video_windows, spaces[1].video_windows)
    assert torch.equal(spaces[0].audio, spaces[1].audio)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_fails_stops_the_run_by_name(few, workers):
    clips = streamed(few, workers)
    trainer = make(clips)
    trainer.step()
    clips.path(7).unlink()
    clips.path(3).write_bytes(b"damaged")
    with pytest.raises(MediaError, match=r"00000[37].mp4: (no such file|cannot be read|none of its)"):
        list(trainer)
    assert trainer.steps_done < 6 and len(trainer.history) == trainer.steps_done


def test_a_file_that_fails_is_replaced_by_the_next_if_so_chosen(few):
    few.path(7).unlink()
    few.path(8).write_bytes(b"damaged")
    where = torch.rand(3, 2, dtype=torch.float64)
    found = []
    for workers in (0, 2):
        clips = streamed(few, workers, on_error="skip")
        with pytest.warns(UserWarning) as said:
            batch = next(loader.load(clips, [(torch.tensor([1, 7, 11]), where)]))
        assert "000007.mp4: no such file" in str(said[0].message) and len(said) == 2
        assert str(said[1].message).endswith("000/000009.mp4 takes its place.")
        assert batch["index"].tolist() == [1, 9, 11] and set(clips.failures) == {"000/000007.mp4", "000/000008.mp4"}
        assert torch.equal(batch["video"][1], few.at(torch.tensor([9]), where[1:2])["video"][0])
        found.append(batch)
        with pytest.raises(MediaError, match="000007.mp4"):  # of a certain clip there is no other
            list(clips.batches([torch.tensor([7])]))
        with warnings.catch_warnings():  # said once
            warnings.simplefilter("error")
            trainer = make(clips)
            assert len(losses(trainer)) == 6
    assert same(*found)


def test_an_evaluation_leaves_out_what_cannot_be_read(few):
    few.path(7).unlink()
    few.path(8).write_bytes(b"damaged")
    assert streamed(few).readable().manifest.records == few.manifest.records  # none may be left out
    for workers in (0, 1):
        clips = streamed(few, workers, on_error="skip")
        with pytest.warns(
            UserWarning, match="2 of 12 files are unusable and left out. The first is 000/000007"
        ) as said:
            found = clips.readable()
        assert len(said) == 1 and [int(path.stem) for path in map(found.path, range(10))] == [*range(7), 9, 10, 11]
        assert found.windows(torch.arange(10), 2)["index"].tolist() == [i for i in range(10) for _ in range(2)]


def test_a_killed_worker_is_replaced(smoke_world):
    clips = streamed(smoke_world, 1)
    requests = [(torch.arange(8), 2), (torch.arange(8, 24), 2), (torch.arange(4), 1)]
    batches = loader.load(clips, requests)
    first = next(batches)
    for worker in living():
        worker.send_signal(signal.SIGKILL)
    with pytest.warns(UserWarning) as said:
        rest = list(batches)
    assert all(".mp4: the process that reads it died (SIGKILL); another reads" in str(w.message) for w in said)
    assert all(same(a, b) for a, b in zip([first, *rest], loader.load(smoke_world, requests), strict=True))


class Deadly(ClipDataset):
    """Of which one file kills who reads it."""

    def read(self, index, where, wanted=None):
        if self.path(index).name == "000005.mp4":
            os._exit(9)
        return super().read(index, where, wanted)


def test_a_file_that_kills_workers_is_named(smoke_world):
    clips = streamed(smoke_world, kind=Deadly)
    with pytest.raises(MediaError, match=r"000005.mp4: the process that reads it died \(exit code 9\), twice"):
        list(clips.batches([torch.arange(16)]))
    clips.on_error = "skip"
    with pytest.warns(UserWarning) as said:
        batch = next(loader.load(clips, [(torch.arange(4, 7), torch.zeros(3, 2, dtype=torch.float64))]))
    assert batch["index"].tolist() == [4, 6, 6] and len(said) == 2  # died, and died again: replaced


def test_a_worker_that_cannot_start_is_an_error(smoke_world, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="a worker process cannot start: exit code 1. Try workers=0"):
        next(streamed(smoke_world, 3).batches([torch.arange(2)]))


OPTIONS = ["--steps", "24", "--batch-size", "8", "--save-every", "2", "--check-every", "0", "--decode", "stream"]


def run(out, *options):
    command = [sys.executable, "-m", "avid_lab", "train", *OPTIONS, "--workers", "2", *options, "--out", str(out)]
    environment = os.environ | {"AVID_LAB_PROFILE": "smoke", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process):
    """Wait for its end, without an error."""
    _, said = process.communicate(timeout=200)
    assert process.returncode == 0, said


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="interrupts by signal")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_run_leaves_no_process_and_resumes(smoke_world, tmp_path, stop):
    whole, out = tmp_path / "whole" / "checkpoint.pt", tmp_path / "run" / "checkpoint.pt"
    ended(run(whole))
    process, deadline = run(out), time.monotonic() + 200
    while steps_logged(out) < 6:
        assert process.poll() is None and time.monotonic() < deadline
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    assert len(children) == 2
    process.send_signal(stop)
    process.communicate(timeout=20)
    assert process.returncode == (cli.INTERRUPTED if stop == signal.SIGINT else -stop)
    while any(os.path.exists(f"/proc/{child}") for child in children):
        assert time.monotonic() < deadline
    ended(run(out))
    assert curve(out) == curve(whole) and not leftovers(out.parent)


def test_the_command_says_how_it_reads_and_what_failed(smoke_world, few, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("AVID_LAB_PROFILE", "smoke")
    records = [dataclasses.replace(r, split="test" if i < 4 else "train") for i, r in enumerate(few.manifest.records)]
    path = Manifest(few.manifest.root, records).write(few.manifest.root / "manifest.csv")
    out = tmp_path / "runs" / "checkpoint.pt"
    options = ["train", "--data", path, "--steps", 5, "--batch-size", 4, "--out", out, "--num-negatives", 4]
    options = [str(x) for x in options]
    start = [*options, "--decode", "stream", "--workers", "0"]
    assert cli.main([*start, "--out", str(tmp_path / "start.pt")]) == 0
    assert "Windows are read from the files, as chosen." in capfd.readouterr().err
    few.path(9).unlink()
    assert cli.main([*start, "--from", str(tmp_path / "start.pt")]) == 2
    said = capfd.readouterr().err
    assert "000009.mp4: no such file" in said and "is saved: repeat the command to continue" in said
    out.with_suffix(".unfinished").unlink()
    with pytest.warns(UserWarning, match="takes its place"):
        assert cli.main([*options, "--decode", "stream", "--workers", "1", "--on-error", "skip"]) == 0
    said = capfd.readouterr()
    assert "One file failed and another took its place: 000/000009.mp4: no such file" in said.out
    assert "waiting for data" in said.err
    with pytest.warns(UserWarning, match="1 of 12 files are unusable and left out"):
        assert cli.main([*options, "--out", str(tmp_path / "once.pt")]) == 0
    assert "Clips are decoded once: they take" in capfd.readouterr().err


SCRIPT = """
    import gc, sys, time, torch
    from avid_lab.config import VideoSpec
    from avid_lab.datasets import ClipDataset, Manifest, loader
    from avid_lab.media import MediaError

    manifest = Manifest.read(sys.argv[1])
    clips = ClipDataset(manifest, video=VideoSpec(2, 8.0, 32), cache=False, workers=2)
    next(clips.batches(iter(torch.arange(8).split(4))))  # others are in the making
    del clips
    gc.collect()
    deadline = time.monotonic() + 60
    while loader._living or loader._readers:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    clips = ClipDataset(manifest, video=VideoSpec(2, 8.0, 32), cache=False, workers=2)
    batches = clips.batches(torch.arange(12).split(4))
    next(batches)
    clips.path(9).unlink()
    try:
        list(clips.batches([torch.tensor([9])]))  # no worker of the failed batch stays behind
    except MediaError:
        print("workers", len(loader._living))
"""


def test_workers_and_pipes_end_with_the_last_dataset_and_with_the_program(few, tmp_path):
    few.manifest.write(tmp_path / "manifest.csv")
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPT))
    command = [sys.executable, "-X", "dev", "script.py", "manifest.csv"]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert shown.returncode == 0 and "ResourceWarning" not in shown.stderr, shown.stderr
    assert shown.stdout in ("workers 1\n", "workers 2\n")

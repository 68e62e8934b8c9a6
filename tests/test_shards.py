"""Clips in shards: written once, read by byte range here and from a web server, in an order that processes share."""

from __future__ import annotations

import bz2
import gc
import gzip
import io
import json
import lzma
import os
import subprocess
import sys
import tarfile
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest
import torch

from avid_lab import cli
from avid_lab.archives import archive_of
from avid_lab.config import AudioSpec, VideoSpec
from avid_lab.datasets import ClipDataset, Manifest, Record
from avid_lab.datasets import prepare as module
from avid_lab.datasets.prepare import prepare
from avid_lab.datasets.shards import BUFFER, pass_order
from avid_lab.media import Clip, MediaError, probe, read_clip, write_clip

webdataset = pytest.importorskip("webdataset")

CLIPS, SIZE = 22, 4
SETTINGS = {"size": 38, "fps": 8.0, "rate": 8000, "workers": 0, "progress": False}
SPECS = {"video": VideoSpec(4, 8.0, 32), "audio": AudioSpec(8000, 0.5, 10, 64), "progress": False}


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> Manifest:
    """Clips of one brightness and one tone each; every fifth is a test clip, and one file is damaged."""
    root, records = tmp_path_factory.mktemp("originals"), []
    for i in range(CLIPS):
        picture = torch.full((3, 12, 48, 64), 10 * i + 20, dtype=torch.uint8)
        sound = torch.sin(torch.arange(12_000) * (0.05 + 0.01 * i))[None] / 2
        write_clip(root / f"{i}.mp4", Clip(picture, sound, 8.0, 8000))
        records.append(
            Record(f"clip {i}", f"{i}.mp4", "odd" if i % 2 else "even", 1.5, "test" if i % 5 == 4 else "train")
        )
    (root / "7.mp4").write_text("no video")
    return Manifest(root, records)


@pytest.fixture(scope="module")
def packed(originals, tmp_path_factory) -> Manifest:
    return prepare(originals, tmp_path_factory.mktemp("packed"), shards=SIZE, **SETTINGS)


@contextmanager
def serving(
    folder: Path, kind: type[SimpleHTTPRequestHandler] = SimpleHTTPRequestHandler
) -> Iterator[tuple[str, list[str]]]:
    """The address of a web server of a folder, and what was asked of it."""
    asked: list[str] = []

    class Handler(kind):
        def log_request(self, code="-", size="-"):
            asked.append(self.path)

        def log_message(self, format, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as service:
        thread = Thread(target=service.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{service.server_address[1]}", asked
        finally:
            service.shutdown()
            thread.join()


@pytest.fixture
def server(packed) -> Iterator[tuple[str, list[str]]]:
    with serving(packed.root) as found:
        yield found


def test_a_manifest_lists_the_clips_in_the_order_of_the_shards(originals, packed):
    shards = sorted(path.name for path in packed.root.glob("*.tar"))
    assert shards == ["test-00000.tar", *(f"train-{i:05d}.tar" for i in range(5))]
    names = [archive_of(packed.path(i)).name for i in range(len(packed))]
    assert names == sorted(names) and max(names.count(name) for name in shards) == SIZE
    assert [u.path for u in packed.unusable] == ["7.mp4"] and len(packed) == CLIPS - 1
    known = {record.id: record for record in originals.records}
    for record in packed.records:
        assert (record.label, record.split) == (known[record.id].label, known[record.id].split)
        assert record.extras["both_s"]  # nothing is probed
    assert [r.id for r in packed.records] != sorted((r.id for r in packed.records), key=lambda name: int(name[5:]))
    assert Manifest.read(packed.root / "manifest.csv").records == packed.records


def test_shards_of_a_size(originals, packed, tmp_path):
    copies = prepare(originals, tmp_path / "out", shards="0.05MB", **SETTINGS)
    sizes = [path.stat().st_size for path in (tmp_path / "out").glob("train-*.tar")]
    assert len(copies) == len(packed) and 1 < len(sizes) < len(copies)
    assert np.mean(sorted(sizes)[1:]) == pytest.approx(50_000, rel=0.5)  # the last one is what is left
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.tar")}
    assert prepare(originals, tmp_path / "out", shards="0.05MB", **SETTINGS).records == copies.records
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.tar")} == before
    for wrong in ("500", "0MB", "5 apples"):
        with pytest.raises(ValueError, match=f"a size such as 500MB or 2GB; got '{wrong}'"):
            prepare(originals, tmp_path / "out", shards=wrong, **SETTINGS)


def test_what_is_no_whole_shard_is_not_kept(packed, tmp_path, monkeypatch):
    monkeypatch.setenv("AVID_LAB_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("avid_lab.datasets.remote.TRIES", 1)
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "manifest.csv").write_bytes((packed.root / "manifest.csv").read_bytes())
    shard = archive_of(packed.path(0)).name
    whole = (packed.root / shard).read_bytes()
    with serving(tmp_path / "web") as (url, _):
        manifest = Manifest.read(f"{url}/manifest.csv")
        for content in (b"<html>Log in</html>" * 100, whole[: len(whole) // 2], b""):
            (tmp_path / "web" / shard).write_bytes(content)
            with pytest.raises(OSError, match=rf"what {url}/{shard} gave is not a whole tar archive"):
                manifest.path(0)
        (tmp_path / "web" / shard).write_bytes(whole)
        assert probe(manifest.path(0)).video.width == 38


def test_clips_in_shards_are_the_clips(originals, packed, tmp_path):
    loose = prepare(originals, tmp_path / "loose", **SETTINGS)
    row = {record.id: i for i, record in enumerate(loose.records)}
    order = torch.tensor([row[record.id] for record in packed.records])
    expected = ClipDataset(loose, cache=False, workers=0, **SPECS).batch(order)
    for how in ({"cache": False, "workers": 0}, {"cache": True, "workers": 0}):
        found = ClipDataset(packed, **how, **SPECS).batch(torch.arange(len(packed)))
        assert torch.equal(found["video"], expected["video"])
        assert (found["audio"] - expected["audio"]).abs().max() < 1e-3  # the cache keeps 16 bits
    assert probe(packed.path(3)).video.width == 38
    assert [packed.path(i).read_bytes() if packed.path(i).is_file() else None for i in range(2)] == [None, None]


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_webdataset_reads_our_shards(packed):
    shards = sorted(str(path) for path in packed.root.glob("*.tar"))
    samples = list(webdataset.WebDataset(shards, shardshuffle=False))
    gc.collect()  # it leaves its files open
    assert [json.loads(sample["json"])["id"] for sample in samples] == [record.id for record in packed.records]
    assert all(b"ftyp" in sample["mp4"][:16] for sample in samples)


def test_we_read_the_shards_of_webdataset(originals, tmp_path):
    content = originals.path(3).read_bytes()
    with webdataset.TarWriter(str(tmp_path / "theirs.tar")) as writer:
        writer.write({"__key__": "a/b", "cls": b"1", "mp4": content})
        writer.write({"__key__": "a/c", "txt": b"", "mp4": b"junk" * 100})
    ours, theirs = (
        read_clip(path, 0.5, VideoSpec(4, 8.0, 32), None)
        for path in (originals.path(3), tmp_path / "theirs.tar/a/b.mp4")
    )
    assert torch.equal(ours.video, theirs.video)
    for name, message in (
        ("a/c.mp4", "cannot be read as a video"),
        ("a/b.avi", "theirs.tar has no such file"),
        ("a/c.txt", "is empty"),
    ):
        with pytest.raises(MediaError, match=message):
            read_clip(tmp_path / "theirs.tar" / name, 0.0, VideoSpec(4, 8.0, 32), None)
    with pytest.raises(MediaError, match="no such file"):
        probe(tmp_path / "other.tar" / "a.mp4")
    (tmp_path / "damaged.tar").write_bytes((tmp_path / "theirs.tar").read_bytes()[:100])
    with pytest.raises(MediaError, match=r"damaged.tar is not a whole tar archive"):
        probe(tmp_path / "damaged.tar" / "a/b.mp4")


def shard(path: Path, members: list[tuple[str, bytes]]) -> Path:
    """An archive as other tools may write it."""
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def test_clips_are_found_among_other_members_in_any_order(originals, tmp_path):
    with webdataset.ShardWriter(str(tmp_path / "w-%05d.tar"), maxcount=2, verbose=0) as writer:
        for i in range(3):
            picture = np.zeros((4, 4, 3))
            row = {"label": "x"}
            writer.write({"__key__": f"{i}", "mp4": originals.path(i).read_bytes(), "jpg": picture, "json": row})
    records = [Record(str(i), f"w-{i // 2:05d}.tar/{i}.mp4", "", 1.5) for i in range(3)]
    theirs, ours = (
        ClipDataset(manifest, cache=False, workers=0, **SPECS).batch(torch.arange(3))
        for manifest in (Manifest(tmp_path, records), originals.subset(range(3)))
    )
    assert torch.equal(theirs["video"], ours["video"]) and torch.equal(theirs["audio"], ours["audio"])
    with pytest.raises(MediaError, match="0.jpg"):
        read_clip(tmp_path / "w-00000.tar" / "0.jpg", 0.5, VideoSpec(4, 8.0, 32), None)


def test_odd_names_of_members_stay_in_their_archive(originals, tmp_path):
    one, two = originals.path(1).read_bytes(), originals.path(2).read_bytes()
    long = "x" * 180 + "/" + "y" * 240 + ".mp4"
    odd = ["./dot.mp4", long, "é文/ü 1.mp4", "a,b%41?|;.mp4"]
    members = [(name, two) for name in ("../1.mp4", "/1.mp4", *odd)]
    shard(tmp_path / "odd.tar", [*members, ("twice.mp4", one), ("twice.mp4", two)])  # the last counts, as in tar
    (tmp_path / "1.mp4").write_bytes(one)
    manifest = Manifest(tmp_path, [Record(n, f"odd.tar/{n}", "", 1.5) for n in [*odd, "twice.mp4"]])
    read = Manifest.read(manifest.write(tmp_path / "manifest.csv"))
    found = ClipDataset(read, cache=False, workers=0, **SPECS).batch(torch.arange(5))["video"]
    expected = ClipDataset(originals, cache=False, workers=0, **SPECS).batch(torch.tensor([2] * 5))["video"]
    assert torch.equal(found, expected)
    with pytest.raises(ValueError, match=r"path must be relative and stay inside the manifest's folder"):
        Manifest(tmp_path, [Record("1", "odd.tar/../1.mp4", "", 1.5)])
    with tarfile.open(tmp_path / "links.tar", "w") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            entry = tarfile.TarInfo(f"{kind!r}.mp4")
            entry.type, entry.linkname = kind, str(tmp_path / "1.mp4")
            tar.addfile(entry)
    for name in (str(kind) for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE)):
        with pytest.raises(MediaError, match="has no such file"):
            probe(tmp_path / "links.tar" / f"{name}.mp4")


def test_a_compressed_shard_is_refused(originals, tmp_path):
    whole = shard(tmp_path / "whole.tar", [("1.mp4", originals.path(1).read_bytes())]).read_bytes()
    for pack in (gzip.compress, bz2.compress, lzma.compress):
        (tmp_path / "packed.tar").write_bytes(pack(whole))
        with pytest.raises(MediaError, match=r"packed.tar is compressed, so no file in it can be read alone"):
            probe(tmp_path / "packed.tar" / "1.mp4")


def test_what_is_packed_is_not_packed_again(originals, tmp_path, monkeypatch):
    root = tmp_path / "in"
    root.mkdir()
    for i in range(8):
        os.link(originals.path(i + 10), root / f"{i}.mp4")
    manifest = Manifest(root, [Record(str(i), f"{i}.mp4", "x", 1.5) for i in range(8)])
    made, copy = [], module._copy
    monkeypatch.setattr(module, "_copy", lambda task: made.append(task.source.name) or copy(task))

    def again():
        made.clear()
        packed = prepare(manifest, tmp_path / "out", shards=3, **SETTINGS)
        return packed, [(tmp_path / "out" / f"clips-{i:05d}.tar").stat().st_mtime_ns for i in range(3)]

    packed, before = again()
    assert len(made) == 8
    assert again()[1] == before and made == []
    (tmp_path / "out" / "clips-00001.tar").unlink()  # a lost shard
    assert [a == b for a, b in zip(again()[1], before, strict=True)] == [True, False, True] and len(made) == 3
    before = again()[1]
    changed = packed.records[7].id
    (root / f"{changed}.mp4").unlink()
    write_clip(
        root / f"{changed}.mp4", Clip(torch.zeros(3, 8, 48, 64, dtype=torch.uint8), torch.zeros(1, 8000), 8.0, 8000)
    )
    later, after = again()
    assert [a == b for a, b in zip(after, before, strict=True)] == [True, True, False]
    assert [record.duration_s < 1.2 for record in later.records] == [False] * 7 + [True]
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".copies")]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "clips-00000.tar").write_text("mine")
    with pytest.raises(ValueError, match=r"clips-00000.tar was not made by an earlier call"):
        prepare(manifest, tmp_path / "mine", shards=3, **SETTINGS)
    with pytest.raises(ValueError, match="shards must be >= 1 clips per shard, or None; got 0"):
        prepare(manifest, tmp_path / "out", shards=0, **SETTINGS)


@pytest.mark.slow
def test_several_processes_write_the_same_shards(originals, packed, tmp_path):
    again = prepare(originals, tmp_path, shards=SIZE, **{**SETTINGS, "workers": 2})
    assert again.records == packed.records
    for path in packed.root.glob("*.tar"):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_a_set_on_a_web_server_is_the_set(packed, server, tmp_path, monkeypatch):
    monkeypatch.setenv("AVID_LAB_DATA", str(tmp_path))
    url, asked = server
    clips = ClipDataset(Manifest.read(f"{url}/manifest.csv"), cache=False, workers=0, **SPECS)
    assert asked == ["/manifest.csv"] and clips.manifest.records == packed.records
    here = ClipDataset(packed, cache=False, workers=0, **SPECS)
    some = torch.tensor([i for i, name in enumerate(packed.shards) if name in (0, 2)])
    found, expected = clips.batch(some), here.batch(some)
    assert torch.equal(found["video"], expected["video"]) and torch.equal(found["audio"], expected["audio"])
    assert asked[1:] == ["/test-00000.tar", "/train-00001.tar"]  # only what is needed, and once
    held_out = clips.select(split="test")
    assert torch.equal(held_out.batch(torch.arange(4))["video"], here.batch(torch.arange(4))["video"])
    assert Manifest.read(f"{url}/manifest.csv").path(0).parent.is_file() and len(asked) == 4


def test_shards_that_were_not_used_for_longest_make_room(packed, server, tmp_path, monkeypatch):
    monkeypatch.setenv("AVID_LAB_DATA", str(tmp_path))
    monkeypatch.setattr("avid_lab.datasets.remote.IN_USE_S", 0.0)
    sizes = [path.stat().st_size for path in packed.root.glob("*.tar")]
    monkeypatch.setenv("AVID_LAB_SHARDS_GB", str(2.5 * max(sizes) / 1e9))
    url, _ = server
    manifest = Manifest.read(f"{url}/manifest.csv")
    first = {shard: manifest.shards.index(shard) for shard in range(6)}
    for shard in (0, 1, 0, 2):  # 1 goes, not 0
        manifest.path(first[shard])
    kept = sorted(path.name for path in manifest.root.glob("*.tar"))
    assert kept == ["test-00000.tar", "train-00001.tar"]
    everything = ClipDataset(manifest, cache=False, workers=0, **SPECS).batch(torch.arange(len(manifest)))
    assert len(everything["video"]) == len(packed)
    assert sum(path.stat().st_size for path in manifest.root.glob("*.tar")) <= 2.5 * max(sizes)
    monkeypatch.setenv("AVID_LAB_SHARDS_GB", "much")
    with pytest.raises(ValueError, match="AVID_LAB_SHARDS_GB must be a number of gigabytes above zero; got 'much'"):
        manifest.path(first[1])


def test_what_a_server_does_not_give_is_named(packed, server, tmp_path, monkeypatch):
    monkeypatch.setenv("AVID_LAB_DATA", str(tmp_path))
    url, _ = server
    with pytest.raises(OSError, match=rf"{url}/none.csv cannot be fetched \(.*404.*\). Check the address"):
        Manifest.read(f"{url}/none.csv")
    manifest = Manifest.read(f"{url}/manifest.csv")
    lost = Manifest(manifest.root, [replace(manifest.records[0], path="gone.tar/1.mp4")], url=manifest.url)
    with pytest.raises(OSError, match=rf"{url}/gone.tar cannot be fetched"):
        ClipDataset(lost, cache=False, workers=0, **SPECS).batch(torch.tensor([0]))
    assert not list(manifest.root.glob("*gone*"))


@pytest.mark.parametrize("stalls", [1, 5])
def test_a_server_that_stalls_in_a_shard_is_tried_again_and_then_named(packed, tmp_path, monkeypatch, stalls):
    monkeypatch.setenv("AVID_LAB_DATA", str(tmp_path))
    monkeypatch.setattr("avid_lab.datasets.remote.TIMEOUT_S", 0.2)
    monkeypatch.setattr("avid_lab.datasets.remote.TRIES", 2)
    given_up, asked = Event(), []

    class Handler(SimpleHTTPRequestHandler):
        def copyfile(self, source, outputfile):
            asked.append(self.path)
            if self.path.endswith(".tar") and len(asked) <= 1 + stalls:
                outputfile.write(source.read(5000))
                outputfile.flush()
                given_up.wait(20)
            else:
                super().copyfile(source, outputfile)

        def log_message(self, format, *arguments):
            pass

    with serving(packed.root, Handler) as (url, _):
        manifest = Manifest.read(f"{url}/manifest.csv")
        clips = ClipDataset(manifest, cache=False, workers=0, **SPECS)
        if stalls == 1:
            found = clips.batch(torch.tensor([0]))["video"]
            assert torch.equal(
                found, ClipDataset(packed, cache=False, workers=0, **SPECS).batch(torch.tensor([0]))["video"]
            )
        else:
            shard_name = archive_of(packed.path(0)).name
            with pytest.raises(
                OSError, match=rf"{url}/{shard_name} cannot be fetched \(.*timed out\). Check the network"
            ):
                clips.batch(torch.tensor([0]))
            assert not list(manifest.root.rglob("*.part")) and not list(manifest.root.rglob("*.tar"))
        given_up.set()
    assert len(asked) == 3


@pytest.mark.parametrize(
    "place", ["pipe:cat /etc/passwd", "pipe://x", "file:///etc/passwd", "s3://bucket/manifest.csv"]
)
def test_no_command_is_run_and_no_other_scheme_is_followed(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match="http:// or https://|No such file"):
        Manifest.read(place)


def listed(counts: list[int]) -> Manifest:
    """Clips in shards of these sizes."""
    shards = [shard for shard, count in enumerate(counts) for _ in range(count)]
    return Manifest("x", [Record(str(i), f"{shard:03d}.tar/{i}.mp4", "", 1.0) for i, shard in enumerate(shards)])


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_a_pass_reads_each_part_from_its_own_stretch_of_shards(parts):
    manifest, size = listed([50] * 40 + [7]), 12
    order = pass_order(manifest, size, parts, torch.Generator().manual_seed(1))
    assert torch.equal(order, pass_order(manifest, size, parts, torch.Generator().manual_seed(1)))
    assert not torch.equal(order, pass_order(manifest, size, parts, torch.Generator().manual_seed(2)))
    assert len(order.unique()) == len(order) > len(manifest) - parts - size and len(order) % size == 0
    shards = torch.tensor(manifest.shards)[order].view(-1, parts, size // parts)
    own = [set(shards[:, part].flatten().tolist()) for part in range(parts)]
    assert sum(map(len, own)) <= 41 + parts - 1  # neighbours may meet in one shard
    for part in range(parts):
        read = shards[:, part].flatten().tolist()
        last = {shard: i for i, shard in enumerate(read)}
        first = {shard: read.index(shard) for shard in last}
        open_at_once = max(sum(first[s] <= i <= last[s] for s in last) for i in range(0, len(read), 10))
        assert 3 <= open_at_once <= BUFFER + 2
        mixed = [len(set(read[i : i + 40])) for i in range(0, len(read) - 40, 40)]
        assert np.mean(mixed) > 5  # and yet neighbours come from many


def test_files_are_drawn_as_before():
    manifest = Manifest("x", [Record(str(i), f"{i}.mp4", "", 1.0) for i in range(20)])
    assert manifest.shards is None
    drawn = pass_order(manifest, 4, 2, torch.Generator().manual_seed(3))
    assert torch.equal(drawn, torch.randperm(20, generator=torch.Generator().manual_seed(3)))


def test_few_clips_and_many_parts_still_fill_a_batch():
    order = pass_order(listed([3, 2]), 4, 2, torch.Generator().manual_seed(0))
    assert len(order) == 4 and len(order.unique()) == 4


TRAIN = """
    import dataclasses, os, sys, torch
    from pathlib import Path
    folder, accumulate, url = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    count, number = os.environ.get("WORLD_SIZE", "1"), os.environ.get("RANK", "0")
    os.environ["AVID_LAB_DATA"] = str(folder / f"data-{count}-{number}")  # each has a disk of its own
    from avid_lab.config import PRESETS, AudioSpec, TrainConfig, VideoSpec
    from avid_lab.datasets import ClipDataset, Manifest
    from avid_lab.encoders import AudioVisualModel
    from avid_lab.objectives import AVID
    from avid_lab.training import Trainer, process_group
    from avid_lab.transforms import InputPipeline

    video, audio = VideoSpec(4, 8.0, 32), AudioSpec(8000, 0.5, 16, 64)
    small = dataclasses.replace(
        PRESETS["pocket"], video=video, audio=audio, video_widths=(4, 4, 4, 8, 8), audio_widths=(4, 4, 4, 8, 8),
        head=(8,), dim=16,
    )
    with process_group():
        manifest = Manifest.read(url).select(split="train")
        clips = ClipDataset(manifest, video=video, audio=audio, cache=False, workers=0)
        objective = AVID(len(clips), 16, num_negatives=8, generator=torch.Generator().manual_seed(0))
        config = TrainConfig(steps=5, batch_size=4, accumulate=accumulate, seed=1, learning_rate=1e-4)
        pipeline = InputPipeline(video, audio)
        trainer = Trainer(AudioVisualModel(small, seed=2), objective, clips, config, pipeline=pipeline)
        losses = [trainer.step().loss for _ in range(2)]
        shards = sorted(path.name for path in manifest.root.glob("*.tar"))
        losses += [step.loss for step in trainer]
        made = {"losses": losses, "shards": shards, "memory": objective.memory.video}
        torch.save(made, folder / f"{count}-{number}.pth")
"""


@pytest.mark.slow
def test_two_processes_stream_one_set_of_shards_as_one_does(server, tmp_path):
    (tmp_path / "train.py").write_text(textwrap.dedent(TRAIN))
    made = {}
    for processes, accumulate in ((1, 2), (2, 1)):
        launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--standalone"]
        shown = subprocess.run(
            [sys.executable, *launcher, "train.py", str(tmp_path), str(accumulate), f"{server[0]}/manifest.csv"],
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert shown.returncode == 0, shown.stderr
        made[processes] = [torch.load(tmp_path / f"{processes}-{rank}.pth") for rank in range(processes)]
    alone = made[1][0]
    for one in made[2]:
        torch.testing.assert_close(one["losses"], alone["losses"], atol=1e-5, rtol=1e-5)
        # Adam enlarges differences of rounding where a gradient is nearly zero.
        torch.testing.assert_close(one["memory"], alone["memory"], atol=1e-4, rtol=0)
    shares = [set(one["shards"]) for one in made[2]]
    assert shares[0] | shares[1] == set(alone["shards"]) and len(shares[0] & shares[1]) <= 1


def test_the_command_packs_and_trains_on_an_address(originals, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("AVID_LAB_PROFILE", "smoke")
    monkeypatch.setenv("AVID_LAB_DATA", str(tmp_path / "data"))
    originals.write(originals.root / "manifest.csv")
    command = ["data", "prepare", str(originals.root / "manifest.csv"), str(tmp_path / "out"), "--size", "64"]
    assert cli.main([*command, "--shards", "6", "--workers", "0"]) == 0
    assert "21 copies in 4 shards" in capsys.readouterr().out
    with serving(tmp_path / "out") as (address, _):
        url = f"{address}/manifest.csv"
        train = ["train", "--data", url, "--steps", "2", "--batch-size", "4", "--num-negatives", "4"]
        assert cli.main([*train, "--out", str(tmp_path / "run" / "checkpoint.pt")]) == 0
        assert json.loads((tmp_path / "run" / "run.json").read_text())["data"] == url
    assert "loss" in capsys.readouterr().out
    assert cli.main(["train", "--data", "s3://bucket/manifest.csv", "--out", str(tmp_path / "x.pt")]) == 2
    assert "must have a URL that begins with http:// or https://" in capsys.readouterr().err


def test_without_the_package_the_fix_is_named(originals, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'webdataset: pip install "avid-lab\[shards\]"'):
        prepare(originals, tmp_path, shards=2, **SETTINGS)

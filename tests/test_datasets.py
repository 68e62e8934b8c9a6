"""Manifests that say what is wrong with them; datasets whose every window is the right one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from avid_lab.config import AudioSpec, VideoSpec, side_for
from avid_lab.datasets import ClipDataset, Manifest, Record, cache, index_folder
from avid_lab.datasets.parallel import default_workers, parallel
from avid_lab.media import Clip, MediaError, write_clip

VIDEO, AUDIO = VideoSpec(4, 8.0, 32), AudioSpec(8000, 1.0, frames=20, n_fft=64)
SIDE = 38  # of frames for crops of 32 pixels


def write_ramp(path: Path, duration_s: float, tone_hz: float = 440.0) -> Path:
    """A clip whose frames brighten by 6 levels each 1/8 s and whose sound swells: both tell the time."""
    frames = round(duration_s * 8)
    picture = (
        torch.arange(frames, dtype=torch.uint8).mul(6).view(1, frames, 1, 1).expand(3, frames, 64, 64).contiguous()
    )
    seconds = torch.arange(round(duration_s * 8000)) / 8000
    sound = (seconds / 10 * torch.sin(2 * torch.pi * tone_hz * seconds))[None].float()
    return write_clip(path, Clip(picture, sound, 8.0, 8000), crf=10, audio_kbps=96)


def seconds_shown(video: torch.Tensor) -> np.ndarray:
    """The times that ramp frames (..., 3, T, H, W) show, (..., T)."""
    return (video.float().mean((-1, -2, -4)) / 6).round().numpy() / 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Twelve ramps of 1.5 to 4 s in two classes, and their manifest."""
    root = tmp_path_factory.mktemp("ramps")
    records = []
    for i in range(12):
        label, duration_s = ("low", "high")[i % 2], (4.0, 3.0, 1.5)[i % 3]
        name = f"{label}/clip {i}.mp4"
        write_ramp(root / name, duration_s, 300 * (1 + i % 2))
        split = "test" if i % 4 == 3 else "train"
        records.append(Record(f"clip-{i}", name, label, duration_s, split, {"pitch": str(i % 2)}))
    Manifest(root, records).write(root / "manifest.csv")
    return root


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("AVID_LAB_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture(scope="module")
def clips(folder, tmp_path_factory) -> ClipDataset:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVID_LAB_DATA", str(tmp_path_factory.mktemp("data")))
        return ClipDataset(Manifest.read(folder / "manifest.csv"), video=VIDEO, audio=AUDIO, progress=False)


# ---- manifests

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
NAMES = TEXT.filter(lambda s: s.strip(" .") and not set(s) & set("/\\:")).map(lambda s: s + ".mp4")
RECORDS = st.lists(
    st.tuples(NAMES, TEXT, st.floats(1e-3, 1e5), st.sampled_from(["train", "test", ""]), TEXT), max_size=8,
    unique_by=lambda row: row[0],
)  # fmt: skip


@given(rows=RECORDS)
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_manifests_come_back_as_written(tmp_path, rows):
    records = [Record(name, f"a/{name}", label, s, split, {"note": note}) for name, label, s, split, note in rows]
    manifest = Manifest(tmp_path, records)
    back = Manifest.read(manifest.write(tmp_path / "m.csv"))
    assert back.records == records and back.classes == manifest.classes and len(back) == len(records)
    assert back.labels.tolist() == [back.classes.index(r.label) for r in records]
    assert not list(tmp_path.glob(".*"))


def test_the_header_is_the_documented_one(folder):
    lines = (folder / "manifest.csv").read_text().splitlines()
    assert lines[0] == "id,path,label,duration_s,split,pitch"
    assert lines[1] == "clip-0,low/clip 0.mp4,low,4.0,train,0"


def test_selections_keep_order_and_class_numbers(folder):
    manifest = Manifest.read(folder / "manifest.csv")
    assert manifest.classes == ("high", "low") and manifest.labels[:4].tolist() == [1, 0, 1, 0]
    test = manifest.select(split="test")
    assert [r.id for r in test.records] == ["clip-3", "clip-7", "clip-11"] and test.classes == ("high", "low")
    assert test.labels.tolist() == [0, 0, 0]
    assert manifest.select(manifest.labels == 1, split="train").column("id") == [f"clip-{i}" for i in range(0, 12, 2)]
    assert manifest.column("pitch") == ["0", "1"] * 6 and manifest.column("duration_s")[0] == "4.0"
    with pytest.raises(ValueError, match=r"no clip is in split 'dev'; there are \['test', 'train'\]"):
        manifest.select(split="dev")
    with pytest.raises(ValueError, match="no column 'genre'; its columns are id, path"):
        manifest.column("genre")
    with pytest.raises(ValueError, match="one entry per clip, 12; got 2"):
        manifest.select([True, False])


HEAD = "id,path,label,duration_s,split\n"
BAD_MANIFESTS = {
    "": r"line 1: the header must be id,path",
    "path,label\n": r"line 1: the header must be id,path",
    "id,path,label,duration_s,split,x,x\n": "line 1: the header must be",
    HEAD + "a,a.mp4,x,1\n": "line 2: a line must have 5 fields, like the header; got 4",
    HEAD + "a,a.mp4,x,1,train\nb,b,c,x,1,train\n": "line 3: a line must have 5 fields, like the header; got 6",
    HEAD + "a,a.mp4,x,long,train\n": "line 2: duration_s must be a positive number of seconds; got 'long'",
    HEAD + "a,a.mp4,x,-1,train\n": "line 2: duration_s must be a positive number of seconds; got -1.0",
    HEAD + "a,a.mp4,x,inf,train\n": "line 2: duration_s must be a positive",
    HEAD + "a,a.mp4,x,1,train\na,b.mp4,x,1,train\n": "line 3: id must be unique; 'a' occurs twice",
    HEAD + ",a.mp4,x,1,train\n": "line 2: id must not be empty",
    HEAD + "a,../a.mp4,x,1,train\n": r"line 2: path must be relative and stay inside .* got '\.\./a.mp4'",
    HEAD + "a,/etc/passwd,x,1,train\n": "line 2: path must be relative and stay inside",
    HEAD + "a,C:/a.mp4,x,1,train\n": "line 2: path must be relative and stay inside",
    HEAD + 'a,"a.mp4,x,1,train\n': "line",
    HEAD + "banana,a.mp4,x,1,train\nbanana,b.mp4,x,1,train\n": "line 3: id must be unique; 'banana' occurs twice",
}


@pytest.mark.parametrize("text", list(BAD_MANIFESTS))
def test_bad_manifests_are_reported_by_file_line_and_rule(tmp_path, text):
    path = tmp_path / "m.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=BAD_MANIFESTS[text]) as caught:
        Manifest.read(path)
    assert str(path) in str(caught.value) and "Correct the line" in str(caught.value)


@pytest.mark.parametrize(
    "saved",
    [
        lambda text: text.replace(",", ";").replace("1.5", "1,5").encode("utf-8-sig"),
        lambda text: text.replace(",", "\t").encode("utf-16"),
        lambda text: text.replace("1.5", '"1,5"').replace("\n", ",,\r\n").encode() + b",,,,,,,\r\n",
    ],
    ids=["semicolons", "tabs", "empty fields"],
)
def test_manifests_that_a_spreadsheet_saved(tmp_path, saved):
    path = tmp_path / "m.csv"
    path.write_bytes(saved('id,path,label,duration_s,split,still\na,a.mp4,é,1.5,train,"0-1;2-3"\nb,b.mp4,y,2,test,\n'))
    first, second = Manifest.read(path).records
    assert first == Record("a", "a.mp4", "é", 1.5, "train", {"still": "0-1;2-3"})
    assert second == Record("b", "b.mp4", "y", 2.0, "test", {"still": ""})


def test_other_ways_to_be_no_manifest(tmp_path):
    (tmp_path / "m.csv").write_bytes(HEAD.encode() + b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="UTF-8"):
        Manifest.read(tmp_path / "m.csv")
    with pytest.raises(FileNotFoundError):
        Manifest.read(tmp_path / "missing.csv")
    manifest = Manifest(tmp_path / "inside", [Record("a", "a.mp4", "x", 1.0)])
    assert Manifest.read(manifest.write(tmp_path / "above.csv")).records[0].path == "inside/a.mp4"
    with pytest.raises(ValueError, match="stay inside its folder"):
        manifest.write(tmp_path / "elsewhere" / "m.csv")


# ---- folders of real videos


def test_a_folder_is_indexed_and_what_is_unusable_is_reported(tmp_path):
    for i in range(5):
        write_ramp(tmp_path / "dogs" / f"d{i}.mp4", 2.0, 300 + 200 * i)
        write_ramp(tmp_path / "cats" / f"c'é {i}.mp4", 1.0, 400 + 200 * i)
    write_ramp(tmp_path / "top.mp4", 1.0)
    write_ramp(tmp_path / "cats" / "blink.mp4", 0.25)
    (tmp_path / "cats" / "broken.mp4").write_text("no video")
    (tmp_path / "cats" / "notes.txt").write_text("no video")
    (tmp_path / "cats" / ".hidden.mp4").write_text("no video")
    picture = torch.zeros(3, 8, 32, 32, dtype=torch.uint8)
    write_clip(tmp_path / "dogs" / "mute.mp4", Clip(picture, None, 8.0, None))
    write_clip(tmp_path / "dogs" / "silent.mp4", Clip(picture, torch.zeros(1, 8000), 8.0, 8000))
    write_clip(tmp_path / "dogs" / "radio.mp4", Clip(None, torch.ones(1, 8000) / 2, None, 8000))
    manifest = index_folder(tmp_path, workers=0, progress=False)
    assert manifest.classes == ("cats", "dogs", "unlabelled") and len(manifest) == 11
    assert [r.id for r in manifest.records] == sorted(r.path for r in manifest.records)
    assert {u.path: u.reason for u in manifest.unusable} == {
        "cats/blink.mp4": "too short",
        "cats/broken.mp4": "unreadable",
        "cats/notes.txt": "no video file",
        "cats/.hidden.mp4": "hidden",
        "dogs/mute.mp4": "no sound",
        "dogs/silent.mp4": "silent",
        "dogs/radio.mp4": "no picture",
    }
    report = manifest.report()
    assert "11 clips usable, 7 files left out" in report and "too short: cats/blink.mp4" in report
    splits = {c: [r.split for r in manifest.records if r.label == c] for c in manifest.classes}
    assert splits["cats"].count("test") == splits["dogs"].count("test") == 1
    again = index_folder(tmp_path, workers=0, progress=False)
    assert again.records == manifest.records
    assert Manifest.read(manifest.write(tmp_path / "manifest.csv")).records == manifest.records


def test_lists_of_an_earlier_index_are_not_reported(tmp_path):
    for i in range(2):
        write_ramp(tmp_path / "dogs" / f"d{i}.mp4", 1.0, 300 + 200 * i)
    (tmp_path / "broken.mp4").write_text("no video")
    index_folder(tmp_path, workers=0, progress=False, out=tmp_path / "manifest.csv")
    for again in (tmp_path / "other.csv", None):
        manifest = index_folder(tmp_path, workers=0, progress=False, out=again)
        assert [item.path for item in manifest.unusable if "manifest" in item.path] == []


def test_split_folders_are_obeyed(tmp_path):
    for place in ("train/a", "train/b", "validation/a", "test/b"):
        write_ramp(tmp_path / place / "x.mp4", 1.0)
    manifest = index_folder(tmp_path, workers=0, progress=False)
    assert [(r.split, r.label) for r in manifest.records] == [
        ("test", "b"),
        ("train", "a"),
        ("train", "b"),
        ("val", "a"),
    ]


def test_folders_without_videos(tmp_path):
    with pytest.raises(ValueError, match="is not a folder"):
        index_folder(tmp_path / "missing", progress=False)
    (tmp_path / "a.mp4").touch()
    with pytest.raises(ValueError, match=r"no usable video in .*(\n.*)*unreadable: a.mp4"):
        index_folder(tmp_path, progress=False)


# ---- clips


def test_shapes_types_and_order(clips):
    item = clips[3]
    assert item["video"].shape == (3, 4, SIDE, SIDE) and item["video"].dtype == torch.uint8
    assert item["audio"].shape == (1, 8000) and item["audio"].dtype == torch.float32
    assert item["index"] == 3 and item["label"] == 0 and clips[-1]["index"] == 11
    batch = clips.batch(torch.tensor([5, 0, 5]))
    assert batch["video"].shape == (3, 3, 4, SIDE, SIDE) and batch["audio"].shape == (3, 1, 8000)
    assert batch["video"].is_contiguous(memory_format=torch.channels_last_3d)
    assert batch["index"].tolist() == [5, 0, 5] and batch["label"].tolist() == [0, 1, 0]
    assert len(clips) == 12 and clips.classes == ("high", "low") and clips.path(0).name == "clip 0.mp4"
    assert len(list(iter(clips))) == 12 and "12 clips of 2 classes" in repr(clips)
    with pytest.raises(IndexError, match="clip 12 is outside this dataset of 12 clips"):
        clips[12]
    with pytest.raises(IndexError):
        clips.batch(torch.tensor([0, -1]))


def test_side_leaves_the_room_that_crops_need(clips):
    assert side_for(32) == SIDE
    for size in range(8, 300):
        side = side_for(size)
        assert side % 2 == 0 and 8 / 7 * size <= side < 8 / 7 * size + 2


def test_centre_windows_lie_in_the_middle(clips):
    for i, record in enumerate(clips.manifest.records):
        start_s = np.floor((record.duration_s - 0.5) / 2 * 8 + 1e-6) / 8
        assert seconds_shown(clips[i]["video"]) == pytest.approx(start_s + np.arange(4) / 8, abs=1e-6)


def loudness_s(audio: torch.Tensor) -> np.ndarray:
    """The time at the middle of ramp sounds (B, 1, samples), from how loud they are."""
    return (audio[:, 0].abs().unflatten(1, (10, -1)).amax(2).mean(1) * 10).numpy()


def test_windows_are_evenly_spaced_and_sound_covers_picture(clips):
    batch = clips.windows(torch.tensor([0, 1]), 5)
    assert batch["index"].tolist() == [0] * 5 + [1] * 5 and batch["video"].shape[0] == 10
    starts = seconds_shown(batch["video"])[:, 0]
    assert starts[:5].tolist() == pytest.approx(np.floor(np.linspace(0, 3.5, 5) * 8) / 8)
    assert starts[5:].tolist() == pytest.approx(np.floor(np.linspace(0, 2.5, 5) * 8) / 8)
    middle = loudness_s(batch["audio"])
    assert middle[:5] == pytest.approx(np.linspace(0, 3, 5) + 0.55, abs=0.1)
    one = clips.windows(torch.tensor([4]), 1)
    assert torch.equal(one["video"], clips.batch(torch.tensor([4]))["video"])
    with pytest.raises(ValueError, match="count must be >= 1"):
        clips.windows(torch.tensor([0]), 0)


def test_random_windows_come_from_the_generator_and_keep_together(clips):
    index = torch.zeros(400, dtype=torch.int64)
    batch = clips.batch(index, torch.Generator().manual_seed(1))
    again = clips.batch(index, torch.Generator().manual_seed(1))
    other = clips.batch(index, torch.Generator().manual_seed(2))
    assert torch.equal(batch["video"], again["video"]) and torch.equal(batch["audio"], again["audio"])
    assert not torch.equal(batch["video"], other["video"])
    state = torch.get_rng_state()
    clips.batch(index[:2], torch.Generator().manual_seed(1))
    assert torch.equal(state, torch.get_rng_state())  # nothing is drawn elsewhere
    video_s = seconds_shown(batch["video"])
    assert (np.diff(video_s, axis=1) == 0.125).all()
    begin, sound_begin = video_s[:, 0], loudness_s(batch["audio"]) - 0.55
    assert begin.min() == 0 and begin.max() >= 3.375 and sound_begin.min() < 0.2 and sound_begin.max() > 2.7
    apart = begin - sound_begin  # from half a picture before to half a picture after the sound's window
    assert apart.min() > -0.25 - 0.2 and apart.max() < 0.75 + 0.2 and apart.std() > 0.2


def test_without_the_cache_the_same_comes_out(clips, folder):
    direct = ClipDataset(Manifest.read(folder / "manifest.csv"), video=VIDEO, audio=AUDIO, cache=False)
    index = torch.tensor([0, 2, 7, 11])
    for generator in (None, 3):
        seed = generator and torch.Generator().manual_seed(generator)
        first = clips.batch(index, seed)
        seed = generator and torch.Generator().manual_seed(generator)
        second = direct.batch(index, seed)
        assert all(torch.equal(first[name], second[name]) for name in first)
    several, again = clips.windows(index, 3), direct.windows(index, 3)
    assert all(torch.equal(several[name], again[name]) for name in several)
    native = ClipDataset(clips.manifest, video=VideoSpec(4, 8.0, None), audio=AUDIO, cache=False)
    assert native[0]["video"].shape == (3, 4, 64, 64)


def test_selections_share_the_cache_and_count_from_zero(clips):
    test = clips.select(split="test")
    assert len(test) == 3 and test.labels.tolist() == [0, 0, 0]
    assert test[1]["index"] == 1 and torch.equal(test[1]["video"], clips[7]["video"])
    part = clips.subset(torch.tensor([9, 5, 2])).subset([2, 0])
    assert part.manifest.column("id") == ["clip-2", "clip-9"] and torch.equal(part[1]["audio"], clips[9]["audio"])
    assert part._cache is clips._cache and len(clips) == 12
    with pytest.raises(ValueError, match="no clip is in split 'dev'"):
        clips.select(split="dev")
    with pytest.raises(IndexError):
        clips.subset([12])
    with pytest.raises(ValueError, match="id must be unique; 'clip-2' occurs twice"):
        clips.subset([2, 2])


def test_data_loader_with_workers(clips):
    loader = DataLoader(clips, batch_size=5, num_workers=2, multiprocessing_context="spawn")
    batches = list(loader)
    assert [len(b["index"]) for b in batches] == [5, 5, 2]
    assert torch.equal(torch.cat([b["index"] for b in batches]), torch.arange(12))
    assert torch.equal(batches[1]["video"], clips.batch(torch.arange(5, 10))["video"])


# ---- the cache


def snapshot(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def load(folder: Path, **settings) -> ClipDataset:
    manifest = Manifest.read(folder / "manifest.csv")
    return ClipDataset(manifest, **{"video": VIDEO, "audio": AUDIO, "progress": False, **settings})


def test_the_cache_is_kept_and_keyed(folder, data):
    first = load(folder)
    before = snapshot(data)
    assert load(folder)._cache.folder == first._cache.folder and snapshot(data) == before
    assert not list(data.rglob("*.part"))
    assert load(folder, video=VideoSpec(4, 4.0, 32))._cache.folder != first._cache.folder
    assert load(folder, max_duration_s=2.0)._cache.folder != first._cache.folder


def test_a_replaced_file_is_decoded_again(folder, data, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    first = load(tmp_path / "copy")
    write_ramp(tmp_path / "copy" / "low" / "clip 0.mp4", 4.0, 900)
    assert not torch.equal(load(tmp_path / "copy")[0]["audio"], first[0]["audio"])


def damage_sizes(folder: Path) -> None:
    (folder / "frames.u8").write_bytes((folder / "frames.u8").read_bytes()[:-1000])


def damage_content(folder: Path) -> None:
    with (folder / "sound.i16").open("r+b") as file:
        file.write(b"\x55" * 1000)


def damage_index(folder: Path) -> None:
    (folder / "index.npz").write_bytes(b"no archive")


def damage_meta(folder: Path) -> None:
    (folder / "meta.json").write_text(json.dumps({"format": 0}))


def remove_sound(folder: Path) -> None:
    (folder / "sound.i16").unlink()


@pytest.mark.parametrize("damage", [damage_sizes, damage_content, damage_index, damage_meta, remove_sound])
def test_a_damaged_cache_is_built_again(folder, data, damage):
    expected = load(folder).batch(torch.arange(12))
    damage(load(folder)._cache.folder)
    again = load(folder).batch(torch.arange(12))
    assert torch.equal(again["video"], expected["video"]) and torch.equal(again["audio"], expected["audio"])


def test_an_interrupted_build_is_taken_up_again(folder, data, monkeypatch):
    decode, calls = cache._decode, []

    def interrupted(task):
        if len(calls) == 5:
            raise KeyboardInterrupt
        calls.append(task.clip)
        return decode(task)

    monkeypatch.setattr(cache, "_decode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load(folder, workers=0)
    assert [p.suffix for p in (data / "decoded").iterdir()] == [".part"]  # nothing half made bears the real name
    monkeypatch.setattr(cache, "_decode", lambda task: calls.append(task.clip) or decode(task))
    clips = load(folder, workers=0)
    assert sorted(calls) == list(range(12))  # each was decoded once
    assert seconds_shown(clips[0]["video"])[0] == 1.75


@pytest.mark.slow
def test_several_processes_make_the_same_cache(folder, data, clips):
    built = load(folder, workers=2)
    index = torch.arange(12)
    assert torch.equal(built.batch(index)["video"], clips.batch(index)["video"])
    assert torch.equal(built.batch(index)["audio"], clips.batch(index)["audio"])


def test_a_plain_script_needs_no_main_guard(folder, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from avid_lab.config import AudioSpec, VideoSpec\n"
        "from avid_lab.datasets import ClipDataset, Manifest\n"
        f"manifest = Manifest.read({str(folder / 'manifest.csv')!r})\n"
        "print(len(ClipDataset(manifest, video=VideoSpec(4, 8.0, 32), workers=2, progress=False)))\n"
    )
    environment = {**os.environ, "AVID_LAB_DATA": str(tmp_path / "data"), "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment, timeout=120)
    assert done.stdout == "12\n", done.stderr


def test_unusable_files_are_raised_or_counted(folder, data, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(folder, root)
    (root / "low" / "clip 0.mp4").write_text("no video")
    (root / "high" / "clip 3.mp4").unlink()
    with pytest.raises(MediaError, match=r"clip 0.mp4: cannot be read .* \(2 files of 12 are unusable.\)"):
        load(root)
    with pytest.raises(MediaError):  # also when the rest is cached
        load(root)
    with pytest.warns(UserWarning, match="2 of 12 files are unusable and left out. The first is low/clip 0.mp4"):
        clips = load(root, on_error="skip")
    assert len(clips) == 10 and clips.manifest.column("id")[:2] == ["clip-1", "clip-2"]
    assert [path for path, _ in clips.skipped] == ["low/clip 0.mp4", "high/clip 3.mp4"]
    assert seconds_shown(clips[0]["video"])[0] == 1.25 and clips[9]["index"] == 9
    with pytest.raises(MediaError, match="no such file"):
        load(root, cache=False)[3]


def test_a_truncated_file_gives_no_windows_beyond_what_is_left(data, tmp_path):
    write_ramp(tmp_path / "a.mp4", 4.0)
    content = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(content[: int(len(content) * 0.6)])
    manifest = Manifest(tmp_path, [Record("a", "a.mp4", "x", 4.0)])
    clips = ClipDataset(manifest, video=VIDEO, audio=AUDIO, progress=False)
    last = seconds_shown(clips.windows(torch.tensor([0]), 2)["video"])[1]
    assert 1.0 < last.max() < 3.5
    batch = clips.batch(torch.zeros(50, dtype=torch.int64), torch.Generator().manual_seed(0))
    assert (np.diff(seconds_shown(batch["video"]), axis=1) == 0.125).all()  # no frozen frames


@pytest.mark.parametrize("cache", [True, False], ids=["cached", "from files"])
def test_clips_shorter_than_the_window_are_padded(data, tmp_path, cache):
    write_ramp(tmp_path / "a.mp4", 0.25)
    manifest = Manifest(tmp_path, [Record("a", "a.mp4", "x", 0.25)])
    clips = ClipDataset(manifest, video=VIDEO, audio=AUDIO, cache=cache, progress=False)
    item = clips.batch(torch.tensor([0]), torch.Generator().manual_seed(0))
    assert seconds_shown(item["video"])[0].tolist() == [0, 0.125, 0.125, 0.125]
    assert item["audio"][0, 0, 4000:].abs().max() == 0


def write_odd(path: Path, pictures_s: list[float], sound_s: tuple[float, float]) -> Path:
    """Ramp frames at these moments (their level tells the moment), and ramp sound from here to there."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=8, options={"crf": "10", "g": "1"})
        video.width = video.height = 64
        audio = container.add_stream("aac", rate=8000, layout="mono")
        packets = []
        for moment_s in pictures_s:
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), round(moment_s * 48), np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(moment_s * 8), Fraction(1, 8)
            packets += video.encode(frame)
        seconds = np.arange(round(sound_s[0] * 8000), round(sound_s[1] * 8000)) / 8000
        wave = (seconds / 10 * np.sin(2 * np.pi * 440 * seconds))[None].astype(np.float32)
        frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = 8000, Fraction(1, 8000), round(sound_s[0] * 8000)
        packets += [*video.encode(None), *audio.encode(frame), *audio.encode(None)]
        for packet in sorted(packets, key=lambda p: float(p.dts * p.time_base)):
            container.mux(packet)
    return path


@pytest.mark.parametrize("settings", [{}, {"cache": False}], ids=["cached", "from files"])
def test_windows_lie_where_both_picture_and_sound_are(data, tmp_path, settings):
    late = [2 + i / 8 for i in range(24)]
    write_odd(tmp_path / "late.mp4", late, (0.0, 5.0))
    write_odd(tmp_path / "gap.mkv", [i / 8 for i in [*range(12), *range(24, 40)]], (0.0, 5.0))
    records = [Record(name, name, "x", 5.0) for name in ("late.mp4", "gap.mkv")]
    clips = ClipDataset(Manifest(tmp_path, records), video=VIDEO, audio=AUDIO, progress=False, **settings)
    batch = clips.windows(torch.tensor([0, 1]), 9)
    seen, heard = seconds_shown(batch["video"]), loudness_s(batch["audio"])
    assert (np.diff(seen, axis=1) == 0.125).all()  # no picture stands still, none is across the gap
    assert seen[:9].min() == 2.0 and seen[:9].max() == 4.875  # and all of it is used
    assert seen[9:].min() == 0.0 and seen[9:].max() == 4.875
    assert not ((seen[9:] >= 1.5) & (seen[9:] < 3.0)).any()
    assert np.abs(heard - 0.55 - seen[:, 0]).max() < 0.65  # sound is of the same moments
    drawn = clips.batch(torch.arange(2).repeat(100), torch.Generator().manual_seed(0))
    assert (np.diff(seconds_shown(drawn["video"]), axis=1) == 0.125).all()
    begin_s, end_s = clips.window_s(0)
    assert (begin_s, end_s) == (pytest.approx(3.0, abs=0.03), pytest.approx(4.0, abs=0.03))


def test_what_is_beyond_a_span_is_padding_cached_or_from_files(data, tmp_path):
    write_ramp(tmp_path / "a.mp4", 3.0)
    records = [Record("a", "a.mp4", "x", 3.0, "", {"both_s": "0.5-0.8;1.2-1.9"})]
    both = [
        ClipDataset(Manifest(tmp_path, records), video=VIDEO, audio=AUDIO, cache=cache, progress=False)
        for cache in (True, False)
    ]
    cached, read = (clips.batch(torch.zeros(20, dtype=torch.int64), torch.Generator().manual_seed(0)) for clips in both)
    assert all(torch.equal(cached[name], read[name]) for name in cached)
    assert seconds_shown(read["video"]).max() <= 1.9 and read["audio"][0, 0, 5700:].abs().max() == 0


@pytest.mark.parametrize("settings", [{}, {"cache": False}], ids=["cached", "from files"])
def test_spans_of_the_manifest_are_obeyed(data, tmp_path, settings):
    write_ramp(tmp_path / "a.mp4", 5.0)
    records = [Record("a", "a.mp4", "x", 5.0, "", {"both_s": "0-1.5;3-4.5"})]
    clips = ClipDataset(Manifest(tmp_path, records), video=VIDEO, audio=AUDIO, progress=False, **settings)
    seen = seconds_shown(clips.windows(torch.tensor([0]), 41)["video"])
    assert set(seen.ravel()) == {i / 8 for i in [*range(12), *range(24, 36)]}
    with pytest.raises(ValueError, match="clip 'a', column both_s: spans must be begin-end.* '01. Mar'.*dates"):
        ClipDataset(Manifest(tmp_path, [replace(records[0], extras={"both_s": "01. Mar"})]), video=VIDEO, audio=AUDIO)


def test_a_file_without_a_moment_of_both_is_named(data, tmp_path):
    write_odd(tmp_path / "apart.mkv", [3 + i / 8 for i in range(8)], (0.0, 2.0))
    with pytest.raises(MediaError, match="apart.mkv: has no picture and sound at the same time"):
        ClipDataset(Manifest(tmp_path, [Record("a", "apart.mkv", "x", 4.0)]), video=VIDEO, audio=AUDIO, progress=False)


def test_clips_are_decoded_once_where_that_fits_on_the_disk(folder, data, monkeypatch):
    assert load(folder).decoded and "clips are decoded once: they take 1.7 MB on disk" in load(folder).how
    usage = shutil.disk_usage(folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    assert load(folder).decoded  # they are there already
    other = load(folder, video=VideoSpec(4, 8.0, 40))
    assert not other.decoded and "MB of the 0.0 MB free" in other.how
    with pytest.raises(OSError, match=r"needs \d+ MiB in .* 0 MiB are free.*AVID_LAB_DATA"):
        load(folder, video=VideoSpec(4, 8.0, 40), cache=True)
    many = [Record(str(i), f"{i}.mp4", "x", 10.0) for i in range(20_000)]
    large = ClipDataset(Manifest(folder, many))  # looks at no file
    assert not large.decoded and "decoded, they would take 166.9 GB, over the limit of 8.0 GB" in large.how
    assert "as chosen" in load(folder, cache=False).how and "as chosen" in load(folder, cache=True).how


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"video": VideoSpec(4, 8.0, None), "cache": True}, "the cache needs frames of one size"),
        ({"workers": -1}, "workers must be >= 0 processes, or None; got -1"),
        ({"max_duration_s": 0.0}, "max_duration_s must be > 0"),
    ],
)
def test_settings_that_make_no_sense(folder, settings, message):
    with pytest.raises(ValueError, match=message):
        load(folder, **settings)
    with pytest.raises(ValueError, match="lists no clips"):
        ClipDataset(Manifest(folder, []))


def test_on_error_has_two_values(folder, unchecked):
    with pytest.raises(ValueError, match="on_error must be 'raise' or 'skip'; got 'ignore'"):
        load(folder, on_error="ignore")


# ---- work in parallel


def crash(number: int) -> int:
    if number == 3:
        os._exit(1)
    return number


def test_a_worker_that_dies_is_reported():
    with pytest.raises(RuntimeError, match="a worker process died"):
        list(parallel(crash, range(8), workers=2, progress=False, description="x"))


@pytest.mark.slow
def test_the_task_a_worker_dies_of_is_found_and_the_others_are_done():
    found = list(parallel(crash, range(40), workers=2, progress=False, description="x", lost=lambda number: -number))
    assert sorted(found) == sorted([-3, *range(3), *range(4, 40)])


def test_few_tasks_start_no_processes():
    assert default_workers(10) == 0
    assert list(parallel(abs, [-1, -2], workers=None, progress=False, description="x")) == [1, 2]


def test_batches_are_fast(clips):
    index = torch.arange(64) % 12
    generator = torch.Generator().manual_seed(0)
    clips.batch(index, generator)
    begin = time.process_time()
    for _ in range(10):
        clips.batch(index, generator)
    assert (time.process_time() - begin) / 10 < 0.03

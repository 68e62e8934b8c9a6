"""Training copies: small, whole, of the same clips; made again only where something changed."""

from __future__ import annotations

import os
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from avid_lab import cli
from avid_lab.config import PRESETS, AudioSpec, VideoSpec, side_for
from avid_lab.datasets import ClipDataset, Manifest, Record, index_folder
from avid_lab.datasets import prepare as module
from avid_lab.datasets.prepare import SIDE, prepare
from avid_lab.datasets.windows import Place, read_window
from avid_lab.media import Clip, probe, read_clip, write_clip

SETTINGS = {"size": 32, "fps": 8.0, "rate": 8000, "workers": 0, "progress": False}


def ramp(seconds: float, fps: float = 12.0) -> Clip:
    """Frames that brighten by 48 levels a second, and a tone."""
    frames = round(seconds * fps)
    levels = (torch.arange(frames) * 48 / fps).byte()
    picture = levels.view(1, frames, 1, 1).expand(3, frames, 48, 64).contiguous()
    return Clip(picture, torch.sin(torch.arange(round(seconds * 11_025)) / 4)[None] / 2, fps, 11_025)


@pytest.fixture
def manifest(tmp_path) -> Manifest:
    """Three clips of two classes, one of them mute, and a file that is none."""
    root = tmp_path / "originals"
    write_clip(root / "a b" / "-x.mp4", ramp(3.0), crf=10)
    write_clip(root / "a b" / "-x.mkv", ramp(1.5), crf=10)
    mute = ramp(1.0)
    write_clip(root / "ü" / "mute.mp4", Clip(mute.video, None, 12.0, None))
    (root / "ü" / "broken.mp4").write_text("no video")
    extras = {"width": "64", "who": "me"}
    return Manifest(
        root,
        [
            Record("long", "a b/-x.mp4", "a", 3.0, "train", extras),
            Record("short", "a b/-x.mkv", "a", 1.5, "test", extras),
            Record("broken", "ü/broken.mp4", "ü", 1.0, "train"),
            Record("mute", "ü/mute.mp4", "ü", 1.0, "train", extras),
        ],
    )


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.mp4")}


def test_copies_are_small_and_of_the_same_clips(manifest, tmp_path):
    copies = prepare(manifest, tmp_path / "out", max_duration_s=2.0, **SETTINGS)
    assert [(r.id, r.path, r.label, r.split) for r in copies.records] == [
        ("long", "a b/-x.mp4", "a", "train"),
        ("short", "a b/-x.mkv.mp4", "a", "test"),
        ("mute", "ü/mute.mp4", "ü", "train"),
    ]
    assert [r.duration_s for r in copies.records] == pytest.approx([2.0, 1.5, 1.0], abs=0.01)
    assert copies.records[0].extras == {"width": "32", "who": "me", "exact_rate": "8000"}
    assert copies.classes == ("a", "ü")
    assert [(u.path, u.reason) for u in copies.unusable] == [("ü/broken.mp4", "unreadable")]
    assert Manifest.read(tmp_path / "out" / "manifest.csv").records == copies.records
    assert "ü/broken.mp4,unreadable" in (tmp_path / "out" / "manifest.unusable.csv").read_text(encoding="utf-8")
    info = probe(copies.path(0))
    assert info.video is not None and (info.video.width, info.video.height, info.video.fps) == (32, 32, 8.0)
    assert info.audio is not None and info.audio.rate == 8000 and probe(copies.path(2)).audio is None
    clip = read_clip(copies.path(0), 0.0, VideoSpec(16, 8.0, 32), AudioSpec(8000, 2.0, 10, 64))
    levels = clip.video.float().mean((0, 2, 3)).numpy()
    assert np.abs(levels - np.floor(np.arange(16) / 8 * 12 + 1e-6) * 4).max() < 3  # the frame that was on screen
    assert clip.audio.abs().max() > 0.4 and clip.padded_frames == 0
    assert not list((tmp_path / "out").rglob("*.part"))


def test_copies_make_the_same_dataset(manifest, tmp_path, monkeypatch):
    monkeypatch.setenv("AVID_LAB_DATA", str(tmp_path / "data"))
    originals = manifest.subset([0, 1])
    copies = prepare(originals, tmp_path / "out", **{**SETTINGS, "size": 38, "rate": 16_000})
    specs = {"video": VideoSpec(4, 8.0, 32), "audio": AudioSpec(8000, 0.5, 10, 64), "progress": False}
    before, after = (ClipDataset(clips, **specs).windows(torch.arange(2), 4) for clips in (originals, copies))
    assert (before["video"].float() - after["video"].float()).abs().max() < 6
    level = [batch["audio"].square().mean().sqrt() for batch in (before, after)]
    assert level[1] == pytest.approx(float(level[0]), rel=0.05)


def test_what_is_done_is_not_done_again(manifest, tmp_path, monkeypatch):
    copy, made = module._copy, []

    def stopped(task):
        if len(made) == 1:
            raise KeyboardInterrupt
        made.append(task.source.name)
        return copy(task)

    out = tmp_path / "out"
    monkeypatch.setattr(module, "_copy", stopped)
    with pytest.raises(KeyboardInterrupt):
        prepare(manifest, out, **SETTINGS)
    assert not (out / "manifest.csv").exists() and len(times(out)) == 1
    monkeypatch.setattr(module, "_copy", lambda task: made.append(task.source.name) or copy(task))
    copies = prepare(manifest, out, **SETTINGS)
    assert made == ["-x.mp4", "-x.mkv", "broken.mp4", "mute.mp4"] and len(copies) == 3
    before = times(out)
    made.clear()
    assert prepare(manifest, out, **SETTINGS).records == copies.records
    assert made == ["broken.mp4"] and times(out) == before  # what failed is tried again
    made.clear()
    copies.path(2).write_bytes(copies.path(2).read_bytes()[:-5])  # a damaged copy
    write_clip(manifest.path(1), ramp(0.75))  # a new source
    assert prepare(manifest, out, **SETTINGS).records[1].duration_s == pytest.approx(0.75, abs=0.01)
    assert made == ["-x.mkv", "broken.mp4", "mute.mp4"]
    made.clear()
    prepare(manifest, out, **{**SETTINGS, "size": 16})  # other settings
    assert len(made) == 4 and probe(copies.path(0)).video.width == 16


def test_a_truncated_original_gives_a_shorter_copy(tmp_path):
    write_clip(tmp_path / "in" / "a.mp4", ramp(4.0), crf=10)
    content = (tmp_path / "in" / "a.mp4").read_bytes()
    (tmp_path / "in" / "a.mp4").write_bytes(content[: int(len(content) * 0.6)])
    clips = Manifest(tmp_path / "in", [Record("a", "a.mp4", "x", 4.0)])
    copies = prepare(clips, tmp_path / "out", **SETTINGS)
    assert 1.0 < copies.records[0].duration_s < 3.7
    frames = int(copies.records[0].duration_s * 8)
    levels = read_clip(copies.path(0), 0.0, VideoSpec(frames, 8.0, 32), None).video.float().mean((0, 2, 3))
    assert levels.diff().min() > 2  # no picture stands still


def test_sound_alone_can_be_copied(tmp_path):
    write_clip(tmp_path / "in" / "a.m4a", Clip(None, ramp(1.0).audio, None, 11_025))
    clips = Manifest(tmp_path / "in", [Record("a", "a.m4a", "x", 1.0)])
    copies = prepare(clips, tmp_path / "out", **SETTINGS)
    info = probe(copies.path(0))
    assert info.video is None and info.audio is not None and copies.records[0].path == "a.m4a.mp4"


@pytest.mark.slow
def test_several_processes_make_the_same_files(manifest, tmp_path):
    alone = prepare(manifest, tmp_path / "alone", **SETTINGS)
    together = prepare(manifest, tmp_path / "together", **{**SETTINGS, "workers": 2})
    assert together.records == alone.records and together.unusable == alone.unusable
    assert all(together.path(i).read_bytes() == alone.path(i).read_bytes() for i in range(3))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 33}, "size must be even and >= 16 pixels; got 33"),
        ({"rate": 8001}, "rate must be one that AAC supports, .*; got 8001"),
        ({"max_duration_s": 0.0}, "must be > 0; got 0.0"),
    ],
)
def test_settings_that_make_no_sense(manifest, tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        prepare(manifest, tmp_path / "out", **{**SETTINGS, **settings})
    with pytest.raises(ValueError, match="would overwrite the clips"):
        prepare(manifest, os.path.relpath(manifest.root), **SETTINGS)
    with pytest.raises(ValueError, match="lists no clips"):
        prepare(manifest.subset([]), tmp_path / "out", **SETTINGS)
    with pytest.raises(ValueError, match=r"no clip of .* could be copied(.|\n)*unreadable: ü/broken.mp4"):
        prepare(manifest.subset([2]), tmp_path / "out", **SETTINGS)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name[0] != "."}


@pytest.mark.parametrize("kind", ["a folder of the originals", "a link to them", "a foreign file", "a foreign list"])
def test_nothing_but_copies_is_ever_replaced(tmp_path, kind):
    root, out = tmp_path / "in", tmp_path / "out"
    write_clip(root / "a.mp4", ramp(1.0))
    write_clip(root / "sub" / "a.mp4", ramp(1.5))
    clips = Manifest(root, [Record("a", "a.mp4", "x", 1.0), Record("b", "sub/a.mp4", "x", 1.5)])
    if kind == "a folder of the originals":
        out = root / "sub"
    elif kind == "a link to them":
        out.mkdir()
        (out / "sub").symlink_to(root / "sub")
    else:
        out.mkdir()
        (out / ("a.mp4" if kind == "a foreign file" else "manifest.csv")).write_text("mine")
    before = contents(root), contents(out)
    for _ in range(2):  # what is refused once stays refused
        with pytest.raises(ValueError, match="would be overwritten. Choose an empty folder"):
            prepare(clips, out, **SETTINGS)
    assert (contents(root), contents(out)) == before


def test_a_link_made_later_is_refused_too(tmp_path):
    root, out = tmp_path / "in", tmp_path / "out"
    write_clip(root / "sub" / "a.mp4", ramp(1.0))
    clips = Manifest(root, [Record("a", "sub/a.mp4", "x", 1.0)])
    prepare(clips, out, **SETTINGS)
    shutil.rmtree(out / "sub")
    (out / "sub").symlink_to(root / "sub")
    before = contents(root)
    with pytest.raises(ValueError, match="would be overwritten"):
        prepare(clips, out, **{**SETTINGS, "size": 16})
    assert contents(root) == before


def test_a_copy_that_was_just_made_when_the_power_went_is_ours(manifest, tmp_path, monkeypatch):
    copy = module._copy

    def killed(task):
        copy(task)
        raise KeyboardInterrupt  # after the file, before it is remembered as done

    monkeypatch.setattr(module, "_copy", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare(manifest, tmp_path / "out", **SETTINGS)
    monkeypatch.setattr(module, "_copy", copy)
    assert len(prepare(manifest, tmp_path / "out", **SETTINGS)) == 3


def test_copies_below_the_originals_are_not_indexed_as_clips(tmp_path):
    for i in range(2):
        write_clip(tmp_path / "dog" / f"{i}.mp4", ramp(2.0))
    prepare(index_folder(tmp_path, workers=0, progress=False), tmp_path / "small", workers=0, progress=False)
    found = index_folder(tmp_path, workers=0, progress=False)
    assert found.column("path") == ["dog/0.mp4", "dog/1.mp4"]
    assert [(item.path, item.reason) for item in found.unusable] == [("small", "copies")]
    assert len(index_folder(tmp_path / "small", workers=0, progress=False)) == 2


def test_the_default_size_suits_every_preset():
    assert max(side_for(preset.video.size or 0) for preset in PRESETS.values()) == SIDE


def test_the_command(manifest, tmp_path, capsys):
    manifest.write(manifest.root / "manifest.csv")
    command = ["data", "prepare", str(manifest.root / "manifest.csv"), str(tmp_path / "out"), "--size", "32"]
    assert cli.main([*command, "--workers", "0"]) == 0
    shown = capsys.readouterr()
    assert "3 copies" in shown.out and "1 files left out" in shown.out and "making copies" in shown.err
    assert len(Manifest.read(tmp_path / "out" / "manifest.csv")) == 3
    assert cli.main([*command, "--max-seconds", "-1"]) == 2
    assert "avid-lab: error: max_duration_s and fps must be > 0; got -1.0" in capsys.readouterr().err


def test_an_indexed_set_is_prepared_and_trained_on(smoke_world, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("AVID_LAB_PROFILE", "smoke")
    world, root = smoke_world.manifest, tmp_path / "kinetics"
    lines = ["label,youtube_id,time_start,time_end,split"]
    for i, record in enumerate(world.records[:20]):
        split = "val" if i % 4 == 3 else "train"
        lines.append(f"{record.label},-id{i},0,4,{split}")
        (root / split).mkdir(parents=True, exist_ok=True)
        shutil.copy(world.path(i), root / split / f"-id{i}_000000_000004.mp4")
    (root / "all.csv").write_text("\n".join(lines))
    index = ["data", "index", str(root), "--layout", "kinetics400", "--workers", "0"]
    assert cli.main(index) == 0
    prepared = tmp_path / "small" / "manifest.csv"
    copy = ["data", "prepare", str(root / "manifest.csv"), str(prepared.parent), "--size", "64", "--workers", "0"]
    assert cli.main(copy) == 0
    train = ["train", "--data", str(prepared), "--steps", "2", "--out", str(tmp_path / "checkpoint.pt")]
    assert cli.main(train) == 0
    assert cli.main(["evaluate", str(tmp_path / "checkpoint.pt"), "--data", str(prepared)]) == 0
    assert "chance" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["index", "prepare"])
def test_the_commands_explain_themselves(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["data", command, "--help"])
    assert stop.value.code == 0 and f"avid-lab data {command}" in capsys.readouterr().out


def test_copies_hold_what_has_picture_and_sound(tmp_path):
    """A picture that begins late and has a gap: the copy has neither, and says where its seam is."""
    moments = [*range(12, 36), *range(60, 84)]  # in twelfths of a second: 1 to 3 s, 5 to 7 s
    source = tmp_path / "in" / "a.mkv"
    source.parent.mkdir()
    with av.open(str(source), "w") as container:
        video = container.add_stream("libx264", rate=12, options={"crf": "10", "g": "1"})
        video.height, video.width = 48, 64
        audio = container.add_stream("aac", rate=11_025, layout="mono")
        packets = []
        for moment in moments:
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), moment * 2, np.uint8), format="rgb24")
            frame.pts, frame.time_base = moment, Fraction(1, 12)
            packets += video.encode(frame)
        frame = av.AudioFrame.from_ndarray(ramp(8.0).audio.numpy(), format="fltp", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = 11_025, Fraction(1, 11_025), 0
        packets += [*video.encode(None), *audio.encode(frame), *audio.encode(None)]
        for packet in sorted(packets, key=lambda p: float(p.dts * p.time_base)):
            container.mux(packet)
    clips = Manifest(tmp_path / "in", [Record("a", "a.mkv", "x", 8.0)])
    copies = prepare(clips, tmp_path / "out", **SETTINGS)
    assert copies.records[0].duration_s == pytest.approx(4.0, abs=0.13)
    assert copies.records[0].extras["both_s"].startswith("0-2;2-")
    levels = read_clip(copies.path(0), 0.0, VideoSpec(32, 8.0, 32), None).video.float().mean((0, 2, 3))
    wanted = [2 * int(12 * (start + i / 8) + 1e-6) for start in (1, 5) for i in range(16)]
    assert np.abs(levels.numpy() - wanted).max() < 4
    assert probe(copies.path(0)).both_s == (pytest.approx((0.0, 4.0), abs=0.13),)


def test_any_window_of_a_copy_is_near_a_key_frame(tmp_path):
    write_clip(tmp_path / "in" / "a.mp4", ramp(6.0), crf=10)
    clips = Manifest(tmp_path / "in", [Record("a", "a.mp4", "x", 6.0)])
    copies = prepare(clips, tmp_path / "out", **{**SETTINGS, "fps": 16.0})
    with av.open(str(copies.path(0))) as container:
        packets = [packet for packet in container.demux(container.streams.video[0]) if packet.size]
    keys = [i for i, packet in enumerate(packets) if packet.is_keyframe]
    assert len(packets) == 96 and max(np.diff([*keys, 96])) <= 12
    assert [packet.pts for packet in packets] == sorted(packet.pts for packet in packets)  # no B-frames


def test_the_sound_of_copies_is_read_from_the_window_on(smoke_world, tmp_path, monkeypatch):
    monkeypatch.setenv("AVID_LAB_DATA", str(tmp_path / "data"))
    copies = prepare(
        smoke_world.manifest.subset(range(0, 64, 11)), tmp_path / "out", size=64, workers=0, progress=False
    )
    specs = {"video": VideoSpec(4, 8.0, 32), "audio": AudioSpec(duration_s=0.5), "progress": False}
    decoded, streamed = ClipDataset(copies, **specs), ClipDataset(copies, cache=False, workers=0, **specs)
    made, expected = (clips.windows(torch.arange(len(copies)), 5) for clips in (streamed, decoded))
    assert torch.equal(made["audio"], expected["audio"]) and torch.equal(made["video"], expected["video"])
    assert {record.extras["exact_rate"] for record in copies.records} == {"24000"}
    for at_s in (0.0, 1.3, 3.2):
        for i, record in enumerate(copies.records):
            window = copies.path(i), (0.0, record.duration_s), Place(0, at_s, at_s)
            how = {"video": None, "audio": AudioSpec(duration_s=0.5)}
            near, whole = (read_window(*window, **how, exact=exact)["audio"] for exact in (True, False))
            assert torch.equal(near, whole)

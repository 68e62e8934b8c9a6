"""What an index says of a set: what can be trusted of each file, copies, recordings, and splits that do not leak."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from avid_lab import cli
from avid_lab.datasets import Manifest, Record, index_folder
from avid_lab.datasets.prepare import prepare
from avid_lab.datasets.recordings import Groups, join_siblings, summary, trusted, with_splits
from avid_lab.media import Clip, write_clip
from avid_lab.spans import from_text, joined, length_s, to_text, without

FPS, RATE = 8.0, 8000


def noisy(seconds: float, seed: int = 0) -> Clip:
    """Blotches that change all the time, and a tone that glides."""
    generator = torch.Generator().manual_seed(seed)
    frames = round(seconds * FPS)
    blotches = torch.rand(3, frames, 12, 12, generator=generator).mul(255)
    picture = torch.nn.functional.interpolate(blotches, 48, mode="bilinear").byte()
    steps = torch.rand(round(seconds * 8), generator=generator).repeat_interleave(RATE // 8)
    sound = torch.sin(torch.cumsum(0.1 + 1.4 * steps, 0))[None] * steps * 0.5
    return Clip(picture.contiguous(), sound[:, : round(seconds * RATE)], FPS, RATE)


def index(root: Path, **settings) -> Manifest:
    return index_folder(root, workers=0, progress=False, **settings)


def column(manifest: Manifest, name: str) -> dict[str, str]:
    return dict(zip(manifest.column("id"), manifest.column(name), strict=True))


@pytest.fixture(scope="module")
def odd(tmp_path_factory) -> Path:
    """A good clip, and three that can be trusted in part or not at all."""
    root = tmp_path_factory.mktemp("odd")
    good = noisy(4.0)
    write_clip(root / "a" / "good.mp4", good)
    still = good.video[:, :1].expand(-1, 32, -1, -1).contiguous()
    write_clip(root / "a" / "still.mp4", replace(good, video=still), crf=10)
    half = torch.cat([good.video[:, :16], good.video[:, 15:16].expand(-1, 16, -1, -1)], 1)
    write_clip(root / "a" / "half.mp4", replace(noisy(4.0, 1), video=half), crf=10)
    quiet = noisy(4.0, 2)
    quiet.audio[:, RATE : 3 * RATE] = 0
    write_clip(root / "a" / "quiet.mp4", quiet)
    write_clip(root / "a" / "short.mp4", replace(noisy(4.0, 3), audio=quiet.audio[:, :RATE]))
    return root


def test_what_can_be_trusted_is_in_columns(odd):
    manifest = index(odd)
    assert column(manifest, "still") == {
        "a/good.mp4": "",
        "a/half.mp4": "2-3.5",
        "a/quiet.mp4": "",
        "a/short.mp4": "",
        "a/still.mp4": "0-4",
    }
    silent = column(manifest, "silent")
    assert [name for name, spans in silent.items() if spans] == ["a/quiet.mp4"]
    begin_s, end_s = map(float, silent["a/quiet.mp4"].split("-"))
    assert 1 <= begin_s <= 1.25 and 2.75 <= end_s <= 3
    share = {name: float(text) for name, text in column(manifest, "both_share").items()}
    assert share["a/short.mp4"] == pytest.approx(0.25, abs=0.05) and share["a/good.mp4"] > 0.98
    assert set(manifest.column("gaps")) == set(manifest.column("restarts")) == {"0"}
    assert all(abs(float(text)) < 0.05 for text in manifest.column("offset_s"))
    assert Manifest.read(manifest.write(odd / "manifest.csv")).records == manifest.records


def test_files_are_judged_beyond_their_first_seconds(tmp_path):
    long = noisy(14.0)
    long.audio[:, : 11 * RATE] = 0
    write_clip(tmp_path / "a" / "starts_silent.mp4", long)
    write_clip(tmp_path / "a" / "sound_goes_on.mp4", replace(noisy(14.0, 1), video=noisy(3.0, 1).video))
    write_clip(tmp_path / "a" / "silent.mp4", replace(noisy(14.0, 2), audio=torch.zeros_like(long.audio)))
    manifest = index(tmp_path)
    assert [(item.path, item.detail) for item in manifest.unusable] == [
        ("a/silent.mp4", "nothing is heard from start to end")
    ]
    begin_s, end_s = map(float, column(manifest, "silent")["a/starts_silent.mp4"].split("-"))
    assert begin_s < 0.1 and 10.5 < end_s <= 11
    begin_s, end_s = map(float, column(manifest, "both_s")["a/sound_goes_on.mp4"].split("-"))
    assert begin_s < 0.1 and 2.9 < end_s < 3.1


def test_strict_keeps_what_can_be_trusted(odd, capsys):
    manifest = index(odd, strict=True)
    both = column(manifest, "both_s")
    assert list(both) == ["a/good.mp4", "a/half.mp4", "a/quiet.mp4", "a/short.mp4"]
    assert both["a/half.mp4"].startswith("0-2;3.5-") and len(both["a/quiet.mp4"].split(";")) == 2
    assert [(item.path, item.reason) for item in manifest.unusable if item.reason == "doubtful"] == [
        ("a/still.mp4", "doubtful")
    ]
    assert cli.main(["data", "index", str(odd), "--strict", "--workers", "0", "--out", str(odd / "m.csv")]) == 0
    shown = capsys.readouterr().out
    assert "the picture does not move; --strict leaves these parts out: a/still.mp4 (4 s), a/half.mp4 (1.5 s)" in shown
    assert "--strict leaves out 1 clips" in shown and "doubtful: a/still.mp4" in shown
    assert "a/still.mp4,doubtful" in (odd / "m.unusable.csv").read_text()
    assert len(Manifest.read(odd / "m.csv")) == 4


def test_copies_hold_what_can_be_trusted_and_say_nothing_of_the_original(odd, tmp_path):
    copies = prepare(index(odd, strict=True), tmp_path, size=32, fps=8.0, rate=8000, workers=0, progress=False)
    half = next(record for record in copies.records if record.id == "a/half.mp4")
    assert half.duration_s == pytest.approx(2.5, abs=0.2)
    assert list(half.extras) == ["width", "height", "fps", "rate", "both_s", "duplicate_of", "recording", "exact_rate"]


def test_sound_that_begins_later_and_sound_in_antiphase(tmp_path):
    import av

    clip = noisy(3.0)
    write_clip(tmp_path / "a" / "plain.mp4", clip)
    with av.open(str(tmp_path / "a" / "plain.mp4")) as source, av.open(str(tmp_path / "a" / "late.mkv"), "w") as late:
        streams = {s.index: late.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                if packet.stream.type == "audio":
                    packet.pts, packet.dts = (round(1 / packet.time_base) + t for t in (packet.pts, packet.dts))
                packet.stream = streams[packet.stream.index]
                late.mux(packet)
    with av.open(str(tmp_path / "a" / "anti.mkv"), "w") as file:
        video, audio = file.add_stream("ffv1", 8), file.add_stream("pcm_s16le", RATE, layout="stereo")
        video.width = video.height = 48
        for image in clip.video.permute(1, 2, 3, 0).numpy():
            file.mux(video.encode(av.VideoFrame.from_ndarray(image, "rgb24").reformat(format="yuv420p")))
        both = torch.cat([clip.audio, -clip.audio]).mul(20_000).short().T.reshape(1, -1).numpy()
        frame = av.AudioFrame.from_ndarray(both, "s16", "stereo")
        frame.sample_rate = RATE
        file.mux([*video.encode(None), *audio.encode(frame), *audio.encode(None)])
    manifest = index(tmp_path)
    offset = {name: float(text) for name, text in column(manifest, "offset_s").items()}
    assert offset["a/late.mkv"] == pytest.approx(1.0, abs=0.15) and abs(offset["a/plain.mp4"]) < 0.05
    assert column(manifest, "cancelled") == {"a/anti.mkv": "yes", "a/late.mkv": "", "a/plain.mp4": ""}
    text = summary(manifest, 0.5)
    assert "picture and sound do not start together; only parts with both are used: a/late.mkv (0.87" in text
    assert "the sound's channels cancel each other; only one is used: a/anti.mkv" in text


def test_copies_are_found_by_bytes_and_by_content(tmp_path):
    for seed in range(4):
        write_clip(tmp_path / "a" / f"{seed}x.mp4", noisy(3.0, seed))
    (tmp_path / "b").mkdir()
    shutil.copy(tmp_path / "a" / "0x.mp4", tmp_path / "b" / "same bytes.mp4")
    again = noisy(3.0, 1)
    small = torch.nn.functional.interpolate(again.video.float().transpose(0, 1), 32, mode="area").transpose(0, 1).byte()
    write_clip(
        tmp_path / "b" / "smaller.mkv", replace(again, video=small.contiguous(), audio=again.audio * 0.6), crf=30
    )
    write_clip(tmp_path / "b" / "same picture.mp4", replace(noisy(3.0, 2), audio=noisy(3.0, 9).audio))
    write_clip(tmp_path / "b" / "same sound.mp4", replace(noisy(3.0, 3), video=noisy(3.0, 8).video))
    manifest = index(tmp_path)
    found = {name: first for name, first in column(manifest, "duplicate_of").items() if first}
    assert found == {"b/same bytes.mp4": "a/0x.mp4", "b/smaller.mkv": "a/1x.mp4"}
    assert column(manifest, "recording")["b/smaller.mkv"] == "a/1x.mp4"
    text = summary(manifest, 0.5)
    assert "2  duplicate of an earlier clip: b/same bytes.mp4, b/smaller.mkv" in text


def recordings(*paths: str, label: str = "dogs") -> list[set[str]]:
    """Which of these names are taken for pieces of one recording."""
    records = [Record(path, path, label, 1.0) for path in paths]
    groups = Groups(len(records))
    join_siblings(groups, records, [""] * len(records))
    members: dict[int, set[str]] = {}
    for i, path in enumerate(paths):
        members.setdefault(groups.find(i), set()).add(path)
    return [names for names in members.values() if len(names) > 1]


SIBLINGS = [
    ("x/holiday_000.mp4", "x/holiday_040.mp4"),
    ("x/name.mp4", "x/name (2).mp4", "y/name - copy.mp4"),
    ("x/b_c-d_e-F_g_000000_000010.mp4", "y/b_c-d_e-F_g_30.mp4"),
    ("x/video_part1.mp4", "x/video_part2.mp4"),
    ("x/A walk [b_c-d_e-F_g].mp4", "x/A walk [b_c-d_e-F_g] 30.mp4"),
    ("x/v_YoYo_g01_c01.avi", "x/v_YoYo_g01_c02.avi"),
    ("train/x/birthday 1.mp4", "test/x/birthday 2.mp4", "train/x/garden 1.mp4"),
]


@pytest.mark.parametrize("names", SIBLINGS)
def test_pieces_of_one_recording_are_known_by_their_names(names):
    assert recordings(*names) == [{name for name in names if "garden" not in name}]


@pytest.mark.parametrize(
    "names",
    [
        [f"x/video_{i:02d}.mp4" for i in range(5)],
        [f"x/barking{i}.mp4" for i in range(5)],
        ["x/IMG_0001.mp4", "x/IMG_0041.mp4"],
        ["x/dog_1.mp4", "x/dog_5.mp4"],
        ["x/VID_20230115_101010.mp4", "x/VID_20230115_111111.mp4"],
        ["x/IMG (1).mp4", "x/IMG (2).mp4"],
        ["000/000001.mp4", "000/000002.mp4"],
        ["x/a.mp4", "x/b.mp4", "y/a.mp4"],
        ["x/clip_00000.mp4", "x/clip_00001.mp4", "y/clip_00000.mp4", "y/clip_00001.mp4"],
        ["x/video_part1.mp4", "y/video_part2.mp4"],
        ["x/dog_clip_001.mp4", "y/dogs_clip_002.mp4"],
    ],
)
def test_mere_counts_are_no_recordings(names):
    assert recordings(*names) == []


def test_no_recording_is_divided():
    names = [f"{word}_{i:03d}" for word in ("sea", "wood", "hill", "town", "farm") for i in range(0, 120, 30)]
    records = [Record(name, f"x/{name}.mp4", "x", 1.0) for name in names]
    made, untested = with_splits(records, [name.split("_")[0] for name in names])
    assert Counter(r.split for r in made) == {"train": 16, "test": 4} and not untested
    by_recording = {r.id.split("_")[0]: set() for r in made}
    for record in made:
        by_recording[record.id.split("_")[0]].add(record.split)
    assert all(len(splits) == 1 for splits in by_recording.values())


def test_a_class_of_one_recording_is_named():
    records = [Record(f"{c}{i}", f"{c}/{i}.mp4", c, 1.0) for c in "ab" for i in range(10)]
    made, untested = with_splits(records, ["one" if r.label == "a" else r.id for r in records])
    assert untested == ["a"] and Counter(r.split for r in made if r.label == "b") == {"train": 8, "test": 2}
    assert {r.split for r in made if r.label == "a"} == {"train"}


def test_large_recordings_still_leave_a_test_set():
    records = [Record(f"{i}", f"a/{i}.mp4", "a", 1.0) for i in range(10)]
    made, untested = with_splits(records, [str(i % 2) for i in range(10)])
    assert Counter(r.split for r in made) == {"train": 5, "test": 5} and not untested


def test_given_splits_are_kept_and_leaks_reported(tmp_path):
    write_clip(tmp_path / "train" / "a" / "1x.mp4", noisy(2.0))
    write_clip(tmp_path / "train" / "a" / "2x.mp4", noisy(2.0, 1))
    (tmp_path / "test" / "a").mkdir(parents=True)
    shutil.copy(tmp_path / "train" / "a" / "1x.mp4", tmp_path / "test" / "a" / "copy of it.mp4")
    manifest = index(tmp_path)
    assert manifest.column("split") == ["test", "train", "train"]
    text = summary(manifest, 0.5)
    assert "1  recordings have clips in train and in another split; the given splits are kept: " in text
    assert "test/a/copy of it.mp4 and train/a/1x.mp4" in text


def test_a_set_without_doubts_needs_no_words(tmp_path):
    for seed in range(3):
        write_clip(tmp_path / "a" / f"{seed}x.mp4", noisy(2.0, seed))
    manifest = index(tmp_path)
    assert summary(manifest, 0.5) == "" and trusted(manifest, 0.5).records == manifest.records


def test_a_set_without_test_clips_and_classes_spelled_in_two_ways_are_named(tmp_path):
    for seed, label in enumerate(["Dog", "dog"]):
        write_clip(tmp_path / label / f"{seed}x.mp4", noisy(2.0, seed))
    text = summary(index(tmp_path), 0.5)
    if len(list(tmp_path.iterdir())) == 2:  # some file systems take both names for one
        assert "1  class names have several spellings, each a separate class: Dog and dog" in text
    assert "There is no test clip" in text


def test_files_beside_the_class_folders_are_named(tmp_path):
    write_clip(tmp_path / "dog" / "1x.mp4", noisy(2.0))
    write_clip(tmp_path / "2x.mp4", noisy(2.0, 1))
    assert "1  lie beside the class folders; their class is 'unlabelled': 2x.mp4" in summary(index(tmp_path), 0.5)
    shutil.rmtree(tmp_path / "dog")
    assert "beside" not in summary(index(tmp_path), 0.5)


@given(st.lists(st.floats(0, 1e4), max_size=8))
def test_spans_survive_as_text_to_the_millisecond(times):
    edges = sorted(times)
    spans = joined(zip(edges[::2], edges[1::2], strict=False))
    again = from_text(to_text(spans))
    assert abs(length_s(again) - length_s(spans)) <= 0.0021 * (len(spans) + 1)


def test_spans_without_holes():
    assert without(((0.0, 4.0), (6.0, 10.0)), ((1.0, 2.0), (3.5, 7.0))) == ((0.0, 1.0), (2.0, 3.5), (7.0, 10.0))
    assert without(((0.0, 4.0),), ()) == ((0.0, 4.0),) and without(((0.0, 4.0),), ((0.0, 4.0),)) == ()


def test_every_pair_of_copies_is_found_among_many():
    """Fingerprints that differ in a few bits are joined, others are not, however many there are."""
    from avid_lab.datasets.recordings import duplicates

    generator = np.random.default_rng(0)
    bits = generator.integers(0, 2, (2, 500, 256), dtype=np.uint8)
    for prints, changed in ((bits[0], 20), (bits[1], 40)):
        for i in range(250):
            prints[250 + i] = prints[i]
            prints[250 + i, generator.choice(256, changed, replace=False)] ^= 1
    texts = [[np.packbits(row).tobytes().hex() for row in prints] for prints in bits]
    found = [{"bytes": str(i), "picture": texts[0][i], "sound": texts[1][i]} for i in range(500)]
    groups = duplicates([Path("x")] * 500, found)
    assert [groups.find(250 + i) for i in range(250)] == list(range(250))
    assert [groups.find(i) for i in range(250)] == list(range(250))


def test_a_small_object_that_moves_is_not_a_still_picture(tmp_path):
    """A bird of 10 pixels crosses a sky of 640 x 360."""
    picture = torch.linspace(90, 160, 360).byte().view(1, 1, 360, 1).expand(3, 32, 360, 640).contiguous()
    for i in range(32):
        picture[:, i, 100:110, 150 + 10 * i : 160 + 10 * i] = 20
    sound = noisy(2.0).audio
    assert sound is not None
    write_clip(tmp_path / "a" / "bird.mp4", Clip(picture, sound, 16.0, 8000))
    picture[:] = picture[:, :1]
    write_clip(tmp_path / "a" / "sky.mp4", Clip(picture, sound, 16.0, 8000))
    bird, sky = index(tmp_path).column("still")
    assert bird == "" and sky.startswith("0-")


def test_damaged_packets_are_counted(tmp_path):
    whole = write_clip(tmp_path / "a" / "whole.mp4", noisy(4.0))
    content = bytearray(whole.read_bytes())
    begin = content.index(b"mdat") + 4
    content[begin + 2000 :: 397] = bytes(255 - byte for byte in content[begin + 2000 :: 397])
    (tmp_path / "a" / "damaged.mp4").write_bytes(bytes(content))
    manifest = index(tmp_path)
    damaged = column(manifest, "damaged")
    assert damaged["a/whole.mp4"] == "0" and int(damaged["a/damaged.mp4"]) > 0
    assert "damaged: frames repeat or sound is silent there: a/damaged.mp4" in summary(manifest, 0.5)

"""The rendered world: determinism, ground truth, synchrony, settings, and building that survives interruption."""

import dataclasses
import json
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from avid_lab import foley
from avid_lab.config import AudioSpec, VideoSpec
from avid_lab.foley import CATALOGUE, PRESETS, SCENES, FoleyConfig
from avid_lab.foley.clip import scene_of, split_of
from avid_lab.foley.measure import measure, table
from avid_lab.foley.picture import Canvas
from avid_lab.foley.preview import preview
from avid_lab.foley.sound import Studio
from avid_lab.foley.stage import Stage
from avid_lab.foley.timeline import Timeline, beats
from avid_lab.media import Clip, probe, read_clip, write_clip

CLEAN = FoleyConfig(
    distractors=0.0, sound_distractors=0.0, off_screen=0.0, silent=0.0, noisy=0.0, look_alike=0.0, sound_alike=0.0
)
PLAIN = dataclasses.replace(CLEAN, background=0.0, drift=0.0, noise=0.0, reverb=0.0)


def times(text):
    return np.array([float(t) for t in text.split(";") if t])


# ---- scenes


def test_scenes_confuse_eye_and_ear_differently():
    assert len(SCENES) >= 16
    groups = [(s.look_group, s.sound_group) for s in CATALOGUE.values()]
    assert len(set(groups)) == len(groups), "two scenes share look and sound: nothing could tell them apart"
    for side in (0, 1):
        names = [g[side] for g in groups]
        assert min(names.count(n) for n in names) >= 2, "every scene has a look-alike and a sound-alike"


@pytest.mark.parametrize("name", SCENES)
def test_each_scene_renders_whole(name):
    picture, sound, truth = foley.render(SCENES.index(name), CLEAN)
    assert picture.shape == (64, 128, 128, 3) and picture.dtype == np.uint8
    assert sound.shape == (96_000,) and sound.dtype == np.float32
    assert truth["scene"] == truth["heard_scene"] == name and truth["off_screen"] == "0"
    assert np.isfinite(sound).all() and np.abs(sound).max() <= 0.89
    # No click where the clip begins, ends or loops.
    assert abs(sound[0]) < 1e-3 and abs(sound[-1]) < 1e-3
    loudness_db = 10 * np.log10(np.mean(sound**2))
    assert abs(loudness_db - float(truth["loudness_db"])) < 1.5
    moved = np.abs(np.diff(picture.astype(np.int16), axis=0)).max(axis=(1, 2, 3))
    assert (moved > 8).mean() > 0.6, "something moves most of the time"


@settings(deadline=None, max_examples=6)
@given(index=st.integers(0, 10**6), seed=st.integers(0, 2**31))
def test_a_clip_depends_on_seed_and_index_alone(index, seed):
    config = FoleyConfig(seed=seed)
    first, again = foley.render(index, config), foley.render(index, dataclasses.replace(config, clips=7))
    assert (first[0] == again[0]).all() and (first[1] == again[1]).all() and first[2] == again[2]
    other = foley.render(index, dataclasses.replace(config, seed=seed + 1))
    assert (first[0] != other[0]).any() and (first[1] != other[1]).any()


def test_settings_of_one_half_leave_the_other_as_it_was():
    base = foley.render(3, CLEAN)
    look = foley.render(3, dataclasses.replace(CLEAN, background=0.2, drift=0.0, look_alike=1.0))
    assert (look[1] == base[1]).all() and (look[0] != base[0]).any()
    hear = foley.render(3, dataclasses.replace(CLEAN, reverb=0.0, noise=0.0, sound_alike=1.0, noisy=1.0))
    assert (hear[0] == base[0]).all() and (hear[1] != base[1]).any()
    assert look[2]["onsets"] == hear[2]["onsets"] == base[2]["onsets"]


# ---- synchrony

# The strongest change between two frames, or the strongest attack, is where the timeline says.
VISIBLE_AT_ONCE = ["drum", "woodpecker", "typing", "ambulance", "fireworks"]
HEARD_AT_ONCE = [
    "gong", "drum", "basketball", "ping_pong", "clock", "church_bell", "woodpecker", "typing", "piano", "guitar",
    "campfire", "drip", "ambulance",
]  # fmt: skip


def lag_of(signal, at, onsets, lags):
    """The shift of the onsets at which the signal is largest."""
    return lags[int(np.argmax([np.interp(onsets + lag, at, signal).sum() for lag in lags]))]


@pytest.mark.parametrize("name", VISIBLE_AT_ONCE)
def test_the_event_is_seen_within_a_frame(name):
    picture, _, truth = foley.render(SCENES.index(name), PLAIN)
    change = np.abs(np.diff(picture.astype(np.float32), axis=0)).mean(axis=(1, 2, 3))
    onsets = times(truth["onsets"])
    first = np.ceil(onsets * 16 - 1e-6)  # the first frame that shows it
    lag = lag_of(change, np.arange(1, 64), first[first < 62], np.arange(-3, 4))
    assert abs(lag) <= 1


def attack_lag(sound, rate, onsets):
    frames = np.lib.stride_tricks.sliding_window_view(sound, rate // 50)[:: rate // 200]
    spectrum = np.log(np.abs(np.fft.rfft(frames * np.hanning(rate // 50), axis=1)) + 1e-3)
    attack = np.maximum(np.diff(spectrum, axis=0), 0).sum(axis=1)
    at = (np.arange(len(attack)) * (rate // 200) + rate // 100 + rate // 200) / rate
    return lag_of(attack, at, onsets, np.arange(-0.15, 0.151, 0.005))


@pytest.mark.parametrize("name", HEARD_AT_ONCE)
def test_the_event_is_heard_within_a_frame(name):
    _, sound, truth = foley.render(SCENES.index(name), CLEAN)
    assert abs(attack_lag(sound, 24_000, times(truth["heard_onsets"]))) <= 1 / 16


def test_the_files_stay_in_time(smoke_world):
    """AAC's delay is compensated: attacks in decoded files match the manifest within a frame."""
    manifest, lags = smoke_world.manifest, []
    for i, record in enumerate(manifest.records):
        if record.label in HEARD_AT_ONCE and not any(
            record.extras[k] == "1" for k in ("off_screen", "silent", "noisy")
        ):
            clip = read_clip(manifest.path(i), 0.0, None, AudioSpec(duration_s=4.0))
            lags.append(attack_lag(clip.audio[0].numpy(), 24_000, times(record.extras["heard_onsets"])))
    assert len(lags) > 15 and np.mean(np.abs(lags) <= 1 / 16) > 0.9 and abs(np.median(lags)) < 0.02


# ---- settings and ground truth


def test_every_share_acts_and_is_reported():
    def column(name, **settings):
        config = dataclasses.replace(CLEAN, size=32, duration_s=1.0, **settings)
        return [foley.render(i, config)[2][name] for i in range(22)]

    assert column("off_screen", off_screen=1.0) == ["1"] * 22
    truth = foley.render(0, dataclasses.replace(CLEAN, off_screen=1.0))[2]
    assert CATALOGUE[truth["heard_scene"]].sound_group == truth["sound_group"] != CATALOGUE["gong"].sound_group
    assert all(column("distractor", distractors=1.0)) and all(column("sound_distractor", sound_distractors=1.0))
    assert {float(t) for t in column("look_tell", look_alike=0.0)} == {1.0}
    assert min(float(t) for t in column("look_tell", look_alike=1.0)) < 0.5
    assert min(float(t) for t in column("sound_tell", sound_alike=1.0)) < 0.5

    silent = foley.render(0, dataclasses.replace(CLEAN, silent=1.0))
    assert silent[2]["silent"] == "1" and np.sqrt(np.mean(silent[1] ** 2)) < 1e-3
    noisy = foley.render(0, dataclasses.replace(CLEAN, noisy=1.0))[2]
    assert noisy["noisy"] == "1" and float(noisy["snr_db"]) < 3


def test_a_higher_share_affects_the_same_clips_and_more():
    def affected(share):
        config = FoleyConfig(size=32, duration_s=1.0, off_screen=share, distractors=0.0, sound_distractors=0.0)
        return {i for i in range(60) if foley.render(i, config)[2]["off_screen"] == "1"}

    few, many = affected(0.1), affected(0.4)
    assert few < many and 10 < len(many) < 40


def test_background_is_salient_and_its_setting_flattens_it():
    def spread(salience):
        frames = Stage(np.random.default_rng(4), 2, 16.0, 128, background=salience).develop()
        return frames[0].std(axis=(0, 1)).mean()

    assert spread(0.0) < 0.6 * spread(1.0) and spread(1.0) > 15


def test_classes_and_splits_are_balanced():
    config = PRESETS["pocket"]
    seen = np.array([scene_of(i, config) for i in range(config.clips)])
    test = np.array([split_of(i, config) == "test" for i in range(config.clips)])
    counts = [np.sum(seen == s) for s in SCENES]
    assert max(counts) - min(counts) <= 1
    shares = [test[seen == s].mean() for s in SCENES]
    assert min(shares) > 0.17 and max(shares) < 0.23
    # The split of a clip does not depend on how many clips there are.
    assert split_of(5, PRESETS["full"]) == split_of(5, config)
    assert {split_of(i, PRESETS["smoke"]) for i in range(64)} == {"train", "test"}


def test_neither_mean_colour_nor_loudness_reveals_the_class():
    """Leave-one-out nearest neighbour on 220 small clips is within a few points of chance (4.5 %)."""
    config = FoleyConfig(size=32, duration_s=1.0)
    clips = [foley.render(i, config) for i in range(220)]
    label = np.arange(220) % 22
    for features in (
        np.array([p.mean(axis=(0, 1, 2)) for p, _, _ in clips]),
        np.array([[10 * np.log10(np.mean(s**2) + 1e-9)] for _, s, _ in clips]),
    ):
        distance = ((features[:, None] - features[None]) ** 2 / features.var(axis=0)).sum(axis=-1)
        np.fill_diagonal(distance, np.inf)
        assert np.mean(label[distance.argmin(axis=1)] == label) < 0.12


# ---- timeline, canvas, sound


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**31), rate=st.floats(0.7, 6), duration=st.floats(1.5, 8))
def test_timeline_phase_and_turns(seed, rate, duration):
    events = beats(np.random.default_rng(seed), duration, (rate, rate), 0.2)
    grid = np.linspace(0, duration, 97)
    phase, gap, before = events.phase(grid)
    assert (phase >= 0).all() and (phase < 1).all() and (gap > 0).all()
    assert (np.diff(before) >= 0).all()
    if len(events.onsets):
        assert events.phase(events.onsets + 1e-4)[0].max() < 0.01, "the phase is 0 at an event"
        assert np.allclose(events.decay(events.onsets, 0.1)[:1], events.strengths[:1], atol=1e-3)
    steady = Timeline(duration, curve=np.full(5, 2.5, np.float32))
    assert np.allclose(steady.turns(grid), 2.5 * grid, atol=1e-3)


def test_canvas_paints_where_told_with_soft_edges():
    canvas = Canvas(np.zeros((2, 3, 64, 64), np.float32), np.zeros((2, 2), np.float32), 32.0)
    canvas.at(0.5, 0.0).disc(0.0, np.array([-0.5, 0.5]), 0.25, (1.0, 0.5, 0.0))
    above, below = canvas.pixels[0, 0], canvas.pixels[1, 0]
    assert above.sum() == pytest.approx(np.pi * 8**2, rel=0.03) and above[:32].sum() > 0.99 * above.sum()
    assert below[32:].sum() > 0.99 * below.sum() and np.allclose(above, below[::-1], atol=1e-5)
    assert above[:, 32:].sum() > 0.99 * above.sum()
    assert len(np.unique(above.round(2))) > 5, "edges are antialiased"
    assert np.allclose(canvas.pixels[0, 1], above / 2, atol=1e-6)
    canvas.disc(9.0, 0.0, 0.2, (1, 1, 1))  # out of the picture: nothing happens
    assert canvas.pixels.max() <= 1


def test_strings_and_modes_have_the_pitch_asked_for():
    studio = Studio(np.random.default_rng(0), 2.0, 24_000)
    pluck = studio.place(
        Timeline(2.0, np.array([0.1], np.float32), np.ones(1, np.float32), np.zeros(1, int)), np.ones(8, np.float32)
    )
    for signal in (studio.strings([pluck], [220.5], 0.8), np.pad(studio.modes([220.5], [0.4], [1.0]), (0, 9000))):
        spectrum = np.abs(np.fft.rfft(signal, 1 << 18))
        peak = np.fft.rfftfreq(1 << 18, 1 / 24_000)[50 + int(np.argmax(spectrum[50:4000]))]
        assert peak == pytest.approx(220.5, abs=1.0)


# ---- building and loading


def test_the_world_on_disk(smoke_world):
    manifest = smoke_world.manifest
    assert len(manifest) == 64 and manifest.classes == tuple(sorted(SCENES))
    assert manifest.labels.bincount().tolist() == [64 // 22 + (SCENES.index(c) < 64 % 22) for c in manifest.classes]
    info = probe(manifest.path(5))
    assert info.video.codec == "h264" and info.audio.codec == "aac"
    assert (info.video.width, info.video.height, info.audio.rate, info.audio.channels) == (128, 128, 24_000, 1)
    for name in (
        "look_group",
        "sound_group",
        "off_screen",
        "silent",
        "noisy",
        "onsets",
        "background",
        "pitch",
        "t60_s",
    ):
        assert len(manifest.column(name)) == 64
    assert np.mean([int(b) for b in manifest.column("bytes")]) < 62_000

    # Any clip alone is the one in the file.
    picture, sound, truth = foley.render(5, PRESETS["smoke"])
    assert truth.items() <= manifest.records[5].extras.items()
    clip = read_clip(manifest.path(5), 0.0, VideoSpec(frames=64, fps=16.0, size=None), AudioSpec(duration_s=4.0))
    difference = np.abs(clip.video.permute(1, 2, 3, 0).numpy().astype(int) - picture)
    assert difference.mean() < 9 and np.corrcoef(clip.audio[0].numpy(), sound)[0, 1] > 0.85


SMALL = FoleyConfig(clips=8, size=32, duration_s=1.0)


def test_build_repairs_missing_and_damaged_files(tmp_path):
    manifest = foley.build(SMALL, tmp_path, workers=0, progress=False)
    before = [manifest.path(i).read_bytes() for i in range(8)]
    manifest.path(1).unlink()
    manifest.path(3).write_bytes(b"")
    manifest.path(6).write_bytes(before[6][:-1] + b"?")
    untouched = manifest.path(0).stat().st_mtime_ns
    again = foley.build(SMALL, tmp_path, workers=0, progress=False)
    assert [again.path(i).read_bytes() for i in range(8)] == before
    assert again.path(0).stat().st_mtime_ns == untouched
    assert [r.extras for r in again.records] == [r.extras for r in manifest.records]
    assert not list(tmp_path.rglob("*.part")) and not list(tmp_path.rglob("journal*"))


def test_an_interrupted_build_goes_on(tmp_path, monkeypatch):
    from avid_lab.foley import world

    made = []
    whole = world._make

    def interrupted(task):
        if len(made) == 5:
            raise KeyboardInterrupt
        made.append(task[0])
        return whole(task)

    monkeypatch.setattr(world, "_make", interrupted)
    with pytest.raises(KeyboardInterrupt):
        foley.build(SMALL, tmp_path, workers=0, progress=False)
    (folder,) = tmp_path.iterdir()
    with (folder / "journal.jsonl").open("a") as journal:
        journal.write('[5, 123, {"torn')  # the power went
    made = made[:4]
    with pytest.raises(KeyboardInterrupt):  # and again, one clip later
        foley.build(SMALL, tmp_path, workers=0, progress=False)
    made.clear()
    monkeypatch.setattr(world, "_make", lambda task: (made.append(task[0]), whole(task))[1])
    manifest = foley.build(SMALL, tmp_path, workers=0, progress=False)
    assert sorted(made) == [6, 7] and len(manifest) == 8
    assert json.loads((folder / "config.json").read_text())["size"] == 32
    crcs = [f"{zlib.crc32(manifest.path(i).read_bytes()):08x}" for i in range(8)]
    assert manifest.column("crc32") == crcs


DAMAGE = [("foley-0-000002", "foley-0-000009"), ("id,", "id;"), (",1.0,", ",one,"), ("\n", "")]


@pytest.mark.parametrize(("old", "new"), DAMAGE)
def test_a_damaged_manifest_is_made_again(tmp_path, old, new):
    manifest = foley.build(SMALL, tmp_path, workers=0, progress=False)
    path = manifest.root / "manifest.csv"
    before = path.read_text()
    path.write_text(before.replace(old, new, 1))
    assert path.read_text() != before
    assert foley.build(SMALL, tmp_path, workers=0, progress=False).records == manifest.records
    assert path.read_text() == before


def test_other_settings_go_to_another_folder(tmp_path):
    one = foley.build(SMALL, tmp_path, workers=0, progress=False)
    two = foley.build(dataclasses.replace(SMALL, off_screen=0.5), tmp_path, workers=0, progress=False)
    assert one.root != two.root
    assert dataclasses.replace(SMALL, clips=9).digest == SMALL.digest


def test_load_gives_the_split_asked_for(smoke_world, monkeypatch):
    monkeypatch.setenv("AVID_LAB_DATA", str(smoke_world.manifest.root.parents[1]))
    test = foley.load("smoke", split="test", progress=False)
    assert set(test.manifest.column("split")) == {"test"} and 5 <= len(test) < 20
    assert test.classes == smoke_world.classes


def test_too_little_disk_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10**6}))
    with pytest.raises(OSError, match=r"need about .* MB of disk space, 1 MB are free.*AVID_LAB_DATA"):
        foley.build(SMALL, tmp_path, workers=0, progress=False)


@pytest.mark.slow
def test_the_preview_has_a_clip_of_each_scene_and_a_sheet(tmp_path):
    *clips, sheet = preview(tmp_path)
    assert set(SCENES) < {clip.stem for clip in clips} and len(clips) == len(SCENES) + 4
    with Image.open(sheet) as image:
        assert image.format == "PNG" and image.size == (808, 78 * len(SCENES) // 2)


@pytest.mark.parametrize("size", [34, 64])
def test_the_encoder_is_given_the_planes_of_a_picture(size, tmp_path):
    """For any even width and memory order, the file shows the same colours, and planes are not copied."""
    config = FoleyConfig(size=size, duration_s=1.0)
    picture, sound, _ = foley.render(1, config)
    video = foley.to_clip(picture, sound, config).video
    assert video is not None and video.transpose(0, 1).is_contiguous()
    for name, order in (
        ("planes.mp4", video),
        ("other.mp4", video.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)),
    ):
        write_clip(tmp_path / name, Clip(order, None, 16.0, 0), crf=1)
    assert (tmp_path / "planes.mp4").read_bytes() == (tmp_path / "other.mp4").read_bytes()
    shown = read_clip(tmp_path / "planes.mp4", 0.0, VideoSpec(frames=16, fps=16.0, size=None), None).video
    assert shown is not None
    error = (shown.float() - video.float()).abs()
    assert error.mean() < 6 and (shown.float() - video.float()).mean(dim=(1, 2, 3)).abs().max() < 2


@pytest.mark.parametrize("name", ["fan", "surf", "typing", "ambulance", "fireworks"])
def test_painting_in_blocks_changes_nothing(name, monkeypatch):
    """Frames are painted together or one by one, whichever is faster; the pictures are equal up to rounding."""
    index = SCENES.index(name)
    many = foley.render(index, FoleyConfig())[0].astype(int)
    monkeypatch.setattr("avid_lab.foley.picture.BLOCK", 1)
    one = foley.render(index, FoleyConfig())[0]
    assert np.abs(many - one).max() <= 5 and np.mean(many != one) < 1e-3


def test_dots_that_overlap_add_up_and_saturate():
    canvas = Canvas(np.zeros((2, 3, 16, 16), np.float32), np.zeros((2, 2), np.float32), 8.0)
    at = np.zeros((2, 1), np.float32) + 0.5 / 8
    canvas.dots(np.repeat(at, 3, axis=1), np.repeat(at, 3, axis=1), 0.1, (1.0, 0.5, 0.0), np.array([[0.3], [0.6]]))
    assert np.allclose(canvas.pixels[:, 0, 8, 8], [0.9, 1.0]) and np.allclose(canvas.pixels[:, 1, 8, 8], [0.45, 0.5])
    assert (canvas.pixels[:, 2] == 0).all() and (canvas.pixels[:, :, 0] == 0).all()


def test_what_settings_do_is_measured_next_to_chance():
    config = FoleyConfig(clips=12, size=32, duration_s=1.0, scenes=("gong", "rain"))
    row = measure(config, progress=False)
    assert set(row) == {"colour histogram", "loudness", "picture", "sound", "both"}
    assert all(0 <= share <= 1 for share in row.values()) and row["both"] > 0.6
    assert "chance is 50.0" in table({"as in pocket": row}, config)


def test_bad_settings_are_named(unchecked):
    with pytest.raises(ValueError, match="smoke, pocket, full"):
        foley.build("huge")
    with pytest.raises(ValueError, match=r"gong, drum.*got kazoo"):
        FoleyConfig(scenes=("gong", "kazoo"))
    with pytest.raises(ValueError, match=r"off_screen must be in \[0, 1\]; got 5"):
        FoleyConfig(off_screen=5)
    with pytest.raises(ValueError, match="size must be even"):
        FoleyConfig(size=127)
    with pytest.raises(ValueError, match="clips must be between"):
        FoleyConfig(clips=0)

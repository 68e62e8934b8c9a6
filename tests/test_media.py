"""Real files in, tensors out: every frame and every sample from the moment that was asked for."""

from __future__ import annotations

import csv
import itertools
import os
import pickle
import time
from collections import Counter
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from avid_lab.config import AudioSpec, VideoSpec
from avid_lab.media import Clip, MediaError, probe, read_clip, write_clip

SHARED = Path(os.environ.get("AVID_LAB_CLIPS", Path(__file__).parents[2] / "shared" / "clips"))
BITS = 8  # frames carry their number as black and white bars


def numbered(count: int, side: int = 64) -> np.ndarray:
    """Frames (count, side, side, 3) that show their own number in binary, as vertical bars."""
    bar = side // BITS
    bits = (np.arange(count)[:, None] >> np.arange(BITS)) & 1  # (count, BITS)
    row = np.repeat(bits, bar, axis=1) * 255
    return np.broadcast_to(row[:, None, :, None], (count, side, side, 3)).astype(np.uint8)


def numbers(video: torch.Tensor) -> list[int]:
    """The numbers that frames (3, T, H, W) show."""
    bars = video.float().mean((0, 2)).unflatten(1, (BITS, -1)).mean(2)  # (T, BITS)
    return ((bars > 127).long() * (1 << torch.arange(BITS))).sum(1).tolist()


def make(path: Path, frames: np.ndarray | None, times_s: list[float], codec: str = "libx264", **settings) -> Path:
    """A file with these frames at these times, and optionally ``sound`` (samples,) from ``sound_start_s`` on."""
    options, sound = settings.get("options", {}), settings.get("sound")
    rate, begin_s = settings.get("rate", 48_000), settings.get("sound_start_s", 0.0)
    with av.open(str(path), "w") as container:
        tracks = []
        if frames is not None:
            fps = settings.get("fps", 20)
            stream = container.add_stream(codec, rate=fps, options=options)
            stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], settings.get("pix_fmt", "yuv420p")
            if "rotation_deg" in settings:
                stream.set_display_rotation(settings["rotation_deg"], hflip=settings.get("hflip", False))
            base = settings.get("time_base", Fraction(1, 12_800))
            stream.codec_context.time_base = base
            images = []
            for image, time_s in zip(frames, times_s, strict=True):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
                frame.pts, frame.time_base = round(time_s / base), base
                images.append(frame)
            tracks.append((stream, images))
        if sound is not None:
            stream = container.add_stream(
                settings.get("audio_codec", "aac"), rate=rate, layout=settings.get("layout", "mono")
            )
            if stream.codec_context.name in ("mp2", "pcm_s16le"):
                whole = (sound[None] * 32_767).astype(np.int16)
                frame = av.AudioFrame.from_ndarray(whole, format="s16", layout="mono")
            else:
                frame = av.AudioFrame.from_ndarray(sound[None].astype(np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), round(begin_s * rate)
            tracks.append((stream, [frame]))
        packets = [p for stream, items in tracks for item in [*items, None] for p in stream.encode(item)]
        for packet in sorted(packets, key=lambda p: float(p.dts * p.time_base)):
            container.mux(packet)
    return path


def click(duration_s: float, at_s: list[float], rate: int = 48_000) -> np.ndarray:
    """Silence with 1 kHz bursts of 30 ms, each starting at full strength."""
    sound = np.zeros(round(duration_s * rate), np.float32)
    burst = 0.8 * np.cos(2 * np.pi * 1000 * np.arange(round(0.03 * rate)) / rate).astype(np.float32)
    for second in at_s:
        begin = round(second * rate)
        sound[begin : begin + len(burst)] = burst
    return sound


def onset_s(audio: torch.Tensor, rate: int) -> float:
    """When a waveform (1, samples) first exceeds 0.4."""
    return int((audio[0].abs() > 0.4).nonzero()[0]) / rate


STEADY = [i / 20 for i in range(160)]
FORMATS = {
    "one keyframe, B-frames": ("a.mp4", "libx264", {"options": {"g": "999", "bf": "3", "sc_threshold": "0"}}),
    "open groups": ("a.mp4", "libx264", {"options": {"g": "25", "bf": "3", "x264-params": "open-gop=1"}}),
    "all keyframes": ("a.mov", "libx264", {"options": {"g": "1"}}),
    "Matroska": ("a.mkv", "libx264", {"options": {"g": "60", "bf": "2"}}),
    "transport stream": ("a.ts", "libx264", {"options": {"g": "40", "bf": "2"}}),
    "MPEG-4 in AVI": ("a.avi", "mpeg4", {"options": {"g": "30"}, "time_base": Fraction(1, 20)}),
    "VP9 in WebM": ("a.webm", "libvpx-vp9", {"options": {"cpu-used": "8", "deadline": "realtime", "g": "50"}}),
    "Flash": ("a.flv", "flv", {"options": {"g": "30"}}),
}


@pytest.fixture(scope="module", params=list(FORMATS))
def numbered_file(request, tmp_path_factory):
    name, codec, extra = FORMATS[request.param]
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no {codec}")
    return make(tmp_path_factory.mktemp("numbered") / name, numbered(160), STEADY, codec, **extra)


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(start_s=st.floats(0, 7.9), fps=st.sampled_from([1.0, 2.0, 4.0, 8.0, 16.0, 20.0, 29.97, 60.0]))
def test_every_frame_is_the_one_on_screen(numbered_file, start_s, fps):
    origin_s = 0.0  # the first frame of each file is second 0, whatever its timestamp
    clip = read_clip(numbered_file, start_s, VideoSpec(8, fps, 64), None)
    instants = start_s - origin_s + np.arange(8) / fps
    # A timestamp may be rounded by half a millisecond: either neighbour is right there.
    earliest = np.clip(np.floor((instants - 6e-4) * 20), 0, 159)
    latest = np.clip(np.floor((instants + 6e-4) * 20), 0, 159)
    got = np.array(numbers(clip.video))
    assert ((earliest <= got) & (got <= latest)).all(), (start_s, fps, got, earliest)
    assert clip.video.shape == (3, 8, 64, 64)


def test_variable_frame_rate_shows_the_last_frame_until_the_next(tmp_path):
    times_s = [0.0, 0.04, 0.3, 0.31, 1.5, 3.0, 3.05]
    path = make(tmp_path / "vfr.mp4", numbered(7), times_s)
    clip = read_clip(path, 0.0, VideoSpec(32, 10.0, 64), None)
    expected = [max(i for i, t in enumerate(times_s) if t <= k / 10 + 1e-6) for k in range(32)]
    assert numbers(clip.video) == expected
    in_the_gap = read_clip(path, 2.0, VideoSpec(2, 10.0, 64), None)
    assert numbers(in_the_gap.video) == [4, 4] and in_the_gap.padded_frames == 0


@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.sampled_from([0.01, 0.02, 0.05, 0.3, 0.6]), min_size=30, max_size=60),
    fps=st.sampled_from([1.0, 3.0, 10.0, 24.0]),
    start_s=st.floats(0, 1),
    suffix=st.sampled_from([".mp4", ".mkv"]),
)
def test_frames_left_out_while_decoding_are_never_those_on_screen(tmp_path, steps, fps, start_s, suffix):
    times_s = [0.0, *itertools.accumulate(steps)]
    path = make(tmp_path / f"uneven{suffix}", numbered(len(times_s)), times_s, options={"bf": "4", "g": "40"})
    count = max(1, int((times_s[-1] - start_s) * fps))
    shown = numbers(read_clip(path, start_s, VideoSpec(count, fps, 64), None).video)
    for k, number in enumerate(shown):  # Matroska rounds to milliseconds: either neighbour is right there
        right = {
            max(i for i, t in enumerate(times_s) if t <= start_s + k / fps + d) for d in (-6e-4, 6e-4) if k or d > 0
        }
        assert number in right


@pytest.mark.parametrize("layout", ["mono", "stereo"])
@pytest.mark.parametrize("rate", [22_050, 24_000])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_sound_up_to_a_moment_is_that_of_the_whole(tmp_path, suffix, rate, layout):
    sound = 0.3 * np.random.default_rng(0).standard_normal(4 * rate).astype(np.float32)
    path = make(tmp_path / f"noise{suffix}", None, [], sound=sound, rate=rate, layout=layout)
    assert probe(path).audio.channels == (1 if layout == "mono" else 2)
    spec = AudioSpec(24_000, 3.9)
    whole = read_clip(path, 0.0, None, spec).audio[0]
    for until_s in (0.3, 1.7, 3.1):
        part = read_clip(path, 0.0, None, spec, audio_until_s=until_s).audio[0]
        until = int(until_s * 24_000)
        assert torch.equal(part[:until], whole[:until])


def test_the_end_is_padded_and_counted(tmp_path):
    path = make(tmp_path / "short.mp4", numbered(10), STEADY[:10], sound=click(0.5, [0.1]))
    clip = read_clip(path, 0.25, VideoSpec(10, 20.0, 64), AudioSpec(16_000, 1.0))
    assert numbers(clip.video) == [5, 6, 7, 8, 9, 9, 9, 9, 9, 9]
    assert clip.padded_frames == 5
    assert 0.7 * 16_000 < clip.padded_samples <= 0.75 * 16_000  # AAC fills its last frame
    assert clip.audio[0, -11_000:].abs().max() == 0


@pytest.mark.parametrize(("video_start_s", "sound_start_s"), [(0.0, 0.0), (1.0, 0.0), (0.0, 0.7), (100.0, 100.5)])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_picture_and_sound_of_the_same_instant(tmp_path, suffix, video_start_s, sound_start_s):
    flash_s = max(video_start_s, sound_start_s) + 1.0
    times_s = [video_start_s + i / 20 for i in range(80)]
    frames = np.zeros((80, 64, 64, 3), np.uint8)
    flash = next(i for i, t in enumerate(times_s) if t >= flash_s - 1e-9)
    frames[flash:] = 255
    sound = click(4.0, [times_s[flash] - sound_start_s])
    path = make(tmp_path / f"late{suffix}", frames, times_s, sound=sound, sound_start_s=sound_start_s)
    clip = read_clip(path, 0.0, VideoSpec(80, 20.0, 64), AudioSpec(24_000, 4.0))
    seen_s = int((clip.video.float().mean((0, 2, 3)) > 127).nonzero()[0]) / 20
    assert onset_s(clip.audio, 24_000) == pytest.approx(seen_s, abs=0.051)  # within one frame
    expected_s = times_s[flash] - min(video_start_s, sound_start_s)
    assert seen_s == pytest.approx(expected_s, abs=0.051)
    # And from the middle of the file, sound and picture apart.
    later = read_clip(path, 0.5, VideoSpec(60, 20.0, 64), AudioSpec(24_000, 3.0), audio_start_s=0.75)
    assert int((later.video.float().mean((0, 2, 3)) > 127).nonzero()[0]) / 20 + 0.5 == pytest.approx(seen_s, abs=0.051)
    assert onset_s(later.audio, 24_000) + 0.75 == pytest.approx(onset_s(clip.audio, 24_000), abs=1.5e-3)
    if video_start_s > sound_start_s:
        assert clip.padded_frames == pytest.approx((video_start_s - sound_start_s) * 20, abs=1)
    if sound_start_s > video_start_s:
        assert clip.padded_samples >= (sound_start_s - video_start_s) * 24_000 - 1100  # AAC's priming may sound earlier


@pytest.mark.parametrize("rate", [16_000, 22_050, 24_000, 44_100, 48_000])
def test_written_sound_comes_back_in_place(tmp_path, rate):
    sound = click(3.0, [0.5, 1.7], rate)
    path = write_clip(tmp_path / "click.mp4", Clip(None, torch.from_numpy(sound)[None], None, rate))
    for start_s in (0.0, 0.3, 1.41):
        for read_rate in (rate, 16_000):
            clip = read_clip(path, start_s, None, AudioSpec(read_rate, 1.0))
            expected_s = (0.5 if start_s < 0.5 else 1.7) - start_s
            assert onset_s(clip.audio, read_rate) == pytest.approx(expected_s, abs=1e-3)


@given(start=st.integers(0, 20_000), rate=st.sampled_from([8_000, 16_000, 24_000, 44_100, 44_099]))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_a_tone_keeps_its_phase_wherever_the_window_starts(tmp_path_factory, start, rate):
    path = tmp_path_factory.getbasetemp() / "tone.wav"
    own_rate = 48_000
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(own_rate * 2) / own_rate)
    if not path.exists():
        make(path, None, [], sound=tone, rate=own_rate, audio_codec="pcm_f32le")
    start_s = start / 16_000
    clip = read_clip(path, start_s, None, AudioSpec(rate, 0.25, frames=10))
    wanted = 0.5 * np.sin(2 * np.pi * 440 * (start_s + np.arange(clip.audio.shape[1]) / rate))
    inner = slice(100, -100)  # away from the file's own ends
    if rate != own_rate:
        assert np.abs(clip.audio[0].numpy() - wanted)[inner].max() < 0.02


def test_stereo_is_averaged_without_clipping(tmp_path):
    path = tmp_path / "stereo.wav"
    tone = (0.9 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000)).astype(np.float32)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_f32le", rate=48_000, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.stack([tone, tone], 1).reshape(1, -1), format="flt", layout="stereo")
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    audio = read_clip(path, 0.2, None, AudioSpec(48_000, 0.5)).audio
    assert audio.abs().max() == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize(
    ("turn", "hflip"), [(0, False), (90, False), (-90, False), (180, False), (0, True), (90, True)]
)
def test_display_matrix_is_obeyed(tmp_path, turn, hflip):
    image = np.zeros((48, 96, 3), np.uint8)
    image[:24, :48, 0] = image[:24, 48:, 1] = image[24:, :48, 2] = 255  # red green / blue black
    frames = np.repeat(image[None], 4, 0)
    path = make(tmp_path / "turned.mp4", frames, STEADY[:4], rotation_deg=turn, hflip=hflip)
    with av.open(str(path)) as container:  # the oracle applies the matrix point by point
        frame = next(container.decode(video=0))
        data = frame.side_data.get("DISPLAYMATRIX")
    a, b, _, c, d, *_ = np.frombuffer(bytes(data), "<i4") / 65536 if data is not None else (1, 0, 0, 0, 1)
    y, x = np.mgrid[:48, :96] - np.array([23.5, 47.5])[:, None, None]
    u, v = np.round(a * x + c * y - 0.5).astype(int), np.round(b * x + d * y - 0.5).astype(int)
    shown = np.zeros((v.max() - v.min() + 1, u.max() - u.min() + 1, 3), np.uint8)
    shown[v - v.min(), u - u.min()] = image
    video = read_clip(path, 0.0, VideoSpec(1, 20.0, None), None).video
    assert video.shape[2:] == shown.shape[:2]
    assert (video[:, 0].permute(1, 2, 0).numpy().astype(int) - shown).mean() < 3
    assert np.abs(video[:, 0].permute(1, 2, 0).numpy().astype(int) - shown).mean() < 12  # colour is coded coarsely
    info = probe(path)
    assert (info.video.height, info.video.width) == shown.shape[:2]
    assert info.video.rotation_deg % 90 == 0


def test_a_turn_that_is_no_quarter_is_not_reported(tmp_path):
    path = make(tmp_path / "tilted.mp4", numbered(4), STEADY[:4], rotation_deg=30)
    assert probe(path).video.rotation_deg == 0
    assert numbers(read_clip(path, 0.0, VideoSpec(4, 20.0), None).video) == [
        0,
        1,
        2,
        3,
    ]


def test_the_rate_of_dv_is_not_that_of_its_clock(tmp_path):
    with av.open(str(tmp_path / "tape.dv"), "w") as container:
        picture, sound = container.add_stream("dvvideo", 25), container.add_stream("pcm_s16le", 48_000, layout="stereo")
        picture.width, picture.height, picture.pix_fmt = 720, 576, "yuv420p"
        for _ in range(50):
            container.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((576, 720, 3), np.uint8), "rgb24")))
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 2 * 1920), np.int16), "s16", "stereo")
            samples.sample_rate = 48_000
            container.mux(sound.encode(samples))
    with av.open(str(tmp_path / "tape.dv")) as container:
        assert container.streams.video[0].average_rate == 60_000  # what FFmpeg says
    info = probe(tmp_path / "tape.dv")
    assert info.video.fps == 25 and info.duration_s == pytest.approx(2.0)


def test_scaling_keeps_the_centre_and_the_shape_of_things(tmp_path):
    image = np.zeros((100, 300, 3), np.uint8)
    image[30:70, 130:170] = 255  # a square in the middle
    path = make(tmp_path / "wide.mp4", np.repeat(image[None], 4, 0), STEADY[:4])
    video = read_clip(path, 0.0, VideoSpec(2, 20.0, 50), None).video
    assert video.shape == (3, 2, 50, 50)
    bright = (video[0, 0] > 127).nonzero()
    assert bright.amin(0).tolist() == pytest.approx([15, 15], abs=1) and bright.amax(0).tolist() == pytest.approx(
        [34, 34], abs=1
    )
    assert read_clip(path, 0.0, VideoSpec(2, 20.0, None), None).video.shape == (3, 2, 100, 300)


def test_probe_lists_the_streams(tmp_path):
    path = make(tmp_path / "film.mp4", numbered(40), STEADY[:40], sound=click(2.0, [1.0]))
    info = probe(path)
    assert info.video.codec == "h264" and (info.video.width, info.video.height) == (64, 64)
    assert info.video.fps == pytest.approx(20, rel=0.02)
    assert info.audio.codec == "aac" and (info.audio.rate, info.audio.channels) == (48_000, 1)
    assert info.duration_s == pytest.approx(2.0, abs=0.1)
    assert info.video.duration_s == pytest.approx(2.0, abs=0.06)


# ---- what is wrong with a file


def odd_files(folder: Path) -> dict[str, Path]:
    """Files that are no good, by what is wrong with them."""
    good = make(folder / "good.mp4", numbered(40), STEADY[:40], sound=click(2.0, [1.0])).read_bytes()
    files = {
        "no such file": folder / "missing.mp4",
        "a folder": folder / "folder.mp4",
        "empty": folder / "empty.mp4",
        "text": folder / "text.mp4",
        "truncated, no index": folder / "truncated.mp4",
        "noise": folder / "noise.mkv",
        "html": folder / "page.webm",
    }
    files["a folder"].mkdir()
    files["empty"].touch()
    files["text"].write_text("this is no video\n" * 50)
    files["truncated, no index"].write_bytes(good[: len(good) // 2])
    files["noise"].write_bytes(np.random.default_rng(0).bytes(5000))
    files["html"].write_text("<html><body>404 not found</body></html>")
    return files


ODD = ["no such file", "a folder", "empty", "text", "truncated, no index", "noise", "html"]


@pytest.mark.parametrize("kind", ODD)
def test_bad_files_are_media_errors_that_name_file_and_fix(tmp_path, kind):
    path = odd_files(tmp_path)[kind]
    for action in (lambda: probe(path), lambda: read_clip(path, 0.0, VideoSpec(), AudioSpec())):
        with pytest.raises(MediaError) as caught:
            action()
        assert str(path) in str(caught.value)
        assert caught.value.path == path and caught.value.problem and caught.value.fix.endswith(".")


def test_a_fifo_is_refused_and_does_not_block(tmp_path):
    path = tmp_path / "pipe.mp4"
    os.mkfifo(path)
    with pytest.raises(MediaError, match="not a file"):
        probe(path)


def test_streams_that_are_not_there(tmp_path):
    silent = make(tmp_path / "silent.mp4", numbered(20), STEADY[:20])
    heard = make(tmp_path / "heard.m4a", None, [], sound=click(1.0, [0.2]))
    assert read_clip(silent, 0.0, VideoSpec(), None).audio is None
    assert read_clip(heard, 0.0, None, AudioSpec()).video is None
    assert probe(silent).audio is None and probe(heard).video is None
    with pytest.raises(MediaError, match="has no audio stream"):
        read_clip(silent, 0.0, VideoSpec(), AudioSpec())
    with pytest.raises(MediaError, match="has no video stream"):
        read_clip(heard, 0.0, VideoSpec(), None)


def test_cover_art_is_no_picture(tmp_path):
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=48_000, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.height, cover.width, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(click(1.0, [0.2])[None], format="fltp", layout="mono")
        frame.sample_rate = 48_000
        image = av.VideoFrame.from_ndarray(numbered(1)[0].copy(), format="rgb24")
        for track, item in ((stream, frame), (stream, None), (cover, image), (cover, None)):
            container.mux(track.encode(item))
    assert probe(path).video is None


def test_starting_beyond_the_end(tmp_path):
    path = make(tmp_path / "short.mp4", numbered(20), STEADY[:20], sound=click(1.0, [0.2]))
    for start_s in (1.5, 3600.0, 1e15):
        with pytest.raises(MediaError, match=r"is over at 1\.\d+ s"):
            read_clip(path, start_s, VideoSpec(), AudioSpec())
    for start_s in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="start_s must be finite and >= 0"):
            read_clip(path, start_s, VideoSpec(), AudioSpec())
    with pytest.raises(ValueError, match="got neither"):
        read_clip(path, 0.0, None, None)


def test_what_is_left_of_a_truncated_file_is_read(tmp_path):
    sound = click(4.0, [0.5])
    clip = Clip(torch.from_numpy(numbered(80).copy()).permute(3, 0, 1, 2), torch.from_numpy(sound)[None], 20.0, 48_000)
    data = write_clip(tmp_path / "whole.mp4", clip).read_bytes()  # its index comes first
    path = tmp_path / "cut.mp4"
    path.write_bytes(data[: int(len(data) * 0.6)])
    start = read_clip(path, 0.0, VideoSpec(8, 20.0, 64), None)
    assert numbers(start.video) == list(range(8))
    with pytest.raises(MediaError, match="truncated"):
        read_clip(path, 3.9, VideoSpec(), AudioSpec())


def test_damaged_packets_are_counted(tmp_path):
    data = bytearray(make(tmp_path / "whole.mp4", numbered(80), STEADY[:80], options={"g": "8"}).read_bytes())
    middle = slice(len(data) // 3, len(data) // 3 + 400)
    data[middle] = np.random.default_rng(0).bytes(400)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(bytes(data))
    clip = read_clip(path, 0.0, VideoSpec(80, 20.0, 64), None)
    assert clip.video.shape[1] == 80
    assert "corrupt" not in repr(clip) or clip.corrupt_packets > 0


@pytest.mark.parametrize(
    "name", ["-dash.mp4", "two words é 猫.mp4", "a:b.mp4", "quote'\".mp4", "100%d.mp4", ".hidden.mp4"]
)
def test_names_of_all_kinds(tmp_path, name, monkeypatch):
    clip = Clip(torch.from_numpy(numbered(4).copy()).permute(3, 0, 1, 2), None, 20.0, None)
    monkeypatch.chdir(tmp_path)
    write_clip(Path(name), clip)
    assert numbers(read_clip(name, 0.0, VideoSpec(4, 20.0, 64), None).video) == [0, 1, 2, 3]


def test_media_errors_travel_between_processes():
    error = pickle.loads(pickle.dumps(MediaError("a.mp4", "is empty", "Get it again.")))
    assert str(error) == "a.mp4: is empty. Get it again." and error.path == Path("a.mp4")


# ---- writing


def test_written_clips_come_back(tmp_path):
    video = torch.from_numpy(numbered(32, 128).copy()).permute(3, 0, 1, 2)
    clip = Clip(video, torch.from_numpy(click(2.0, [1.0], 24_000))[None], 16.0, 24_000)
    path = write_clip(tmp_path / "deep" / "folder" / "clip.mp4", clip)
    back = read_clip(path, 0.0, VideoSpec(32, 16.0, None), AudioSpec(24_000, 2.0))
    assert (back.video.float() - video.float()).abs().mean() < 4
    assert back.padded_frames == 0 and back.padded_samples == 0 and back.duration_s == 2.0
    assert [p.name for p in path.parent.iterdir()] == ["clip.mp4"]
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # a browser can start before the file is loaded
    assert write_clip(tmp_path / "again.mp4", clip).read_bytes() == data


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    clip = Clip(torch.from_numpy(numbered(8).copy()).permute(3, 0, 1, 2), None, 16.0, None)
    path = write_clip(tmp_path / "clip.mp4", clip)
    before = path.read_bytes()
    with pytest.raises(Exception, match=r"Invalid|preset|external"):
        write_clip(path, clip, preset="no such preset")
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (Clip(torch.zeros(3, 4, 33, 32, dtype=torch.uint8), None, 8.0, None), "even height and width; got 33x32"),
        (Clip(None, torch.zeros(1, 100), None, 10_000), "AAC has no sample rate 10000"),
        (Clip(None, None, None, None), "needs frames"),
        (Clip(torch.zeros(3, 0, 32, 32, dtype=torch.uint8), None, 8.0, None), "needs frames"),
    ],
)
def test_clips_that_cannot_be_written(tmp_path, clip, message):
    with pytest.raises(ValueError, match=message):
        write_clip(tmp_path / "clip.mp4", clip)
    assert not list(tmp_path.iterdir())


def test_repr_shows_shapes_and_seconds():
    text = repr(Clip(torch.zeros(3, 8, 32, 32, dtype=torch.uint8), torch.zeros(1, 8000), 16.0, 16_000, padded_frames=2))
    assert "3x8x32x32" in text and "16 fps" in text and "2 padded" in text and "0.500 s" in text


def test_a_recording_without_durations_is_measured(tmp_path):
    """As browsers record: the header has the length of neither stream, so both are scanned."""
    whole = make(tmp_path / "whole.mkv", numbered(20), [i / 20 for i in range(20)], sound=click(0.8, [0.4]))
    live = tmp_path / "live.mkv"
    with av.open(str(whole)) as source, av.open(str(live), "w", options={"live": "1"}) as container:
        streams = {s.index: container.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                container.mux(packet)
    info = probe(live)
    assert info.video.start_s + info.video.duration_s == pytest.approx(1.0, abs=0.06)
    assert info.audio.start_s + info.audio.duration_s == pytest.approx(0.8, abs=0.06)


# ---- one clock


def test_a_picture_that_begins_late_is_where_it_is(tmp_path):
    path = make(tmp_path / "late.mp4", numbered(40), [1.0 + i / 20 for i in range(40)], sound=click(4.0, [1.5]))
    info = probe(path)
    assert info.video.spans_s == (pytest.approx((1.0, 3.0), abs=2e-3),)
    assert info.audio.spans_s == (pytest.approx((0.0, 4.0), abs=0.03),)
    assert info.both_s == info.video.spans_s and info.offset_s == pytest.approx(-1.0, abs=2e-3)
    clip = read_clip(path, 0.5, VideoSpec(40, 20.0, 64), AudioSpec(16_000, 2.0))
    assert clip.padded_frames == 10 and clip.video_spans_s == (pytest.approx((1.0, 2.5), abs=0.06),)
    assert clip.audio_spans_s == (pytest.approx((0.5, 2.5), abs=1e-3),)


@pytest.mark.parametrize("suffix", [".mkv", ".ts", ".mpg", ".webm"])
def test_a_recording_that_restarts_keeps_picture_and_sound_together(tmp_path, suffix):
    codec = {".mpg": "mpeg2video", ".webm": "libvpx"}.get(suffix, "libx264")
    sound = {".mpg": "mp2", ".webm": "libopus"}.get(suffix, "aac")
    whole = b""
    for level, pitch in ((40, 440), (200, 1760)):
        tone = 0.5 * np.sin(2 * np.pi * pitch * np.arange(96_000) / 48_000)
        frames = np.full((50, 64, 64, 3), level, np.uint8)
        settings = {"fps": 25, "time_base": Fraction(1, 25), "audio_codec": sound, "sound": tone}
        whole += make(tmp_path / f"part{suffix}", frames, [i / 25 for i in range(50)], codec, **settings).read_bytes()
    path = tmp_path / f"joined{suffix}"
    path.write_bytes(whole)
    info = probe(path)
    assert info.restarts == 1 and info.duration_s == pytest.approx(4.0, abs=0.15)
    assert len(info.both_s) == 2 and sum(b - a for a, b in info.both_s) == pytest.approx(4.0, abs=0.1)
    for start_s, level, pitch in ((0.3, 40, 440), (1.0, 40, 440), (2.5, 200, 1760), (3.0, 200, 1760)):
        clip = read_clip(path, start_s, VideoSpec(4, 8.0, 32), AudioSpec(16_000, 0.5, frames=1, n_fft=2))
        heard = int(torch.fft.rfft(clip.audio[0]).abs().argmax()) * 2
        assert heard == pytest.approx(pitch, rel=0.02) and float(clip.video.float().mean()) == pytest.approx(
            level, abs=8
        )


@pytest.mark.parametrize("suffix", [".mkv", ".webm", ".mp4", ".ts"])
def test_a_container_that_starts_at_an_hour_is_as_long_as_it_is(tmp_path, suffix):
    codec, sound = ("libvpx", "libopus") if suffix == ".webm" else ("libx264", "aac")
    times_s = [3600 + i / 20 for i in range(40)]
    settings = {"sound": click(2.0, [1.0]), "sound_start_s": 3600.0, "audio_codec": sound}
    path = make(tmp_path / f"hour{suffix}", numbered(40), times_s, codec, **settings)
    info = probe(path)
    assert info.duration_s == pytest.approx(2.0, abs=0.08)
    assert sum(b - a for a, b in info.both_s) == pytest.approx(2.0, abs=0.08)
    clip = read_clip(path, info.video.start_s, VideoSpec(20, 20.0, 64), AudioSpec(16_000, 1.5))
    assert numbers(clip.video) == list(range(20))
    assert onset_s(clip.audio, 16_000) == pytest.approx(1.0, abs=0.02)


def test_gaps_in_picture_and_sound_are_reported(tmp_path):
    times_s = [i / 20 for i in [*range(20), *range(60, 100)]]
    path = make(tmp_path / "gap.mp4", numbered(60), times_s, sound=click(5.0, [0.5]))
    info = probe(path)
    assert info.both_s == (pytest.approx((0.0, 1.0), abs=0.06), pytest.approx((3.0, 5.0), abs=0.06))


def test_short_side_keeps_the_aspect(tmp_path):
    path = make(tmp_path / "wide.mp4", np.repeat(numbered(1, 128)[:, :90], 4, 0), STEADY[:4], rotation_deg=90)
    assert read_clip(path, 0.0, VideoSpec(2, 20.0, None), None, short_side=45).video.shape == (3, 2, 64, 44)
    assert read_clip(path, 0.0, VideoSpec(2, 20.0, None), None, short_side=900).video.shape == (3, 2, 128, 90)
    with pytest.raises(ValueError, match="short_side must be >= 2 pixels, for a VideoSpec of size=None"):
        read_clip(path, 0.0, VideoSpec(2, 20.0, 32), None, short_side=45)


def test_stereo_in_antiphase_is_heard(tmp_path):
    path, tone = tmp_path / "antiphase.wav", 0.5 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000)
    sides = np.stack([tone, -tone], 1).reshape(1, -1).astype(np.float32)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_f32le", rate=48_000, layout="stereo")
        frame = av.AudioFrame.from_ndarray(sides, format="flt", layout="stereo")
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    clip = read_clip(path, 0.2, None, AudioSpec(16_000, 0.5))
    assert clip.cancelled and clip.audio.abs().max() == pytest.approx(0.5, abs=0.02) and "cancel" in repr(clip)
    assert not read_clip(make(tmp_path / "m.mp4", None, [], sound=tone), 0.0, None, AudioSpec(16_000, 0.5)).cancelled


TOGETHER = {
    "mp4": ("libx264", "aac"),
    "mov": ("libx264", "pcm_s16le"),
    "mkv": ("libx264", "aac"),
    "webm": ("libvpx", "libopus"),
    "avi": ("mpeg4", "pcm_s16le"),
    "h264.avi": ("libx264", "pcm_s16le"),  # knows the order of decoding, not that of showing
    "flv": ("flv", "aac"),
    "ts": ("libx264", "aac"),
    "m2ts": ("libx264", "ac3"),
    "mpg": ("mpeg2video", "mp2"),
    "wmv": ("wmv2", "mp2"),
    "fragments.mp4": ("libx264", "aac"),
}


@pytest.mark.parametrize("kind", TOGETHER)
def test_a_flash_and_its_beep_come_together(tmp_path, kind):
    codec, sound = TOGETHER[kind]
    noise = np.random.default_rng(0).integers(0, 40, (75, 64, 64, 3))
    frames = np.where(np.arange(75)[:, None, None, None] >= 50, 255 - noise, noise).astype(np.uint8)
    times_s, beep = [i / 25 for i in range(75)], click(3.0, [2.0, 2.1])
    options = {"bf": "2"} if codec in ("libx264", "mpeg4") else {}
    settings = {"fps": 25, "time_base": Fraction(1, 25), "sound": beep, "audio_codec": sound, "options": options}
    path = make(tmp_path / f"together.{kind}", frames, times_s, codec, **settings)
    for start_s in (0.0, 1.5, 1.77):
        clip = read_clip(path, start_s, VideoSpec(120, 100.0, 32), AudioSpec(48_000, 1.2, frames=1, n_fft=2))
        if start_s == 0:
            clip = read_clip(path, 0.0, VideoSpec(280, 100.0, 32), AudioSpec(48_000, 2.8, frames=1, n_fft=2))
        flash_s = int((clip.video.float().mean((0, 2, 3)) > 127).nonzero()[0]) / 100
        beep_s = int((clip.audio[0].abs() > 0.2).nonzero()[0]) / 48_000
        assert beep_s == pytest.approx(flash_s, abs=0.02), (start_s, flash_s, beep_s)


@pytest.mark.parametrize("other", ["picture and sound", "picture", "sound"])
def test_picture_and_sound_are_of_one_programme(tmp_path, other):
    """Whatever else is broadcast beside them, and however much better its quality."""
    path = tmp_path / "two.ts"
    one = make(tmp_path / "one.ts", np.full((50, 64, 64, 3), 200, np.uint8), STEADY[:50], sound=click(2.5, [1.0]))
    two = make(tmp_path / "two_.ts", np.full((50, 96, 96, 3), 60, np.uint8), STEADY[:50], sound=click(2.5, [2.0]))
    merge_programmes(path, one, two, leave_out={"picture": "audio", "sound": "video"}.get(other))
    info = probe(path)
    assert info.programmes == 2
    clip = read_clip(path, 0.0, VideoSpec(4, 2.0, 32), AudioSpec(16_000, 2.4, frames=1, n_fft=2))
    seen, heard_s = float(clip.video.float().mean()), onset_s(clip.audio, 16_000)
    assert (round(seen, -1), round(heard_s)) in ((200, 1), (60, 2))


def merge_programmes(path: Path, one: Path, two: Path, leave_out: str | None) -> None:
    """Two transport streams in one file, the second as another programme with other ids (PIDs)."""
    packets = [
        [data[at : at + 188] for at in range(0, len(data), 188)] for data in (one.read_bytes(), two.read_bytes())
    ]
    mine = [p for p in packets[0] if pid_of(p) != 0]
    moved = [with_pid(p, pid_of(p) + 0x100) for p in packets[1] if pid_of(p) not in (0, 0x11)]
    kinds = {"video": 0x100, "audio": 0x101}
    tables = [section_packet(0, b"\x00\xb0\x11\x00\x01\xc1\x00\x00" + b"\x00\x01\xf0\x00" + b"\x00\x02\xf1\x00")]
    for number, shift in ((1, 0), (2, 0x100)):
        streams = b""
        for kind, code in (("video", 0x1B), ("audio", 0x0F)):
            if not (number == 2 and kind == leave_out):
                streams += bytes([code]) + (0xE000 | kinds[kind] + shift).to_bytes(2, "big") + b"\xf0\x00"
        body = number.to_bytes(2, "big") + b"\xc1\x00\x00" + (0xE100 + shift).to_bytes(2, "big") + b"\xf0\x00" + streams
        tables.append(section_packet(0x1000 + shift, b"\x02" + (0xB000 | len(body) + 4).to_bytes(2, "big") + body))
    if leave_out:
        moved = [p for p in moved if pid_of(p) != kinds[leave_out] + 0x100]
    streams = [p for p in mine if pid_of(p) < 0x1000], [p for p in moved if pid_of(p) < 0x1000]
    whole = tables + [p for pair in itertools.zip_longest(*streams) for p in pair if p]
    path.write_bytes(b"".join(whole))


def pid_of(packet: bytes) -> int:
    return int.from_bytes(packet[1:3], "big") & 0x1FFF


def with_pid(packet: bytes, pid: int) -> bytes:
    return packet[:1] + (int.from_bytes(packet[1:3], "big") & 0xE000 | pid).to_bytes(2, "big") + packet[3:]


def section_packet(pid: int, table: bytes) -> bytes:
    """A table with its checksum, in one packet."""
    checksum = 0xFFFFFFFF
    for byte in table:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = (checksum << 1 ^ (0x04C11DB7 if checksum & 0x80000000 else 0)) & 0xFFFFFFFF
    data = b"\x47" + (0x4000 | pid).to_bytes(2, "big") + b"\x10\x00" + table + checksum.to_bytes(4, "big")
    return data.ljust(188, b"\xff")


@pytest.mark.parametrize("suffix", [".flv", ".mkv", ".ts", ".mpg", ".mp4"])
def test_no_bad_byte_raises_anything_but_a_media_error(tmp_path, suffix):
    codec, sound = {".flv": ("flv", "aac"), ".mpg": ("mpeg2video", "mp2")}.get(suffix, ("libx264", "aac"))
    settings = {"fps": 25, "time_base": Fraction(1, 25), "audio_codec": sound, "sound": click(0.4, [0.2])}
    data = make(tmp_path / f"good{suffix}", numbered(10), [i / 25 for i in range(10)], codec, **settings).read_bytes()
    path, random = tmp_path / f"bad{suffix}", np.random.default_rng(0)
    places = [4, 13, *random.integers(0, min(len(data), 1500), 40)]  # of an FLV: which streams there are, the first tag
    for place in places:
        path.write_bytes(data[:place] + random.bytes(1) + data[place + 1 :])
        for action in (probe, lambda p: read_clip(p, 0.1, VideoSpec(2, 8.0, 32), AudioSpec(8000, 0.1, 1, 2))):
            try:
                action(path)
            except MediaError as error:
                assert error.path == path


# ---- the collection of real and odd files, where it is at hand


def shared_rows() -> list[dict[str, str]]:
    if not (SHARED / "manifest.csv").is_file():
        return []
    with (SHARED / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def outcome(path: Path) -> str:
    """What becomes of a file whose picture and sound are wanted."""
    try:
        probe(path)
        read_clip(path, 0.0, VideoSpec(2, 8.0, 32), AudioSpec(16_000, 0.5, frames=16, n_fft=128))
    except MediaError as error:
        return error.problem.split(" (")[0]
    return "read"


@pytest.mark.skipif(not shared_rows(), reason=f"no collection of real files at {SHARED}")
def test_outcomes_of_the_real_files_are_those_of_the_manifest(capsys):
    """Counted by kind: whole files are read, and of the others each is refused for its own reason."""
    rows = shared_rows()
    found = Counter(outcome(SHARED / row["path"]) for row in rows)
    with capsys.disabled():
        print("", *(f"{count:4d}  {kind}" for kind, count in found.most_common()), sep="\n")
    whole = [row for row in rows if row["decoded_frames"] not in ("", "0") and row["decoded_samples"] not in ("", "0")]
    assert found["read"] == len(whole) and found.total() == len(rows)
    assert found["is empty"] == sum(row["bytes"] == "0" for row in rows)
    assert found["has neither picture nor sound"] == sum(
        row["n_v"] in ("", "0") and row["n_a"] in ("", "0") and not row["error"] for row in rows
    )
    assert found["has no audio stream"] == sum(
        row["decoded_frames"] not in ("", "0") and row["n_a"] in ("", "0") for row in rows
    )


NO_SHARED = pytest.param(None, marks=pytest.mark.skip(reason=f"no collection of real files at {SHARED}"))


@pytest.mark.parametrize("row", shared_rows() or [NO_SHARED], ids=lambda row: row["path"] if row else "none")
def test_every_real_file_gives_the_right_thing_or_a_media_error(row):
    path = SHARED / row["path"]
    begin = time.process_time()
    picture = row["decoded_frames"] not in ("", "0")
    sound = row["decoded_samples"] not in ("", "0")
    try:
        info = probe(path)
    except MediaError as error:
        assert row["error"] or not (picture or sound), error
        return
    assert (info.video is not None) == (row["n_v"] not in ("", "0"))
    assert (info.audio is not None) == (row["n_a"] not in ("", "0"))
    if info.video and row["n_v"] == "1" and row["w"] and picture:
        with av.open(str(path)) as container:
            aspect = container.streams.video[0].sample_aspect_ratio or 1
        sides = (round(int(row["w"]) * max(1, aspect)), round(int(row["h"]) / min(1, aspect)))
        assert (info.video.width, info.video.height) == (sides[::-1] if "90" in row["rot"] else sides)
        assert info.video.rotation_deg == int(row["rot"])
    if info.audio and row["n_a"] == "1" and sound:
        assert (info.audio.rate, info.audio.channels) == (int(row["rate"]), int(row["ch"]))
    if info.video and info.audio and row["v_start"] and row["a_start"]:
        assert min(info.video.start_s, info.audio.start_s) == pytest.approx(0, abs=2e-3)
        gap_s = float(row["v_start"]) - float(row["a_start"])
        assert info.video.start_s - info.audio.start_s == pytest.approx(gap_s, abs=2e-3)
    video, audio = VideoSpec(8, 16.0, 64), AudioSpec(16_000, 2.0, frames=64, n_fft=128)
    if picture:
        clip = read_clip(path, 0.0, video, None)
        assert clip.video.shape == (3, 8, 64, 64) and 0 <= clip.padded_frames <= 8
    if sound:
        clip = read_clip(path, 0.0, None, audio)
        assert clip.audio.shape == (1, 32_000) and 0 <= clip.padded_samples <= 32_000
        assert bool(clip.audio.isfinite().all()) and clip.audio.abs().max() <= 1
        if "silent" in row["tags"]:
            assert clip.audio.abs().max() < 0.02
    if picture and sound:
        middle_s = info.duration_s / 2
        try:
            clip = read_clip(path, middle_s, video, audio)
            assert clip.video.shape == (3, 8, 64, 64) and clip.audio.shape == (1, 32_000)
        except MediaError as error:  # its header promises more than there is
            assert "truncated" in str(error)
    if not picture:
        with pytest.raises(MediaError):
            read_clip(path, 0.0, video, None)
    if not sound:
        with pytest.raises(MediaError):
            read_clip(path, 0.0, None, audio)
    assert time.process_time() - begin < 5

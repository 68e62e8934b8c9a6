"""Pictures as they were filmed: one colour rule for both readers, HDR, fields, pixels that are not square."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from avid_lab.config import VideoSpec
from avid_lab.media import Clip, MediaError, probe, read_clip, write_clip

RED, GREY, BLUE = (200, 30, 30), (128, 128, 128), (20, 40, 220)
# By name: FFmpeg's number of the matrix, and the shares of red and blue in luma.
MATRICES = {
    "BT.601": (6, 0.299, 0.114),
    "BT.709": (1, 0.2126, 0.0722),
    "BT.2020": (9, 0.2627, 0.0593),
    "SMPTE-240M": (7, 0.212, 0.087),
    "none, small": (2, 0.299, 0.114),
    "none, HD": (2, 0.2126, 0.0722),
}


def coded(rgb: np.ndarray, red: float, blue: float, *, full: bool, bits: int) -> list[int]:
    """Y, Cb and Cr of a colour in [0, 1] by the definition."""
    luma = float(rgb @ (red, 1 - red - blue, blue))
    chroma = (rgb[2] - luma) / (2 - 2 * blue), (rgb[0] - luma) / (2 - 2 * red)
    if full:
        return [round(luma * (2**bits - 1)), *(round(c * (2**bits - 1) + 2 ** (bits - 1)) for c in chroma)]
    step = 2 ** (bits - 8)
    return [round(step * (16 + 219 * luma)), *(round(step * (128 + 224 * c)) for c in chroma)]


def write(path: Path, values: list[int], format_: str, side: tuple[int, int] = (64, 48), codec: str = "ffv1", **tags):
    """Frames of one colour, by the values of their planes."""
    count = tags.pop("count", 2)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options=tags.pop("options", {}))
        (stream.width, stream.height), stream.pix_fmt = side, format_
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        for i in range(count):
            frame = av.VideoFrame(*side, format_)
            for plane, value in zip(frame.planes, values, strict=True):
                np.frombuffer(plane, np.uint16 if "10" in format_ else np.uint8)[:] = value
            frame.pts, frame.time_base = i, Fraction(1, 10)
            for name, value in tags.items():
                if hasattr(frame, name):
                    setattr(frame, name, value)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def seen(path: Path, size: int | None = None) -> torch.Tensor:
    """The colour that `read_clip` sees."""
    return read_clip(path, 0.0, VideoSpec(1, 10.0, size), None).video.float().mean((1, 2, 3))


@pytest.mark.parametrize("format_", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le"])
@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", MATRICES)
def test_the_colour_that_was_filmed_is_seen(tmp_path, matrix, full, format_):
    number, red, blue = MATRICES[matrix]
    side = (1280, 720) if "HD" in matrix else (64, 48)
    for rgb in (RED, GREY, BLUE)[: 1 if "HD" in matrix else 3]:
        values = coded(np.array(rgb) / 255, red, blue, full=full, bits=10 if "10" in format_ else 8)
        path = write(tmp_path / "c.mkv", values, format_, side, colorspace=number, color_range=2 if full else 1)
        for colour in (seen(path), seen(path, 32)):
            assert (colour - torch.tensor(rgb)).abs().max() <= 4, (colour, rgb)


@pytest.mark.parametrize("format_", ["yuvj420p", "yuvj422p"])
def test_cameras_of_full_range(tmp_path, format_):
    values = coded(np.array(RED) / 255, 0.299, 0.114, full=True, bits=8)
    path = write(tmp_path / "c.mov", values, format_, codec="mjpeg", options={"qmin": "1", "qmax": "2"}, color_range=2)
    for colour in (seen(path), seen(path, 32)):
        assert (colour - torch.tensor(RED)).abs().max() <= 4, colour


@pytest.mark.parametrize("side", [(64, 48), (1280, 720)])
def test_what_we_write_keeps_its_colours(tmp_path, side):
    video = torch.tensor(RED, dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 2, side[1], side[0]).contiguous()
    path = write_clip(tmp_path / "red.mp4", Clip(video, None, 10.0, None), crf=10)
    colour = seen(path)
    assert (colour - torch.tensor(RED)).abs().max() <= 4, colour


def pq(nits: np.ndarray) -> np.ndarray:
    """The inverse of ITU-R BT.2100's PQ curve."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    light = (nits / 10_000) ** m1
    return ((c1 + c2 * light) / (1 + c3 * light)) ** m2


def hlg(nits: np.ndarray) -> np.ndarray:
    """The inverse of the HLG system for a display of 1,000 cd/m2."""
    display = nits / 1000
    luma = float(display @ (0.2627, 0.6780, 0.0593))
    scene = display * luma ** (1 / 1.2 - 1)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c)


@pytest.mark.parametrize(("curve", "number"), [("PQ", 16), ("HLG", 18)])
def test_an_sdr_colour_put_into_hdr_comes_back(tmp_path, curve, number):
    to_bt2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
    tags = {"colorspace": 9, "color_range": 1, "color_trc": number, "color_primaries": 9}
    for rgb in (RED, GREY, BLUE):
        nits = 203 * to_bt2020 @ ((np.array(rgb) / 255) ** 2.4)
        values = coded({"PQ": pq, "HLG": hlg}[curve](nits), 0.2627, 0.0593, full=False, bits=10)
        path = write(tmp_path / "hdr.mkv", values, "yuv420p10le", **tags)
        for colour in (seen(path), seen(path, 32)):
            assert (colour - torch.tensor(rgb)).abs().max() <= 6, (colour, rgb)
    info = probe(path)
    assert info.video.dynamic_range == curve and f"dynamic_range='{curve}'" in repr(info)
    bright = coded({"PQ": pq, "HLG": hlg}[curve](np.full(3, 900.0)), 0.2627, 0.0593, full=False, bits=10)
    assert seen(write(tmp_path / "bright.mkv", bright, "yuv420p10le", **tags)).min() > 250


def test_pixels_that_are_not_square(tmp_path):
    tags = {"sample_aspect_ratio": Fraction(16, 11), "codec": "mpeg4"}
    path = write(tmp_path / "wide.mp4", [100, 128, 128], "yuv420p", (352, 288), **tags)
    info = probe(path)
    assert (info.video.width, info.video.height) == (512, 288)
    assert read_clip(path, 0.0, VideoSpec(1, 10.0, None), None).video.shape == (3, 1, 288, 512)
    assert read_clip(path, 0.0, VideoSpec(1, 10.0, None), None, short_side=144).video.shape == (3, 1, 144, 256)


@pytest.mark.parametrize(("order", "first"), [("tff", 0), ("bff", 1)])
def test_fields_are_not_mixed(tmp_path, order, first):
    path = tmp_path / "fields.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"x264-params": f"{order}=1", "crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for i in range(4):
            image = np.zeros((96, 128, 3), np.uint8)
            image[first::2, :64], image[1 - first :: 2, 64:] = 255, 255  # the first field is bright on the left
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert probe(path).video.interlaced
    video = read_clip(path, 0.0, VideoSpec(2, 25.0, None), None).video.float()
    assert video.shape == (3, 2, 96, 128)
    assert video[..., 8:56].mean() > 240 and video[..., 72:120].mean() < 15


def test_a_recording_that_changes_its_size(tmp_path):
    parts = b""
    for side in ((64, 48), (96, 80)):
        path = write(tmp_path / "part.ts", [100, 128, 128], "yuv420p", side, codec="mpeg2video", count=10)
        parts += path.read_bytes()
    path = tmp_path / "both.ts"
    path.write_bytes(parts)
    assert read_clip(path, 0.0, VideoSpec(20, 10.0, None), None).video.shape == (3, 20, 48, 64)


def test_a_picture_larger_than_memory_is_refused(tmp_path):
    """Three gigabytes, says the header of a file of two kilobytes."""
    path = tmp_path / "huge.png"

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 32_000, 32_000, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10_000))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    with pytest.raises(MediaError, match="can be decoded|too large to decode"):
        read_clip(path, 0.0, VideoSpec(1, 1.0, None), None)


LISTS = {
    "hls.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{target}\n#EXT-X-ENDLIST\n",
    "concat.mp4": "ffconcat version 1.0\nfile '{target}'\n",
    "dash.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT2S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="0" '
    'bandwidth="1"><BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>',
    "list.ts": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{target}\n#EXT-X-ENDLIST\n",
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_of_other_files_are_not_followed(tmp_path, name):
    target = write(tmp_path / "secret.ts", [100, 128, 128], "yuv420p", codec="mpeg2video")
    path = tmp_path / name
    path.write_text(LISTS[name].format(target=target))
    for action in (probe, lambda p: read_clip(p, 0.0, VideoSpec(1, 1.0, 32), None)):
        with pytest.raises(MediaError):
            action(path)


def test_numbered_pictures_next_to_a_file_are_not_read(tmp_path):
    values = coded(np.array(RED) / 255, 0.299, 0.114, full=True, bits=8)
    movie = write(tmp_path / "one.mov", values, "yuvj420p", codec="mjpeg", color_range=2)
    with av.open(str(movie)) as container:
        picture = bytes(next(container.demux(video=0)))
    for name in ("a0.jpg", "a1.jpg", "a%d.jpg"):
        (tmp_path / name).write_bytes(picture)
    assert (seen(tmp_path / "a0.jpg") - torch.tensor(RED)).abs().max() <= 6
    with pytest.raises(MediaError):
        probe(tmp_path / "a%d.jpg")

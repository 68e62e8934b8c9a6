"""Players: valid, escaped, accessible HTML that embeds or links real files, and stays small."""

import base64
import re
import struct
import subprocess
import sys
from html.parser import HTMLParser
from io import BytesIO

import av
import numpy as np
import pytest
import torch
from PIL import Image

from avid_lab import media
from avid_lab.config import AudioSpec, VideoSpec
from avid_lab.interactive import gallery, playable, player
from avid_lab.interactive.players import dubbed, excerpt, spectrum

VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


class Page(HTMLParser):
    """Every element with its attributes, all text outside styles, and whether tags are balanced."""

    def __init__(self, html):
        super().__init__()
        self.open, self.elements, self.text = [], [], ""
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def write(path, seconds=1.0, side=48, noise=0.0):
    generator = torch.Generator().manual_seed(0)
    frames = torch.full((3, round(8 * seconds), side, side), 90.0)
    frames += noise * torch.randn(frames.shape, generator=generator)
    samples = torch.sin(torch.arange(round(16000 * seconds)) * 0.3)[None] * 0.3
    return media.write_clip(path, media.Clip(frames.clamp(0, 255).byte(), samples, 8.0, 16000))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write(tmp_path_factory.mktemp("clips") / "a clip & more.mp4")


@pytest.fixture(scope="module")
def heavy(tmp_path_factory):
    return write(tmp_path_factory.mktemp("clips") / "heavy.mp4", seconds=3, side=320, noise=60)


@pytest.fixture(scope="module")
def minutes(tmp_path_factory):
    """75 s: the grey level of the picture equals the second, and the pitch is 200 Hz plus 10 Hz per second."""
    path, rate = tmp_path_factory.mktemp("clips") / "minutes.mp4", 8000
    frames = torch.arange(75, dtype=torch.uint8).repeat_interleave(2)[None, :, None, None].expand(3, -1, 360, 640)
    frames = frames.contiguous()
    second = torch.arange(75 * rate) // rate
    sound = 0.3 * torch.sin(2 * torch.pi * (200 + 10 * second) * (torch.arange(75 * rate) / rate)).float()
    return media.write_clip(path, media.Clip(frames, sound[None], 2.0, rate), keyframe_s=20.0)


def bytes_of(address):
    return base64.b64decode(address.split(",", 1)[1])


def info_of(data, beside):
    copy = beside.with_name(f"copy {len(data)}.mp4")
    copy.write_bytes(data)
    return media.probe(copy)


def read(data, beside):
    info = info_of(data, beside)
    frames = round(info.video.duration_s * info.video.fps)
    return media.read_clip(
        info.path, 0.0, VideoSpec(frames, info.video.fps, None), AudioSpec(8000, info.audio.duration_s, 1)
    )


def pitch(clip):
    """The pitch of each second of a clip, in Hz."""
    seconds = clip.audio[0, : 8000 * (clip.audio.shape[1] // 8000)].view(-1, 8000)
    return torch.fft.rfft(seconds * torch.hann_window(8000)).abs().argmax(1).tolist()


def test_a_player_embeds_the_file_and_its_still(clip):
    page = Page(player(clip, "a bell").data)
    (video,) = page.all("video")
    assert bytes_of(video["src"]) == clip.read_bytes() and video["src"].startswith("data:video/mp4;base64,")
    assert bytes_of(video["poster"])[:2] == b"\xff\xd8"
    assert {"controls", "playsinline"} <= set(video) and "loop" not in video and video["preload"] == "metadata"
    assert "autoplay" not in video and not page.all("script")


def test_texts_are_escaped(clip):
    html = player(clip, '<b>"bell"</b> & co').data
    page = Page(html)
    assert '<b>"bell"</b> & co' in page.text and "<b>" not in html and not page.all("b")


def test_a_gallery_says_its_verdicts_in_colour_symbol_and_words(clip):
    page = Page(
        gallery(clip, [clip] * 3, ["bell", "drum", "bell"], [True, False, True], [0.9, 0.5, 0.25], title="A bell").data
    )
    labels = [video["aria-label"] for video in page.all("video")]
    assert labels == ["query", "1. bell, right, score 0.90", "2. drum, wrong, score 0.50", "3. bell, right, score 0.25"]
    assert [figure["class"] for figure in page.all("figure")] == ["", "avid-good", "avid-bad", "avid-good"]
    assert re.findall("[✓✗]", page.text) == ["✓", "✗", "✓"] and "0.90" in page.text and "A bell" in page.text


def test_a_gallery_without_query_or_verdicts(clip):
    page = Page(gallery(None, [clip] * 2, ["bell", "drum"], columns=7).data)
    assert len(page.all("video")) == 2 and not re.search("[✓✗]", page.text)
    assert any("--avid-columns:7" in div.get("style", "") for div in page.all("div"))


def test_numpy_and_tensor_verdicts(clip):
    page = Page(gallery(clip, [clip] * 2, ["a", "b"], np.array([True, False]), torch.tensor([0.5, 0.25])).data)
    assert [figure["class"] for figure in page.all("figure")] == ["", "avid-good", "avid-bad"]


def test_colours_are_the_themes(clip):
    style = player(clip).data.split("</style>")[0]
    assert "var(--jp-ui-font-color1, currentColor)" in style and "color: var(--avid-ink)" in style


def test_without_its_style_sheet_clips_still_stand_in_rows(clip):
    page = Page(gallery(clip, [clip] * 2, ["a", "b"], [True, False]).data)
    assert all("display:inline-block" in figure["style"] for figure in page.all("figure"))
    borders = [div["style"] for div in page.all("div") if div.get("class") == "avid-frame"]
    assert len(set(borders)) == 3 and "right" in page.text and "wrong" in page.text


def test_linked_files_are_relative_and_quoted(clip, tmp_path):
    (video,) = Page(player(clip, embed=False, poster=False, relative_to=clip.parent.parent).data).all("video")
    assert video["src"] == f"{clip.parent.name}/a%20clip%20%26%20more.mp4" and "poster" not in video


def test_a_heavy_file_becomes_a_light_one(heavy):
    limit = 150_000
    assert heavy.stat().st_size > limit
    data = playable(heavy, limit)
    info, source = info_of(data, heavy), media.probe(heavy)
    assert len(data) <= limit
    assert info.video is not None and info.audio is not None and info.video.height <= 192
    assert info.duration_s == pytest.approx(source.duration_s, abs=0.2)
    assert playable(heavy, limit) is data  # made once


def test_what_must_be_lighter_still_is_shorter_and_what_is_asked_about_stays_in_it(heavy):
    found = excerpt(heavy, (1.0, 2.0), 8_000, context_s=1.0)
    assert len(found.data) <= 8_000 and found.begin_s <= 1.5 <= found.end_s
    assert found.end_s - found.begin_s < 2.9
    assert info_of(found.data, heavy).duration_s == pytest.approx(found.end_s - found.begin_s, abs=0.2)


def test_a_limit_that_no_copy_keeps_says_so(heavy):
    with pytest.raises(ValueError, match=r"heavy.mp4: 1.0 s of it weigh .* kB; the limit is 0.5 kB. Raise clip_bytes"):
        playable(heavy, 500)


def test_of_a_long_file_the_window_plays_with_what_is_around_it(minutes):
    page = Page(player(minutes, "a street", window=(42.0, 44.0)).data)
    (video,) = page.all("video")
    clip = read(bytes_of(video["src"]), minutes)
    # One frame a second, whose grey level is the second; a tone that says the same.
    assert clip.video.float().mean((0, 2, 3))[:: round(clip.fps)].round().tolist() == pytest.approx(
        [40, 41, 42, 43, 44, 45], abs=3
    )
    assert pitch(clip) == pytest.approx([200 + 10 * second for second in range(40, 46)], abs=6)
    assert "42.0–44.0 s of 1:15, plays 40.0–46.0 s" in page.text and "42.0–44.0 s of 1:15" in video["aria-label"]
    assert np.array(Image.open(BytesIO(bytes_of(video["poster"])))).mean() == pytest.approx(43, abs=3)
    assert len(bytes_of(video["src"])) <= 60_000


def test_excerpts_end_where_the_file_does(minutes):
    assert excerpt(minutes, (0.5, 2.5)).place((0.5, 2.5)) == "0.5–2.5 s of 1:15, plays 0.0–4.5 s"
    last = excerpt(minutes, (73.0, 80.0))
    assert last.end_s == pytest.approx(75, abs=0.1) and last.place((73.0, 80.0)).startswith("1:13.0–1:15.0 of 1:15")
    with pytest.raises(media.MediaError, match="is over at 75"):
        excerpt(minutes, (90.0, 92.0))


def test_without_a_window_the_middle_of_a_long_file_plays(minutes):
    found = excerpt(minutes)
    assert (found.begin_s, found.end_s) == pytest.approx((33.5, 41.5), abs=0.1) and not found.whole
    assert found.place() == "33.5–41.5 s of 1:15"


def test_linked_files_begin_at_the_window(minutes):
    page = Page(player(minutes, window=(42.0, 44.0), embed=False, relative_to=minutes.parent).data)
    assert page.all("video")[0]["src"] == "minutes.mp4#t=40.0,46.0"


def test_what_browsers_do_not_play_is_written_again(tmp_path):
    path = tmp_path / "old.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width, stream.height = 64, 48
        for _ in range(16):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), 120, np.uint8))))
        container.mux(stream.encode(None))
    assert info_of(playable(path), path).video.codec == "h264"


def test_a_lengthy_header_costs_nothing(tmp_path):
    """A Matroska file of two seconds whose header claims an hour plays its two seconds."""
    source = write(tmp_path / "short.mkv.mp4", seconds=2)
    path = tmp_path / "claims.mkv"
    with av.open(str(source)) as have, av.open(str(path), "w") as wants:
        streams = {stream: wants.add_stream_from_template(stream) for stream in have.streams}
        for packet in have.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream]
                wants.mux(packet)
    data = bytearray(path.read_bytes())
    at = data.index(b"\x44\x89\x88") + 3  # Duration, a double of milliseconds
    data[at : at + 8] = struct.pack(">d", 3_600_000.0)
    path.write_bytes(data)
    for window in (None, (0.0, 2.0)):
        assert 1.5 < info_of(excerpt(path, window).data, path).duration_s < 3


def test_silent_and_odd_sized_files_shrink(tmp_path):
    frames = torch.randint(0, 256, (3, 16, 250, 310), dtype=torch.uint8)
    path = media.write_clip(tmp_path / "silent.mp4", media.Clip(frames, None, 8.0, None))
    page = Page(player(path, "a lake", clip_bytes=120_000).data)
    assert "silent" in page.text and page.all("video")[0]["aria-label"] == "a lake, silent"
    (tmp_path / "copy.mp4").write_bytes(playable(path, 120_000))
    video = media.probe(tmp_path / "copy.mp4").video
    assert video is not None and video.width % 2 == video.height % 2 == 0
    assert video.width / video.height == pytest.approx(310 / 250, rel=0.03)


def test_sound_alone_plays_with_its_waveform(tmp_path):
    sound = torch.cat([torch.zeros(1, 8000), torch.full((1, 8000), 0.5)], dim=1)
    path = media.write_clip(tmp_path / "sound.mp4", media.Clip(None, sound, None, 16000))
    page = Page(player(path, "a hum").data)
    (video,) = page.all("video")
    assert bytes_of(video["src"]) == path.read_bytes() and video["aria-label"] == "a hum, no picture"
    drawn = np.array(Image.open(BytesIO(bytes_of(video["poster"])))).max(2) > 128
    assert drawn[:, :150].mean() < 0.05 and drawn[:, 170:].mean() > 0.3


def test_a_dubbed_clip_has_one_clips_picture_and_anothers_sound(minutes, clip, tmp_path):
    """The grey level of `minutes` is its second, and its pitch says which second sounds."""
    found = dubbed(minutes, minutes, window=(10.0, 12.0), sound_window=(40.0, 44.0))
    assert (found.begin_s, found.end_s) == (8.0, 14.0) and found.seen and found.heard
    copy = read(found.data, tmp_path / "x.mp4")
    grey = copy.video.float().mean((0, 2, 3))
    assert grey[0] == pytest.approx(8, abs=4) and grey[-1] - grey[0] == pytest.approx(5, abs=1)
    assert pitch(copy)[:5] == pytest.approx([200 + 10 * second for second in range(38, 43)], abs=4)
    silent = media.write_clip(tmp_path / "silent.mp4", media.Clip(torch.zeros(3, 8, 48, 48).byte(), None, 8.0, None))
    with pytest.raises(media.MediaError, match="it has no sound"):
        dubbed(clip, silent)
    assert dubbed(silent, clip).heard and spectrum(silent.read_bytes()) == b""


def test_a_spectrum_has_low_pitches_below_and_time_to_the_right(tmp_path):
    rate = 24_000
    time = torch.arange(2 * rate) / rate
    wave = 0.5 * torch.sin(2 * torch.pi * torch.where(time < 1, 300.0, 6000.0) * time)[None]
    data = media.write_clip(tmp_path / "two.mp4", media.Clip(None, wave, None, rate)).read_bytes()
    picture = np.asarray(Image.open(BytesIO(spectrum(data))).convert("L")).astype(float)
    quarter = picture.shape[1] // 4
    loudest = [
        int(picture[:, part].mean(1).argmax()) / len(picture) for part in (slice(quarter), slice(-quarter, None))
    ]
    assert loudest[0] > 0.75 and loudest[1] < 0.4


def test_a_gallery_keeps_its_limit_by_smaller_clips(heavy, clip):
    weights = [len(gallery(heavy, [heavy, clip], ["a", "b"], limit_bytes=n).data) for n in (1_000_000, 80_000, 65_000)]
    assert weights[0] > 80_000 >= weights[1] > 65_000 >= weights[2]
    found = gallery(heavy, [heavy, clip], ["a", "b"], limit_bytes=65_000)
    assert not found.problems and len(Page(found.data).all("video")) == 3
    assert bytes_of(Page(found.data).all("video")[2]["src"]) == clip.read_bytes()  # what is small stays as it is


def test_a_limit_that_no_gallery_keeps_leaves_placeholders(clip):
    found = gallery(clip, [clip] * 4, ["a"] * 4, limit_bytes=1_000)
    assert len(found.problems) == 5 and not Page(found.data).all("video")
    assert "Cannot be shown" in Page(found.data).text


def test_lengths_and_columns(clip):
    with pytest.raises(ValueError, match="captions must have one entry for each of the 2 paths; got 1"):
        gallery(clip, [clip] * 2, ["a"])
    with pytest.raises(ValueError, match="correct must have one entry for each of the 1 paths; got 2"):
        gallery(clip, [clip], ["a"], [True, False])
    with pytest.raises(ValueError, match="columns must be >= 1; got 0"):
        gallery(clip, [clip], ["a"], columns=0)


@pytest.mark.parametrize("embed", [True, False])
def test_what_cannot_be_shown_is_a_placeholder_with_its_reason(tmp_path, clip, embed):
    (text := tmp_path / "te<x>t.mp4").write_text("not a video")
    (torn := tmp_path / "torn.mp4").write_bytes(clip.read_bytes()[:400])
    missing = tmp_path / "missing.mp4"
    found = gallery(text, [clip, torn, missing], ["a", "b", "c"], [True, False, True], embed=embed)
    page = Page(found.data)
    assert len(page.all("video")) == 1 and len(found.problems) == 3
    assert "missing.mp4: no such file" in page.text and "te<x>t.mp4: cannot be read" in page.text
    assert [figure["class"] for figure in page.all("figure")] == [
        "avid-missing",
        "avid-good",
        "avid-bad avid-missing",
        "avid-good avid-missing",
    ]
    reasons = [one["aria-label"] for one in page.all("div") if one.get("class") == "avid-reason"]
    assert reasons[2].startswith("3. c, right, cannot be shown: missing.mp4: no such file")
    assert player(missing, embed=embed).problems == ("missing.mp4: no such file",)


def test_importing_it_loads_no_widgets():
    code = "import sys, avid_lab.interactive; assert not {'ipywidgets', 'matplotlib.pyplot'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)

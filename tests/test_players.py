"""Players: valid, escaped, accessible HTML that embeds or links real files, and stays small."""

import base64
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from avid_lab import media
from avid_lab.interactive import gallery, playable, player

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


def bytes_of(address):
    return base64.b64decode(address.split(",", 1)[1])


def test_a_player_embeds_the_file_and_its_still(clip):
    page = Page(player(clip, "a bell").data)
    (video,) = page.all("video")
    assert bytes_of(video["src"]) == clip.read_bytes() and video["src"].startswith("data:video/mp4;base64,")
    assert bytes_of(video["poster"])[:2] == b"\xff\xd8"
    assert {"controls", "loop", "playsinline"} <= set(video) and video["preload"] == "metadata"
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
    copy = heavy.with_name("copy.mp4")
    copy.write_bytes(data)
    info, source = media.probe(copy), media.probe(heavy)
    assert len(data) <= limit
    assert info.video is not None and info.audio is not None and info.video.height <= 192
    assert info.duration_s == pytest.approx(source.duration_s, abs=0.2)
    assert playable(heavy, limit) is data  # made once


def test_what_cannot_be_made_light_says_so(heavy):
    with pytest.raises(ValueError, match=r"lasts 3\.\d s and cannot be made smaller.*limit is 2 kB.*embed=False"):
        playable(heavy, 2_000)


def test_silent_and_odd_sized_files_shrink(tmp_path):
    frames = torch.randint(0, 256, (3, 16, 250, 310), dtype=torch.uint8)
    path = media.write_clip(tmp_path / "silent.mp4", media.Clip(frames, None, 8.0, None))
    (tmp_path / "copy.mp4").write_bytes(playable(path, 120_000))
    video = media.probe(tmp_path / "copy.mp4").video
    assert video is not None and video.width % 2 == video.height % 2 == 0
    assert video.width / video.height == pytest.approx(310 / 250, rel=0.03)


def test_sound_alone_plays_without_a_still(tmp_path):
    path = media.write_clip(tmp_path / "sound.mp4", media.Clip(None, torch.zeros(1, 16000), None, 16000))
    (video,) = Page(player(path).data).all("video")
    assert "poster" not in video and bytes_of(video["src"]) == path.read_bytes()


def test_a_gallery_has_a_limit(clip):
    with pytest.raises(ValueError, match=r"at most limit_bytes = 0\.0 MB; these 4 clips weigh .* embed=False"):
        gallery(clip, [clip] * 4, ["a"] * 4, limit_bytes=10_000)


def test_lengths_and_columns(clip):
    with pytest.raises(ValueError, match="captions must have one entry for each of the 2 paths; got 1"):
        gallery(clip, [clip] * 2, ["a"])
    with pytest.raises(ValueError, match="correct must have one entry for each of the 1 paths; got 2"):
        gallery(clip, [clip], ["a"], [True, False])
    with pytest.raises(ValueError, match="columns must be >= 1; got 0"):
        gallery(clip, [clip], ["a"], columns=0)


@pytest.mark.parametrize("embed", [True, False])
def test_files_that_are_no_videos(tmp_path, embed):
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    for path in (text, tmp_path / "missing.mp4"):
        with pytest.raises(media.MediaError, match=path.name):
            player(path, embed=embed)


def test_importing_it_loads_no_widgets():
    code = "import sys, avid_lab.interactive; assert not {'ipywidgets', 'matplotlib.pyplot'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)

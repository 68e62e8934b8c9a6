"""The picture of the method, and its film."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from avid_lab import plots
from avid_lab.config import AudioSpec
from avid_lab.plots.method import PARTS, PULL, PUSH, START, _step, method_plot


def colours(plot, part):
    """Colours of a part of the picture, but for the paper."""
    found = set()
    for mark in plot.marks:
        if mark.name == part:
            found |= {mark.colours} if hasattr(mark, "colours") else {mark.colour}
    return found - {"paper"}


def test_only_what_is_lit_has_colour():
    plot = method_plot("memory")
    assert colours(plot, "memory") > {"ink"} and colours(plot, "negatives") == colours(plot, "loss") == {"faint"}
    everything = method_plot()
    for part in PARTS:
        if part != "positives":
            assert colours(everything, part) - {"faint"}
    assert PUSH in colours(everything, "negatives") and PULL in colours(everything, "loss")


def test_positives_belong_to_cma_alone():
    assert not colours(method_plot(), "positives")
    assert PULL in colours(method_plot("positives", kind="cma"), "positives")


@pytest.mark.parametrize(("kind", "rises"), [("cross", {True}), ("self", {False}), ("joint", {True, False})])
def test_comparisons_cross_the_senses_or_stay_within(kind, rises):
    """Thick lines from embeddings to the memory: between the two rows of the picture, or along one."""
    lines = [m for m in method_plot(kind=kind).marks if m.name == "loss" and hasattr(m, "width") and len(m.x) == 2]
    across = {bool(abs(m.y[1] - m.y[0]) > 100) for m in lines if m.x[0] == 314}
    assert across == rises


def test_a_drawn_step_follows_the_gradient_and_the_notes_follow_the_embeddings():
    moved, followed = _step(START)
    closer = lambda a, b, note: np.cos(b - note) > np.cos(a - note)  # noqa: E731
    assert closer(START.video, moved.video, START.audio_notes[0])
    assert closer(START.audio, moved.audio, START.video_notes[0])
    assert (moved.video_notes == START.video_notes).all()
    assert closer(moved.video_notes[0], followed.video_notes[0], moved.video)
    assert (followed.audio_notes[1:] == START.audio_notes[1:]).all() and followed.video == moved.video


def test_unknown_parts_and_kinds_are_named():
    with pytest.raises(ValueError, match="lit must be of clip, .*; got sphere"):
        plots.method("sphere")
    with pytest.raises(ValueError, match="kind must be one of cross, .*; got 'all'"):
        plots.method(kind="all")


def test_picture_is_drawn_light_and_dark():
    light = plots.method(title="Cross-AVID")
    with plots.dark():
        dark = plots.method()
    assert {text.get_text() for text in light.texts} >= {"video", "audio", "memory", "pull", "pushes"}
    assert dark.get_figure().get_facecolor() != light.get_figure().get_facecolor()


def test_film_moves_and_repeats():
    film = plots.method_film()
    picture = Image.open(BytesIO(film.gif))
    assert picture.n_frames > 20 and picture.info["loop"] == 0 and len(film.gif) < 600_000
    first = np.asarray(picture.convert("RGB"), int)
    picture.seek(picture.n_frames - 1)
    assert np.abs(first - np.asarray(picture.convert("RGB"), int)).max() > 100
    page = film._repr_html_()
    assert '<img class="avid-film" src="data:image/gif;base64,' in page and "training steps" in page
    assert '[data-jp-theme-light="false"] .avid-film' in page  # a dark notebook shows it dark


def test_circles_show_both_senses_and_colour_events():
    angle = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    points = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    figure = plots.circles({"spread": np.stack([points, points]), "collapsed": np.ones((2, 8, 2)) / 2**0.5}, angle)
    spread, collapsed = figure.axes
    offsets = np.concatenate([drawn.get_offsets() for drawn in spread.collections])
    radii = np.linalg.norm(offsets, axis=1)
    assert sorted(set(radii.round(2))) == [1.0, 1.15] and len(offsets) == 16
    assert len({tuple(colour) for drawn in spread.collections for colour in drawn.get_facecolor()}) == 8
    assert len({tuple(place) for drawn in collapsed.collections for place in drawn.get_offsets().round(2)}) == 2
    with pytest.raises(ValueError, match="worlds must have at least one"):
        plots.circles({}, angle)


def test_spectrograms_have_axes_in_seconds_and_kilohertz():
    spec = AudioSpec(rate=16_000, duration_s=2.0)
    figure = plots.spectrograms({"A": np.random.rand(20, 65), "B": np.random.rand(40, 129)}, spec)
    first, second = figure.axes
    assert [ax.get_title() for ax in figure.axes] == ["A", "B"]
    assert first.get_xlabel() == "time (s)" and first.get_ylabel() == "frequency (kHz)" and not second.get_ylabel()
    assert first.get_xlim() == pytest.approx((0, 2), abs=0.1)
    with pytest.raises(ValueError, match="spectra must have at least one"):
        plots.spectrograms({}, spec)

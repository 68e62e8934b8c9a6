"""Plots: tests read the artists; only three of them compare pixels."""

from dataclasses import dataclass, field
from io import BytesIO

import matplotlib as mpl
import matplotlib.style
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from avid_lab import metrics, plots
from avid_lab.media import Clip
from avid_lab.memory import MemoryBank
from avid_lab.metrics import retrieval
from avid_lab.mining import mine_positives
from avid_lab.plots import statistics, style

CLASSES = ("bell", "drum", "rain")


# How colours look without one kind of cones, in linear RGB: Machado, Oliveira and Fernandes 2009, severity 1.
PROTANOPIA = np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]])
DEUTERANOPIA = np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]])


def linear(srgb):
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def lab_of(rgb):
    """CIELAB of linear RGB under daylight."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = rgb @ to_xyz.T / to_xyz.sum(axis=1)
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * root[:, 1] - 16, 500 * (root[:, 0] - root[:, 1]), 200 * (root[:, 1] - root[:, 2])], axis=1)


@dataclass
class Step:
    index: int
    loss: float
    terms: dict[str, float] = field(default_factory=dict)


@dataclass
class Recall:
    recall: dict[int, float]
    chance_recall: dict[int, float]


@dataclass
class Memory:
    video: torch.Tensor
    audio: torch.Tensor


def by_gid(where, gid):
    return [artist for artist in where.findobj() if artist.get_gid() == gid]


def texts(where):
    return [artist.get_text() for artist in where.findobj(mpl.text.Text) if artist.get_text()]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def clip(rng):
    video = rng.integers(0, 256, (3, 32, 24, 24), dtype=np.uint8)
    audio = (0.5 * np.sin(2 * np.pi * 1000 * np.arange(32000) / 16000)).astype(np.float32)[None]
    return video, audio


@pytest.fixture
def memory(rng):
    labels = rng.integers(0, 3, 90)
    centres = rng.normal(size=(3, 16))
    rows = [torch.tensor(centres[labels] + 0.6 * rng.normal(size=(90, 16))).float() for _ in range(2)]
    return Memory(*(row / row.norm(dim=1, keepdim=True) for row in rows)), torch.tensor(labels)


class TestStatistics:
    @settings(deadline=None)
    @given(st.lists(st.integers(-3, 3), min_size=1, max_size=12), st.lists(st.integers(-3, 3), min_size=1, max_size=12))
    def test_auc_is_the_share_of_pairs_in_order(self, positive, negative):
        pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
        assert metrics.auc(np.array(positive), np.array(negative)) == pytest.approx(np.mean(pairs))

    def test_auc_needs_both_sides(self):
        with pytest.raises(ValueError, match="got 0 and 2"):
            metrics.auc(np.array([]), np.array([1.0, 2.0]))

    @settings(deadline=None)
    @given(st.integers(1, 50), st.floats(0.3, 20))
    def test_smoothing_keeps_constants_and_straight_middles(self, length, width):
        assert statistics.smooth(np.full(length, 3.0), width) == pytest.approx(3.0)
        line = np.arange(301.0)
        assert statistics.smooth(line, width)[150] == pytest.approx(150)

    def test_smoothing_passes_over_missing_steps(self):
        smoothed = statistics.smooth(np.array([1.0, np.nan, 1.0, 1.0]), 1.0)
        assert np.isnan(smoothed[1]) and smoothed[[0, 2, 3]] == pytest.approx(1.0)

    def test_spectrogram_finds_a_tone_in_time_and_frequency(self):
        rate = 16000
        wave = np.zeros(2 * rate, np.float32)
        wave[rate:] = np.sin(2 * np.pi * 2000 * np.arange(rate) / rate)
        times, hertz, decibels = statistics.log_spectrogram(wave, rate)
        loudest = np.unravel_index(decibels.argmax(), decibels.shape)
        assert decibels.shape == (len(times), len(hertz)) and decibels.max() == 0 and decibels.min() == -70
        assert times[loudest[0]] > 0.97 and abs(hertz[loudest[1]] - 2000) < rate / 512
        assert (decibels[times < 0.95] == -70).all()

    @pytest.mark.parametrize("samples", [1, 7, 400])
    def test_spectrogram_of_very_short_or_silent_sounds(self, samples):
        times, _, decibels = statistics.log_spectrogram(np.zeros(samples, np.float32), 16000)
        assert len(times) == len(decibels) and np.isfinite(decibels).all()

    def test_principal_plane_agrees_with_the_singular_vectors(self, rng):
        points = rng.normal(size=(60, 7)) * np.arange(1, 8)
        plane = statistics.principal_plane(points)
        _, singular, right = np.linalg.svd(points - points.mean(0), full_matrices=False)
        assert np.abs(plane.points) == pytest.approx(np.abs((points - points.mean(0)) @ right[:2].T))
        assert plane.explained == pytest.approx((singular**2 / (singular**2).sum())[:2])

    @settings(deadline=None, max_examples=30)
    @given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 3)), min_size=1, max_size=8))
    def test_names_are_pushed_apart_and_only_vertically(self, points):
        before = np.array(points)
        after = statistics.pushed_apart(before, 0.5, 0.1)
        assert (after[:, 0] == before[:, 0]).all()
        across, up = (np.abs(np.subtract.outer(after[:, axis], after[:, axis])) for axis in (0, 1))
        close = (across < 0.5) & ~np.eye(len(points), dtype=bool)
        assert (up[close] > 0.08).all()


class TestStyle:
    def test_two_dozen_classes_differ_and_the_first_eight_also_for_dichromats(self):
        assert len(set(style.COLOURS)) == 24
        assert len({(style.class_colour(i), style.class_marker(i)) for i in range(100)}) == 100
        colours = np.array([mpl.colors.to_rgb(colour) for colour in style.COLOURS[:8]])
        for cones in (np.eye(3), PROTANOPIA, DEUTERANOPIA):
            seen = lab_of(np.clip(linear(colours) @ cones.T, 0, 1))
            apart = np.linalg.norm(seen[:, None] - seen[None], axis=-1) + 1e3 * np.eye(8)
            assert apart.min() > 12  # CIE76; 2.3 is just noticeable

    def test_the_callers_settings_are_left_alone(self):
        before = dict(mpl.rcParams)
        plots.loss_terms({"loss": np.arange(5.0)})
        assert dict(mpl.rcParams) == before

    @pytest.mark.parametrize("theme", ["default", "dark_background"])
    def test_pictures_are_white_cards_with_round_corners_in_every_theme(self, theme):
        with mpl.style.context(theme):
            png, size = plots.confusion(np.eye(3), CLASSES)._repr_png_()
        pixels = imread(BytesIO(png))
        seen, margin = pixels[..., -1], 9
        assert (seen[[0, 0, -1, -1], [0, -1, 0, -1]] == 0).all() and seen[margin:-margin, margin:-margin].min() == 1
        assert (pixels[0, 40:-40] == 1).all()  # white paper up to the edge
        assert pixels.shape[1] == pytest.approx(1.5 * size["width"], abs=2)

    def test_sheets_of_photographs_are_shown_as_jpeg(self, clip):
        sheet = plots.contact_sheet([clip[0]] * 2, ["a", "b"])
        data, size = sheet._repr_jpeg_()
        assert sheet._repr_png_() is None and data[:2] == b"\xff\xd8" and size["width"] == 864 + 2 * 7

    def test_a_panel_shows_its_picture_and_takes_titles(self):
        ax = plots.loss_terms({"loss": np.arange(5.0)})
        ax.set_title("mine")
        assert ax.get_title("left") == "mine" and "Loss and its terms" not in texts(ax)
        assert ax._repr_png_()[0] == ax.figure._repr_png_()[0]

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            (np.zeros((4, 3, 8, 8), np.uint8), r"colours first; got \(4, 3, 8, 8\).*moveaxis"),
            (np.full((3, 1, 8, 8), -2.0, np.float32), r"floats in \[0, 1\]; got float32.*before it is normalised"),
            (np.zeros((3, 8, 8), np.uint8), r"video must have shape \(\*, \*, \*, \*\).*\(3, 8, 8\)"),
        ],
    )
    def test_frames_of_another_shape_or_range(self, values, message):
        with pytest.raises(ValueError, match=message):
            style.frames_of(values)


def test_images_of_any_shape_can_be_stretched_to_one():
    sheet = plots.grid({"flat": np.zeros((4, 100)), "tall": np.zeros((100, 4))}, aspect=0.5)
    sheet.draw_without_rendering()
    boxes = [ax.get_window_extent() for ax in sheet.axes]
    assert boxes[0].height == pytest.approx(boxes[1].height)
    assert boxes[0].height / boxes[0].width == pytest.approx(0.5, rel=0.2)


class TestClipSheet:
    def test_everything_stands_on_one_time_axis(self, clip):
        video, audio = clip
        sheet = plots.clip_sheet(video, audio, fps=16, rate=16000, title="a bell", onsets=[0.5, 1.25])
        strip, wave, spectrogram = sheet.axes
        assert strip.get_xlim() == wave.get_xlim() == spectrogram.get_xlim() == (0, 2)
        for ax in sheet.axes:
            assert [line.get_xdata()[0] for line in by_gid(ax, "onset")] == [0.5, 1.25]
        assert strip.get_title("left") == "a bell" and spectrogram.get_xlabel() == "time (s)"

    def test_each_frame_stands_where_it_is_seen(self, clip):
        video, audio = clip
        video = np.broadcast_to(np.arange(32, dtype=np.uint8)[None, :, None, None], video.shape)  # frame number as grey
        strip = plots.clip_sheet(video, audio, fps=16, rate=16000).axes[0]
        for image in strip.images:
            left, right, _, _ = image.get_extent()
            assert image.get_array()[0, 0, 0] == int((left + right) / 2 * 16)

    def test_frames_keep_their_aspect(self, clip):
        sheet = plots.clip_sheet(np.zeros((3, 32, 24, 48), np.uint8), clip[1], fps=16, rate=16000)
        sheet.draw_without_rendering()
        strip = sheet.axes[0]
        box, (left, right, bottom, top) = strip.get_window_extent(), strip.images[0].get_extent()
        shown = (right - left) / 2 * box.width / ((top - bottom) * box.height)
        assert shown == pytest.approx(2.0, rel=0.06)

    def test_a_short_video_stands_inside_its_sound(self, clip):
        sheet = plots.clip_sheet(clip[0][:, :8], clip[1], fps=16, rate=16000, video_start_s=0.7)
        extents = [image.get_extent() for image in sheet.axes[0].images]
        assert min(e[0] for e in extents) >= 0.7 and max(e[1] for e in extents) <= 1.2
        assert by_gid(sheet.axes[1], "video window")

    def test_the_tone_is_drawn_at_its_frequency(self, clip):
        ax = plots.clip_sheet(*clip, fps=16, rate=16000).axes[-1]
        image = ax.images[0]
        row = image.get_array()[:, 60].argmax() / 199 * image.get_extent()[3]
        assert row == pytest.approx(2595 * np.log10(1 + 1000 / 700), rel=0.03)
        assert "1" in [label.get_text() for label in ax.get_yticklabels()]

    def test_tensors_sound_alone_and_given_spectrograms(self, clip):
        audio = torch.from_numpy(clip[1])
        sheet = plots.clip_sheet(None, audio, fps=16, rate=16000, spectrogram=torch.rand(1, 100, 65))
        assert len(sheet.axes) == 2
        assert sheet.axes[-1].images[0].get_extent()[:2] == pytest.approx((0, 2))

    def test_a_whole_clip_has_its_rates_and_stands_at_its_time_in_the_file(self, clip):
        video, audio = map(torch.from_numpy, clip)
        whole = Clip(video, audio, fps=16.0, rate=16000, start_s=3.5, audio_start_s=3.0)
        strip, wave, _ = plots.clip_sheet(whole, onsets=[4.0]).axes
        assert strip.get_xlim() == pytest.approx((3.0, 5.5)) and by_gid(wave, "video window")
        assert min(image.get_extent()[0] for image in strip.images) >= 3.5
        heard = Clip(None, audio, fps=None, rate=16000)
        assert len(plots.clip_sheet(heard).axes) == 2

    def test_nothing_to_draw(self, clip):
        with pytest.raises(ValueError, match=r"must not be empty; got \(0, 8, 8, 3\) frames"):
            plots.clip_sheet(np.zeros((3, 0, 8, 8), np.uint8), clip[1], fps=16, rate=16000)

    def test_wrong_rates_and_shapes(self, clip, unchecked):
        with pytest.raises(ValueError, match="fps and rate must be > 0; got fps=0"):
            plots.clip_sheet(*clip, fps=0, rate=16000)
        with pytest.raises(ValueError, match="got a clip without sound"):
            plots.clip_sheet(Clip(torch.from_numpy(clip[0]), None, fps=16.0, rate=None))
        with pytest.raises(ValueError, match="fps and rate must be > 0; got fps=None and rate=16000"):
            plots.clip_sheet(*clip, rate=16000)
        with pytest.raises(ValueError, match=r"audio must have shape \(1, \*\).*\(2, 9\)"):
            plots.clip_sheet(clip[0], np.zeros((2, 9), np.float32), fps=16, rate=16000)


class TestGrids:
    def test_contact_sheet_names_every_clip(self, clip):
        sheet = plots.contact_sheet([clip[0]] * 3, CLASSES, frames=2, title="classes")
        assert [ax.get_xlabel() for ax in sheet.axes] == list(CLASSES)
        assert sheet.axes[0].images[0].get_array().shape == (24, 48, 3)
        assert sheet.get_suptitle() == "classes"

    def test_captions_are_words(self, clip):
        assert plots.contact_sheet([clip[0]], ["church_bell"]).axes[0].get_xlabel() == "church bell"

    def test_contact_sheet_needs_a_caption_each(self, clip):
        with pytest.raises(ValueError, match="got 2 for 1"):
            plots.contact_sheet([clip[0]], ["a", "b"])
        with pytest.raises(ValueError, match="got 0 for 0"):
            plots.contact_sheet([], [])

    def test_matrices_share_one_colour_scale(self, clip):
        images = {"low": torch.zeros(5, 4), "high": torch.ones(5, 4), "both": np.eye(5), "frame": clip[0][:, 0]}
        sheet = plots.grid(images, title="spectrograms")
        low, high, both, frame = (np.asarray(ax.images[0].get_array()) for ax in sheet.axes)
        assert (both[0, 0] == high[0, 0]).all() and (both[0, 1] == low[0, 0]).all() and (low != high).any()
        assert (frame == np.moveaxis(images["frame"], 0, -1)).all()
        assert [ax.get_xlabel() for ax in sheet.axes] == list(images) and sheet.get_suptitle() == "spectrograms"
        with pytest.raises(ValueError, match=r"images\['a'\] must have shape"):
            plots.grid({"a": np.zeros(3)})


class TestCurves:
    def test_steps_become_a_raw_and_a_smooth_line_each(self):
        history = [Step(i, 3.0 - i / 50, {"v2a": 3.0, "a2v": 2.0}) for i in range(100)]
        ax = plots.loss_terms(history)
        for name in ("v2a", "a2v", "loss"):
            (raw,), (bold,) = by_gid(ax, f"raw {name}"), by_gid(ax, f"smooth {name}")
            assert raw.get_xdata()[-1] == 99 and bold.get_linewidth() > raw.get_linewidth()
            assert by_gid(ax, f"end {name}")[0].get_color() == bold.get_color()
        assert by_gid(ax, "raw loss")[0].get_ydata() == pytest.approx([step.loss for step in history])

    def test_terms_that_come_later_and_a_single_one(self):
        late = plots.loss_terms([Step(0, 2.0, {"v2a": 2.0}), Step(1, 3.0, {"v2a": 2.0, "positive_v2v": 4.0})])
        assert np.isnan(by_gid(late, "raw positive_v2v")[0].get_ydata()[0])
        single = plots.loss_terms([Step(i, 2.0, {"v2a": 2.0}) for i in range(3)])
        assert not by_gid(single, "raw v2a") and by_gid(single, "raw loss")

    def test_plain_losses_are_a_history(self):
        for losses in ([3.0, 2.0, 1.5], torch.tensor([3.0, 2.0, 1.5])):
            assert by_gid(plots.loss_terms(losses), "raw loss")[0].get_ydata() == pytest.approx([3.0, 2.0, 1.5])

    def test_random_initialisation_is_the_mean_over_its_seeds(self):
        several, one = (plots.accuracy_bars({"a": 0.5}, baseline=blank) for blank in ([0.1, 0.3], 0.2))
        assert "random initialisation 20.0" in texts(several) and texts(several) == texts(one)

    @pytest.mark.parametrize("history", [[], {}, {"a": [1.0, 2.0], "b": [1.0]}])
    def test_empty_or_ragged_histories(self, history):
        with pytest.raises(ValueError, match="history must have"):
            plots.loss_terms(history)

    def test_one_step_and_wild_values_are_drawn(self):
        plots.loss_terms([Step(0, 5.0, {})])._repr_png_()
        values = np.ones(1000)
        values[500] = 1e6
        assert plots.loss_terms({"loss": values}, smoothing=0.5).get_ylim()[1] <= 1.1e6

    def test_bars_are_means_and_dots_are_seeds(self):
        ax = plots.accuracy_bars({"Cross": [0.8, 0.9], "Self": 0.4}, chance=0.1, baseline=0.3)
        assert by_gid(ax, "bar Cross")[0].get_width() == pytest.approx(0.85)
        assert list(by_gid(ax, "seeds Cross")[0].get_xdata()) == [0.8, 0.9]
        assert "85.0 ± 7.1" in texts(ax) and "40.0" in texts(ax)
        assert by_gid(ax, "chance")[0].get_xdata()[0] == 0.1
        assert {"chance 10.0", "random initialisation 30.0"} <= set(texts(ax))

    @pytest.mark.parametrize("rows", [{}, {"a": []}, {"a": [85.0]}, {"a": [float("nan")]}])
    def test_bars_of_nothing_or_of_percents(self, rows):
        with pytest.raises(ValueError, match="rows"):
            plots.accuracy_bars(rows)

    def test_recall_is_drawn_with_chance(self):
        result = Recall({1: 0.4, 10: 0.9}, {1: 0.1, 10: 0.5})
        ax = plots.recall_bars(
            {"trained": result, "random initialisation": Recall({1: 0.1, 10: 0.5}, result.chance_recall)}
        )
        assert [bar.get_height() for bar in by_gid(ax, "recall trained")] == [0.4, 0.9]
        assert by_gid(ax, "chance trained")[0].get_ydata()[::3].tolist() == [0.1, 0.5]
        assert [text.get_text() for text in ax.get_legend().get_texts()].count("chance") == 1
        assert isinstance(plots.recall_bars(result), Axes)

    @pytest.mark.parametrize("curves", [1, 2, 7])
    def test_a_long_title_never_meets_the_legend(self, curves):
        result = Recall({1: 0.4}, {1: 0.1})
        ax = plots.recall_bars({f"network {n}": result for n in range(curves)}, title="a title as wide as this " * 3)
        ax.figure.draw_without_rendering()
        title = next(text for text in ax.findobj(Text) if text.get_text().startswith("a title"))
        assert title.get_window_extent().y0 >= ax.get_legend().get_window_extent().y1 - 1

    def test_recall_at_different_k(self):
        with pytest.raises(ValueError, match=r"k = \[1\]; got \[5\] for 'b'"):
            plots.recall_bars({"a": Recall({1: 0.1}, {1: 0.1}), "b": Recall({5: 0.1}, {5: 0.1})})


class TestSpaces:
    def test_histograms_name_their_auc(self, rng):
        ax = plots.similarity_histograms(
            {"video": (rng.normal(1, 0.1, 500), rng.normal(0, 0.1, 500)), "audio": ([0.5], [0.5])}
        )
        assert by_gid(ax, "auc video")[0].get_text() == "AUC 1.00"
        assert by_gid(ax, "auc audio")[0].get_text() == "AUC 0.50"
        assert [label.get_text() for label in ax.get_yticklabels()] == ["video", "audio"]
        found = metrics.separation(torch.eye(4), torch.eye(4), torch.tensor([0, 0, 1, 1]))
        drawn = plots.similarity_histograms({"v-v": found})
        assert by_gid(drawn, "auc v-v")[0].get_text() == f"AUC {found.auc:.2f}"
        with pytest.raises(ValueError, match="got none of one kind"):
            plots.similarity_histograms({"video": ([], [0.1])})

    @pytest.mark.parametrize("agreement", ["consensus", "union", "video", "audio"])
    def test_the_boundary_separates_the_positives_from_the_rest(self, memory, agreement):
        rows, labels = memory
        seen, heard = rows.video @ rows.video[7], rows.audio @ rows.audio[7]
        rule = {
            "consensus": torch.minimum(seen, heard),
            "union": torch.maximum(seen, heard),
            "video": seen,
            "audio": heard,
        }
        scores = rule[agreement].clone()
        scores[7] = -2
        positives = scores.topk(8).indices
        ax = plots.agreement_plane(rows, 7, positives, labels, classes=CLASSES, agreement=agreement)
        threshold = scores[positives].min().item()
        named = next(text for text in texts(ax) if " = " in text)
        assert float(named.split(" = ")[1]) == pytest.approx(threshold, abs=0.005)
        line = by_gid(ax, "boundary")[0]
        assert threshold in [pytest.approx(v) for v in (*line.get_xdata(), *line.get_ydata())]
        assert len(by_gid(ax, "ringed")[0].get_offsets()) == 8
        others, same = (
            by_gid(ax, f"instances {kind}")[0] for kind in ("other classes", f"same class, {CLASSES[int(labels[7])]}")
        )
        assert len(others.get_offsets()) + len(same.get_offsets()) == 89  # all but the query
        assert len(same.get_offsets()) == (labels == labels[7]).sum() - 1
        assert CLASSES[int(labels[7])] in ax.get_title("left")

    def test_collapsed_embeddings_are_named_with_enough_digits(self, rng):
        rows = torch.nn.functional.normalize(1 + 1e-2 * torch.from_numpy(rng.normal(size=(20, 8))), dim=1)
        ax = plots.agreement_plane((rows, rows), 0, [1, 2])
        threshold = (rows @ rows[0])[[1, 2]].min().item()
        named = next(text for text in texts(ax) if " = " in text)
        assert float(named.split(" = ")[1]) == pytest.approx(threshold, abs=1e-4) and threshold > 0.999

    def test_positives_may_be_rows_or_a_result(self, memory):
        rows, _ = memory
        index = torch.tensor([[(i + j) % 90 for j in (1, 2)] for i in range(90)])
        for positives in (index, type("Positives", (), {"index": index})(), index[3], [4, 5]):
            drawn = by_gid(plots.agreement_plane((rows.video, rows.audio), 3, positives), "ringed")[0]
            assert np.asarray(drawn.get_offsets())[:, 0] == pytest.approx(
                (rows.video[[4, 5]] @ rows.video[3]).numpy(), abs=1e-6
            )

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"query": 90}, "query must be a row of the memory, 0 to 89; got 90"),
            ({"positives": [99]}, "positives must be rows of the memory, 0 to 89; got 99"),
            ({"labels": [0, 1]}, r"labels must have shape \(90,\).*\(2,\)"),
        ],
    )
    def test_wrong_queries_positives_and_labels(self, memory, options, message):
        with pytest.raises(ValueError, match=message):
            plots.agreement_plane(memory[0], **({"query": 3} | options))

    def test_the_map_names_classes_and_shapes_modalities(self, memory):
        rows, labels = memory
        ax = plots.embedding_map(rows.video, rows.audio, labels, CLASSES)
        for order, name in enumerate(CLASSES):
            (video,), (audio,) = by_gid(ax, f"video {name}"), by_gid(ax, f"audio {name}")
            assert len(video.get_offsets()) == len(audio.get_offsets()) == (labels == order).sum()
            assert (video.get_facecolor() == audio.get_facecolor()).all()
            assert len(video.get_paths()[0]) != len(audio.get_paths()[0])
        assert set(CLASSES) <= set(texts(ax))
        with pytest.raises(ValueError, match="labels must be indices into the 2 classes; got 0 to 2"):
            plots.embedding_map(rows.video, rows.audio, labels, CLASSES[:2])

    def test_a_joint_map_shows_the_gap_between_modalities(self, memory):
        rows, labels = memory

        def gap(align):
            ax = plots.embedding_map(rows.video, rows.audio + 3, labels, CLASSES, align=align)
            sides = [
                np.concatenate([by_gid(ax, f"{m} {c}")[0].get_offsets()[:, 0] for c in CLASSES])
                for m in ("video", "audio")
            ]
            return abs(sides[0].mean() - sides[1].mean())

        assert gap(align=False) > 5 and gap(align=True) < 1e-6

    def test_confusion_is_in_percent_of_rows(self):
        ax = plots.confusion(torch.tensor([[3, 1, 0], [0, 2, 0], [0, 0, 0]]), CLASSES)
        assert np.asarray(ax.images[0].get_array())[0] == pytest.approx([75, 25, 0])
        assert {"75", "25", "100"} <= set(texts(ax)) and np.isfinite(ax.images[0].get_array()).all()

    def test_confusion_writes_classes_as_words(self):
        ax = plots.confusion(np.eye(2), ["church_bell", "rain"])
        assert [tick.get_text() for tick in ax.get_yticklabels()] == ["church bell", "rain"]

    def test_confusion_of_another_shape(self, unchecked):
        with pytest.raises(ValueError, match=r"matrix must have shape \(3, 3\)"):
            plots.confusion(np.eye(2), CLASSES)


def test_every_axes_plot_draws_in_the_callers_axes(memory):
    rows, labels = memory
    calls = [
        lambda ax: plots.loss_terms({"loss": np.arange(4.0)}, ax=ax),
        lambda ax: plots.accuracy_bars({"a": 0.5}, ax=ax),
        lambda ax: plots.recall_bars(Recall({1: 0.5}, {1: 0.1}), ax=ax),
        lambda ax: plots.similarity_histograms({"a": ([0.1, 0.2], [0.0])}, ax=ax),
        lambda ax: plots.agreement_plane(rows, 0, labels=labels, ax=ax),
        lambda ax: plots.embedding_map(rows.video, rows.audio, labels, CLASSES, ax=ax),
        lambda ax: plots.confusion(np.eye(3), CLASSES, ax=ax),
    ]
    figure = Figure(figsize=(20, 4))
    for call, ax in zip(calls, figure.subplots(1, len(calls)), strict=True):
        assert call(ax) is ax
    figure.savefig(BytesIO(), format="png", dpi=40)


def test_what_the_library_computes_can_be_drawn_as_it_is():
    bank = MemoryBank(40, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(40) % 3
    positives = mine_positives(bank.video, bank.audio, k=4)
    ax = plots.agreement_plane(bank, 7, positives, labels, classes=CLASSES)
    assert len(by_gid(ax, "ringed")[0].get_offsets()) == 4
    result = retrieval(bank.video, bank.audio, labels, labels, ks=(1, 5))
    bars = by_gid(plots.recall_bars(result), "recall ")
    assert [bar.get_height() for bar in bars] == [result.recall[1], result.recall[5]]

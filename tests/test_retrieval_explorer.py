"""RetrievalExplorer: its rankings match the metrics, and any clip can be the query, also a user's own file."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from avid_lab import AudioVisualModel, media
from avid_lab.config import AudioSpec, VideoSpec
from avid_lab.datasets import ClipDataset, Manifest, Record
from avid_lab.evaluation import embed
from avid_lab.interactive.answers import answers
from avid_lab.interactive.own_clips import own_copy
from avid_lab.interactive.retrieval import CONFIDENT, WORST, RetrievalExplorer
from avid_lab.interactive.search import DIRECTIONS, MISSED, OWN, RIGHT, WRONG, confident_wrong, marks, search
from avid_lab.metrics import retrieval
from avid_lab.transforms import InputPipeline

CLASSES = ["bell", "drum", "rain"]
VIDEO, AUDIO = VideoSpec(8, 8.0, 48), AudioSpec(16_000, 2.0, 64, 128)


def unit(rows, seed, dim=8):
    return F.normalize(torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def write(path, shade=0, seconds=2.0, side=48):
    frames = torch.randint(0, 256, (3, round(8 * seconds), side, side), dtype=torch.uint8) // 2 + 30 * shade
    sound = 0.3 * torch.sin(torch.arange(round(16000 * seconds)) * 0.02 * (shade + 1))[None]
    return media.write_clip(path, media.Clip(frames, sound, 8.0, 16_000))


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for shade in range(4):
        write(folder / f"{shade}.mp4", shade)
    records = []
    for i in range(18):
        (folder / f"clip{i:02d}.mp4").symlink_to(folder / f"{i % 4}.mp4")
        truth = {"off_screen": str(int(i == 5)), "heard_scene": "siren"}
        records.append(Record(f"c{i}", f"clip{i:02d}.mp4", CLASSES[i % 3], 2.0, "", truth))
    return ClipDataset(Manifest(folder, records), video=VIDEO, audio=AUDIO, cache=False, progress=False)


@pytest.fixture(scope="module")
def model():
    return AudioVisualModel.preset("pocket", seed=0), InputPipeline(VIDEO, AUDIO)


@pytest.fixture
def spaces():
    return unit(18, 1), unit(18, 2)


@pytest.fixture
def explorer(spaces, clips):
    panel = RetrievalExplorer(spaces, clips)
    yield panel
    panel.close()


@pytest.fixture
def equipped(clips, model):
    made = embed(*[model[0], clips, model[1]])
    panel = RetrievalExplorer(made, clips, *model)
    yield panel
    panel.close()


# The pure part


@pytest.mark.parametrize("way", DIRECTIONS)
def test_a_search_is_a_plain_sort(way, spaces):
    asks, answers = (dict(zip(("video", "audio"), spaces, strict=True))[name] for name in DIRECTIONS[way])
    within, labels = asks is answers, np.arange(18) % 3
    for query in range(18):
        found = search(asks[query], answers, labels, itself=query, within=within)
        similarity = (answers @ asks[query]).tolist()
        wanted = [i for i in range(18) if not (within and i == query)]
        wanted.sort(key=lambda i: (-similarity[i], i))
        assert found.order.tolist() == wanted
        assert found.similarity.tolist() == [similarity[i] for i in wanted]
        assert found.right.tolist() == [labels[i] == labels[query] for i in wanted]
        assert found.own == (None if within else wanted.index(query))


def test_own_ranks_and_recall_are_the_metrics(spaces):
    video, audio = spaces
    labels = np.arange(18) % 3
    places = [search(video[i], audio, labels, itself=i).own for i in range(18)]
    result = retrieval(video, audio)
    assert [place + 1 for place in places] == result.first_rank.tolist()
    assert np.mean(np.array(places) < 5) == pytest.approx(result.recall[5])


def test_marks_tell_results_apart(spaces):
    found = search(spaces[0][4], spaces[1], np.arange(18) % 3, itself=4)
    for k in (1, 6, 18):
        mark = marks(found, k)
        for place in range(18):
            if place == found.own:
                assert mark[place] == OWN
            elif place < k:
                assert mark[place] == (RIGHT if found.right[place] else WRONG)
            else:
                assert (mark[place] == MISSED) == bool(found.right[place])


@pytest.mark.parametrize("within", [False, True])
def test_the_surest_wrong_answer_by_hand(spaces, within):
    video, audio = (spaces[0], spaces[0]) if within else spaces
    labels = np.arange(18) % 3
    margins = confident_wrong(video, audio, labels, within=within)
    for i in range(18):
        others = [j for j in range(18) if not (within and j == i)]
        best = {
            same: max(float(video[i] @ audio[j]) for j in others if (labels[j] == labels[i]) == same) for same in (0, 1)
        }
        assert margins[i] == pytest.approx(best[0] - best[1], abs=1e-6)


# The panel


def test_widgets_drive_what_is_found(explorer, spaces):
    explorer.controls["direction"].value = "audio → video"
    explorer.controls["query"].value, explorer.controls["k"].value = 7, 4
    order = (spaces[0] @ spaces[1][7]).argsort(descending=True, stable=True).tolist()
    shown = [item.path for item in explorer.results.shelf.items]
    assert shown == [explorer.clips.path(i) for i in order[:4]]
    assert [s.correct for s in explorer.results.shelf.items] == [i % 3 == 7 % 3 for i in order[:4]]
    assert [s.title.split(".")[0] for s in explorer.results.shelf.items] == ["1", "2", "3", "4"]
    assert f"<b>{order.index(7) + 1}</b> of 18" in explorer.verdict.value
    assert explorer.canvas.chart.plots[0].marks[0].ringed == (order.index(7),)
    assert explorer.pair.items[0].path == explorer.clips.path(7) and "its audio" in explorer.pair.items[0].note


@pytest.mark.parametrize("way", DIRECTIONS)
def test_each_direction_draws_and_measures(explorer, way):
    explorer.controls["direction"].value = way
    for by_class in (True, False):
        if DIRECTIONS[way][0] == DIRECTIONS[way][1] and not by_class:
            continue
        result = explorer.measured(way, by_class)
        assert f"<b>{result.recall[5]:.0%}</b>" in explorer.whole.value
        assert f"chance {result.chance_recall[5]:.0%}" in explorer.whole.value
    own = explorer.controls["query"].value
    paths = [explorer.clips.path(int(i)) for i in explorer.found.order]
    assert (explorer.clips.path(own) in paths) == (DIRECTIONS[way][0] != DIRECTIONS[way][1])
    assert explorer.snapshot().png is not None


def test_swapped_sounds_are_those_of_the_query_and_the_pressed_clip(explorer):
    explorer.controls["swap"].value = True
    assert [item.dub for item in explorer.pair.items] == [None]  # nothing is pressed yet
    assert "Press a clip in the ranking" in explorer.notice
    explorer.canvas.clicked = 2
    assert explorer.notice == "" and explorer.pair.playing == 1
    query, pressed = explorer.pair.items
    assert query.dub == (pressed.path, pressed.window) and pressed.dub == (query.path, query.window)
    keys = [item["key"] for item in explorer.pair._items]
    explorer.controls["swap"].value = False
    assert all(item.dub is None for item in explorer.pair.items)
    assert keys != [item["key"] for item in explorer.pair._items]  # the page fetches them again
    assert explorer.pair.playing == 1  # and goes on playing


def test_a_clip_that_is_gone_leaves_a_reason_in_its_place(spaces, tmp_path):
    records = [Record(f"c{i}", f"{i}.mp4", CLASSES[i % 3], 2.0) for i in range(6)]
    for record in records:
        write(tmp_path / record.path)
    clips = ClipDataset(Manifest(tmp_path, records), video=VIDEO, audio=AUDIO, cache=False, progress=False)
    (tmp_path / "2.mp4").unlink()
    panel = RetrievalExplorer([space[:6] for space in spaces], clips)
    panel.controls["query"].value = 2
    panel.draw(False)
    assert "2.mp4" in panel.pair._items[0]["problem"] and "no such file" in panel.pair._items[0]["problem"]
    assert [item.path.name for item in panel.results.shelf.items] == [f"{i}.mp4" for i in panel.found.order[:5]]
    assert panel.notice == "" and panel.snapshot().png is not None
    shown = answers(clips, 2, [0, 1], [0.5, 0.4])
    assert len(shown.problems) == 1
    panel.close()


def test_a_state_comes_back(explorer, spaces, clips):
    explorer.controls["k"].value, explorer.controls["direction"].value = 3, "audio → audio"
    twin = RetrievalExplorer(spaces, clips, state=explorer.state)
    assert twin.state == explorer.state and twin.found.order.tolist() == explorer.found.order.tolist()


def test_failures_come_worst_first(explorer, spaces):
    ranks = retrieval(*spaces).first_rank.tolist()
    met = []
    for _ in range(18):
        explorer.queries.hard.click()
        met.append(explorer.controls["query"].value)
    assert [ranks[i] for i in met] == sorted(ranks, reverse=True)
    explorer.controls["failures"].value = CONFIDENT
    explorer.queries.hard.click()
    margins = confident_wrong(*spaces, explorer.labels)
    assert explorer.controls["query"].value == margins.argmax()
    explorer.controls["failures"].value, explorer.controls["direction"].value = WORST, "video → video"
    explorer.queries.hard.click()  # no own answer within a modality: the surest wrong ones
    within = confident_wrong(spaces[0], spaces[0], explorer.labels, within=True)
    assert explorer.controls["query"].value == within.argmax()


def test_a_pressed_result_plays_next_to_the_query(explorer):
    explorer.canvas.clicked = 9
    assert explorer.pair.items[1].path == explorer.clips.path(int(explorer.found.order[9]))
    assert explorer.pair.playing == 1 and explorer.pair.items[1].title.startswith("pressed: 10.")


def test_a_class_of_one_clip_is_said_not_to_be_measured(spaces, clips):
    one = clips.subset([0, 3, 1, 4, 2])
    panel = RetrievalExplorer((spaces[0][:5], spaces[1][:5]), one, state="direction=video → video")
    assert "not measured: every query needs a target" in panel.whole.value


# Clips of one's own


def test_a_clip_of_the_set_given_as_a_file_finds_what_it_found(equipped, model, clips):
    equipped.ask(clips.path(2))
    assert equipped.own is not None and equipped.pair.items[0].path == equipped.own.path
    for name in ("video", "audio"):  # written anew, so not to the last bit
        assert float(equipped.own.embedding[name] @ equipped.spaces[name][2]) > 0.98
    assert all(item.correct is None for item in equipped.results.shelf.items)
    assert equipped.snapshot().rows[0] == ("query", "clip02.mp4")
    equipped.controls["query"].value = 6
    assert equipped.own is None and equipped.pair.items[0].path == clips.path(6)


def hand(panel, data, name, part=10_000):
    """Send a file in parts, in order, as the page does."""
    for at in range(0, max(len(data), 1), part):
        message = {"name": name, "at": at, "size": len(data)}
        panel.intake._handle_custom_msg(message, [memoryview(data[at : at + part])])


def test_without_classes_only_its_own_half_is_right(clips):
    records = [dataclasses.replace(record, label="") for record in clips.manifest.records]
    unlabelled = ClipDataset(
        Manifest(clips.manifest.root, records), video=VIDEO, audio=AUDIO, cache=False, progress=False
    )
    generator = torch.Generator().manual_seed(0)
    rows = tuple(F.normalize(torch.randn(18, 8, generator=generator), dim=1) for _ in range(2))
    explorer = RetrievalExplorer(rows, unlabelled)
    assert "no classes" in explorer.verdict.value and "of 18" in explorer.verdict.value
    assert "its own other half" in explorer.whole.value and "its class" not in explorer.whole.value
    explorer.controls["k"].value = 17
    verdicts = [explorer._result(place, "").correct for place in range(18)]
    assert verdicts.count(True) == 1 and verdicts.count(None) == 17
    assert not any("class" in name for name, _ in explorer.table())
    explorer.controls["direction"].value = "video → video"
    assert "chance" not in explorer.whole.value
    explorer.close()


def test_files_that_come_in_parts_ask(equipped, clips):
    data, said = clips.path(1).read_bytes(), []
    equipped.intake.send = said.append
    assert len(data) > 10_000
    equipped.intake._handle_custom_msg(
        {"name": "broken off.mp4", "at": 0, "size": len(data)}, [memoryview(data[:5000])]
    )
    hand(equipped, data, "mine.mp4")
    assert equipped.own is not None and equipped.own.name == "mine.mp4" and not equipped.notice
    assert said == [{"done": "mine.mp4"}]
    rows = dict(equipped.snapshot().rows)
    k = equipped.controls["k"].value
    assert not any("of its class among" in row for row in rows)  # it has no class
    nearest = [equipped.classes[equipped.labels[i]] for i in equipped.found.order[:k]]
    points = equipped.canvas.chart.plots[0].marks[0]
    assert points.names == ("further down", "among the K")  # neither right nor wrong
    assert points.kind.tolist() == [1] * k + [0] * (18 - k)
    name, count = rows[f"most among {k}"].split(", ")
    assert nearest.count(name) == int(count) == max(nearest.count(c) for c in CLASSES)
    equipped.drop.click()
    assert equipped.own is None
    hand(equipped, b"", "empty.mp4")
    assert "empty.mp4" in equipped.notice


@pytest.mark.parametrize("content", [b"", b"not a video at all" * 100])
def test_an_upload_that_is_no_video_is_said_and_the_panel_goes_on(equipped, content):
    equipped._offer(content, "holiday.mp4")
    told = equipped.notice
    assert 'role="alert"' in told and "holiday.mp4" in told and "Traceback" not in told and "/tmp" not in told
    assert equipped.own is None
    equipped.controls["k"].value = 3
    assert len(equipped.results.shelf.items) == 3


def test_a_file_without_sound_is_said(equipped, tmp_path):
    path = media.write_clip(tmp_path / "mute.mp4", media.Clip(torch.zeros(3, 16, 48, 48).byte(), None, 8.0, None))
    equipped._offer(path.read_bytes(), "mute.mp4")
    assert "mute.mp4" in equipped.notice and equipped.own is None


def test_a_long_large_file_becomes_a_short_small_copy(tmp_path):
    source = write(tmp_path / "long.mp4", seconds=11.0, side=130)
    info = media.probe(own_copy(source, tmp_path / "copy.mp4"))
    assert 7.5 < info.duration_s < 8.3 and info.video is not None and info.video.width == 130


def test_without_a_model_only_the_set_asks(explorer, clips):
    assert explorer.intake._refusal
    with pytest.raises(ValueError, match="ask needs the model"):
        explorer.ask(clips.path(0))


def test_copies_go_with_the_panel(equipped, clips):
    equipped.ask(clips.path(0))
    path = equipped.own.path
    assert path.exists()
    equipped.close()
    assert not path.exists()


def test_embeddings_of_other_clips(spaces, clips, model):
    with pytest.raises(ValueError, match=r"must be \(18, D\), a row for each clip; got \(17, .*\) and \(17, .*\)"):
        RetrievalExplorer((spaces[0][1:], spaces[1][1:]), clips)
    with pytest.raises(ValueError, match="model and pipeline go together"):
        RetrievalExplorer(spaces, clips, model[0])


def test_a_selection_is_of_clips_and_survives_another_query(explorer):
    explorer.canvas.labels = []  # the names of points come once the panel is on the page
    explorer.selection = [3, 7, 11]
    assert sorted(explorer.selection.tolist()) == [3, 7, 11]
    for name, value in (("query", 9), ("direction", "audio → video")):
        before = list(explorer.canvas.selected)
        explorer.controls[name].value = value
        explorer.draw(False)
        assert sorted(explorer.selection.tolist()) == [3, 7, 11]
        assert explorer.canvas.selected != before, "their places in the ranking are others"

"""PositiveBrowser: its positives match mining, its marks match the ground truth, its widgets form one state."""

import dataclasses
import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from avid_lab import media
from avid_lab.datasets import Manifest, Record
from avid_lab.interactive.positives import PositiveBrowser
from avid_lab.interactive.ranking import (
    FAULTY,
    MISSED,
    OTHER,
    QUERY,
    RIGHT,
    WRONG,
    choose,
    faults,
    rank,
    view_of,
)
from avid_lab.interactive.shelf import Shelf, ShelfItem
from avid_lab.memory import MemoryBank
from avid_lab.mining import AGREEMENTS, agreement_scores, mine_positives
from avid_lab.plots.chart import Points

RULES = list(AGREEMENTS)


def unit(rows, dim=8, seed=0):
    return F.normalize(torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.fixture(scope="module")
def set_of_clips(tmp_path_factory):
    """24 clips of three classes, with ground truth; their files are links to four."""
    folder = tmp_path_factory.mktemp("clips")
    for shade in range(4):
        frames = torch.full((3, 8, 32, 32), 60.0 * shade).byte()
        sound = 0.2 * torch.sin(torch.arange(8000) * 0.05 * (shade + 1))[None]
        media.write_clip(folder / f"{shade}.mp4", media.Clip(frames, sound, 8.0, 8000))
    records = []
    for i in range(24):
        (folder / f"clip{i:02d}.mp4").symlink_to(folder / f"{i % 4}.mp4")
        truth = {"off_screen": str(int(i == 5)), "heard_scene": "church_bell", "silent": str(int(i == 6))}
        records.append(Record(f"c{i}", f"clip{i:02d}.mp4", ["bell", "drum", "rain"][i % 3], 1.0, "", truth))
    return Manifest(folder, records)


@pytest.fixture
def memory():
    bank = MemoryBank(24, 8, generator=torch.Generator().manual_seed(3))
    bank.video[7] = bank.video[2]  # a duplicate in picture and sound
    bank.audio[7] = bank.audio[2]
    return bank


@pytest.fixture
def browser(memory, set_of_clips):
    panel = PositiveBrowser(memory, set_of_clips, state="query=0")
    yield panel
    panel.close()


def points_of(browser):
    """The points that the canvas shows."""
    return next(mark for mark in browser.canvas.chart.plots[0].marks if isinstance(mark, Points))


# The pure part


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(2, 40), seed=st.integers(0, 1000), coarse=st.booleans(), data=st.data())
def test_every_cut_of_a_ranking_is_what_mining_finds(rows, seed, coarse, data):
    video, audio = unit(rows, 4, seed), unit(rows, 4, seed + 1)
    if coarse:  # many ties
        video, audio = (F.normalize(x.sign(), dim=1) for x in (video, audio))
    query, k = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(1, rows - 1))
    ranking = rank(video, audio, query)
    for rule in RULES:
        mined = mine_positives(video, audio, k, rule)
        assert ranking.order[rule][:k].tolist() == mined.index[query].tolist()
        assert ranking.score[rule][:k] == pytest.approx(mined.score[query].numpy(), abs=1e-6)
        assert sorted([*ranking.order[rule].tolist(), query]) == list(range(rows))


@pytest.mark.parametrize("rule", RULES)
def test_a_cut_says_which_instance_is_what(rule):
    video, audio = unit(30, 4), unit(30, 4, 1)
    labels = np.arange(30) % 4
    faulty = np.arange(30) % 5 == 0
    ranking = rank(video, audio, 6)
    for k in (1, 7, 29):
        choice = choose(ranking, rule, k, labels, faulty)
        chosen = mine_positives(video, audio, k, rule).index[6].tolist()
        for i in range(30):
            same = labels[i] == labels[6]
            if i == 6:
                wanted = QUERY
            elif i in chosen:
                wanted = FAULTY if faulty[i] else RIGHT if same else WRONG
            else:
                wanted = MISSED if same else OTHER
            assert choice.kind[i] == wanted, i
        assert choice.precision[rule] == pytest.approx(np.mean([labels[i] == labels[6] for i in chosen]))
        others = [i for i in range(30) if i != 6]
        assert choice.chance == pytest.approx(np.mean(labels[others] == labels[6]))
        assert choice.missed == sum(labels[i] == labels[6] and i not in chosen for i in others)


@pytest.mark.parametrize("rule", RULES)
def test_the_region_drawn_holds_the_positives_and_nobody_else(rule):
    video, audio = unit(60, 4), unit(60, 4, 1)
    ranking = rank(video, audio, 11)
    at = ranking.score[rule][12]
    view = (-1.5, 1.5, -1.5, 1.5)
    points = np.stack([ranking.video, ranking.audio], 1)
    outline = AGREEMENTS[rule].region(float(at) - 1e-6, view)
    inside = {i for i in range(60) if i != 11 and within(outline, points[i])}
    assert inside == set(ranking.order[rule][:13].tolist())


def within(outline, point):
    """Even-odd rule."""
    x, y = point
    crossings = 0
    for (ax, ay), (bx, by) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        if (ay > y) != (by > y) and x < (bx - ax) * (y - ay) / (by - ay) + ax:
            crossings += 1
    return crossings % 2 == 1


@pytest.mark.parametrize("rule", RULES)
def test_on_its_line_an_agreement_has_one_value(rule):
    places = AGREEMENTS[rule].edge(0.3, (-1.0, 1.0, -1.0, 1.0))
    assert len(places) == (3 if rule in ("consensus", "union") else 2)  # corners only
    steps = np.concatenate([np.linspace(a, b, 9) for a, b in itertools.pairwise(places)])
    x, y = (torch.tensor(side) for side in steps.T)
    assert AGREEMENTS[rule].combine(x, y).numpy() == pytest.approx(0.3)


def test_the_view_holds_the_points_and_zooms_to_those_that_agree():
    ranking = rank(unit(200, 4), unit(200, 4, 1), 3)
    left, right, bottom, top = view_of(ranking, False)
    assert left < ranking.video.min() and right > 1 and bottom < ranking.audio.min() and top > 1
    left, right, bottom, top = view_of(ranking, True)
    best = ranking.order["consensus"][:20]
    assert left < ranking.video[best].min() and bottom < ranking.audio[best].min() and right > 1 and top > 1


def test_faults_are_reported_in_words(set_of_clips):
    told = faults(set_of_clips)
    assert told[5] == "off-screen sound: church bell" and told[6] == "silent" and not any(told[7:])


# The panel


def test_widgets_drive_what_is_chosen(browser, memory):
    assert browser.state == "query=0&agreement=consensus&k=23&colour=right and wrong&near=false"
    browser.controls["agreement"].value = "audio"
    browser.controls["k"].value = 5
    browser.controls["query"].value = 9
    mined = mine_positives(memory.video, memory.audio, 5, "audio")
    assert browser.choice.positives.tolist() == mined.index[9].tolist()
    shown = [item.path for item in browser.best.shelf.items]
    assert shown == [browser.clips.path(i) for i in mined.index[9].tolist()]
    right = [item.correct for item in browser.best.shelf.items]
    assert right == (browser.labels[mined.index[9].numpy()] == browser.labels[9]).tolist()
    assert browser.pair.items[0].path == browser.clips.path(9)
    points = points_of(browser)
    assert (points.kind == browser.choice.kind).all() and list(points.ringed) == mined.index[9].tolist()


def test_a_state_comes_back(browser, memory, set_of_clips):
    browser.controls["k"].value, browser.controls["agreement"].value, browser.controls["query"].value = 4, "union", 17
    twin = PositiveBrowser(memory, set_of_clips, state=browser.state)
    assert twin.state == browser.state and twin.choice.positives.tolist() == browser.choice.positives.tolist()


def test_precision_is_shown_next_to_chance_and_over_all_queries(browser, memory):
    browser.controls["k"].value = 3
    told = browser.precision.value
    mined = mine_positives(memory.video, memory.audio, 3)
    mean = (browser.labels[mined.index.numpy()] == browser.labels[:, None]).mean()
    assert f"<b>{mean:.0%}</b>" in told and f"chance, {browser.choice.chance:.0%}" in told
    rows = dict(browser.table())
    assert rows["k"] == "3" and rows["chance"] == f"{browser.choice.chance:.0%}"


def test_a_class_leads_to_its_clips_and_random_stays_in_it(browser):
    browser.queries.of_class.value = 2
    assert browser.controls["query"].value == 2
    for _ in range(5):
        browser.queries.random.click()
        assert browser.labels[browser.controls["query"].value] == 2


def test_the_hard_button_goes_from_worst_to_better(browser, memory):
    browser.controls["k"].value = 4
    index = mine_positives(memory.video, memory.audio, 4).index.numpy()
    wrong = (browser.labels[index] != browser.labels[:, None]).sum(1)
    met = []
    for _ in range(24):
        browser.queries.hard.click()
        met.append(browser.controls["query"].value)
    assert sorted(met) == list(range(24)) and wrong[met].tolist() == sorted(wrong.tolist(), reverse=True)
    browser.controls["k"].value = 6
    index = mine_positives(memory.video, memory.audio, 6).index.numpy()
    browser.queries.hard.click()
    wrong = (browser.labels[index] != browser.labels[:, None]).sum(1)
    assert wrong[browser.controls["query"].value] == wrong.max()


def test_a_pressed_point_plays_next_to_the_query(browser):
    browser.canvas.clicked = 13
    query, pressed = browser.pair.items
    assert (query.path, pressed.path) == (browser.clips.path(0), browser.clips.path(13)) and browser.pair.playing == 1
    assert type(browser.pair.playing) is int  # a page counts places, and true is none
    assert "pressed: drum" in pressed.title and pressed.correct is False
    browser.canvas.clicked = 5
    assert browser.pair.items[1].warning == "off-screen sound: church bell"
    browser.canvas.clicked = -1
    assert browser.pair.items[1].path == browser.clips.path(5)


def test_pages_go_through_all_positives(browser):
    browser.controls["k"].value = 14
    seen = [item.path for item in browser.best.shelf.items]
    assert browser.best.back.disabled
    while not browser.best.on.disabled:
        browser.best.on.click()
        seen += [item.path for item in browser.best.shelf.items]
    assert seen == [browser.clips.path(i) for i in browser.choice.positives.tolist()]
    browser.controls["query"].value = 3
    assert browser.best.first == 0


def test_colours_by_class(browser):
    browser.controls["colour"].value = "class"
    assert points_of(browser).kind.tolist() == browser.labels.tolist()
    assert set(points_of(browser).names) == {"bell", "drum", "rain"}


def test_snapshots_need_no_page(browser):
    browser.close()
    snapshot = browser.snapshot()
    assert snapshot.png is not None and snapshot.png.startswith(b"\x89PNG") and "consensus" in snapshot.html


def test_drawing_roughly_moves_points_and_shows_no_clips(browser, monkeypatch):
    monkeypatch.setattr(browser.best.shelf, "show", lambda *_: pytest.fail("clips were built while dragging"))
    browser.redraw.close()
    for k in range(1, 24):
        browser.controls["k"].value = k
        browser.draw(True)
        assert (points_of(browser).kind == browser.choice.kind).all()


def test_memories_of_other_clips(memory, set_of_clips):
    with pytest.raises(ValueError, match="of the same clips, at least two; got 23 in the memory, 24 clips, 24 labels"):
        PositiveBrowser((memory.video[1:], memory.audio[1:]), set_of_clips)


def test_agreement_and_query_alike(memory):
    scores = agreement_scores(memory.video[2:3], memory.audio[2:3], memory.video, memory.audio, "union")
    assert rank(memory.video, memory.audio, 2).order["union"][0] == 7 and scores[0, 7] == pytest.approx(1, abs=1e-5)


def test_without_classes_nothing_is_right_or_wrong(set_of_clips):
    records = [dataclasses.replace(record, label="") for record in set_of_clips.records]
    generator = torch.Generator().manual_seed(0)
    memory = tuple(F.normalize(torch.randn(24, 8, generator=generator), dim=1) for _ in range(2))
    browser = PositiveBrowser(memory, Manifest(set_of_clips.root, records))
    shown = [*browser.best.shelf.items, *browser.pair.items]
    assert shown and all(stall.correct is None for stall in shown) and "clip" in shown[0].title
    assert "no classes" in browser.precision.value and "%" not in browser.precision.value
    assert "%" not in "".join(map("".join, browser.snapshot().rows))
    browser.close()


# The shelf


def answers(shelf, message):
    sent = []
    shelf.send = lambda content, buffers=None: sent.append((content, buffers))
    shelf._handle_custom_msg(message, [])
    return sent


def test_a_shelf_sends_the_file_that_was_asked_for(set_of_clips):
    shelf = Shelf("clips")
    shelf.show([ShelfItem(set_of_clips.path(i), str(i)) for i in range(3)])
    ((content, buffers),) = answers(shelf, {"fetch": 2})
    assert buffers == [set_of_clips.path(2).read_bytes()] and content["key"] == shelf._items[2]["key"]
    assert answers(shelf, {"fetch": 3}) == [] and answers(shelf, {"fetch": "../x"}) == []


def test_a_shelf_shows_pages_verdicts_but_no_paths(set_of_clips):
    shelf = Shelf("clips")
    shelf.show(
        [ShelfItem(set_of_clips.path(0), "bell", "n", True, -0.25, "silent"), ShelfItem(set_of_clips.path(1), "x")]
    )
    first, second = shelf._items
    assert (first["verdict"], first["score"], first["warning"], second["verdict"]) == ("right", "−0.25", "silent", "")
    assert first["still"].startswith("data:image/jpeg;base64,") and str(set_of_clips.root) not in repr(shelf._items)


def test_a_file_that_is_gone_is_said(set_of_clips, tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(set_of_clips.path(0).read_bytes())
    shelf = Shelf("clips")
    shelf.show([ShelfItem(path, "x")])
    path.unlink()
    ((content, buffers),) = answers(shelf, {"fetch": 0})
    assert content["problem"].startswith("clip.mp4: ") and buffers is None  # a page sees no folders


def test_a_clip_without_sound_is_said_to_be_silent(set_of_clips, tmp_path):
    still = media.Clip(torch.zeros(3, 8, 48, 48, dtype=torch.uint8), torch.zeros(1, 8000), 8.0, 8000)
    silent, heard = media.write_clip(tmp_path / "silent.mp4", still), set_of_clips.path(0)
    shelf = Shelf("clips", ear=True)
    shelf.show(
        [ShelfItem(silent, "x"), ShelfItem(heard, "y", dub=(silent, None)), ShelfItem(silent, "z", part="picture")]
    )
    told = [answers(shelf, {"fetch": place})[0] for place in range(3)]
    assert [content["part"] for content, _ in told] == ["silent", "silent", ""]
    assert [len(buffers) for _, buffers in told] == [1, 1, 1]  # no spectrogram of nothing


def test_the_window_plays_first_and_the_rest_piece_by_piece(tmp_path):
    frames = torch.zeros(3, 80, 48, 48, dtype=torch.uint8)
    path = media.write_clip(tmp_path / "long.mp4", media.Clip(frames, torch.rand(1, 40 * 8000) - 0.5, 2.0, 8000))
    shelf = Shelf("clips")
    shelf.show([ShelfItem(path, "x", window=(20.0, 22.0))])
    ((content, (data,)),) = answers(shelf, {"fetch": 0})
    assert (content["begin"], content["end"]) == (18, 24) and not content["whole"]
    assert content["place"] == 0 and content["part"] == "20.0–22.0 s of 40.0 s, plays 18.0–24.0 s"
    ends, at = [], 0.0
    while at < content["length"] - 0.5:
        ((content, (data,)),) = answers(shelf, {"fetch": 0, "at": at})
        assert content["begin"] == at and len(data) < 250_000
        ends.append(at := content["end"])
    assert ends == pytest.approx([15, 30, 40], abs=0.2)


def test_a_clip_that_cannot_be_shown_says_why_in_its_place(set_of_clips, tmp_path):
    (tmp_path / "torn.mp4").write_bytes(b"torn")
    shelf = Shelf("clips")
    shelf.show([ShelfItem(tmp_path / "torn.mp4", "x"), ShelfItem(set_of_clips.path(0), "y")])
    assert [bool(one["problem"]) for one in shelf._items] == [True, False]
    assert "cannot be read as a video" in shelf._items[0]["problem"]


def test_what_stays_in_its_place_plays_on(set_of_clips):
    shelf = Shelf("clips")
    shelf.show([ShelfItem(set_of_clips.path(0), "query"), ShelfItem(set_of_clips.path(1), "a")], play=1)
    shelf.show([ShelfItem(set_of_clips.path(0), "query"), ShelfItem(set_of_clips.path(1), "b")])
    assert shelf.playing == 1
    shelf.show([ShelfItem(set_of_clips.path(0), "query"), ShelfItem(set_of_clips.path(2), "c")])
    assert shelf.playing == -1


def test_making_it_imports_no_pyplot():
    code = "import sys, avid_lab.interactive.positives; assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_it_opens_on_a_query_that_shows_what_the_rule_is_for(memory, set_of_clips):
    panel = PositiveBrowser(memory, set_of_clips)
    share = panel.choice.precision
    gains = []
    for query in range(len(set_of_clips)):
        panel.queries.go(query)
        gains.append(panel.choice.precision["consensus"] - panel.choice.precision["video"])
    assert share["consensus"] - share["video"] == pytest.approx(max(gains))


def test_a_lasso_says_what_it_caught(browser):
    browser.canvas.selected = list(range(len(browser.labels)))
    assert browser.list.value.startswith(f"<b>{len(browser.labels)} clips</b>: ") and "%" in browser.list.value
    browser.canvas.selected = [3]
    assert browser.list.value == "" and browser.selection.tolist() == [3]

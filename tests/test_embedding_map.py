"""The embedding map: rotated, never stretched; two maps with one selection; slow maps in the background."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avid_lab.interactive import brush
from avid_lab.interactive import embedding_map as module
from avid_lab.interactive.embedding_map import LISTED, EmbeddingMap, aligned
from avid_lab.interactive.forces import forces
from avid_lab.interactive.snapshots import moments
from avid_lab.losses import nce_loss
from avid_lab.plots.chart import Line
from avid_lab.plots.statistics import principal_plane

LABELS = np.arange(48) % 4
NAMES = ["rain", "surf", "fire", "bell"]


def distances(points):
    return np.linalg.norm(points[:, None] - points[None], axis=-1)


def run(*strengths):
    rng = np.random.default_rng(0)
    classes, noise = rng.normal(size=(4, 8)), rng.normal(size=(2, 48, 8))
    return [SimpleNamespace(step=50 * i, video=(a * classes[LABELS] + noise[0]).astype(np.float16),
                            audio=a * classes[LABELS] + noise[1]) for i, a in enumerate(strengths)]  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1000), angle=st.floats(0, 6.3), mirrored=st.booleans(), scale=st.floats(0.1, 10))
def test_a_turned_mirrored_and_scaled_map_is_turned_back(seed, angle, mirrored, scale):
    points = np.random.default_rng(seed).normal(size=(20, 2))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag([1, 1 - 2 * mirrored])
    moved = scale * points @ turn + 3.0
    back = aligned(moved, points)
    assert np.allclose(back, scale * (points - points.mean(axis=0)))
    assert np.allclose(distances(back), distances(moved))


def map_of(panel, side):
    """Positions of a map's points, (N, 2)."""
    points = panel.canvas.chart.plots[("video", "audio").index(side)].marks[-1]
    return np.stack([points.x, points.y], axis=1)


def test_maps_keep_pca_distances_and_lie_like_their_neighbours():
    panel = EmbeddingMap(run(0.5, 1.0, 1.5, 2.0), LABELS, NAMES)
    planes = []
    for place, moment in enumerate(panel.moments):
        panel.controls["snapshot"].value = place
        planes.append({side: map_of(panel, side) for side in ("video", "audio")})
        plain = principal_plane(moment.video.astype(float)).points
        assert np.allclose(distances(planes[-1]["video"]), distances(plain), atol=1e-6)
    assert panel.step.value == "step 150"
    for one, other in pairwise(planes):
        for side in one:
            stays = np.linalg.norm(one[side] - other[side])
            assert stays > 0
            for flip in ([-1, 1], [1, -1], [-1, -1]):
                assert stays <= np.linalg.norm(one[side] * flip - other[side]) + 1e-9


def test_a_lasso_is_listed():
    panel = EmbeddingMap(run(1.0), LABELS, NAMES)
    panel.canvas.selected = [0, 4, 1]
    assert panel.selected == [0, 4, 1]
    assert panel.list.value == "<b>3 clips</b>: 67% rain, 33% surf"
    assert panel.selection.tolist() == [0, 4, 1]
    panel.canvas.selected = []
    assert panel.selected == [] and panel.list.value == ""


def test_panels_that_are_linked_share_a_selection():
    one, other = (EmbeddingMap(run(1.0), LABELS, NAMES) for _ in range(2))
    brush(one, other)
    one.canvas.selected = [3, 7]
    assert other.selection.tolist() == [3, 7] and "bell" in other.list.value
    other.selection = [1]
    assert one.selection.tolist() == [1]
    one.close()
    other.selection = [2, 5]
    assert one.selection.tolist() == [1] and other.selection.tolist() == [2, 5]


def test_a_film_runs_through_the_snapshots_and_follows_the_slider():
    panel = EmbeddingMap(run(0.5, 1.0, 1.5), LABELS, NAMES, state="snapshot=1")
    assert panel.film.value == 1 and panel.film.max == 2
    panel.film.value = 0  # as the page does, frame by frame
    assert panel.controls["snapshot"].value == 0 and panel.step.value == "step 0"
    assert EmbeddingMap(run(1.0), LABELS, NAMES).film.layout.display == "none"


def press(panel, clip):
    """The page's message after a click: the clip is marked and selected."""
    panel.canvas.set_state({"clicked": clip, "selected": [clip] * (clip >= 0)})


def test_what_the_page_says_is_not_said_back_to_it():
    panel, sent = EmbeddingMap(run(1.0), LABELS, NAMES), []
    press(panel, 3)
    panel.canvas.observe(lambda change: sent.append((change["name"], change["new"])), ["clicked", "selected"])
    press(panel, -1)
    press(panel, 9)
    assert sent == [("clicked", -1), ("selected", []), ("clicked", 9), ("selected", [9])]
    assert panel.controls["clip"].value == 9 and panel.selected == [9]


def test_a_click_plays(smoke_world):
    count = len(smoke_world)
    rows = np.random.default_rng(0).normal(size=(2, count, 8))
    paths = [smoke_world.path(i) for i in range(count)]
    panel = EmbeddingMap((rows[0], rows[1]), smoke_world.labels, smoke_world.classes, paths=paths)
    press(panel, 7)
    assert panel.controls["clip"].value == 7 and panel.selected == [7]
    assert [item.path for item in panel.shelf.items] == [paths[7]] and panel.shelf.playing == 0
    panel.canvas.selected = list(range(20))
    assert len(panel.shelf.items) == LISTED and panel.shelf.playing == -1
    shown = [item.title for item in panel.shelf.items]
    assert len(set(shown)) == min(LISTED, len({smoke_world.classes[smoke_world.labels[i]] for i in range(20)}))
    sent = []
    panel.canvas.send = lambda message, buffers: sent.append(buffers[0])
    panel.canvas._handle_custom_msg({"thumbnail": 3}, [])
    assert sent[0].startswith(b"\xff\xd8")  # a JPEG


def test_the_clip_number_is_the_keyboards_way():
    panel = EmbeddingMap(run(1.0), LABELS, NAMES)
    panel.controls["clip"].value = 11
    assert panel.canvas.clicked == 11 and panel.selected == [11]
    panel.controls["clip"].value = -1
    assert panel.canvas.clicked == -1


def test_tsne_is_computed_in_a_thread_and_then_shown():
    async def scrub():
        panel = EmbeddingMap(run(1.0, 2.0), LABELS, NAMES)
        before = map_of(panel, "video")
        panel.controls["method"].value = "t-SNE"
        await asyncio.sleep(0.5)
        assert "t-SNE of 48 clips" in panel.notice
        for _ in range(600):
            await asyncio.sleep(0.05)
            if not panel.notice:
                break
        await asyncio.sleep(0.4)
        assert panel.redraw.foreign_requests == 0
        return before, panel

    before, panel = asyncio.run(scrub())
    points = map_of(panel, "video")
    assert not np.allclose(points, before)
    near = distances(points)[LABELS[:, None] == LABELS].mean()
    assert near < 0.6 * distances(points).mean()


def test_a_method_that_is_not_installed_is_reported_and_pca_stays(monkeypatch):
    monkeypatch.setitem(module.METHODS, "UMAP", (module.umap, "no_such_module", "umap-learn"))
    panel = EmbeddingMap(run(1.0), LABELS, NAMES)
    before = map_of(panel, "video")
    panel.controls["method"].value = "UMAP"
    assert "%pip install umap-learn" in panel.notice
    assert (map_of(panel, "video") == before).all()
    panel.controls["method"].value = "PCA"
    assert panel.notice == ""


def test_state_and_snapshot():
    one = EmbeddingMap(run(0.5, 2.0), LABELS, NAMES, state="snapshot=0&clip=5")
    assert one.state == "snapshot=0&method=PCA&clip=5&forces=false&temperature=0.07"
    one.canvas.selected = [1, 2, 3]
    snapshot = one.snapshot()
    assert snapshot.png is not None
    assert dict(snapshot.rows)["selected"] == "1 surf, 1 fire, 1 bell"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"labels": LABELS[:9]}, "a snapshot's video must have shape"),
        ({"classes": NAMES[:2]}, "indices into the 2 classes; got up to 3"),
        ({"paths": ["a.mp4"]}, "one file per clip, 48; got 1"),
    ],
)
def test_what_does_not_fit_is_reported(change, told):
    with pytest.raises(ValueError, match=told):
        EmbeddingMap(**{"snapshots": run(1.0), "labels": LABELS, "classes": NAMES} | change)


@pytest.mark.parametrize("temperature", [0.05, 0.3])
def test_the_forces_are_the_gradient_of_the_loss(temperature):
    (moment,) = moments(run(1.0))
    plane = principal_plane(moment.video.astype(float))
    found = forces(moment.video, moment.audio, plane.points, 5, temperature)
    query = torch.tensor(moment.video[5].astype(float), requires_grad=True)
    scores = torch.tensor(moment.audio.astype(float)) @ (query / query.norm()) / temperature
    negatives = torch.cat([scores[:5], scores[6:]])[None]
    nce_loss(scores[None, 5:6], negatives, float(negatives.detach().exp().mean())).backward()
    centred = moment.video.astype(float) - moment.video.astype(float).mean(axis=0)
    onto = np.linalg.lstsq(centred, plane.points, rcond=None)[0]
    assert query.grad is not None
    assert np.allclose(found.total, -query.grad.numpy() @ onto, atol=1e-5)
    assert 5 not in found.clips and found.strength.tolist() == sorted(found.strength, reverse=True)


def test_forces_are_drawn_for_the_clip_that_was_clicked_and_follow_the_temperature():
    panel = EmbeddingMap(run(1.0), LABELS, NAMES)
    panel.controls["forces"].value = True
    assert [mark.words for mark in panel.canvas.chart.plots[0].marks[:1]] == ["Click a clip to see its forces."]
    panel.canvas.clicked = 7
    lines = [mark for mark in panel.canvas.chart.plots[0].marks if isinstance(mark, Line)]
    assert [line.legend for line in lines] == [
        "push of a negative",
        "pull of the positive",
        "their sum, over all negatives",
    ]
    x, y = map_of(panel, "video")[7]
    assert (lines[1].x[0], lines[1].y[0]) == (x, y)
    before = lines[0].x
    panel.controls["temperature"].value = 0.5
    assert not np.allclose(panel.canvas.chart.plots[0].marks[0].x, before, equal_nan=True)
    panel.controls["forces"].value = False
    assert not any(isinstance(mark, Line) for mark in panel.canvas.chart.plots[0].marks)

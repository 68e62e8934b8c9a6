"""The embedding map: turned, never stretched; two maps that show one selection; slow maps beside the kernel's work."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avid_lab.interactive import embedding_map as module
from avid_lab.interactive.embedding_map import LISTED, EmbeddingMap, aligned
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


def test_maps_keep_pca_distances_and_lie_like_their_neighbours():
    panel = EmbeddingMap(run(0.5, 1.0, 1.5, 2.0), LABELS, NAMES)
    planes = [panel._found["PCA", i] for i in range(4)]
    for moment, plane in zip(panel.moments, planes, strict=True):
        plain = principal_plane(moment.video.astype(float)).points
        assert np.allclose(distances(plane["video"]), distances(plain), atol=1e-6)
    for one, other in pairwise(planes):
        for side in one:
            stays = np.linalg.norm(one[side] - other[side])
            for flip in ([-1, 1], [1, -1], [-1, -1]):
                assert stays <= np.linalg.norm(one[side] * flip - other[side]) + 1e-9


def test_scrubbing_moves_the_points():
    panel = EmbeddingMap(run(0.5, 2.0), LABELS, NAMES)
    for place in (0, 1):
        panel.controls["snapshot"].value = place
        for side, one in panel.maps.items():
            assert np.allclose(one.points, panel._found["PCA", place][side], atol=1e-5)
    assert panel.step.value == "step 50"


def test_a_lasso_in_either_map_is_listed():
    panel = EmbeddingMap(run(1.0), LABELS, NAMES)
    panel.maps["audio"].selected = [0, 4, 1]
    assert panel.selected == [0, 4, 1]
    assert panel.list.value == "<b>3 clips</b>: 2 rain, 1 surf"
    panel.maps["audio"].selected = []
    assert panel.selected == [] and panel.list.value == ""


def press(panel, clip):
    """What the page says of a click: the clip is marked and selected in both maps, one after the other."""
    for one in panel.maps.values():
        one.clicked, one.selected = clip, [clip] * (clip >= 0)


def test_a_click_that_follows_another_at_once_is_not_undone():
    panel = EmbeddingMap(run(1.0), LABELS, NAMES)
    press(panel, 3)
    panel.maps["audio"].clicked = -1  # Escape; Enter on clip 9 has followed before the kernel tells the first map
    assert panel.maps["video"].clicked == 3, "what the page said is not said back to it"
    panel.maps["audio"].selected = []
    press(panel, 9)
    assert panel.controls["clip"].value == 9 and panel.selected == [9]


def test_a_click_in_either_map_marks_both_and_plays(smoke_world):
    count = len(smoke_world)
    rows = np.random.default_rng(0).normal(size=(2, count, 8))
    paths = [smoke_world.path(i) for i in range(count)]
    panel = EmbeddingMap((rows[0], rows[1]), smoke_world.labels, smoke_world.classes, paths=paths)
    press(panel, 7)
    assert panel.controls["clip"].value == 7 and panel.selected == [7]
    assert [stall.path for stall in panel.shelf.stalls] == [paths[7]] and panel.shelf.playing == 0
    panel.maps["video"].selected = list(range(20))
    assert len(panel.shelf.stalls) == LISTED and panel.shelf.playing == -1
    shown = [stall.title for stall in panel.shelf.stalls]
    assert len(set(shown)) == min(LISTED, len({smoke_world.classes[smoke_world.labels[i]] for i in range(20)}))
    sent = []
    panel.maps["video"].send = lambda message, buffers: sent.append(buffers[0])
    panel.maps["video"]._handle_custom_msg({"thumbnail": 3}, [])
    assert sent[0].startswith(b"\xff\xd8")  # a JPEG


def test_the_clip_number_is_the_keyboards_way():
    panel = EmbeddingMap(run(1.0), LABELS, NAMES)
    panel.controls["clip"].value = 11
    assert [one.clicked for one in panel.maps.values()] == [11, 11] and panel.selected == [11]
    panel.controls["clip"].value = -1
    assert [one.clicked for one in panel.maps.values()] == [-1, -1]


def test_tsne_is_computed_in_a_thread_and_then_shown():
    async def scrub():
        panel = EmbeddingMap(run(1.0, 2.0), LABELS, NAMES)
        panel.controls["method"].value = "t-SNE"
        for _ in range(600):
            await asyncio.sleep(0.05)
            if ("t-SNE", 1) in panel._found and not panel._notice.value:
                break
        await asyncio.sleep(0.4)
        assert panel.redraw.strangers == 0
        return panel

    panel = asyncio.run(scrub())
    assert set(panel._found) == {("PCA", 0), ("PCA", 1), ("t-SNE", 1)}  # not for snapshots that were not looked at
    assert np.allclose(panel.maps["video"].points, panel._found["t-SNE", 1]["video"], rtol=1e-4, atol=1e-4)
    points = panel.maps["video"].points
    near = distances(points)[LABELS[:, None] == LABELS].mean()
    assert near < 0.6 * distances(points).mean()


def test_a_method_that_is_not_installed_is_told_and_pca_stays(monkeypatch):
    monkeypatch.setitem(module.METHODS, "UMAP", (module.umap, "no_such_module", "umap-learn"))
    panel = EmbeddingMap(run(1.0), LABELS, NAMES)
    panel.controls["method"].value = "UMAP"
    assert "%pip install umap-learn" in panel._notice.value
    assert np.allclose(panel.maps["video"].points, panel._found["PCA", 0]["video"], atol=1e-5)
    panel.controls["method"].value = "PCA"
    assert panel._notice.value == ""


def test_state_and_snapshot():
    one = EmbeddingMap(run(0.5, 2.0), LABELS, NAMES, state="snapshot=0&clip=5")
    assert one.state == "snapshot=0&method=PCA&clip=5"
    one.maps["video"].selected = [1, 2, 3]
    snapshot = one.snapshot()
    assert snapshot.png is not None
    assert dict(snapshot.rows)["selected"] == "1 surf, 1 fire, 1 bell"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"labels": LABELS[:9]}, "a snapshot's video must have shape"),
        ({"classes": NAMES[:2]}, "indices into the 2 classes; got up to 3"),
        ({"paths": ["a.mp4"]}, "one file a clip, 48; got 1"),
    ],
)
def test_what_does_not_fit_is_told(change, told):
    with pytest.raises(ValueError, match=told):
        EmbeddingMap(**{"snapshots": run(1.0), "labels": LABELS, "classes": NAMES} | change)

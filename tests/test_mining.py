"""Mining against a full sort in float64: exact for every rule, dtype, chunk size and setting."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path

from avid_lab.mining import (
    AGREEMENTS,
    TILES_FROM,
    Agreement,
    agreement_plane,
    agreement_scores,
    mine_positives,
    positives_by_definition,
)
from avid_lab.mining.approximate import mine_approximately
from avid_lab.mining.fast.exact import Memories
from avid_lab.mining.fast.rows import best_of_rows
from avid_lab.mining.fast.tiles import best_by_tiles

quick = settings(deadline=None, max_examples=40)
rules = st.sampled_from(list(AGREEMENTS))


def memories(n, dim, seed, dtype=torch.float32, duplicates=0):
    generator = torch.Generator().manual_seed(seed)
    video, audio = (F.normalize(torch.randn(n, dim, generator=generator), dim=1).to(dtype) for _ in range(2))
    for copy in range(duplicates):
        video[n - 1 - copy], audio[n - 1 - copy] = video[copy // 2], audio[copy // 2]
    return video, audio


def naive(video, audio, k, agreement):
    """Double loop in float64; Python's sort is stable, so ties go to the lower index."""
    n, combine = (
        len(video),
        {"consensus": min, "union": max, "video": lambda v, a: v, "audio": lambda v, a: a}[agreement],
    )
    video, audio = video.double(), audio.double()
    index, score = [], []
    for i in range(n):
        agree = {
            j: combine(float((video[i] * video[j]).sum()), float((audio[i] * audio[j]).sum()))
            for j in range(n)
            if j != i
        }
        best = sorted(agree, key=lambda j: -agree[j])[:k]
        index.append(best)
        score.append([agree[j] for j in best])
    return torch.tensor(index), torch.tensor(score, dtype=torch.float64)


@quick
@given(
    st.integers(3, 14),
    st.integers(1, 9),
    st.integers(1, 13),
    rules,
    st.integers(0, 6),
    st.integers(1, 15),
    st.integers(0, 999),
)
def test_mining_is_the_double_loop_with_duplicates_and_any_chunk(n, dim, k, agreement, duplicates, chunk_size, seed):
    k = min(k, n - 1)
    video, audio = memories(n, dim, seed, duplicates=min(duplicates, n // 2))
    index, score = naive(video, audio, k, agreement)
    made = mine_positives(video, audio, k, agreement, chunk_size=chunk_size)
    assert torch.equal(made.index, index)
    torch.testing.assert_close(made.score, score.float())


@quick
@given(st.integers(3, 14), st.integers(1, 4), st.integers(1, 13), rules, st.integers(0, 999))
def test_ties_go_to_the_lower_index(n, dim, k, agreement, seed):
    k = min(k, n - 1)
    generator = torch.Generator().manual_seed(seed)
    # Few possible values, all exact in floating point: ties everywhere, rows of any length.
    video, audio = (torch.randint(-2, 3, (n, dim), generator=generator).float() / 2 for _ in range(2))
    assert torch.equal(
        mine_positives(video, audio, k, agreement, chunk_size=4).index, naive(video, audio, k, agreement)[0]
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("agreement", AGREEMENTS)
def test_every_float_type_is_mined_exactly(agreement, dtype):
    video, audio = memories(60, 24, 0, dtype, duplicates=6)
    index, _ = naive(video, audio, 9, agreement)
    made = mine_positives(video, audio, 9, agreement)
    assert torch.equal(made.index, index)
    assert made.score.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_double_precision_separates_what_single_cannot():
    video = torch.zeros(4, 2, dtype=torch.float64)
    video[0, 0], video[1, 0], video[2, 0], video[3, 0] = 1.0, 1 - 2e-12, 1 - 1e-12, 1 - 3e-12
    assert mine_positives(video, video, 3).index[0].tolist() == [2, 1, 3]


def test_near_ties_below_single_precision_are_still_decided_right():
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(1, 64, generator=generator)
    video, audio = (F.normalize(base + 2e-4 * torch.randn(300, 64, generator=generator), dim=1) for _ in range(2))
    index, _ = naive(video[:40], audio[:40], 8, "consensus")
    assert torch.equal(mine_positives(video[:40], audio[:40], 8).index, index)
    every = torch.minimum(video.double() @ video.double().T, audio.double() @ audio.double().T).fill_diagonal_(-9)
    single = torch.minimum(video @ video.T, audio @ audio.T).fill_diagonal_(-9)
    best = every.topk(8).indices
    assert torch.equal(mine_positives(video, audio, 8, chunk_size=77).index, best)
    assert not torch.equal(single.topk(8).indices, best)  # products in single precision alone would get it wrong


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_reduced_matmul_precision_changes_nothing(precision):
    video, audio = memories(80, 16, 3)
    expected = mine_positives(video, audio, 7)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(precision)
        made = mine_positives(video, audio, 7)
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(made.index, expected.index)
    torch.testing.assert_close(made.score, expected.score)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(mine_positives(video, audio, 7).index, expected.index)


@quick
@given(st.integers(4, 20), rules, st.integers(0, 999))
def test_renaming_instances_renames_the_answer(n, agreement, seed):
    video, audio = memories(n, 8, seed)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    made = mine_positives(video, audio, 3, agreement)
    renamed = mine_positives(video[order], audio[order], 3, agreement)
    assert torch.equal(order[renamed.index], made.index[order])
    torch.testing.assert_close(renamed.score, made.score[order])


def test_collapse_gives_the_first_others():
    video = audio = F.normalize(torch.ones(50, 16), dim=1)
    made = mine_positives(video, audio, 4)
    for i in range(50):
        assert made.index[i].tolist() == [j for j in range(5) if j != i][:4]


def test_rows_of_any_length_and_zero_rows_are_mined():
    video, audio = memories(30, 8, 0)
    expected = mine_positives(video, audio, 5, "consensus")
    for factor in (1e30, 1e-30):  # products of these overflow or vanish in single precision
        made = mine_positives(video * factor, audio * factor, 5, "consensus")
        assert (made.index == expected.index).float().mean() > 0.99  # scaling rounds
    zero = torch.zeros(5, 3)
    assert mine_positives(zero, zero, 2).index[0].tolist() == [1, 2]


def test_progress_is_shown_and_changes_nothing(capsys):
    video, audio = memories(20, 4, 0)
    shown = mine_positives(video, audio, 3, chunk_size=5, progress=True)
    assert "mining consensus: 100%" in capsys.readouterr().err
    assert torch.equal(shown.index, mine_positives(video, audio, 3).index)


@pytest.mark.parametrize("agreement", AGREEMENTS)
def test_agreement_scores_are_the_rule_of_two_similarities(agreement):
    video, audio = memories(7, 5, 0)
    v, a = video[:3] @ video.T, audio[:3] @ audio.T
    expected = {"consensus": torch.minimum(v, a), "union": torch.maximum(v, a), "video": v, "audio": a}[agreement]
    torch.testing.assert_close(agreement_scores(video[:3], audio[:3], video, audio, agreement), expected)


@quick
@given(st.integers(3, 20), st.integers(1, 19), st.integers(0, 999))
def test_the_agreement_plane_of_a_query_is_what_mining_finds(n, k, seed):
    k, query = min(k, n - 1), seed % n
    video, audio = memories(n, 6, seed, duplicates=n // 3)
    plane = agreement_plane(video, audio, query, k)
    others = torch.arange(n) != query
    assert plane.video[query].isnan() and plane.audio[query].isnan()
    torch.testing.assert_close(plane.video[others], (video @ video[query])[others], atol=1e-6, rtol=0)
    for agreement in AGREEMENTS:
        mined = mine_positives(video, audio, k, agreement)
        assert torch.equal(plane.positives[agreement], mined.index[query])
        assert plane.threshold[agreement] == pytest.approx(mined.score[query, -1].item(), abs=1e-6)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"k": 0}, r"k must be between 1 and N - 1 = 9.*got 0"),
        ({"k": 10}, "got 10"),
        ({"agreement": "concensus"}, "agreement must be one of consensus, union, video, audio; got 'concensus'"),
        ({"audio": torch.zeros(9, 4)}, r"both be \(N, D\) on one device; got \(10, 4\) on cpu and \(9, 4\)"),
        ({"audio": torch.zeros(10, 4, device="meta")}, "on one device"),
        ({"video": torch.full((10, 4), torch.nan)}, "video must be finite; row 0 holds NaN"),
        ({"chunk_size": 0}, "chunk_size must be >= 1"),
    ],
)
def test_bad_input_is_refused_by_name(unchecked, change, says):
    video, audio = memories(10, 4, 0)
    with pytest.raises(ValueError, match=says):
        mine_positives(**({"video": video, "audio": audio, "k": 3} | change))


def test_bad_queries_are_refused_by_name(unchecked):
    video, audio = memories(10, 4, 0)
    with pytest.raises(ValueError, match="video_queries and audio_queries must both be"):
        agreement_scores(video[:2], audio[:3], video, audio)
    with pytest.raises(ValueError, match="queries and instances must share D"):
        agreement_scores(video[:2, :3], audio[:2, :3], video, audio)
    with pytest.raises(ValueError, match=r"query must be in \[0, 10\); got 10"):
        agreement_plane(video, audio, 10, 3)
    with pytest.raises(ValueError, match="k must be between"):
        agreement_plane(video, audio, 1, 10)


# ---- tiles: the same answers, faster


def by_tiles(video, audio, k, agreement, tile, queries=None):
    memories = Memories(video, audio, AGREEMENTS[agreement])
    return best_by_tiles(memories, k, range(len(video)) if queries is None else queries, tile=tile)


@quick
@given(
    st.integers(3, 90),
    st.integers(1, 9),
    st.integers(1, 40),
    rules,
    st.integers(0, 80),
    st.sampled_from([5, 16, 32, 48, 100]),
    st.integers(0, 999),
)
def test_tiles_find_what_rows_find_with_duplicates_and_any_tile(n, dim, k, agreement, duplicates, tile, seed):
    k = min(k, n - 1)
    video, audio = memories(n, dim, seed, duplicates=min(duplicates, n // 2))
    expected = mine_positives(video, audio, k, agreement, chunk_size=17)
    index, score = by_tiles(video, audio, k, agreement, tile)
    assert torch.equal(index, expected.index)
    torch.testing.assert_close(score.float(), expected.score)


@quick
@given(st.integers(3, 60), st.integers(1, 3), st.integers(1, 30), rules, st.integers(0, 999))
def test_tiles_give_ties_to_the_lower_index(n, dim, k, agreement, seed):
    generator = torch.Generator().manual_seed(seed)
    video, audio = (torch.randint(-2, 3, (n, dim), generator=generator).float() / 2 for _ in range(2))
    k = min(k, n - 1)
    expected = mine_positives(video, audio, k, agreement, chunk_size=n)
    assert torch.equal(by_tiles(video, audio, k, agreement, 16)[0], expected.index)


@quick
@given(st.integers(3, 60), st.integers(0, 60), st.integers(0, 60), st.sampled_from([4, 16]), st.integers(0, 999))
def test_tiles_of_a_stretch_of_queries_are_those_of_all(n, begin, end, tile, seed):
    begin, end = sorted((begin % n, end % n))
    queries = range(begin, end + 1)
    video, audio = memories(n, 5, seed, duplicates=n // 4)
    expected = mine_positives(video, audio, 2, chunk_size=9)
    index, score = by_tiles(video, audio, 2, "consensus", tile, queries)
    assert torch.equal(index, expected.index[begin : end + 1])
    torch.testing.assert_close(score.float(), expected.score[begin : end + 1])


@pytest.mark.parametrize("agreement", AGREEMENTS)
@pytest.mark.parametrize("kind", ["random", "clustered", "in order of class", "few distinct"])
def test_a_memory_of_thousands_is_mined_alike_by_tiles_and_by_rows(agreement, kind):
    generator = torch.Generator().manual_seed(5)
    n, dim = TILES_FROM + 500, 32
    centre = torch.randint(40, (n,), generator=generator)
    centre = centre.sort().values if kind == "in order of class" else centre
    spread = {"random": 100.0, "few distinct": 0.0}.get(kind, 0.2)
    video, audio = (
        F.normalize(
            F.normalize(torch.randn(40, dim, generator=generator), dim=1)[centre]
            + spread * torch.randn(n, dim, generator=generator) / dim**0.5,
            dim=1,
        )
        for _ in range(2)
    )
    fast, plain = (mine_positives(video, audio, 10, agreement, chunk_size=chunk) for chunk in (None, 500))
    assert torch.equal(fast.index, plain.index)
    torch.testing.assert_close(fast.score, plain.score)


def test_a_query_that_guessed_too_high_asks_again(monkeypatch):
    n, k = 2 * TILES_FROM, 32
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))  # in which tiles see the instances
    video = F.normalize(torch.randn(n, 64, generator=torch.Generator().manual_seed(1)), dim=1)
    unlucky, friends = order[0], order[1:31]  # 30 near ones in its first tile, too few, and no other of that kind
    video[friends] = F.normalize(video[unlucky] + 0.02 * video[friends], dim=1)
    again = []

    def counted(memories, query, k):
        again.extend(query.tolist())
        return best_of_rows(memories, query, k)

    monkeypatch.setattr("avid_lab.mining.fast.tiles.best_of_rows", counted)
    index, score = by_tiles(video, video, k, "consensus", 512)
    expected = mine_positives(video, video, k, chunk_size=500)
    assert int(unlucky) in again and len(again) < 100
    assert torch.equal(index, expected.index)
    torch.testing.assert_close(score.float(), expected.score)


def test_double_and_half_precision_are_mined_alike_by_tiles():
    for dtype in (torch.float64, torch.bfloat16):
        video, audio = memories(200, 24, 1, dtype, duplicates=30)
        expected = mine_positives(video, audio, 9, chunk_size=50)
        assert torch.equal(by_tiles(video, audio, 9, "consensus", 32)[0], expected.index)


RANKS = """
    import os, sys, torch, torch.distributed as dist
    from avid_lab.mining import mine_positives

    rank = int(sys.argv[1])
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=sys.argv[2])
    generator = torch.Generator().manual_seed(0)
    video, audio = (torch.nn.functional.normalize(torch.randn(2501, 16, generator=generator), dim=1) for _ in range(2))
    alone = [mine_positives(video, audio, 8, chunk_size=chunk) for chunk in (None, 300)]
    dist.init_process_group("gloo", rank=rank, world_size=2)
    for chunk in (None, 300):
        together = mine_positives(video, audio, 8, chunk_size=chunk)
        assert torch.equal(together.index, alone[0].index)
        torch.testing.assert_close(together.score, alone[1].score)
    dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_share_the_queries_and_both_have_the_whole_answer(tmp_path):
    (tmp_path / "ranks.py").write_text(textwrap.dedent(RANKS))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    ranks = [
        subprocess.Popen(
            [sys.executable, "ranks.py", rank, port], cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=environment()
        )
        for rank in "01"
    ]
    for process in ranks:
        assert process.wait(timeout=120) == 0, process.stderr.read()
        process.stderr.close()


def environment():
    """Several processes on few cores: one thread each."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


MEASURE = """
    import resource, sys, torch
    from avid_lab.mining import AGREEMENTS, mine_positives
    from avid_lab.mining.fast.exact import Memories
    from avid_lab.mining.fast.rows import best_by_rows, rows_at_a_time
    from avid_lab.mining.fast.tiles import best_by_tiles

    peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MiB
    n = 50_000
    video = torch.nn.functional.normalize(torch.randn(n, 8), dim=1)
    if sys.argv[1] == "collapsed":
        video[:] = video[0]
    mine_positives(video[:100], video[:100], 4)
    before = peak()
    memories = Memories(video, video, AGREEMENTS["consensus"])
    if sys.argv[1] == "tiles":
        best_by_tiles(memories, 32, range(n))
    else:
        best_by_rows(memories, 32, range(2 * rows_at_a_time(memories)))  # two chunks show what all need
    print(peak() - before)
"""


@pytest.mark.parametrize("kind", ["tiles", "rows", "collapsed"])
def test_working_memory_stays_within_the_stated_budget(tmp_path, kind):
    (tmp_path / "measure.py").write_text(textwrap.dedent(MEASURE))
    done = subprocess.run(
        [sys.executable, "measure.py", kind], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < (130 if kind == "tiles" else 512)  # the whole matrix would take 10 GB


# ---- approximate mining


def clustered(n, clusters=20, dim=16):
    generator = torch.Generator().manual_seed(0)
    member = torch.randint(clusters, (n,), generator=generator)
    centres = F.normalize(torch.randn(2, clusters, dim, generator=generator), dim=2)
    noise = 0.1 * torch.randn(2, n, dim, generator=generator)
    video, audio = F.normalize(centres[:, member] + noise, dim=2)
    return video, audio


@pytest.mark.parametrize("agreement", AGREEMENTS)
def test_approximate_mining_says_its_recall_and_true_scores(agreement):
    pytest.importorskip("faiss")
    video, audio = clustered(2000)
    exact = mine_positives(video, audio, 8, agreement)
    made = mine_approximately(video, audio, 8, agreement, probes=4, checked=2000)
    found = (made.index[:, :, None] == exact.index[:, None]).any(2).double().mean()
    assert made.recall == pytest.approx(float(found)) and made.recall > 0.8 and made.checked == 2000
    every = agreement_scores(video.double(), audio.double(), video.double(), audio.double(), agreement)
    torch.testing.assert_close(made.score.double(), every.gather(1, made.index), atol=1e-6, rtol=0)
    assert (made.score.diff(dim=1) <= 0).all() and not (made.index == torch.arange(2000)[:, None]).any()
    assert all(len(set(row)) == 8 for row in made.index.tolist())


def test_approximate_mining_that_looks_everywhere_is_exact():
    pytest.importorskip("faiss")
    video, audio = memories(300, 8, 0, duplicates=20)
    made = mine_approximately(video, audio, 5, "consensus", candidates=299, probes=99, checked=50)
    assert made.recall == 1 and torch.equal(made.index, mine_positives(video, audio, 5).index)


def test_approximate_mining_names_what_is_wrong(unchecked, monkeypatch):
    video, audio = memories(50, 8, 0)
    with pytest.raises(ValueError, match="k must be between 1 and N - 1 = 49"):
        mine_approximately(video, audio, 50)
    with pytest.raises(ValueError, match="probes must be >= 1; got 0"):
        mine_approximately(video, audio, 5, probes=0)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ModuleNotFoundError, match=r"avid-lab\[approximate\]"):
        mine_approximately(video, audio, 5)


MEAN = Agreement("mean", "(video + audio) / 2", lambda v, a, out=None: torch.lerp(v, a, 0.5, out=out))


@pytest.mark.parametrize("n", [60, TILES_FROM])
def test_a_rule_of_ones_own_is_mined_like_the_others(n):
    video, audio = memories(n, 8, seed=3)
    mined, defined = (how(video, audio, 5, MEAN) for how in (mine_positives, positives_by_definition))
    assert torch.equal(mined.index, defined.index)
    expected = (video @ video[7] + audio @ audio[7]) / 2
    torch.testing.assert_close(agreement_scores(video[7:8], audio[7:8], video, audio, MEAN)[0], expected)


@pytest.mark.parametrize("rule", [*AGREEMENTS.values(), MEAN], ids=lambda rule: rule.name)
@pytest.mark.parametrize("at", [-0.4, 0.1, 0.93])
def test_the_region_of_a_rule_is_where_it_holds(rule, at):
    view = (-1.0, 1.0, -0.7, 1.2)
    outline = Path(rule.region(at, view))
    x, y = np.random.default_rng(0).uniform((-1, -0.7), (1, 1.2), (4000, 2)).T
    score = rule.combine(torch.from_numpy(x), torch.from_numpy(y)).numpy()
    clear = np.abs(score - at) > 0.01
    assert (outline.contains_points(np.stack([x, y], 1)) == (score >= at))[clear].all()


@pytest.mark.parametrize("at, corners", [(-3.0, 4), (3.0, 0)])
def test_a_rule_that_holds_everywhere_or_nowhere_has_no_edge(at, corners):
    for rule in AGREEMENTS.values():
        assert rule.edge(at, (-1.0, 1.0, -1.0, 1.0)).shape == (0, 2)
        assert rule.region(at, (-1.0, 1.0, -1.0, 1.0)).shape == (corners, 2)

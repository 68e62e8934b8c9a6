"""Every term against a naive loop, negatives against their distribution, and objectives in a trainer."""

from __future__ import annotations

import dataclasses
import io
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from avid_lab.config import PRESETS, TrainConfig
from avid_lab.encoders import AudioVisualModel
from avid_lab.losses import hard_negative_loss, info_nce_loss, nce_softmax_loss, sigmoid_loss
from avid_lab.mining import AGREEMENTS, mine_positives
from avid_lab.objectives import AVID, CMA, InBatch, QueueAVID, draw_negatives, score_instances
from avid_lab.training import Trainer

quick = settings(deadline=None, max_examples=40)
N, D, B = 40, 8, 6
AVID_TERMS = ("v2a", "a2v", "v2v", "a2a")
CMA_TERMS = tuple(f"{what}_{term}" for what in ("instance", "positive") for term in AVID_TERMS)


def units(rows, dim=D, seed=0, dtype=torch.float32):
    return F.normalize(torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed), dtype=dtype), dim=1)


def batch(seed=0):
    index = torch.randperm(N, generator=torch.Generator().manual_seed(seed))[:B]
    return units(B, seed=seed + 1), units(B, seed=seed + 2), index


def avid(**settings):
    return AVID(N, D, **({"num_negatives": 12, "generator": torch.Generator().manual_seed(0)} | settings))


def cma(**settings):
    every = {"instance_within": 1.0, "positive_cross": 1.0}
    defaults = {"num_negatives": 12, "num_within_negatives": 5, "k": 4, "generator": torch.Generator().manual_seed(0)}
    return CMA(N, D, **(every | defaults | settings))


def naive_terms(objective, video, audio, index, negatives, within_negatives, positives=None):
    """All eight (or four) terms in plain Python floats, from memories, Z and given negatives."""
    queries, banks = {"v": video, "a": audio}, {"v": objective.memory.video, "a": objective.memory.audio}
    terms = {}
    for name, z in zip(objective.term_names(), objective.partition.tolist(), strict=True):
        source, target, what = name[-3], name[-1], name.split("_")[0]
        total = 0.0
        for b in range(len(index)):
            score = lambda j: float(queries[source][b].double() @ banks[target][j].double()) / objective.temperature  # noqa: E731, B023
            wrong = negatives[b].tolist()[: within_negatives if source == target else None]
            right = positives[index[b]].tolist() if what == "positive" else [int(index[b])]
            noise = len(wrong) * z
            hit = sum(-math.log(math.exp(score(j)) / (math.exp(score(j)) + noise)) for j in right) / len(right)
            total += hit + sum(-math.log(noise / (math.exp(score(j)) + noise)) for j in wrong)
        terms[name] = total / len(index)
    return terms


@quick
@given(st.integers(0, 999))
def test_every_avid_term_is_the_naive_loop(seed):
    objective, (video, audio, index) = avid(within=1.0), batch(seed)
    negatives = draw_negatives(index[:, None], N, 7, torch.Generator().manual_seed(seed))
    output = objective(video, audio, index, negatives)
    assert tuple(output.terms) == AVID_TERMS
    expected = naive_terms(objective, video, audio, index, negatives, None)
    for name, value in expected.items():
        assert output.terms[name].item() == pytest.approx(value, rel=1e-4)


@quick
@given(st.integers(0, 999), st.sampled_from(list(AGREEMENTS)))
def test_every_cma_term_is_the_naive_loop(seed, agreement):
    objective, (video, audio, index) = cma(agreement=agreement), batch(seed)
    objective.mine()
    excluded = torch.cat([index[:, None], objective.positives[index]], 1)
    negatives = draw_negatives(excluded, N, 9, torch.Generator().manual_seed(seed))
    output = objective(video, audio, index, negatives)
    assert tuple(output.terms) == CMA_TERMS
    expected = naive_terms(objective, video, audio, index, negatives, 5, objective.positives)
    for name, value in expected.items():
        assert output.terms[name].item() == pytest.approx(value, rel=1e-4)


def test_terms_are_weighted_as_released_or_as_the_paper_writes():
    video, audio, index = batch()
    negatives = draw_negatives(index[:, None], N, 7)
    released, paper = (avid(cross=3.0, within=1.0, weighting=w) for w in ("released", "paper"))
    one, other = released(video, audio, index, negatives), paper(video, audio, index, negatives)
    cross, within = ((one.terms[a] + one.terms[b]) / 2 for a, b in (("v2a", "a2v"), ("v2v", "a2a")))
    torch.testing.assert_close(one.loss, (3 * cross + within) / 4)
    torch.testing.assert_close(other.loss, 2 * (3 * cross + within))


def test_scale_of_the_weights_does_not_matter_as_released():
    video, audio, index = batch()
    negatives = draw_negatives(index[:, None], N, 7)
    losses = [avid(cross=scale, within=scale)(video, audio, index, negatives).loss for scale in (1.0, 7.0)]
    torch.testing.assert_close(*losses)


def test_only_active_terms_are_there():
    assert avid().term_names() == ("v2a", "a2v")
    assert avid(cross=0.0, within=1.0).term_names() == ("v2v", "a2a")
    assert CMA(N, D, k=4).term_names() == ("instance_v2a", "instance_a2v", "positive_v2v", "positive_a2a")


def test_a_call_changes_neither_memory_nor_a_known_partition():
    objective, (video, audio, index) = avid(), batch()
    before = {name: value.clone() for name, value in objective.memory.state_dict().items()}
    objective(video, audio, index)
    z = objective.partition.clone()
    objective(-video, audio, index)
    assert torch.equal(objective.partition, z)
    assert all(torch.equal(value, before[name]) for name, value in objective.memory.state_dict().items())


def test_partition_is_the_mean_of_exp_over_the_first_batch_of_each_term():
    objective, (video, audio, index) = avid(within=1.0), batch()
    assert objective.partition.isnan().all() and objective.partition.shape == (4,)
    negatives = draw_negatives(index[:, None], N, 7)
    objective(video, audio, index, negatives)
    for z, name in zip(objective.partition, AVID_TERMS, strict=True):
        query, bank = (
            {"v": video, "a": audio}[name[0]],
            getattr(objective.memory, {"v": "video", "a": "audio"}[name[-1]]),
        )
        scores = torch.einsum("bd,bkd->bk", query, bank[negatives]) / 0.07
        torch.testing.assert_close(z, scores.exp().mean(), rtol=1e-4, atol=0)
    shared = avid(within=1.0, partition="shared")
    shared(video, audio, index, negatives)
    torch.testing.assert_close(shared.partition, objective.partition[:1].expand(4))


def test_partition_can_be_set_and_is_then_kept():
    objective, (video, audio, index) = avid(), batch()
    objective.partition.fill_(2.2)
    objective(video, audio, index)
    assert objective.partition.tolist() == pytest.approx([2.2, 2.2])


def test_a_temperature_too_small_for_the_partition_says_so():
    objective, (video, audio, index) = avid(temperature=0.005), batch()
    objective.memory.audio.copy_(video[0].expand(N, D))
    with pytest.raises(ValueError, match=r"temperature must keep the mean of exp.*T = 0.005"):
        objective(video[:1].expand(B, D), audio, index)


def test_weights_change_while_training_and_new_terms_find_their_own_partition():
    objective, (video, audio, index) = avid(), batch()
    objective(video, audio, index)
    known = objective.partition.clone()
    objective.set_weights(within=1.0)
    assert torch.equal(objective.partition[:2], known) and objective.partition[2:].isnan().all()
    objective(video, audio, index)
    assert objective.partition.isfinite().all()
    for change, says in (
        ({"cros": 1.0}, "must be one of cross, within; got 'cros'"),
        ({"cross": -1.0}, "cross must be >= 0"),
        ({"cross": math.nan}, "cross must be >= 0 and finite"),
        ({"cross": 0.0, "within": 0.0}, "at least one of"),
    ):
        with pytest.raises(ValueError, match=says):
            objective.set_weights(**change)


def test_state_restores_weights_partition_and_temperature():
    objective, (video, audio, index) = cma(), batch()
    objective.set_weights(positive_cross=0.0, instance_cross=2.0)
    objective.temperature = 0.2
    objective(video, audio, index)
    file = io.BytesIO()
    torch.save(objective.state_dict(), file)
    file.seek(0)
    other = cma(generator=torch.Generator().manual_seed(9))
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other.weights == objective.weights and other.temperature == 0.2
    negatives = draw_negatives(torch.cat([index[:, None], other.positives[index]], 1), N, 9)
    assert torch.equal(other(video, audio, index, negatives).loss, objective(video, audio, index, negatives).loss)
    with pytest.raises(ValueError, match="state must come from the same kind of objective"):
        other.load_state_dict(avid().state_dict())


@pytest.mark.parametrize("excluded", [1, 5])
def test_negatives_are_uniform_over_the_allowed_instances(excluded):
    rows = torch.stack(
        [torch.randperm(30, generator=torch.Generator().manual_seed(row))[:excluded] for row in range(4)]
    )
    drawn = draw_negatives(rows, 30, 20_000, torch.Generator().manual_seed(0))
    for row in range(4):
        counts = drawn[row].bincount(minlength=30)
        allowed = torch.ones(30, dtype=torch.bool).index_fill(0, rows[row], False)
        assert (counts[~allowed] == 0).all()
        assert chisquare(counts[allowed].numpy()).pvalue > 1e-4


@quick
@given(st.integers(2, 12), st.integers(0, 11), st.integers(0, 999))
def test_no_excluded_instance_is_ever_drawn_and_every_other_can_be(n, excluded, seed):
    excluded = min(excluded, n - 1)
    rows = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[None, :excluded]
    drawn = draw_negatives(rows, n, 400, torch.Generator().manual_seed(seed))
    assert set(drawn.flatten().tolist()) == set(range(n)) - set(rows.flatten().tolist())


def test_the_generator_alone_decides_the_negatives():
    rows = torch.tensor([[3], [4]])
    torch.manual_seed(1)
    one = draw_negatives(rows, 50, 9, torch.Generator().manual_seed(7))
    torch.manual_seed(2)
    assert torch.equal(one, draw_negatives(rows, 50, 9, torch.Generator().manual_seed(7)))


@pytest.mark.parametrize("bank", [10, 500])
def test_scores_of_instances_are_their_inner_products_by_either_route(bank):
    query, rows = units(3), units(bank, seed=1)
    picked = torch.randint(bank, (3, 7), generator=torch.Generator().manual_seed(0))
    expected = torch.stack([rows[picked[b]] @ query[b] for b in range(3)])
    torch.testing.assert_close(score_instances(query, rows, picked), expected)


def test_cma_continues_from_avid():
    first, (video, audio, index) = avid(temperature=0.1, loss=nce_softmax_loss), batch()
    first(video, audio, index)
    first.memory.update(index, video, audio)
    state = first.generator.get_state()
    second = CMA.from_avid(first, k=4, positive_cross=1.0)
    assert torch.equal(first.generator.get_state(), state)
    assert torch.equal(second.memory.video, first.memory.video)
    assert (second.temperature, second.num_negatives, second.loss) == (0.1, 12, nce_softmax_loss)
    known = dict(zip(second.term_names(), second.partition.tolist(), strict=True))
    assert known["instance_v2a"] == first.partition[0].item() and math.isnan(known["positive_v2v"])
    assert torch.equal(second.positives, mine_positives(first.memory.video, first.memory.audio, 4).index)
    second.memory.update(index, -video, audio)
    assert not torch.equal(second.memory.video, first.memory.video)  # copied, not shared
    other = CMA.from_avid(first, k=4, temperature=0.2)
    assert other.partition.isnan().all()  # Z belongs to a temperature
    first.memory.bfloat16()
    assert CMA.from_avid(first, k=4).memory.video.dtype == torch.bfloat16


def test_positives_are_mined_again_on_schedule():
    objective = cma()
    objective.mine()
    before = objective.positives.clone()
    objective.memory.video.copy_(units(N, seed=99))
    assert [objective.remine(epoch, every=2.0) for epoch in (0.5, 1.9)] == [False, False]
    assert torch.equal(objective.positives, before)
    assert [objective.remine(epoch, every=2.0) for epoch in (2.0, 3.9, 4.1)] == [True, False, True]
    assert torch.equal(objective.positives, mine_positives(objective.memory.video, objective.memory.audio, 4).index)
    again = cma()
    again.load_state_dict(objective.state_dict())
    assert again.remine(5.0, every=2.0) is False  # the state remembers when


def test_memories_in_bfloat16_give_nearly_the_same_loss():
    exact, small = cma(), cma()
    small.memory.bfloat16()
    video, audio, index = batch()
    exact.mine()
    small.positives = exact.positives.clone()
    negatives = draw_negatives(torch.cat([index[:, None], exact.positives[index]], 1), N, 9)
    expected = exact(video, audio, index, negatives).loss.item()
    assert small(video, audio, index, negatives).loss.item() == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("make", [avid, cma, lambda: QueueAVID(N, D, queue_size=16), lambda: InBatch(N, D)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_and_half_precision_embeddings_lose_nothing_but_their_own_rounding(make, dtype):
    objective, (video, audio, index) = make(), batch()
    if objective.generator is not None:
        state = objective.generator.get_state()
    expected = objective(video, audio, index).loss
    if objective.generator is not None:
        objective.generator.set_state(state)
    with torch.autocast("cpu", dtype):
        assert torch.equal(objective(video, audio, index).loss, expected)
        rounded = objective(video.to(dtype), audio.to(dtype), index).loss
    assert rounded.isfinite() and rounded.dtype == torch.float32


@pytest.mark.parametrize("make", [avid, cma])
def test_an_objective_has_the_right_gradient(make):
    objective, (video, audio, index) = make(within=1.0) if make is avid else make(), batch()
    objective.double()
    objective.partition.fill_(3.0)
    if make is cma:
        objective.mine()
    negatives = (index[:, None] + torch.arange(1, 8)) % N
    inputs = [F.normalize(x.double(), dim=1).requires_grad_() for x in (video, audio)]
    assert torch.autograd.gradcheck(lambda v, a: objective(v, a, index, negatives).loss, inputs)


def test_a_function_of_your_own_is_used_exactly_like_ours():
    calls = []

    def mine(positive_scores, negative_scores, partition):
        calls.append((positive_scores.shape, negative_scores.shape, partition.shape))
        noise = negative_scores.shape[1] * partition
        right = positive_scores.exp() / (positive_scores.exp() + noise)
        wrong = noise / (negative_scores.exp() + noise)
        return -(right.log().mean(1) + wrong.log().sum(1)).mean()

    video, audio, index = batch()
    ours, own = cma(), cma(loss=mine)
    for objective in (ours, own):
        objective.mine()
    negatives = draw_negatives(torch.cat([index[:, None], ours.positives[index]], 1), N, 9)
    torch.testing.assert_close(own(video, audio, index, negatives).loss, ours(video, audio, index, negatives).loss)
    assert len(calls) == 8 and calls[0] == ((B, 1), (B, 9), ()) and calls[-1] == ((B, 4), (B, 5), ())
    ours.loss = hard_negative_loss  # changed while training
    assert ours(video, audio, index, negatives).loss.isfinite()


def test_a_queue_compares_with_the_last_clips_but_never_with_the_query_itself():
    objective = QueueAVID(N, D, queue_size=5, generator=torch.Generator().manual_seed(0))
    old_video, old_audio, old = units(5, seed=5), units(5, seed=6), torch.tensor([7, 8, 9, 10, 11])
    objective.memory.update(old, old_video, old_audio)
    video, audio, index = units(2, seed=7), units(2, seed=8), torch.tensor([9, 20])  # 9 is still in the queue
    output = objective(video, audio, index)
    for name, query, key, queue in (("v2a", video, audio, old_audio), ("a2v", audio, video, old_video)):
        total = 0.0
        for b, others in enumerate(([0, 1, 3, 4], [0, 1, 2, 3, 4])):
            logits = torch.cat([(query[b] @ key[b])[None], queue[others] @ query[b]]) / 0.07
            total += F.cross_entropy(logits[None], torch.tensor([0])).item() / 2
        assert output.terms[name].item() == pytest.approx(total, rel=1e-4)
    assert len(objective.memory) == N


def test_the_right_answer_of_a_queue_gets_no_gradient_from_the_question():
    objective, (video, audio, index) = QueueAVID(N, D, queue_size=16), batch()
    video.requires_grad_(), audio.requires_grad_()
    (gradient,) = torch.autograd.grad(objective(video, audio, index).terms["v2a"], audio, allow_unused=True)
    assert gradient is None


@pytest.mark.parametrize(("loss", "temperature"), [(info_nce_loss, 0.2), (sigmoid_loss, 0.1)])
def test_batch_losses_train_through_the_same_interface(loss, temperature):
    objective, (video, audio, index) = InBatch(N, D, loss, temperature=temperature), batch()
    output = objective(video, audio, index)
    torch.testing.assert_close(output.loss, loss(video, audio, temperature))
    assert output.terms == {"batch": output.loss} and objective.term_names() == ("batch",)
    before = objective.memory.video.clone()
    objective.memory.update(index, video, audio)
    assert not torch.equal(objective.memory.video, before)


@pytest.mark.parametrize("make", [avid, cma, lambda: QueueAVID(N, D, queue_size=8), lambda: InBatch(N, D)])
def test_every_objective_teaches_a_small_model(make):
    torch.manual_seed(0)
    objective, seen = make(), torch.randn(N, 12)
    heard = seen @ torch.randn(12, 12) + 0.1 * torch.randn(N, 12)
    video_net, audio_net = torch.nn.Linear(12, D), torch.nn.Linear(12, D)
    optimizer = torch.optim.Adam([*video_net.parameters(), *audio_net.parameters()], lr=0.02)
    for _ in range(120):
        index = torch.randperm(N)[:16]
        video, audio = F.normalize(video_net(seen[index]), dim=1), F.normalize(audio_net(heard[index]), dim=1)
        optimizer.zero_grad()
        objective(video, audio, index).loss.backward()
        optimizer.step()
        objective.memory.update(index, video, audio)
    with torch.no_grad():
        scores = F.normalize(video_net(seen), dim=1) @ F.normalize(audio_net(heard), dim=1).T
    top5 = (scores.topk(5).indices == torch.arange(N)[:, None]).any(1).double().mean().item()
    assert top5 > 0.5  # chance is 0.125


def test_bad_settings_are_refused_by_name():
    for make, says in (
        (lambda: avid(num_negatives=0), "num_negatives must be >= 1"),
        (lambda: avid(temperature=0.0), "temperature must be > 0"),
        (lambda: AVID(1, D), "num_instances must be >= 2"),
        (lambda: cma(k=N - 1), "k must leave a negative: between 1 and N - 2 = 38; got 39"),
        (lambda: cma(num_within_negatives=0), "num_within_negatives must be >= 1"),
        (lambda: cma().remine(1.0, every=0.0), "every must be > 0"),
        (lambda: QueueAVID(N, D, queue_size=0), "size must be >= 1"),
        (lambda: draw_negatives(torch.arange(3)[None], 3, 1), "N = 3, 3 excluded"),
        (lambda: draw_negatives(torch.tensor([[1, 1]]), 5, 1), "different instances in each row"),
        (lambda: draw_negatives(torch.tensor([[5]]), 5, 1), r"excluded must lie in \[0, 5\)"),
        (lambda: draw_negatives(torch.tensor([[1]]), 5, 0), "count must be >= 1"),
    ):
        with pytest.raises(ValueError, match=says):
            make()


def test_bad_batches_are_refused_by_name(unchecked):
    video, audio, index = batch()
    nan = video.clone()
    nan[2] = torch.nan
    for objective in (avid(), cma(), QueueAVID(N, D, queue_size=8), InBatch(N, D)):
        for arguments, says in (
            ((video[:3], audio, index), r"video must have shape \(B, D\) = \(6, 8\)"),
            ((video, audio[:, :3], index), "audio must have shape"),
            ((nan, audio, index), "video must be finite; row 2"),
            ((video, audio, index + N), r"index must lie in \[0, 40\)"),
            ((video.to("meta"), audio, index), "must be on one device"),
        ):
            with pytest.raises(ValueError, match=says):
                objective(*arguments)
    for negatives, says in (
        (torch.zeros(3, 4, dtype=torch.int64), r"negatives must be \(B, K\) with B = 6"),
        (torch.full((B, 4), N), "index must lie in"),
        (torch.zeros(B, 4), "index must be a vector of int64"),
    ):
        with pytest.raises(ValueError, match=says):
            avid()(video, audio, index, negatives)
    with pytest.raises(ValueError, match="agreement must be one of"):
        cma(agreement="both")
    with pytest.raises(ValueError, match="partition must be 'per_term' or 'shared'"):
        avid(partition="each")
    with pytest.raises(ValueError, match="weighting must be"):
        avid(weighting="mean")


def my_score_loss(positive_scores, negative_scores, partition):
    return F.softplus(1 - positive_scores).mean() + F.softplus(negative_scores - 1).mean()


def my_batch_loss(video, audio, temperature):
    return ((video @ audio.T / temperature).softmax(1).diagonal() - 1).square().mean()


@pytest.mark.parametrize(
    "make",
    [
        lambda n: AVID(n, 16, num_negatives=32, loss=my_score_loss),
        lambda n: QueueAVID(n, 16, queue_size=32),
        lambda n: InBatch(n, 16, info_nce_loss),
        lambda n: InBatch(n, 16, my_batch_loss),
    ],
)
def test_the_trainer_runs_every_objective_and_a_loss_of_your_own(make, smoke_world):
    small = dataclasses.replace(
        PRESETS["pocket"], video_widths=(4, 4, 4, 4, 8), audio_widths=(4, 4, 4, 4, 8), head=(8,), dim=16
    )
    objective = make(len(smoke_world))
    before = objective.memory.video.clone()
    trainer = Trainer(
        AudioVisualModel(small, seed=0), objective, smoke_world, TrainConfig(steps=3, batch_size=16, device="cpu")
    )
    steps = list(trainer)
    assert [set(step.terms) for step in steps] == [set(objective.term_names())] * 3
    assert all(math.isfinite(step.loss) for step in steps)
    assert not torch.equal(objective.memory.video, before)

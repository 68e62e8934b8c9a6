"""Every loss against a naive double loop in float64, at known limits, and in all precisions."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from avid_lab.losses import (
    debiased_loss,
    hard_negative_loss,
    info_nce_loss,
    nce_loss,
    nce_softmax_loss,
    plausibility_weights,
    robust_loss,
    sigmoid_loss,
    soft_info_nce_loss,
    soft_targets,
)

SCORE_LOSSES = {
    "nce": nce_loss,
    "softmax": nce_softmax_loss,
    "debiased": debiased_loss,
    "hard": hard_negative_loss,
}
BATCH_LOSSES = {"info_nce": info_nce_loss, "sigmoid": sigmoid_loss, "robust": robust_loss}
quick = settings(deadline=None, max_examples=50)
shapes = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 5), st.integers(0, 10_000))


def scores_of(b, p, k, seed, temperature=0.2):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda columns: (2 * torch.rand(b, columns, generator=generator, dtype=torch.float64) - 1) / temperature  # noqa: E731
    return draw(p), draw(k)


def units(b, d, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return tuple(F.normalize(torch.randn(b, d, generator=generator, dtype=dtype), dim=1) for _ in range(2))


def naive_nce(positive, negative, z):
    total = 0.0
    for sp, sn in zip(positive.tolist(), negative.tolist(), strict=True):
        noise = len(sn) * z
        wrong = sum(-math.log(noise / (math.exp(s) + noise)) for s in sn)
        total += sum(-math.log(math.exp(s) / (math.exp(s) + noise)) + wrong for s in sp) / len(sp)
    return total / len(positive)


def naive_debiased(positive, negative, temperature, prior, hardness):
    total = 0.0
    for sp, sn in zip(positive.tolist(), negative.tolist(), strict=True):
        k = len(sn)
        weights = [math.exp(hardness * s) for s in sn]
        noise = k * sum(w * math.exp(s) for w, s in zip(weights, sn, strict=True)) / sum(weights)
        true = sum(math.exp(s) for s in sp) / len(sp)
        noise = max((noise - prior * k * true) / (1 - prior), k * math.exp(-1 / temperature))
        total += sum(-math.log(math.exp(s) / (math.exp(s) + noise)) for s in sp) / len(sp)
    return total / len(positive)


@quick
@given(shapes, st.floats(0.1, 50))
def test_nce_is_the_double_loop(shape, z):
    positive, negative = scores_of(*shape)
    assert nce_loss(positive, negative, z).item() == pytest.approx(naive_nce(positive, negative, z), rel=1e-10)


@quick
@given(shapes)
def test_softmax_is_cross_entropy_of_each_positive_against_all_negatives(shape):
    positive, negative = scores_of(*shape)
    total = 0.0
    for row in range(len(positive)):
        for column in range(positive.shape[1]):
            logits = torch.cat([positive[row, column, None], negative[row]])
            total += F.cross_entropy(logits[None], torch.tensor([0])).item()
    assert nce_softmax_loss(positive, negative).item() == pytest.approx(total / positive.numel(), rel=1e-10)


@quick
@given(shapes, st.floats(0, 0.9), st.floats(0, 3))
def test_debiased_and_hard_are_the_double_loop(shape, prior, hardness):
    positive, negative = scores_of(*shape)
    made = hard_negative_loss(positive, negative, hardness=hardness, class_prior=prior, temperature=0.2)
    assert made.item() == pytest.approx(naive_debiased(positive, negative, 0.2, prior, hardness), rel=1e-9, abs=1e-12)
    made = debiased_loss(positive, negative, class_prior=prior, temperature=0.2)
    assert made.item() == pytest.approx(naive_debiased(positive, negative, 0.2, prior, 0), rel=1e-9, abs=1e-12)


@quick
@given(shapes)
def test_without_prior_and_hardness_both_are_the_softmax(shape):
    positive, negative = scores_of(*shape)
    plain = nce_softmax_loss(positive, negative).item()
    assert debiased_loss(positive, negative, class_prior=0.0).item() == pytest.approx(plain, rel=1e-10)
    assert hard_negative_loss(positive, negative, hardness=0.0, class_prior=0.0).item() == pytest.approx(
        plain, rel=1e-10
    )


def test_great_hardness_sees_only_the_hardest_negative():
    positive, negative = torch.zeros(1, 1), torch.tensor([[3.0, 1.0, -2.0]])
    made = hard_negative_loss(positive, negative, hardness=50.0, class_prior=0.0)
    assert made.item() == pytest.approx(math.log(1 + 3 * math.exp(3.0)), rel=1e-6)


@quick
@given(st.integers(1, 4), st.integers(1, 6), st.integers(0, 10_000))
def test_infinite_temperature_and_one_negative_have_closed_forms(b, k, seed):
    positive, negative = (s * 0 for s in scores_of(b, 2, k, seed))  # every score 0, as at infinite temperature
    # softplus(log K) for the positive, K softplus(-log K) for the negatives.
    expected = math.log(1 + k) + k * math.log(1 + 1 / k)
    assert nce_loss(positive, negative, 1.0).item() == pytest.approx(expected)
    assert nce_softmax_loss(positive, negative).item() == pytest.approx(math.log(1 + k))
    # K = 1 with Z = 1 is logistic regression: real against noise.
    positive, negative = scores_of(b, 1, 1, seed)
    logistic = (F.softplus(-positive) + F.softplus(negative)).mean()
    assert nce_loss(positive, negative, 1.0).item() == pytest.approx(logistic.item())


@quick
@given(shapes)
def test_nce_does_not_care_for_the_order_of_queries_or_negatives(shape):
    positive, negative = scores_of(*shape)
    rows = torch.randperm(len(positive), generator=torch.Generator().manual_seed(shape[3]))
    shuffled = negative[rows][:, torch.randperm(negative.shape[1], generator=torch.Generator().manual_seed(1))]
    for loss in SCORE_LOSSES.values():
        expected = loss(positive, negative, 3.0).item()
        assert loss(positive[rows], shuffled, 3.0).item() == pytest.approx(expected, rel=1e-10)


@quick
@given(st.integers(1, 5), st.integers(2, 6), st.integers(0, 10_000))
def test_info_nce_is_the_double_loop(b, d, seed):
    video, audio = units(b, d, seed)
    s = (video @ audio.T / 0.3).tolist()
    total = 0.0
    for i in range(b):
        total += math.log(sum(math.exp(s[i][j]) for j in range(b))) - s[i][i]
        total += math.log(sum(math.exp(s[j][i]) for j in range(b))) - s[i][i]
    assert info_nce_loss(video, audio, 0.3).item() == pytest.approx(total / (2 * b), rel=1e-10)


@quick
@given(st.integers(1, 5), st.integers(2, 6), st.integers(0, 10_000))
def test_sigmoid_is_the_double_loop(b, d, seed):
    video, audio = units(b, d, seed)
    total = 0.0
    for i in range(b):
        for j in range(b):
            logit = float(video[i] @ audio[j]) / 0.25 - 3
            total += math.log(1 + math.exp(-logit if i == j else logit))
    assert sigmoid_loss(video, audio, 0.25, bias=-3.0).item() == pytest.approx(total / b, rel=1e-10)


@quick
@given(st.integers(2, 5), st.integers(2, 6), st.integers(0, 10_000))
def test_soft_info_nce_is_the_double_loop_and_hard_targets_give_info_nce(b, d, seed):
    video, audio = units(b, d, seed)
    weights = torch.rand(b, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.1
    for_video, for_audio = soft_targets(audio @ video.T, 0.4, 0.5), soft_targets(video @ audio.T, 0.4, 0.5)
    scores = (video @ audio.T / 0.3).tolist()
    total = 0.0
    for i in range(b):
        over_audio = math.log(sum(math.exp(scores[i][j]) for j in range(b)))
        over_video = math.log(sum(math.exp(scores[j][i]) for j in range(b)))
        one = sum(-float(for_video[i, j]) * (scores[i][j] - over_audio) for j in range(b))
        other = sum(-float(for_audio[i, j]) * (scores[j][i] - over_video) for j in range(b))
        total += float(weights[i]) * (one + other) / 2
    made = soft_info_nce_loss(video, audio, for_video, for_audio, weights, 0.3)
    assert made.item() == pytest.approx(total / float(weights.sum()), rel=1e-9)
    hard, equal = torch.eye(b, dtype=torch.float64), torch.full((b,), 0.7, dtype=torch.float64)
    made = soft_info_nce_loss(video, audio, hard, hard, equal, 0.3)
    assert made.item() == pytest.approx(info_nce_loss(video, audio, 0.3).item(), rel=1e-10)


def test_soft_targets_are_distributions_between_the_hard_and_the_soft():
    similarity = torch.tensor([[0.1, 0.9, 0.3], [0.2, 0.8, 0.1], [0.5, 0.5, 0.5]])
    made = soft_targets(similarity, share=0.25, temperature=0.1)
    torch.testing.assert_close(made.sum(1), torch.ones(3))
    torch.testing.assert_close(made, 0.75 * torch.eye(3) + 0.25 * (similarity / 0.1).softmax(1))
    assert torch.equal(soft_targets(similarity, share=0.0), torch.eye(3))


def test_plausibility_is_the_normal_distribution_function():
    similarity = torch.tensor([-0.4, 0.1, 0.3, 0.9], dtype=torch.float64)
    normal = torch.distributions.Normal(0.1 + 0.5 * 0.2, math.sqrt(0.6) * 0.2)
    expected = 0.25 + 0.75 * normal.cdf(similarity)
    made = plausibility_weights(similarity, 0.1, 0.2, shift=0.5, spread=0.6, floor=0.25)
    torch.testing.assert_close(made, expected)
    assert (made.diff() > 0).all()
    constant = torch.full((3,), 0.3)
    torch.testing.assert_close(plausibility_weights(constant, constant.mean(), 0.0), torch.full((3,), 0.5))


def test_robust_loss_listens_less_to_a_faulty_pair():
    video, _ = units(32, 16, 0)
    video.requires_grad_()
    audio = video.detach().clone()
    audio[0] = -audio[0]  # this clip's sound has nothing to do with its picture
    shares = {}
    for name, loss in (("plain", info_nce_loss), ("robust", robust_loss)):
        (gradient,) = torch.autograd.grad(loss(video, audio, 0.2), video)
        norms = gradient.norm(dim=1)
        shares[name] = float(norms[0] / norms[1:].mean())
    assert shares["robust"] < 0.5 * shares["plain"]


@pytest.mark.parametrize("name", SCORE_LOSSES)
def test_score_losses_have_the_right_gradient(name):
    positive, negative = (s.requires_grad_() for s in scores_of(3, 2, 4, seed=1))
    settings = {"temperature": 0.2} if name in ("debiased", "hard") else {}
    assert torch.autograd.gradcheck(lambda p, n: SCORE_LOSSES[name](p, n, 2.0, **settings), (positive, negative))


@pytest.mark.parametrize("name", ["info_nce", "sigmoid"])
def test_batch_losses_have_the_right_gradient(name):
    video, audio = (x.requires_grad_() for x in units(4, 5, seed=1))
    assert torch.autograd.gradcheck(lambda v, a: BATCH_LOSSES[name](v, a, 0.2), (video, audio))


def test_soft_info_nce_has_the_right_gradient():
    video, audio = (x.requires_grad_() for x in units(4, 5, seed=1))
    targets = soft_targets((video @ audio.T).detach(), 0.5)
    weights = torch.rand(4, dtype=torch.float64) + 0.1
    assert torch.autograd.gradcheck(
        lambda v, a: soft_info_nce_loss(v, a, targets, targets, weights, 0.2), (video, audio)
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", SCORE_LOSSES)
def test_half_precision_scores_at_temperature_007_stay_finite_and_right(name, dtype):
    positive, negative = scores_of(8, 1, 64, seed=0, temperature=0.07)
    positive[0], negative[0, 0] = 1 / 0.07, 1 / 0.07  # e^14.3 is 26 times the largest fp16 number
    rounded = positive.to(dtype), negative.to(dtype)
    made = SCORE_LOSSES[name](*rounded, 2.2)
    assert made.dtype == torch.float32
    exact = SCORE_LOSSES[name](*(s.double() for s in rounded), 2.2)
    assert made.item() == pytest.approx(exact.item(), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", BATCH_LOSSES)
def test_autocast_does_not_change_a_batch_loss(name, dtype):
    video, audio = units(16, 8, 0, torch.float32)
    expected = BATCH_LOSSES[name](video, audio, 0.07)
    with torch.autocast("cpu", dtype):
        assert torch.equal(BATCH_LOSSES[name](video, audio, 0.07), expected)


@quick
@given(st.integers(0, 10_000))
def test_extreme_scores_give_no_infinity(seed):
    positive, negative = scores_of(2, 2, 3, seed, temperature=0.005)  # up to +-200
    for name, loss in SCORE_LOSSES.items():
        single = (s.float().requires_grad_() for s in (positive, negative))
        p, n = single
        made = loss(p, n, 5.0)
        made.backward()
        assert made.isfinite() and p.grad.isfinite().all() and n.grad.isfinite().all(), name


def test_unit_vectors_at_random_have_the_partition_of_a_gaussian():
    # exp of a normal with variance 1 / (D T^2) has mean e^{1 / (2 D T^2)}: 2.2 for D = 128, T = 0.07.
    dim, temperature = 128, 0.07
    video, audio = units(2048, dim, 0, torch.float32)
    z = (video @ audio.T / temperature).exp().mean().item()
    assert z == pytest.approx(math.exp(1 / (2 * dim * temperature**2)), rel=0.02)
    # ... and with them the loss starts where the paper's does: about 8.7 at K = 1024.
    positive, negative = (
        (video[:64] * audio[:64]).sum(1, keepdim=True) / temperature,
        video[:64] @ audio[64:1088].T / 0.07,
    )
    assert nce_loss(positive, negative, z).item() == pytest.approx(8.7, abs=0.25)


@pytest.mark.parametrize(
    ("positive", "negative", "z", "says"),
    [
        ((3,), (3, 2), 1.0, "positive_scores and negative_scores must be"),
        ((3, 1), (2, 2), 1.0, "same B"),
        ((3, 1), (3, 0), 1.0, "K >= 1"),
        ((3, 1), (3, 2), 0.0, "partition must be one number Z > 0"),
        ((3, 1), (3, 2), math.nan, "partition must be"),
    ],
)
def test_bad_scores_are_refused_by_name(unchecked, positive, negative, z, says):
    with pytest.raises(ValueError, match=says):
        nce_loss(torch.zeros(positive), torch.zeros(negative), z)


def test_bad_embeddings_and_settings_are_refused_by_name(unchecked):
    video, audio = units(4, 3, 0, torch.float32)
    with pytest.raises(ValueError, match=r"both be \(B, D\).*\(4, 3\) and \(3, 3\)"):
        info_nce_loss(video, audio[:3])
    with pytest.raises(ValueError, match="temperature must be > 0"):
        sigmoid_loss(video, audio, 0.0)
    with pytest.raises(ValueError, match="must be on one device; got video on cpu, audio on meta"):
        info_nce_loss(video, audio.to("meta"))
    with pytest.raises(ValueError, match="must be on one device"):
        nce_loss(video, audio.to("meta"), 1.0)
    with pytest.raises(ValueError, match="class_prior must be in"):
        debiased_loss(video, audio, class_prior=1.0)
    with pytest.raises(ValueError, match="hardness must be >= 0"):
        hard_negative_loss(video, audio, hardness=-1.0)
    with pytest.raises(ValueError, match="similarity must be"):
        soft_targets(video)
    with pytest.raises(ValueError, match="share must be"):
        soft_targets(video @ audio.T, 1.5)
    with pytest.raises(ValueError, match="spread must be"):
        plausibility_weights(video[:, 0], 0.0, 1.0, spread=0.0)
    with pytest.raises(ValueError, match="floor must be"):
        plausibility_weights(video[:, 0], 0.0, 1.0, floor=2.0)
    eye, one = torch.eye(4), torch.ones(4)
    with pytest.raises(ValueError, match="audio_targets must be"):
        soft_info_nce_loss(video, audio, eye, eye[:3], one)
    with pytest.raises(ValueError, match=r"weights must be \(4,\)"):
        soft_info_nce_loss(video, audio, eye, eye, one[:2])
    with pytest.raises(ValueError, match="not all zero"):
        soft_info_nce_loss(video, audio, eye, eye, 0 * one)

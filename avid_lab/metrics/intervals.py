"""Scores with intervals: the bootstrap over clips, paired between models by drawing the same clips for both.

Source: Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 1979. Test clips are resampled,
so an interval shows how much a score would change with other clips of the same kind. It does not show how much it would
change with another training seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64
from scipy.special import bdtr, stdtrit
from torch import Tensor

RESAMPLES = 1000
_BLOCK = 2**21  # clips drawn at a time


@dataclass(frozen=True, eq=False)
class Estimate:
    """A score with its interval and its baselines.

    Attributes:
        value: The score on the clips themselves.
        resampled: The score on R bootstrap samples of these clips.
        chance: The score of guessing; NaN if not computed.
        random: The score of the same network at random initialisation; NaN if not computed.
        percent: Whether the score is a share, shown in per cent.
    """

    value: float
    resampled: Float[Tensor, " R"]
    chance: float = math.nan
    random: float = math.nan
    percent: bool = True

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return torch.nanquantile(self.resampled, 0.025).item()

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval."""
        return torch.nanquantile(self.resampled, 0.975).item()

    def centred(self) -> Estimate:
        """The same estimate with its resamples centred on the value, so that only their spread counts.

        Use it for scores that resampling itself biases: repeated clips lower a rank and make histograms spikier.
        """
        return replace(self, resampled=self.value + self.resampled - self.resampled.nanmean())

    def __sub__(self, other: Estimate) -> Estimate:
        """The difference of two models on the same clips and the same resamples, so that its interval is paired.

        Raises:
            ValueError: The two have different numbers of resamples.
        """
        if len(self.resampled) != len(other.resampled):
            got = f"{len(self.resampled)} and {len(other.resampled)}"
            raise ValueError(f"a paired difference needs as many resamples on both sides; got {got}")
        return Estimate(self.value - other.value, self.resampled - other.resampled, chance=0.0, percent=self.percent)

    def __repr__(self) -> str:
        scale, unit = (100, " %") if self.percent else (1, "")
        text = f"{scale * self.value:.4g}{unit} [{scale * self.low:.4g}, {scale * self.high:.4g}]"
        beside = {"chance": self.chance, "random": self.random}
        return text + "".join(f", {name} {scale * x:.4g}" for name, x in beside.items() if not math.isnan(x))


def bootstrap(n: int, *, resamples: int = RESAMPLES, seed: int = 0) -> Iterator[Int64[Tensor, "block n"]]:
    """Bootstrap samples of ``n`` clips, in chunks: each row has n clips drawn with replacement.

    Args:
        n: Number of clips.
        resamples: Total number of samples.
        seed: The same seed draws the same clips, which pairs two models.

    Raises:
        ValueError: ``n`` or ``resamples`` is below one.
    """
    if n < 1 or resamples < 1:
        raise ValueError(f"n and resamples must be >= 1; got {n} and {resamples}")
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, resamples, block := max(1, _BLOCK // n)):
        yield torch.randint(n, (min(block, resamples - start), n), generator=generator)


@dataclass(frozen=True)
class Share:
    """A share of clips with Wilson's 95 % interval, which has a width even if all clips or none are right.

    Attributes:
        value: The share.
        low: Lower end of the interval.
        high: Upper end of the interval.
        count: Number of clips.
        chance: The share by guessing; NaN if not known.
        random: The share of the same network at random initialisation; NaN if not known.
    """

    value: float
    low: float
    high: float
    count: int
    chance: float = math.nan
    random: float = math.nan

    def __repr__(self) -> str:
        return f"{100 * self.value:.0f} % [{100 * self.low:.0f}, {100 * self.high:.0f}] of {self.count}"


def share(hits: Bool[Tensor, " N"], *, chance: float = math.nan) -> Share:
    """The share of clips that are right. With few clips its interval is better than the bootstrap's, see `Share`.

    Args:
        hits: Whether each clip is right; the clips are independent of each other.
        chance: The share by guessing.

    Raises:
        ValueError: There are no clips.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.
    """
    if not len(hits):
        raise ValueError("hits must have at least one clip; got none")
    n, p, z2 = len(hits), hits.double().mean().item(), 1.959964**2
    middle = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return Share(p, max(0.0, middle - half), min(1.0, middle + half), n, chance)


def sign_test(won: int, lost: int) -> float:
    """How often a fair coin is at least as one-sided as ``won`` to ``lost``, counting both sides: 1 decides nothing."""
    return min(1.0, 2 * float(bdtr(min(won, lost), won + lost, 0.5)))


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation over seeds; the spread of a single value is NaN."""
    x = torch.tensor(list(values), dtype=torch.float64)
    return x.mean().item(), x.std().item() if len(x) > 1 else math.nan


def mean_and_margin(values: Sequence[float]) -> tuple[float, float]:
    """Mean over seeds, and half of Student's 95 % interval around it; the margin of a single value is NaN."""
    mean, spread = mean_and_spread(values)
    return mean, float(stdtrit(len(values) - 1, 0.975)) * spread / math.sqrt(len(values))


def row_means(values: Float[Tensor, "R N"]) -> Float[Tensor, " R"]:
    """Mean of each resample."""
    return values.mean(1)


def estimate(
    values: Float[Tensor, " N"],
    *,
    chance: float = math.nan,
    statistic: Callable[[Tensor], Tensor] = row_means,
    percent: bool = True,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """A statistic of one value per clip, with its bootstrap interval.

    Args:
        values: One value per clip, such as right or wrong, a rank, or an average precision.
        chance: The score of guessing.
        statistic: Maps (R, N) resampled values to (R,) scores; the mean by default.
        percent: Whether the score is a share.
        resamples: Number of bootstrap samples.
        seed: Seed of the resamples.
    """
    values = values.cpu().double()
    drawn = [statistic(values[rows]) for rows in bootstrap(len(values), resamples=resamples, seed=seed)]
    return Estimate(statistic(values[None]).item(), torch.cat(drawn), chance, percent=percent)


def estimate_weighted(
    statistic: Callable[[Float[Tensor, " N"]], Float[Tensor, " S"]],
    n: int,
    *,
    chance: list[float],
    percent: list[bool],
    resamples: int = 200,
    seed: int = 0,
) -> list[Estimate]:
    """Statistics of *pairs* of clips, with bootstrap intervals over clips: pairs that share a clip are not independent.

    Args:
        statistic: Maps (N,) counts of how often each clip was drawn to S scores; all ones mean no resampling.
        n: Number of clips.
        chance: The score of guessing, for each score.
        percent: Whether each score is a share.
        resamples: Number of bootstrap samples.
        seed: Seed of the resamples.

    Returns:
        S estimates.
    """
    whole = statistic(torch.ones(n, dtype=torch.float64))
    samples = (row for rows in bootstrap(n, resamples=resamples, seed=seed) for row in rows)
    drawn = torch.stack([statistic(row.bincount(minlength=n).double()) for row in samples])
    columns = zip(whole.tolist(), drawn.T, chance, percent, strict=True)
    return [Estimate(value, column, guess, percent=share) for value, column, guess, share in columns]

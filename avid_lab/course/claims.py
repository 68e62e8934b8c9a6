"""Sentences of a notebook that are held to the numbers they speak of.

A cell of a source that is tagged ``claim`` runs when the notebook is published or tested, and no reader gets it::

    # %% tags=["claim"]
    claim("CMA separates pictures better", after.auc - before.auc, above=0.0)
    claim("four in five find the right class", right, between=(0.75, 0.85))
    claim("Cross-AVID wins with every seed", all(cross > other))
"""

from __future__ import annotations

from typing import Any

from avid_lab.config import course_profile


class ClaimError(AssertionError):
    """A sentence that its number does not bear out."""


def claim(
    sentence: str,
    value: Any,
    *,
    above: float | None = None,
    below: float | None = None,
    between: tuple[float, float] | None = None,
) -> None:
    """Check that a sentence of the notebook holds. In the smoke profile nothing is trained, so nothing is checked.

    Args:
        sentence: What the notebook says.
        value: The number that decides, also as an array or tensor with one element. Without a bound, a truth value.
        above: The number must be larger than this.
        below: The number must be smaller than this.
        between: The number must be in this range, ends included.

    Raises:
        ClaimError: The sentence does not hold; the message has the sentence, the number and the bound.
        ValueError: The bounds are empty ranges.
    """
    low, high = between if between is not None else (float("-inf"), float("inf"))
    if low > high:
        raise ValueError(f"between must be (low, high); got {between}")
    number = float(value.item() if hasattr(value, "item") else value)
    rules = {}
    if above is not None:
        rules[f"above {above:g}"] = number > above
    if below is not None:
        rules[f"below {below:g}"] = number < below
    if between is not None:
        rules[f"between {low:g} and {high:g}"] = low <= number <= high
    broken = [rule for rule, holds in (rules or {"true": number == 1}).items() if not holds]
    if broken and course_profile().name != "smoke":
        raise ClaimError(f'"{sentence}": must be {" and ".join(broken)}; got {number:.6g}')

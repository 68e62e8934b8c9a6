"""What the NCE loss does to one embedding: the pull of its positive and the pushes of its negatives, on a map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from avid_lab.interactive.microscope import nce_parts
from avid_lab.plots.chart import Line, segments
from avid_lab.plots.style import AUDIO, VIDEO

SHOWN = 8  # pushes drawn
REACH = 0.3  # of the map's width: the longest arrow


@dataclass(frozen=True)
class Forces:
    """Minus the gradient of one query's loss, taken apart and laid on a map. All of it is tangential to the sphere.

    Attributes:
        pull: (2,) of the positive.
        push: (M, 2) of the strongest negatives.
        total: (2,) of the positive and all negatives.
        clips: (M,) which negatives these are.
        strength: (M,) their share of the push, the probability that they are taken for real ones.
        attraction: The same of the positive: one minus its probability.
    """

    pull: Float[np.ndarray, " 2"]
    push: Float[np.ndarray, "M 2"]
    total: Float[np.ndarray, " 2"]
    clips: Int[np.ndarray, " M"]
    strength: Float[np.ndarray, " M"]
    attraction: float


def forces(
    query: Float[np.ndarray, "N D"],
    answers: Float[np.ndarray, "N D"],
    points: Float[np.ndarray, "N 2"],
    clip: int,
    temperature: float | int,
) -> Forces:
    """The forces on ``query[clip]``, with all other answers as negatives and Z estimated from them.

    Args:
        query: Unit embeddings of the modality that asks.
        answers: Unit embeddings of the modality that answers.
        points: The map of ``query``, linear in it.
        clip: Which one.
        temperature: Divides similarities.
    """
    others = np.delete(np.arange(len(query)), clip)
    order = np.append(clip, others)
    similarity = (answers[order] @ query[clip]).astype(float)
    scores = similarity[1:] / temperature
    z = float(np.exp(np.logaddexp.reduce(scores) - np.log(len(scores))))
    parts = nce_parts(similarity, temperature, z)
    tangential = answers[order] - similarity[:, None] * query[clip]
    onto, *_ = np.linalg.lstsq(query - query.mean(axis=0), points - points.mean(axis=0), rcond=None)  # (D, 2)
    each = -(parts.gradient[:, None] / temperature) * (tangential @ onto)  # (N, 2)
    strongest = 1 + np.argsort(-parts.probability[1:], kind="stable")[:SHOWN]
    strength = parts.probability[strongest]
    return Forces(each[0], each[strongest], each.sum(axis=0), order[strongest], strength, float(-parts.gradient[0]))


def arrows(found: Forces, start: Float[np.ndarray, " 2"], width: float) -> list[Line]:
    """The forces as arrows: pull, pushes and their sum, which is that of all negatives, not only of those drawn.

    Args:
        found: The forces.
        start: Where they act.
        width: Of the map.
    """
    longest = max(np.linalg.norm(one) for one in (found.pull, found.total, *found.push))
    scale = REACH * width / max(float(longest), 1e-12)
    kinds = (
        (found.push, AUDIO, "push of a negative", 1.3),
        (found.pull[None], VIDEO, "pull of the positive", 2.2),
        (found.total[None], "ink", "their sum, over all negatives", 2.2),
    )
    return [_arrow(start, scale * vectors, colour, name, wide) for vectors, colour, name, wide in kinds]


def _arrow(start: np.ndarray, vectors: np.ndarray, colour: str, name: str, width: float) -> Line:
    """Shafts and heads as one interrupted line."""
    tips = start + vectors  # (n, 2)
    turn = np.array([[-0.85, -0.35], [0.35, -0.85]])  # by about 158 degrees
    heads = [tips + 0.14 * vectors @ side for side in (turn, turn.T)]
    ends = [(np.broadcast_to(start, tips.shape), tips), *((head, tips) for head in heads)]
    x, y = (np.concatenate([segments(one[:, axis], other[:, axis]) for one, other in ends]) for axis in (0, 1))
    return Line(x, y, colour, name, legend=name, width=width)

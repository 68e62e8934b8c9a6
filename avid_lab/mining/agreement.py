"""Agreement of two instances: a rule that combines two similarities into one number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

GRID = 257  # places at which `Agreement.edge` looks for the edge of a rule


@dataclass(frozen=True)
class Agreement:
    """A rule of agreement. A new one is one more entry in `RULES`.

    Attributes:
        name: Name of the rule.
        formula: How it is computed, for labels.
        combine: ``combine(video, audio, out=None)``: agreement of similarities of equal shape, element by element.
            It never falls when either similarity rises. With ``out``, which may be ``video``, the result goes there.
        searches: Rows that approximate mining searches for candidates: "video", "audio" or "both" side by side.
        kernel: Its number in `avid_lab.kernels.peaks`; None where the kernel does not know it.
    """

    name: str
    formula: str
    combine: Callable[..., Tensor]
    searches: tuple[str, ...] = ("both",)
    kernel: int | None = None

    def edge(self, at: float, view: Sequence[float]) -> Float[np.ndarray, "M 2"]:
        """Where the agreement equals ``at`` in a plane of video (x) and audio (y) similarity.

        Args:
            at: The agreement.
            view: Left, right, bottom and top of the plane.

        Returns:
            Corners of the line, from its upper left to its lower right end; none if it lies outside the view.
        """
        left, right, bottom, top = view
        x = torch.from_numpy(np.union1d(np.linspace(left, right, GRID), [at] if left < at < right else []))
        low, high = torch.full_like(x, bottom), torch.full_like(x, top)
        never, always = self.combine(x, high) < at, self.combine(x, low) >= at
        for _ in range(44):  # bisection: the agreement never falls with y
            middle = (low + high) / 2
            enough = self.combine(x, middle) >= at
            low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
        crossed = ~never & ~always
        line = torch.stack([x, high], 1)[crossed].tolist()
        if never.any() and not never.all():  # it comes in from the top
            line.insert(0, [float(x[~never][0]), top])
        if always.any() and not always.all():  # it leaves through the bottom
            down = float(x[always][0])
            line += [[down, line[-1][1]], [down, bottom]]
        return _corners(np.array(line).reshape(-1, 2))

    def region(self, at: float, view: Sequence[float]) -> Float[np.ndarray, "M 2"]:
        """The outline of where the agreement is at least ``at``: `edge`, and the corners of the view beyond it."""
        left, right, bottom, top = view
        edge = self.edge(at, view)
        corners = np.array([[right, bottom], [right, top], [left, top], [left, bottom]], dtype=float)
        reached = self.combine(*torch.from_numpy(corners.T)).numpy() >= at
        return np.concatenate([edge, corners[reached]])


def _corners(line: np.ndarray) -> np.ndarray:
    """A line without the points that lie straight between their neighbours."""
    line = line[np.append(True, np.abs(np.diff(line, axis=0)).max(axis=1) > 1e-9)] if len(line) else line
    way = np.diff(line, axis=0)
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    turns = np.abs(way[:-1, 0] * way[1:, 1] - way[:-1, 1] * way[1:, 0]) > 1e-6
    return line[[True, *turns, True]] if len(line) > 2 else line


def _video(video: Tensor, audio: Tensor, *, out: Tensor | None = None) -> Tensor:
    return video if out is None else out.copy_(video)


def _audio(video: Tensor, audio: Tensor, *, out: Tensor | None = None) -> Tensor:
    return audio if out is None else out.copy_(audio)


RULES = (
    Agreement("consensus", "min(video, audio)", torch.minimum, kernel=0),
    Agreement("union", "max(video, audio)", torch.maximum, searches=("video", "audio"), kernel=1),
    Agreement("video", "video", _video, searches=("video",), kernel=2),
    Agreement("audio", "audio", _audio, searches=("audio",), kernel=3),
)
AGREEMENTS: dict[str, Agreement] = {rule.name: rule for rule in RULES}


def agreement_named(agreement: str | Agreement) -> Agreement:
    """The rule of that name; a rule of your own as it is.

    Raises:
        ValueError: No rule has this name.
    """
    if isinstance(agreement, Agreement):
        return agreement
    if agreement not in AGREEMENTS:
        raise ValueError(f"agreement must be one of {', '.join(AGREEMENTS)}; got {agreement!r}")
    return AGREEMENTS[agreement]


def agreement_scores(
    video_queries: Float[Tensor, "Q D"],
    audio_queries: Float[Tensor, "Q D"],
    video: Float[Tensor, "N D"],
    audio: Float[Tensor, "N D"],
    agreement: str | Agreement = "consensus",
) -> Float[Tensor, "Q N"]:
    """Agreement of every query with every instance.

    Args:
        video_queries: Unit video embeddings of the queries.
        audio_queries: Unit audio embeddings of the same queries.
        video: Unit video embeddings of the instances.
        audio: Unit audio embeddings of the same instances.
        agreement: "consensus" (both must agree), "union" (either), "video" or "audio" (one alone), or an `Agreement`.

    Raises:
        ValueError: The agreement is unknown, or the shapes or devices do not fit.
    """
    combine = agreement_named(agreement).combine
    check_memories(video_queries, audio_queries, "video_queries", "audio_queries", "(Q, D)")
    check_memories(video, audio)
    if video_queries.shape[1] != video.shape[1] or video_queries.device != video.device:
        got = [f"{tuple(x.shape)} on {x.device}" for x in (video_queries, video)]
        raise ValueError(f"queries and instances must share D and the device; got {got[0]} and {got[1]}")
    return combine(video_queries @ video.T, audio_queries @ audio.T)


def check_memories(
    video: Tensor, audio: Tensor, video_name: str = "video", audio_name: str = "audio", shape: str = "(N, D)"
) -> None:
    """Raises ValueError unless both are matrices of one shape on one device."""
    if video.ndim != 2 or video.shape != audio.shape or 0 in video.shape or video.device != audio.device:
        got = f"{tuple(video.shape)} on {video.device} and {tuple(audio.shape)} on {audio.device}"
        raise ValueError(f"{video_name} and {audio_name} must both be {shape} on one device; got {got}")

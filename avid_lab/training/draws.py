"""Random numbers of a run that depend only on its seed and on what they are for, not on what was drawn before."""

from __future__ import annotations

import hashlib

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from avid_lab.datasets import Manifest
from avid_lab.datasets.shards import pass_order


def generator_for(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator for one purpose, such as the augmentation of one part of one step."""
    digest = hashlib.blake2b(repr((seed, *purpose)).encode(), digest_size=4).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little"))


class Order:
    """Which clips each step takes, and where in them: every pass over the clips has a random order of its own.

    A pass ends when too few clips are left for a batch.

    Args:
        manifest: The clips.
        size: Clips of a batch.
        parts: Parts of a batch; they matter for clips in shards only (see `pass_order`).
        seed: Of the run.
    """

    def __init__(self, manifest: Manifest, size: int, parts: int, seed: int) -> None:
        self.manifest, self.size, self.parts, self.seed = manifest, size, parts, seed
        self._turn, self._clips = 0, self._order(0)
        self.steps = len(self._clips) // size  # of a pass

    def batch(self, step: int) -> tuple[Int64[Tensor, "B"], Float64[Tensor, "B 2"]]:
        """The clips of a step, counted from 0, and what places a window in each (see `ClipDataset.at`)."""
        turn, place = divmod(step, self.steps)
        if turn != self._turn:
            self._turn, self._clips = turn, self._order(turn)
        draws = torch.rand(self.size, 2, dtype=torch.float64, generator=generator_for(self.seed, "windows", step))
        return self._clips[place * self.size : (place + 1) * self.size], draws

    def _order(self, turn: int) -> Tensor:
        return pass_order(self.manifest, self.size, self.parts, generator_for(self.seed, "order", turn))

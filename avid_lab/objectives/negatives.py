"""Drawing negatives."""

from __future__ import annotations

import torch
from jaxtyping import Int64
from torch import Tensor


def draw_negatives(
    excluded: Int64[Tensor, "B E"], num_instances: int, count: int, generator: torch.Generator | None = None
) -> Int64[Tensor, "B count"]:
    """Draw instances uniformly, with replacement, from all but the excluded instances of each row.

    A uniform number r below N - E becomes the r-th allowed instance: it moves up by one for every excluded instance at
    or below it.

    Args:
        excluded: Instances that row b may not draw, all different: the query itself, and its positives.
        num_instances: N.
        count: K, draws per row.
        generator: A CPU generator; ``None`` uses the global one.

    Raises:
        ValueError: No instance is left, an excluded instance does not exist, or a row excludes one twice.
    """
    allowed = num_instances - excluded.shape[1]
    if allowed < 1:
        rule = f"negatives need an instance that is not excluded; got N = {num_instances}, {excluded.shape[1]} excluded"
        raise ValueError(f"{rule}. Use fewer positives or more clips.")
    if count < 1:
        raise ValueError(f"count must be >= 1 negative per query; got {count}")
    draw = torch.randint(allowed, (len(excluded), count), generator=generator).to(excluded.device)
    ordered = excluded.sort(dim=1).values
    if ordered.device.type == "cpu" and ordered.numel():
        if not 0 <= int(ordered.min()) <= int(ordered.max()) < num_instances:
            got = f"{int(ordered.min())} to {int(ordered.max())}"
            raise ValueError(f"excluded must lie in [0, {num_instances}); got values from {got}")
        if (ordered[:, 1:] == ordered[:, :-1]).any():
            raise ValueError(
                "excluded must have different instances in each row; got one twice (a query among its positives?)"
            )
    below = ordered - torch.arange(excluded.shape[1], device=excluded.device)  # allowed instances below each excluded
    return draw + torch.searchsorted(below, draw, right=True)

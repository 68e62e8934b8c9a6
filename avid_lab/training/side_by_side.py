"""A training step on a CPU in two threads: one takes the pictures, the other the sounds and the next batch.

Torch spreads single operations over its threads, which gains next to nothing on small networks. Here each of two
threads computes on half of torch's threads. The results equal, to the bit, those of one thread that has as many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.dropout import _DropoutNd  # pyright: ignore[reportPrivateUsage]

from avid_lab.encoders import AudioVisualModel


def separable(model: AudioVisualModel) -> bool:
    """Whether two threads may embed at once: there are two, no code surrounds both encoders, and none draws numbers."""
    plain = getattr(model.forward, "__func__", None) is AudioVisualModel.forward
    hooks = (model._forward_hooks, model._forward_pre_hooks, model._backward_hooks, model._backward_pre_hooks)
    random = any(isinstance(module, _DropoutNd) for module in model.modules())
    return torch.get_num_threads() > 1 and plain and not any(hooks) and not random


@contextmanager
def side_by_side(model: AudioVisualModel, meanwhile: Callable[[Executor], None]) -> Iterator[SideBySide]:
    """A second thread for one step; it has ended when the block ends, also by an error.

    Args:
        model: Embeds.
        meanwhile: Called when the second thread has its first task; it may submit more, for the time until the
            backward pass.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(threads // 2)
    try:
        with ThreadPoolExecutor(1, "second half of a step", torch.set_num_threads, (threads // 2,)) as second:
            yield SideBySide(model, second, meanwhile)
    finally:
        torch.set_num_threads(threads)


class SideBySide:
    """Embeds as the model does, sounds in a second thread; so does the backward pass."""

    def __init__(self, model: AudioVisualModel, second: Executor, meanwhile: Callable[[Executor], None]) -> None:
        self.model, self.second, self.meanwhile = model, second, meanwhile
        self._anchor = torch.empty(0, requires_grad=True)  # autograd calls only functions of something that needs it

    def __call__(self, video: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Both embeddings."""
        half = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")  # a setting of each thread
        heard = self.second.submit(self._hear, audio, *half)
        self.meanwhile(self.second)
        try:
            seen = self.model.embed_video(video)
        finally:
            wait([heard])  # nothing works on behind an error
        return _Both.apply(self._anchor, self.second, [seen, heard.result()])  # pyright: ignore[reportReturnType]

    def _hear(self, audio: Tensor, half: bool, dtype: torch.dtype) -> Tensor:
        with torch.autocast("cpu", dtype, enabled=half):
            return self.model.embed_audio(audio)


class _Both(torch.autograd.Function):
    """Two graphs as one step of autograd, whose backward pass goes through both at once."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, second: Executor, graphs: list[Tensor]) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.second, ctx.graphs = second, graphs
        made = tuple(graph.detach() for graph in graphs)
        ctx.mark_non_differentiable(*[x for x, graph in zip(made, graphs, strict=True) if not graph.requires_grad])
        return made

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[None, None, None]:
        (seen, heard), (of_seen, of_heard) = ctx.graphs, gradients
        others = [] if of_heard is None else [ctx.second.submit(heard.backward, of_heard)]
        try:
            if of_seen is not None:
                seen.backward(of_seen)
        finally:
            wait(others)
        for other in others:
            other.result()
        return None, None, None

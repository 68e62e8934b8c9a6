"""Losses for a running training: find a loss's kind, try it on a batch, install it; and a gallery of losses.

A *score loss* takes (B, P) scores of positives, (B, K) scores of negatives and Z; a *batch loss* takes (B, D) video
embeddings, (B, D) audio embeddings and the temperature. The name of the first argument decides: ``video`` or ``v`` is a
batch loss, anything else a score loss.
"""

from __future__ import annotations

import copy
import inspect
import threading
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avid_lab import losses
from avid_lab.encoders import AudioVisualModel
from avid_lab.limits import OutOfTime, end
from avid_lab.objectives import AVID, InBatch, Objective, name_of
from avid_lab.training import Trainer

Loss = Callable[..., Tensor]
SLOW_S = 0.25  # a loss may always compute this long
WAITS = 10  # times as long may pass until it returns: the machine may be busy, but the loss must not wait


class LossRefused(ValueError):
    """A loss cannot train; the message has the problem and the fix."""


def takes_embeddings(loss: Loss) -> bool:
    """Whether this is a batch loss."""
    try:
        first = next(iter(inspect.signature(loss).parameters), "")
    except ValueError:  # a builtin without a signature
        return False
    return first.lower() in ("video", "v", "video_embedding", "video_embeddings", "z_v", "zv")


def objective_for(loss: Loss, objective: Objective | InBatch) -> Objective | InBatch:
    """The objective itself if it takes losses of this kind, else one that does, with the same memory."""
    if takes_embeddings(loss) == isinstance(objective, InBatch):
        return objective
    memory, temperature = objective.memory, objective.temperature
    count, dim = memory.video.shape
    if isinstance(objective, Objective):
        other: Objective | InBatch = InBatch(count, dim, loss, temperature=temperature)
    else:
        generator = objective.generator or torch.Generator().manual_seed(0)
        negatives = min(512, count)
        other = AVID(count, dim, temperature=temperature, num_negatives=negatives, generator=generator, loss=loss)
    other.to(memory.video.device).memory = memory
    return other


def set_loss(trainer: Trainer, loss: Loss) -> None:
    """Have the next step minimise this loss. Call it between steps."""
    put(trainer, objective_for(loss, trainer.objective), loss)


def put(trainer: Trainer, objective: Objective | InBatch, loss: Loss) -> None:
    """Give a training this objective with this loss."""
    if isinstance(old := trainer.objective.loss, ForgotToNormalise):
        old.stop_listening()
    objective.loss = loss
    trainer.objective = objective
    if isinstance(loss, ForgotToNormalise):
        loss.listen_to(trainer.model)


def vet(loss: Loss, trainer: Trainer, *, seconds_per_step: float = 0.0) -> None:
    """Try a loss on one batch of random embeddings; the training does not notice.

    Args:
        loss: A score loss or a batch loss.
        trainer: Its objective, batch size and device are used; nothing in it changes.
        seconds_per_step: What a step takes; a loss may compute twice as long, and always ``SLOW_S``.

    Raises:
        LossRefused: It raises, does not return one finite number, has no gradient, is too slow, or does not return.
    """
    if not callable(loss):
        raise LossRefused(f"loss must be a function; got {type(loss).__name__}. Assign it without calling it.")
    present = trainer.objective
    trial = objective_for(loss, copy.deepcopy(present, {id(present.loss): present.loss}))
    trial.loss = loss
    generator = torch.Generator().manual_seed(0)
    size, dim = trainer.config.batch_size, trial.memory.video.shape[1]
    index = torch.randperm(len(trial.memory), generator=generator)[:size].to(trainer.device)
    video, audio = (
        F.normalize(torch.randn(len(index), dim, generator=generator), dim=1).to(trainer.device).requires_grad_()
        for _ in range(2)
    )
    what = (
        f"video and audio of shape ({size}, {dim})"
        if isinstance(trial, InBatch)
        else f"positive_scores ({size}, P), negative_scores ({size}, {trial.num_negatives}) and Z"
    )
    name, limit_s = name_of(loss), max(SLOW_S, 2 * seconds_per_step)

    def attempt() -> float:
        begun = time.thread_time()  # of this thread: a busy machine makes no loss slow
        output = _loss_of(trial, video, audio, index, name)
        _check_value(output, name, what)
        for side, gradient in zip(
            ("video", "audio"), torch.autograd.grad(output, (video, audio), allow_unused=True), strict=True
        ):
            _check_gradient(gradient, side, name)
        return time.thread_time() - begun

    try:
        took_s = _within(WAITS * limit_s, attempt)
    except LossRefused:
        raise
    except OutOfTime as error:
        fix = "Let it compute only, without waiting, input or endless loops."
        raise LossRefused(f"{name} did not return within {WAITS * limit_s:.1f} s. {fix}") from error
    except BaseException as error:  # a call of sys.exit, too
        raise LossRefused(f"{name} raised {type(error).__name__}: {error}. It was given {what}.") from error
    if took_s > limit_s:
        fix = "Replace loops over the batch by tensor operations."
        raise LossRefused(f"{name} took {took_s:.2f} s for one batch; the limit is {limit_s:.2f} s. {fix}")


def _within(limit_s: float, function: Callable[[], float]) -> float:
    """The result of a function that may block for ever: it has a thread of its own, which is then left behind."""
    results: list[float] = []
    problems: list[BaseException] = []

    def work() -> None:
        try:
            results.append(function())
        except BaseException as error:  # raised in the caller
            problems.append(error)

    thread = threading.Thread(target=work, name="avid-lab trial", daemon=True)
    thread.start()
    thread.join(limit_s)
    if thread.is_alive():
        threading.Thread(target=end, args=(thread,), daemon=True).start()
        raise OutOfTime
    if problems:
        raise problems[0]
    return results[0]


def _loss_of(trial: Objective | InBatch, video: Tensor, audio: Tensor, index: Tensor, name: str) -> Tensor:
    """The objective's loss; what the function returned is looked at before the objective combines it."""
    inner = trial.loss

    def checked(*arguments: Any) -> Tensor:
        value = inner(*arguments)
        if not isinstance(value, Tensor):
            fix = "Leave out .item(), float() and numpy."
            raise LossRefused(f"{name} must return a tensor with a gradient; got {type(value).__name__}. {fix}")
        if value.numel() != 1:
            fix = "Take its .mean()."
            raise LossRefused(f"{name} must return one number; got a tensor of shape {tuple(value.shape)}. {fix}")
        return value.reshape(())

    trial.loss = checked
    return trial(video, audio, index).loss


def _check_value(value: Tensor, name: str, what: str) -> None:
    if not value.isfinite():
        fix = "A logarithm of zero, an exponential that overflows, or a division by zero?"
        raise LossRefused(f"{name} must return a finite number; got {value.item()} from {what}. {fix}")
    if not value.requires_grad:
        fix = "Something in it is detached: .detach(), .item(), numpy, argmax or no_grad."
        raise LossRefused(f"{name} lets no gradient through. {fix}")


def _check_gradient(gradient: Tensor | None, side: str, name: str) -> None:
    if gradient is None or not gradient.any():
        fix = "Use both, and detach nothing; a comparison or a maximum over constants has no slope."
        raise LossRefused(f"{name} lets no gradient through to the {side} embeddings. {fix}")
    if not gradient.isfinite().all():
        fix = "A square root or norm at zero, or an overflow?"
        raise LossRefused(f"{name} has a finite value, but its gradient is not finite. {fix}")


# Starting points: two that learn well, two that learn differently, two that teach by failing.


def triplet(positive_scores: Tensor, negative_scores: Tensor, partition: Tensor) -> Tensor:
    """Each negative should score lower than the positive by a margin: 3, which is 0.2 of similarity at T = 0.07."""
    return F.relu(3.0 + negative_scores - positive_scores.mean(1, keepdim=True)).mean()


def no_negatives(positive_scores: Tensor, negative_scores: Tensor, partition: Tensor) -> Tensor:
    """Only pull together what belongs together. What is the simplest way to do that perfectly?"""
    return -positive_scores.mean()


class ForgotToNormalise:
    """InfoNCE of embeddings without normalisation: long vectors win, and scores diverge."""

    __name__ = "forgot_to_normalise"

    def __init__(self) -> None:
        self.raw: dict[str, Tensor] = {}
        self._hooks: list[Any] = []

    def listen_to(self, model: AudioVisualModel) -> None:
        """Catch what the model's heads give before it is normalised."""
        self.stop_listening()
        heads = (("video", model.video_head), ("audio", model.audio_head))
        self._hooks = [head.register_forward_hook(_Catch(self.raw, side)) for side, head in heads]

    def stop_listening(self) -> None:
        """Remove the hooks from the model's heads."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self.raw.clear()

    def __call__(self, video: Tensor, audio: Tensor, temperature: float) -> Tensor:
        """The loss of a batch."""
        video, audio = self.raw.pop("video", video), self.raw.pop("audio", audio)
        scores = video.float() @ audio.float().T / temperature  # (B, B)
        target = torch.arange(len(scores), device=scores.device)
        return (F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)) / 2


class _Catch:
    """A forward hook that can be copied with its model, unlike a closure."""

    def __init__(self, raw: dict[str, Tensor], side: str) -> None:
        self.raw, self.side = raw, side

    def __call__(self, module: nn.Module, _: Any, output: Tensor) -> None:
        if module.training:
            self.raw[self.side] = output


GALLERY: dict[str, Callable[[], Loss]] = {
    "NCE": lambda: losses.nce_loss,
    "InfoNCE": lambda: losses.nce_softmax_loss,
    "InfoNCE, in batch": lambda: losses.info_nce_loss,
    "SigLIP": lambda: losses.sigmoid_loss,
    "triplet": lambda: triplet,
    "forgot to normalise": ForgotToNormalise,
    "no negatives": lambda: no_negatives,
}


def gallery_losses() -> dict[str, Loss]:
    """The gallery by the names of its functions, as a state string remembers them."""
    return {name_of(loss): loss for loss in (make() for make in GALLERY.values())}

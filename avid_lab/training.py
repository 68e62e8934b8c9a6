"""The training loop as an iterator: the caller owns the loop, the trainer owns a step.

    for step in Trainer(model, objective, clips, TrainConfig(steps=600)):
        print(step.index, step.loss)

Leaving the loop pauses the run; iterating again goes on where it stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from avid_lab.config import Profile, TrainConfig
from avid_lab.datasets import ClipDataset
from avid_lab.encoders import AudioVisualModel
from avid_lab.objectives import AVID, InBatch, Objective
from avid_lab.transforms import InputPipeline


@dataclass(frozen=True)
class Step:
    """What one optimiser step reports.

    Attributes:
        index: Which step, from 1.
        total: Steps of the whole run.
        epoch: Passes over the clips so far, as a fraction.
        loss: The objective's loss.
        terms: Its terms by name, unweighted.
        learning_rate: Used in this step.
        seconds: Wall time of the step.
        clips_per_s: Batch size / seconds.
    """

    index: int
    total: int
    epoch: float
    loss: float
    terms: dict[str, float]
    learning_rate: float
    seconds: float
    clips_per_s: float


class Trainer:
    """Trains a model with an objective on clips, one step at a time.

    A step draws a batch, augments it, embeds it, asks the objective for its loss, moves the weights, and then, visibly,
    the memory. All randomness comes from one generator seeded by ``config.seed``, the objective's own apart.

    Args:
        model: Two encoders; moved to the device and trained in place.
        objective: `AVID`, `CMA`, `QueueAVID` or `InBatch`; moved to the device.
        clips: The instances; their number must be the objective's.
        config: Steps, batch size, learning rate, seed, device.
        pipeline: Makes tensors of clips; ``None`` fits a new one to these clips.

    Attributes:
        history: Every `Step` so far.

    Raises:
        ValueError: The objective was made for another number of instances, or a batch is larger than the data.
    """

    def __init__(
        self,
        model: AudioVisualModel,
        objective: Objective | InBatch,
        clips: ClipDataset,
        config: TrainConfig | None = None,
        *,
        pipeline: InputPipeline | None = None,
    ) -> None:
        self.config = config = config or TrainConfig()
        if len(objective.memory) != len(clips):
            got = f"the objective remembers {len(objective.memory)}, there are {len(clips)} clips"
            raise ValueError(f"objective needs one memory per clip; {got}. Build it with num_instances={len(clips)}.")
        if config.batch_size > len(clips):
            raise ValueError(f"batch_size must be at most the {len(clips)} clips; got {config.batch_size}")
        self.device = resolve_device(config.device)
        self.model = model.to(self.device)
        self.model.video_encoder.to(memory_format=torch.channels_last_3d)  # 2-D kernels then run without copies
        self.model.audio_encoder.to(memory_format=torch.channels_last)
        self.objective = objective.to(self.device)
        self.clips = clips
        self.pipeline = (pipeline or InputPipeline(clips.video, clips.audio).fit(clips)).to(self.device)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.history: list[Step] = []
        self.steps_done = 0
        self._order = torch.empty(0, dtype=torch.int64)  # instances left of this pass over the clips

    def __len__(self) -> int:
        """Steps of the whole run."""
        return self.config.steps

    def __iter__(self) -> Iterator[Step]:
        """Yield the steps that remain."""
        while self.steps_done < self.config.steps:
            yield self.step()

    def step(self) -> Step:
        """Do one step, also beyond the planned number.

        Raises:
            FloatingPointError: The loss is not finite; weights and memory are those of the last good step.
        """
        begun = time.perf_counter()
        rate = self.config.learning_rate * one_cycle(self.steps_done, self.config.steps, self.config.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate

        batch = self.clips.batch(self._next_index(), self.generator)
        batch = {name: value.to(self.device) for name, value in batch.items()}
        self.model.train()
        self.pipeline.train()
        video, audio = self.pipeline(batch, generator=self.generator)
        video_embedding, audio_embedding = self.model(video, audio)
        output = self.objective(video_embedding, audio_embedding, batch["index"])
        loss = output.loss.item()
        if not math.isfinite(loss):
            bad = [name for name, value in output.terms.items() if not value.isfinite()]
            raise FloatingPointError(
                f"loss is {loss} at step {self.steps_done + 1} (terms {', '.join(bad) or 'finite, their sum not'}). "
                "Lower learning_rate or raise temperature; nothing was updated."
            )
        self.optimizer.zero_grad(set_to_none=True)
        output.loss.backward()
        self.optimizer.step()
        self.objective.memory.update(batch["index"], video_embedding, audio_embedding)

        self.steps_done += 1
        seconds = time.perf_counter() - begun
        done = Step(
            index=self.steps_done,
            total=self.config.steps,
            epoch=self.steps_done * self.config.batch_size / len(self.clips),
            loss=loss,
            terms={name: value.item() for name, value in output.terms.items()},
            learning_rate=rate,
            seconds=seconds,
            clips_per_s=self.config.batch_size / seconds,
        )
        self.history.append(done)
        return done

    def state_dict(self) -> dict[str, Any]:
        """Everything that a later step depends on, as tensors and plain values."""
        objective_rng = self.objective.generator
        return {
            "model": self.model.state_dict(),
            "objective": self.objective.state_dict(),
            "pipeline": self.pipeline.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "steps_done": self.steps_done,
            "order": self._order,
            "generator": self.generator.get_state(),
            "objective_generator": None if objective_rng is None else objective_rng.get_state(),
            "global_rng": torch.get_rng_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a saved state; the next step is then the one that would have followed it."""
        self.model.load_state_dict(state["model"])
        self.objective.load_state_dict(state["objective"])
        self.pipeline.load_state_dict(state["pipeline"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps_done = state["steps_done"]
        self._order = state["order"].cpu()
        self.generator.set_state(state["generator"].cpu())
        if self.objective.generator is not None and state["objective_generator"] is not None:
            self.objective.generator.set_state(state["objective_generator"].cpu())
        torch.set_rng_state(state["global_rng"].cpu())

    def _next_index(self) -> Tensor:
        """The next batch of a random order over all clips; a new order begins when too few are left."""
        size = self.config.batch_size
        if len(self._order) < size:
            self._order = torch.randperm(len(self.clips), generator=self.generator)
        index, self._order = self._order[:size], self._order[size:]
        return index


def avid_trainer(
    clips: ClipDataset, profile: Profile, *, cross: float = 1.0, within: float = 0.0, seed: int | None = None
) -> Trainer:
    """A new model and a new AVID objective, ready to train as a profile says.

    Args:
        clips: The instances.
        profile: Model preset, training settings, number of negatives.
        cross: Weight of the cross-modal terms.
        within: Weight of the within-modal terms.
        seed: Of weights, memory, negatives and batches; ``None`` takes the profile's.
    """
    seed = profile.train.seed if seed is None else seed
    model = AudioVisualModel.preset(profile.model, seed=seed)
    objective = AVID(
        len(clips),
        model.config.dim,
        cross=cross,
        within=within,
        num_negatives=profile.num_negatives,
        generator=torch.Generator().manual_seed(seed),
    )
    return Trainer(model, objective, clips, replace(profile.train, seed=seed))


def one_cycle(done: int, total: int, warmup: float) -> float:
    """Factor of the peak learning rate: a linear rise over ``warmup * total`` steps, then half a cosine to zero."""
    rise = warmup * total
    if done < rise:
        return (done + 1) / (rise + 1)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (done - rise) / max(1.0, total - rise))))


def resolve_device(name: str) -> torch.device:
    """Turn "auto" into CUDA where there is one, else the CPU; any other name is taken as it is."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)

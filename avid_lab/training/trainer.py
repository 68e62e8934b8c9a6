"""`Trainer`: runs the paper's algorithm step by step."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from avid_lab.config import PRESETS, Profile, TrainConfig
from avid_lab.datasets import ClipDataset
from avid_lab.datasets.shards import pass_order
from avid_lab.encoders import AudioVisualModel
from avid_lab.objectives import AVID, CMA, InBatch, Objective, ObjectiveOutput
from avid_lab.processes import average, local_rank, processes, rank, share
from avid_lab.training.memory import fitted
from avid_lab.training.schedule import rate_factor
from avid_lab.training.step import Step, Stopwatch
from avid_lab.transforms import InputPipeline


@dataclass(frozen=True)
class Part:
    """The clips of a batch that are embedded together, and where their random numbers come from.

    Attributes:
        index: Instances.
        seed: Of windows, augmentation and negatives of this part; None: the run's own generators.
    """

    index: Tensor
    seed: int | None = None


@dataclass(frozen=True)
class Embedded:
    """A part's embeddings and the objective's output for them."""

    index: Tensor
    video: Tensor
    audio: Tensor
    output: ObjectiveOutput


class Trainer:
    """Trains a model with an objective on clips, one step at a time.

    A step draws a batch, augments it, embeds it, computes the objective's loss, updates the weights, and then, visibly,
    the memory. All random numbers come from one generator seeded by ``config.seed``, except the objective's own.

    Several processes (see `process_group`) share every batch; each holds the whole model and memory. Gradients are
    averaged (DistributedDataParallel), memories take the embeddings of all, and all use one partition constant. A batch
    then has ``processes * config.accumulate`` parts, each with its own random numbers, so the run depends on the number
    of parts and not on how many processes share them. Batch norm sees one part, and its running averages are those of
    the first process; on GPUs it sees the parts of all processes at once (SyncBatchNorm).

    Args:
        model: Two encoders; moved to the device and trained in place.
        objective: `AVID`, `CMA`, `QueueAVID` or `InBatch`; moved to the device. Its settings (term weights,
            temperature, number of negatives, loss, momentum of the memory) may be changed between steps.
        clips: The instances; their number must be the objective's.
        config: Steps, batch size, learning rate, seed, device, and more.
        pipeline: Turns clips into network inputs; ``None`` fits a new one to these clips.

    Attributes:
        history: Every `Step` so far.
        learning_rate_scale: Multiplies the scheduled learning rate from the next step on.
        ema: The model with averaged weights, if ``config.ema`` asks for it.

    Raises:
        ValueError: The objective was made for another number of instances, or a batch is larger than the data or
            cannot be split evenly.
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
        _check(objective, clips, config)
        self.device = resolve_device(config.device)
        self.model = model.to(self.device)
        self.model.video_encoder.to(memory_format=torch.channels_last_3d)  # then 2-D kernels run without copies
        self.model.audio_encoder.to(memory_format=torch.channels_last)
        self.objective = objective.to(self.device)
        self.clips = clips
        self.pipeline = (pipeline or InputPipeline(clips.video, clips.audio).fit(clips)).to(self.device)
        self.generator = torch.Generator().manual_seed(config.seed)
        share([*self.objective.buffers(), *self.pipeline.buffers()])
        if processes() > 1 and self.device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(self.model)
        if config.compile:
            self.model.compile()
        # Starts all processes with the weights of the first, and averages gradients while they are computed.
        self._embed = DistributedDataParallel(self.model) if processes() > 1 else self.model
        self.ema = copy.deepcopy(self.model).requires_grad_(False) if config.ema is not None else None
        rule = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
        self.optimizer = rule(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        self.history: list[Step] = []
        self.steps_done = 0
        self.learning_rate_scale = 1.0
        self.objective_settings = self.objective.settings()  # at the start of the run: a resumed run must have the same
        self._order = torch.empty(0, dtype=torch.int64)  # instances left of this pass over the clips

    def __len__(self) -> int:
        """Steps of the whole run."""
        return self.config.steps

    def __iter__(self) -> Iterator[Step]:
        """Yield the steps that remain."""
        while self.steps_done < self.config.steps:
            yield self.step()

    @property
    def epoch(self) -> float:
        """Passes over the clips so far."""
        return self.steps_done * self.config.batch_size / len(self.clips)

    def step(self) -> Step:
        """Do one step, even beyond the planned number.

        Raises:
            FloatingPointError: Loss or gradient is not finite; weights and memory are those of the last good step.
        """
        clock = Stopwatch(self.device)
        rate = self.config.learning_rate * self.learning_rate_scale * rate_factor(self.steps_done, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.train()
        self.pipeline.train()

        parts = self._next_parts()
        self._settle_partition(parts)
        self.optimizer.zero_grad(set_to_none=True)
        embedded, reports = [], []
        for part in parts:
            with self._gradients_averaged(part is parts[-1]):
                part = self._forward(part, self._embed, clock)
                reports.append(self._report(part.output))
                clock.lap("forward")
                (part.output.loss / len(parts)).backward()
                clock.lap("backward")
            embedded.append(part)
        self._clip_gradient()
        self.optimizer.step()
        self._average_weights()
        clock.lap("backward")
        index, video, audio = (torch.cat([getattr(e, name) for e in embedded]) for name in ("index", "video", "audio"))
        self.objective.memory.update(index, video.detach(), audio.detach())
        clock.lap("memory")
        self.steps_done += 1
        if self._remine():
            clock.lap("mining")

        seconds = time.perf_counter() - clock.begun
        means = {name: sum(report[name] for report in reports) / len(reports) for name in reports[0]}
        done = Step(
            index=self.steps_done,
            total=self.config.steps,
            epoch=self.epoch,
            loss=means.pop("loss"),
            terms=means,
            learning_rate=rate,
            seconds=seconds,
            clips_per_s=self.config.batch_size / seconds,
            times=clock.times,
        )
        self.history.append(done)
        return done

    def fork(self) -> Trainer:
        """An independent copy that will see exactly the same batches from here on: for "what if?" experiments.

        The copy has its own model, objective, optimiser, random state and place in the order of clips. It shares clips.
        An objective without a generator gets one here, in the state of the global one, so that both draw the same.

        Raises:
            RuntimeError: The run is one of several processes.
        """
        if processes() > 1:
            raise RuntimeError("fork works in a single process only; resume a checkpoint of this run in one process")
        if self.objective.generator is None:
            self.objective.generator = torch.Generator()
            self.objective.generator.set_state(torch.get_rng_state())
        twin = copy.deepcopy(self, {id(self.clips): self.clips, id(self.history): list(self.history)})
        if self.config.compile:
            twin.model.compile()
        return twin

    def state_dict(self) -> dict[str, Any]:
        """Everything that later steps depend on, as tensors and plain values."""
        objective_rng = self.objective.generator
        return {
            "model": self.model.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
            "objective": self.objective.state_dict(),
            "pipeline": self.pipeline.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "steps_done": self.steps_done,
            "learning_rate_scale": float(self.learning_rate_scale),
            "order": self._order,
            "generator": self.generator.get_state(),
            "objective_generator": None if objective_rng is None else objective_rng.get_state(),
            "global_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Return to a saved state; the next step is the one that would have followed it."""
        self.model.load_state_dict(state["model"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        self.objective.load_state_dict(state["objective"])
        self.pipeline.load_state_dict(state["pipeline"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps_done = state["steps_done"]
        self.learning_rate_scale = state["learning_rate_scale"]
        self._order = state["order"].cpu()
        self.generator.set_state(state["generator"].cpu())
        if state["objective_generator"] is not None:
            self.objective.generator = self.objective.generator or torch.Generator()
            self.objective.generator.set_state(state["objective_generator"].cpu())
        torch.set_rng_state(state["global_rng"].cpu())
        if state["cuda_rng"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_rng"].cpu(), self.device)

    def _next_index(self) -> Tensor:
        """The next batch of a random order over all clips (`pass_order`); a new one begins when too few are left."""
        size = self.config.batch_size
        if len(self._order) < size:
            parts = processes() * self.config.accumulate
            self._order = pass_order(self.clips.manifest, size, parts, self.generator)
        index, self._order = self._order[:size], self._order[size:]
        return index

    def _next_parts(self) -> list[Part]:
        """This process's share of the next batch. All processes draw the same numbers, so each knows every share."""
        index, count = self._next_index(), processes() * self.config.accumulate
        if count == 1:
            return [Part(index)]
        seeds = torch.randint(2**62, (count,), generator=self.generator).tolist()
        parts = [Part(clips, seed) for clips, seed in zip(index.chunk(count), seeds, strict=True)]
        first = rank() * self.config.accumulate
        return parts[first : first + self.config.accumulate]

    def _forward(self, part: Part, embed: nn.Module, clock: Stopwatch) -> Embedded:
        """Draw a part's windows, augment and embed them, and compute the objective."""
        own = self.objective.generator
        generator = self.generator if part.seed is None else torch.Generator().manual_seed(part.seed)
        batch = self.clips.batch(part.index, generator)
        batch = {name: value.to(self.device) for name, value in batch.items()}
        video, audio = self.pipeline(batch, generator=generator)
        clock.lap("data")
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            video_embedding, audio_embedding = embed(video, audio)
        if self.device.type == "cpu" and not (video_embedding.isfinite().all() and audio_embedding.isfinite().all()):
            raise FloatingPointError(  # elsewhere the loss shows it, without waiting for the device
                f"embeddings are not finite at step {self.steps_done + 1}. Lower learning_rate; nothing was updated."
            )
        if part.seed is not None:
            self.objective.generator = generator  # this part's own negatives, in whichever process it runs
        try:
            output = self.objective(video_embedding, audio_embedding, batch["index"])
        finally:
            self.objective.generator = own
        return Embedded(batch["index"], video_embedding, audio_embedding, output)

    def _report(self, output: ObjectiveOutput) -> dict[str, float]:
        """Mean loss and terms over all processes; all stop if any value is not finite."""
        values = {"loss": output.loss, **output.terms}
        means = average(torch.stack([value.detach().float() for value in values.values()])).tolist()
        report = dict(zip(values, means, strict=True))
        if not math.isfinite(report["loss"]):
            bad = [name for name in output.terms if not math.isfinite(report[name])]
            raise FloatingPointError(
                f"loss is {report['loss']} at step {self.steps_done + 1} "
                f"(terms {', '.join(bad) or 'finite, their sum not'}). "
                "Lower learning_rate or raise temperature; nothing was updated."
            )
        return report

    def _clip_gradient(self) -> None:
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if not norm.isfinite():
            raise FloatingPointError(
                f"the gradient norm is {norm.item()} at step {self.steps_done + 1}, the loss is finite. "
                "Lower learning_rate or raise temperature; nothing was updated."
            )
        if self.config.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(parameters, self.config.clip_norm, norm)

    @torch.no_grad()
    def _average_weights(self) -> None:
        if self.ema is None or self.config.ema is None:
            return
        for mean, now in zip(self.ema.parameters(), self.model.parameters(), strict=True):
            mean.lerp_(now, 1 - self.config.ema)
        for mean, now in zip(self.ema.buffers(), self.model.buffers(), strict=True):
            mean.copy_(now)

    def _remine(self) -> bool:
        every = self.config.remine_every
        return every is not None and isinstance(self.objective, CMA) and self.objective.remine(self.epoch, every)

    @torch.no_grad()
    def _settle_partition(self, parts: list[Part]) -> None:
        """Estimate an unknown Z on the whole batch; the objective alone would use only the first part."""
        before = self.objective.partition
        if len(parts) == 1 or not before.isnan().any():
            return
        statistics = [buffer.clone() for buffer in self.model.buffers()]  # batch norm must see these clips only once
        estimates = []
        for part in parts:
            self.objective.partition = before.clone()
            self._forward(part, self.model, Stopwatch(self.device))
            estimates.append(self.objective.partition)
        for buffer, value in zip(self.model.buffers(), statistics, strict=True):
            buffer.copy_(value)
        self.objective.partition = torch.where(before.isnan(), torch.stack(estimates).mean(0), before)

    def _gradients_averaged(self, last: bool) -> AbstractContextManager[None]:
        """Processes exchange gradients only in the last part of a step."""
        embed = self._embed
        return embed.no_sync() if isinstance(embed, DistributedDataParallel) and not last else nullcontext()


def avid_trainer(
    clips: ClipDataset, profile: Profile, *, cross: float = 1.0, within: float = 0.0, seed: int | None = None
) -> Trainer:
    """A new model and a new AVID objective, ready to train with a profile's settings.

    Args:
        clips: The instances.
        profile: Model preset, training settings, number of negatives.
        cross: Weight of the cross-modal terms.
        within: Weight of the within-modal terms.
        seed: Of weights, memory, negatives and batches; ``None`` takes the profile's.
    """
    seed = profile.train.seed if seed is None else seed
    train = fitted(replace(profile.train, seed=seed), PRESETS[profile.model], resolve_device(profile.train.device))
    model = AudioVisualModel.preset(profile.model, seed=seed)
    objective = AVID(
        len(clips),
        model.config.dim,
        cross=cross,
        within=within,
        num_negatives=profile.num_negatives,
        generator=torch.Generator().manual_seed(seed),
    )
    return Trainer(model, objective, clips, train)


def resolve_device(name: str) -> torch.device:
    """The device of this name: "cpu", "cuda", "cuda:1", "mps", or "auto".

    "auto" is CUDA where there is one (under torchrun, the process's own), else the CPU.

    Raises:
        ValueError: No such device on this machine.
    """
    if name == "auto":
        name = f"cuda:{local_rank()}" if torch.cuda.is_available() else "cpu"
    there = ["cpu", *(["mps"] if torch.backends.mps.is_available() else [])]
    there += [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if name not in there and not (name == "cuda" and torch.cuda.is_available()):
        why = " This PyTorch was built without CUDA." if name.startswith("cuda") and torch.version.cuda is None else ""
        fix = 'Choose one of these, or "auto".'
        raise ValueError(f"device {name!r} is not on this machine, which has {', '.join(there)}.{why} {fix}")
    return torch.device(name)


def _check(objective: Objective | InBatch, clips: ClipDataset, config: TrainConfig) -> None:
    if len(objective.memory) != len(clips):
        got = f"the objective has {len(objective.memory)} memories, there are {len(clips)} clips"
        raise ValueError(f"objective needs one memory per clip; {got}. Build it with num_instances={len(clips)}.")
    if config.batch_size > len(clips):
        raise ValueError(f"batch_size must be at most the {len(clips)} clips; got {config.batch_size}")
    parts = processes() * config.accumulate
    if config.batch_size % parts or config.batch_size < 2 * parts:
        got = f"{config.batch_size} for {processes()} processes x {config.accumulate} parts"
        raise ValueError(f"batch_size must split into equal parts of two or more clips; got {got}")
    if config.remine_every is not None and not isinstance(objective, CMA):
        raise ValueError(f"remine_every is for CMA, which has positives; got a {type(objective).__name__}")

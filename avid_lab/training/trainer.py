"""`Trainer`: runs the paper's algorithm step by step."""

from __future__ import annotations

import copy
import math
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from avid_lab.config import PRESETS, Profile, TrainConfig
from avid_lab.datasets import ClipDataset
from avid_lab.datasets.loader import load
from avid_lab.encoders import AudioVisualModel
from avid_lab.media import MediaError
from avid_lab.objectives import AVID, CMA, InBatch, Objective, ObjectiveOutput
from avid_lab.precision import autocast_type
from avid_lab.processes import average, local_rank, processes, raise_together, rank, share
from avid_lab.training.draws import Order, generator_for
from avid_lab.training.memory import fitted, keep_freed_memory
from avid_lab.training.schedule import rate_factor
from avid_lab.training.side_by_side import separable, side_by_side
from avid_lab.training.step import Step, Stopwatch
from avid_lab.transforms import InputPipeline, VideoAugmentation

GRADIENT_SCALE = 1024.0  # of the first step in float16: NCE's gradients at a temperature of 0.07 are large

FITTED = 512  # clips in shards that a new pipeline is fitted to


Embedder = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Part:
    """The clips of a batch that are embedded together.

    Attributes:
        clips: Their windows, as `ClipDataset.batch` returns them.
        number: Which part of the whole batch this is.
        inputs: Pictures and spectrograms, if they were made ahead.
    """

    clips: dict[str, Tensor]
    number: int
    inputs: tuple[Tensor, Tensor] | None = None


@dataclass(frozen=True)
class Embedded:
    """A part's embeddings and the objective's output for them."""

    index: Tensor
    video: Tensor
    audio: Tensor
    output: ObjectiveOutput


class Trainer:
    """Trains a model with an objective on clips, one step at a time.

    A step takes a batch, augments it, embeds it, computes the objective's loss, updates the weights, and then, visibly,
    the memory. Batches are made ahead by worker processes where windows are read from files (see `ClipDataset`). Which
    clips a batch has, their windows and their augmentation depend only on ``config.seed``, the step and the place in
    the batch: not on workers, nor on whether clips are decoded or read, nor on whether the run was interrupted. Only
    the negatives of a batch in one part come from the objective's own generator.

    On a CPU with two threads or more, the encoders work side by side, each on half of the threads, and the next batch
    is augmented meanwhile (see `side_by_side`). Results equal those of one thread that has as many, so a run on two or
    three threads equals a run on one, to the bit.

    A batch that does not fit the device's memory is embedded again in twice as many parts, and so are all later ones;
    a warning says so.

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
        pipeline: Turns clips into network inputs; ``None`` fits a new one to these clips. It augments as ``config``
            says, unless it was made with an augmentation of its own.

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
        if self.device.type == "cpu":
            keep_freed_memory()
        self.model = model.to(self.device)
        self.model.video_encoder.to(memory_format=torch.channels_last_3d)  # then 2-D kernels run without copies
        self.model.audio_encoder.to(memory_format=torch.channels_last)
        self.objective = objective.to(self.device)
        self.clips = clips
        # Clips in shards are fitted on the first only: others may have to be downloaded.
        sample = clips.subset(range(min(FITTED, len(clips)))) if clips.manifest.shards else clips
        self.pipeline = (pipeline or InputPipeline(clips.video, clips.audio).fit(sample)).to(self.device)
        if self.pipeline.default_augmentation:
            self.pipeline.augmentation = _augmentation(self.pipeline.size, config)
        share([*self.objective.buffers(), *self.pipeline.buffers()])
        if processes() > 1 and self.device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(self.model)
        if config.compile:
            self.model.compile()
        # Starts all processes with the weights of the first, and averages gradients while they are computed.
        self._embed = DistributedDataParallel(self.model) if processes() > 1 else self.model
        self.ema = copy.deepcopy(self.model).requires_grad_(False) if config.ema is not None else None
        rule = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
        self.optimizer = rule(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
        self.history: list[Step] = []
        self.steps_done = 0
        self.learning_rate_scale = 1.0
        self.objective_settings = self.objective.settings()  # at the start of the run: a resumed run must have the same
        self.accumulate = config.accumulate  # parts of this process's batch; more if memory does not suffice
        self.skipped = 0
        self._type = autocast_type(config.precision, self.device)
        half = self._type == torch.float16
        self._scaler = torch.amp.GradScaler(self.device.type, init_scale=GRADIENT_SCALE, enabled=half)
        parts = processes() * config.accumulate
        self._order = Order(clips.manifest, config.batch_size, parts, config.seed)
        self._batches: Iterator[dict[str, Tensor]] | None = None
        self._ahead: Future[tuple[Part, list[Any]]] | None = None  # the next batch, and how it was augmented

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
        try:
            with self._embedder() as embed:
                return self._step(embed)
        except BaseException:
            self._batches = self._ahead = None  # begin again with the step that failed
            raise

    def _step(self, embed: Embedder) -> Step:
        clock = Stopwatch(self.device)
        rate = self.config.learning_rate * self.learning_rate_scale * rate_factor(self.steps_done, self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.train()
        self.pipeline.train()

        whole = self._next_part()
        clock.lap("waiting")
        embedded, reports = self._backward(whole, embed, clock)
        self._scaler.unscale_(self.optimizer)
        if self._clip_gradient():
            self._scaler.step(self.optimizer)
            self._average_weights()
        else:
            self.skipped += 1
        self._scaler.update()
        clock.lap("backward")
        index, video, audio = (torch.cat([getattr(e, name) for e in embedded]) for name in ("index", "video", "audio"))
        self.objective.memory.update(index, video.detach(), audio.detach())
        clock.lap("memory")
        self.steps_done += 1
        if self._remine():
            clock.lap("mining")

        seconds = time.perf_counter() - clock.begun
        waiting = clock.times.pop("waiting")
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
            times=clock.times | {"waiting": waiting},  # last, as it is in logs
            skipped=self.skipped,
        )
        self.history.append(done)
        if self.steps_done >= self.config.steps:
            self._batches = None
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
        shared = {id(self.clips): self.clips, id(self.history): list(self.history), id(self._batches): None}
        shared[id(self._ahead)] = None
        twin = copy.deepcopy(self, shared)
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
            "parts of a batch": processes() * self.accumulate,
            "scaler": self._scaler.state_dict(),
            "skipped": self.skipped,
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
        self.accumulate = max(1, state["parts of a batch"] // processes())
        if state["scaler"]:
            self._scaler.load_state_dict(state["scaler"])
        self.skipped = state["skipped"]
        self._batches = self._ahead = None  # those made ahead are of another step
        if state["objective_generator"] is not None:
            self.objective.generator = self.objective.generator or torch.Generator()
            self.objective.generator.set_state(state["objective_generator"].cpu())
        torch.set_rng_state(state["global_rng"].cpu())
        if state["cuda_rng"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_rng"].cpu(), self.device)

    def _next_batch(self, step: int) -> dict[str, Tensor]:
        """This process's share of the next batch, which is that of ``step``."""
        batches = self._batches
        if batches is None:
            requests = (self._share(i) for i in range(step, max(self.config.steps, step + 1)))
            self._batches = batches = load(self.clips, requests, pin=self.device.type == "cuda")
        batch, problem = {}, None
        try:
            batch = next(batches)
        except (MediaError, OSError) as error:
            problem = error
        raise_together(problem)
        return batch

    def _embedder(self) -> AbstractContextManager[Embedder]:
        """How this step embeds: as the model does, or in two threads."""
        if processes() > 1 or self.device.type != "cpu" or self.config.compile or not separable(self.model):
            return nullcontext(self._embed)
        return side_by_side(self.model, self._plan_ahead)

    def _plan_ahead(self, second: Executor) -> None:
        """Have a second thread make the next step's inputs, unless workers read files on these cores already."""
        following = self.steps_done + 1
        known = type(self.pipeline) is InputPipeline and self.pipeline.default_augmentation
        if known and self.clips.decoded and self.accumulate == 1 and following < self.config.steps:
            self._ahead = second.submit(self._make_ahead, following)

    def _make_ahead(self, step: int) -> tuple[Part, list[Any]]:
        batch, how = self._next_batch(step), settings_of(self.pipeline)
        return Part(batch, 0, self.pipeline(batch, generator_for(self.config.seed, "part", step, 0))), how

    def _next_part(self) -> Part:
        """This process's share of the next batch; with inputs if they were made ahead and would still be the same."""
        ahead, self._ahead = self._ahead, None
        if ahead is None:
            return Part(self._next_batch(self.steps_done), 0)
        part, how = ahead.result()
        return part if how == settings_of(self.pipeline) else replace(part, inputs=None)

    def _share(self, step: int) -> tuple[Tensor, Tensor]:
        """Clips and windows of this process in a step."""
        index, draws = (values.chunk(processes())[rank()] for values in self._order.batch(step))
        return index, draws

    def _parts(self, whole: Part) -> list[Part]:
        count, first = self.accumulate, rank() * self.accumulate
        if whole.inputs is not None and count == 1:
            return [whole]
        pieces = {name: value.chunk(count) for name, value in whole.clips.items()}
        return [Part({name: piece[i] for name, piece in pieces.items()}, first + i) for i in range(count)]

    def _backward(
        self, whole: Part, embed: Embedder, clock: Stopwatch
    ) -> tuple[list[Embedded], list[dict[str, float]]]:
        """The gradients of a batch; in more parts than before if it does not fit the device's memory."""
        while True:
            before = self._drawn()
            try:
                return self._backward_in_parts(self._parts(whole), embed, clock)
            except torch.OutOfMemoryError as error:
                parts = 2 * self.accumulate
                share = self.config.batch_size // processes()
                if processes() > 1 or share % parts or share < 2 * parts:
                    raise
                problem = str(error).splitlines()[0]
            # Not in the handler, which holds on to the failed attempt's tensors.
            self._draw_again(before)
            self.optimizer.zero_grad(set_to_none=True)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            self.accumulate = parts
            warnings.warn(
                f"Out of memory at step {self.steps_done + 1}: batches are embedded in {parts} parts from here on "
                f"(as with accumulate={parts}). {problem}",
                stacklevel=3,
            )

    def _backward_in_parts(
        self, parts: list[Part], embed: Embedder, clock: Stopwatch
    ) -> tuple[list[Embedded], list[dict[str, float]]]:
        self._settle_partition(parts)
        self.optimizer.zero_grad(set_to_none=True)
        embedded, reports = [], []
        for part in parts:
            with self._gradients_averaged(part is parts[-1]):
                done = self._forward(part, embed, clock)
                reports.append(self._report(done.output))
                clock.lap("forward")
                self._scaler.scale(done.output.loss / len(parts)).backward()
                clock.lap("backward")
            embedded.append(done)
        return embedded, reports

    def _drawn(self) -> tuple[list[Tensor], Tensor, Tensor, Tensor | None]:
        """What an attempt at a batch changes, apart from gradients."""
        own = self.objective.generator
        buffers = [buffer.clone() for buffer in self.model.buffers()]
        return buffers, self.objective.partition, torch.get_rng_state(), None if own is None else own.get_state()

    def _draw_again(self, before: tuple[list[Tensor], Tensor, Tensor, Tensor | None]) -> None:
        buffers, self.objective.partition, state, own = before
        for buffer, value in zip(self.model.buffers(), buffers, strict=True):
            buffer.copy_(value)
        torch.set_rng_state(state)
        if own is not None and self.objective.generator is not None:
            self.objective.generator.set_state(own)

    def _forward(self, part: Part, embed: Embedder, clock: Stopwatch) -> Embedded:
        """Augment and embed a part, and compute the objective."""
        generator = generator_for(self.config.seed, "part", self.steps_done, part.number)
        own = self.objective.generator
        batch = {name: value.to(self.device, non_blocking=True) for name, value in part.clips.items()}
        video, audio = part.inputs or self.pipeline(batch, generator=generator)
        clock.lap("data")
        with torch.autocast(self.device.type, self._type, enabled=self._type is not None):
            video_embedding, audio_embedding = embed(video, audio)
        if self.device.type == "cpu" and not (video_embedding.isfinite().all() and audio_embedding.isfinite().all()):
            raise FloatingPointError(  # elsewhere the loss shows it, without waiting for the device
                f"embeddings are not finite at step {self.steps_done + 1}. Lower learning_rate; nothing was updated."
            )
        if processes() * self.accumulate > 1:
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

    def _clip_gradient(self) -> bool:
        """Whether the gradient can be used. It cannot where float16 overflowed: the next is scaled less."""
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if not norm.isfinite():
            if self._scaler.is_enabled() and self._scaler.get_scale() > 1:
                return False
            raise FloatingPointError(
                f"the gradient norm is {norm.item()} at step {self.steps_done + 1}, the loss is finite. "
                "Lower learning_rate or raise temperature; nothing was updated."
            )
        if self.config.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(parameters, self.config.clip_norm, norm)
        return True

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


def _augmentation(size: int, config: TrainConfig) -> VideoAugmentation:
    much = 0.4 * config.colour
    return VideoAugmentation(
        size, scale=(config.crop, 1.0), brightness=much, contrast=much, saturation=much, hue=much / 2
    )


def settings_of(pipeline: InputPipeline) -> list[Any]:
    """Everything that its results depend on, apart from what is random: settings, and versions of its statistics."""
    plain = [{k: v for k, v in vars(module).items() if not k.startswith("_")} for module in pipeline.modules()]
    return [*plain, *((id(buffer), buffer._version) for buffer in pipeline.buffers())]


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

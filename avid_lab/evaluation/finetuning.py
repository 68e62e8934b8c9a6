"""Full fine-tuning: how good the weights are as a start if all of them are trained."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from tqdm.auto import tqdm

from avid_lab.datasets import ClipDataset
from avid_lab.datasets.loader import load
from avid_lab.encoders import AudioVisualModel
from avid_lab.evaluation.embeddings import evaluating, random_twin
from avid_lab.evaluation.probes import labelled_subset
from avid_lab.evaluation.results import Table
from avid_lab.metrics import chance_accuracy, estimate
from avid_lab.training.draws import Order, generator_for
from avid_lab.transforms import InputPipeline

Modality = Literal["video", "audio"]


@dataclass(frozen=True)
class FineTuneConfig:
    """The paper's schedule for UCF101: Adam, 16 epochs, rate times 0.3 after 6, 10 and 14, dropout 0.5, 10 clips.

    Args:
        epochs: Passes over the labelled clips, with one random window of each.
        batch_size: Clips per step: at most half of the labelled clips, and at least two.
        learning_rate: Learning rate of Adam. The paper's 1e-4 suits its networks of 512 channels; the default is ten
            times that, for the pocket model.
        milestones: Shares of the epochs after which the learning rate decreases.
        decay: Factor of each decrease.
        dropout: Dropout rate of the features before the classifier.
        windows: Windows per test clip whose class probabilities are averaged.
    """

    epochs: int = 16
    batch_size: int = 32
    learning_rate: float = 1e-3
    milestones: tuple[float, ...] = (6 / 16, 10 / 16, 14 / 16)
    decay: float = 0.3
    dropout: float = 0.5
    windows: int = 10

    def __post_init__(self) -> None:
        for name in ("epochs", "windows"):
            if getattr(self, name) < 1:
                raise ValueError(f"FineTuneConfig.{name} must be >= 1; got {getattr(self, name)}")
        if self.batch_size < 2:
            raise ValueError(f"FineTuneConfig.batch_size must be >= 2 (batch statistics); got {self.batch_size}")


@dataclass(frozen=True, eq=False)
class FineTuned:
    """A fine-tuned classifier and its predictions.

    Attributes:
        network: Encoder, dropout and linear layer, in evaluation mode.
        losses: Mean cross-entropy of each epoch.
        probabilities: (M, C) class probabilities of the test clips, averaged over their windows.
        labels: (M,) classes of the test clips.
    """

    network: nn.Module
    losses: list[float]
    probabilities: Float[Tensor, "M C"]
    labels: Int64[Tensor, " M"]

    @property
    def correct(self) -> Tensor:
        """(M,) 1.0 if the most probable class is the right one, else 0.0."""
        return (self.probabilities.argmax(1) == self.labels).double()

    @property
    def accuracy(self) -> float:
        """Share of test clips whose most probable class is the right one."""
        return self.correct.mean().item()


def fine_tune(
    model: AudioVisualModel,
    train: ClipDataset,
    test: ClipDataset,
    pipeline: InputPipeline,
    modality: Modality = "video",
    config: FineTuneConfig | None = None,
    *,
    fraction: float = 1.0,
    seed: int = 0,
    progress: bool = False,
) -> FineTuned:
    """Train a copy of one encoder with a classifier on top, including all weights of the encoder, and test it.

    Args:
        model: The model with the encoder; it does not change.
        train: Labelled clips.
        test: Clips to classify.
        pipeline: The model's input pipeline, which augments the training clips.
        modality: Which encoder.
        config: The schedule.
        fraction: Share of each class whose labels are used.
        seed: Seed of the classifier's weights, the labelled clips, batches, windows, augmentation and dropout.
        progress: Whether to show a progress bar.

    Raises:
        ValueError: The modality is unknown, or fewer than two clips are labelled.
    """
    if modality not in ("video", "audio"):
        raise ValueError(f"modality must be 'video' or 'audio'; got {modality!r}")
    config = config or FineTuneConfig()
    device = next(model.parameters()).device
    clips = train.subset(labelled_subset(train.labels, fraction, seed=seed))
    if len(clips) < 2:
        raise ValueError(f"fine-tuning needs at least two labelled clips; got {len(clips)}")
    size = min(config.batch_size, max(2, len(clips) // 2))
    classes = int(max(train.labels.max(), test.labels.max())) + 1
    steps = len(clips) // size
    falls = [round(share * config.epochs) * steps for share in config.milestones]
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda), evaluating(pipeline):
        torch.manual_seed(seed)  # dropout has no generator of its own
        encoder = copy.deepcopy(model.video_encoder if modality == "video" else model.audio_encoder)
        head = nn.Linear(encoder.features, classes)
        network = nn.Sequential(encoder, nn.Dropout(config.dropout), head).to(device).train()
        optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, falls, config.decay)
        losses, total = [], 0.0
        pipeline.train()
        order = Order(clips.manifest, size, 1, seed)
        requests = (order.batch(step) for step in range(config.epochs * steps))
        batches = load(clips, requests, pin=device.type == "cuda")
        total_steps, what = config.epochs * steps, f"fine-tuning {modality}"
        bar = tqdm(batches, desc=what, total=total_steps, unit="step", disable=not progress)
        for step, batch in enumerate(bar):
            x = pipeline.senses(batch, generator_for(seed, "fine-tuning", step))[modality].to(device)
            loss = nn.functional.cross_entropy(network(x), batch["label"].to(device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
            if (step + 1) % steps == 0:
                losses.append(total / steps)
                total = 0.0
                bar.set_postfix(loss=f"{losses[-1]:.2f}")
        network.eval()
        pipeline.eval()
        probabilities = _classify(network, test, pipeline, modality, config.windows, progress)
    return FineTuned(network, losses, probabilities, test.labels)


@torch.no_grad()
def _classify(
    network: nn.Module, clips: ClipDataset, pipeline: InputPipeline, modality: Modality, windows: int, progress: bool
) -> Tensor:
    device = next(network.parameters()).device
    rows = []
    parts = torch.arange(len(clips)).split(16)
    batches = clips.batches(parts, windows, pin=device.type == "cuda")
    for batch in tqdm(batches, desc="testing", total=len(parts), unit="batch", disable=not progress):
        x = pipeline.senses(batch)[modality].to(device)
        rows.append(network(x).softmax(1).unflatten(0, (-1, windows)).mean(1).cpu())
    return torch.cat(rows)


def fine_tune_table(
    model: AudioVisualModel,
    train: ClipDataset,
    test: ClipDataset,
    pipeline: InputPipeline,
    *,
    untrained: AudioVisualModel | None = None,
    modalities: Sequence[Modality] = ("video", "audio"),
    fractions: Sequence[float] = (1.0,),
    config: FineTuneConfig | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Table:
    """Test accuracy after fine-tuning; "random" is the same schedule from random weights, that is, from scratch.

    Args:
        model: The trained model; it does not change.
        train: Labelled clips.
        test: Clips to classify.
        pipeline: The model's input pipeline.
        untrained: The model for training from scratch; `random_twin` if not given.
        modalities: The encoders to fine-tune.
        fractions: Shares of the labels, of each class.
        config: The schedule.
        seed: See `fine_tune`.
        progress: Whether to show progress bars.
    """
    config = config or FineTuneConfig()
    networks = model, untrained or random_twin(model, train, pipeline, seed=seed)
    chance = chance_accuracy(train.labels, test.labels)
    both = []
    for network in networks:
        rows = {}
        for modality in modalities:
            for fraction in fractions:
                made = fine_tune(
                    network, train, test, pipeline, modality, config, fraction=fraction, seed=seed, progress=progress
                )
                rows[f"{modality}, {100 * fraction:g} % of labels"] = estimate(made.correct, chance=chance)
        both.append(Table(f"Fine-tuned for {config.epochs} epochs, mean of {config.windows} clips: accuracy", rows))
    return both[0].with_baseline(both[1])

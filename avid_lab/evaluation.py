"""What a trained model knows: embeddings, retrieval, nearest neighbours and linear probes of frozen features.

Every number has two companions: chance, and the same network at random initialisation. Frozen means frozen: nothing
here changes a weight or a batch-norm statistic of the model that is evaluated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from tqdm.auto import tqdm

from avid_lab.datasets import ClipDataset
from avid_lab.encoders import AudioVisualModel
from avid_lab.metrics import chance_accuracy, knn_accuracy, retrieval
from avid_lab.transforms import InputPipeline


@dataclass(frozen=True)
class Embeddings:
    """What a model makes of every clip, averaged over the clip's windows; all on the CPU.

    Attributes:
        video: (N, D) unit embeddings of pictures.
        audio: (N, D) unit embeddings of sounds.
        video_features: (N, F) pooled output of the last video block.
        audio_features: (N, F') pooled output of the last audio block.
        labels: (N,) classes.
    """

    video: Float[Tensor, "N D"]
    audio: Float[Tensor, "N D"]
    video_features: Float[Tensor, "N F"]
    audio_features: Float[Tensor, "N G"]
    labels: Int64[Tensor, " N"]


@torch.no_grad()
def embed(
    model: AudioVisualModel,
    clips: ClipDataset,
    pipeline: InputPipeline,
    *,
    windows: int = 2,
    batch_size: int = 128,
    progress: bool = False,
) -> Embeddings:
    """Embed every clip without augmentation.

    Args:
        model: Used in evaluation mode and left in the mode it had.
        clips: What to embed.
        pipeline: The one the model was trained with (it holds the spectrogram statistics).
        windows: Windows per clip, evenly spaced in time; their embeddings are averaged.
        batch_size: Windows embedded at a time.
        progress: Whether to show a progress bar.

    Raises:
        ValueError: ``windows`` or ``batch_size`` is below one.
    """
    if windows < 1 or batch_size < 1:
        raise ValueError(f"windows and batch_size must be >= 1; got {windows} and {batch_size}")
    device = next(model.parameters()).device
    modes = model.training, pipeline.training
    model.eval()
    pipeline.eval()
    rows: list[tuple[Tensor, ...]] = []
    for index in tqdm(
        torch.arange(len(clips)).split(max(1, batch_size // windows)), desc="embedding", disable=not progress
    ):
        batch = {name: value.to(device) for name, value in clips.windows(index, windows).items()}
        video, audio = pipeline(batch)
        video_features, audio_features = model.video_encoder(video), model.audio_encoder(audio)
        outputs = model.video_head(video_features), model.audio_head(audio_features), video_features, audio_features
        units = [nn.functional.normalize(x.float(), dim=1) for x in outputs[:2]] + [x.float() for x in outputs[2:]]
        rows.append(tuple(x.unflatten(0, (len(index), windows)).mean(1).cpu() for x in units))
    model.train(modes[0])
    pipeline.train(modes[1])
    video, audio, video_features, audio_features = (torch.cat(column) for column in zip(*rows, strict=True))
    video, audio = (nn.functional.normalize(x, dim=1) for x in (video, audio))
    return Embeddings(video, audio, video_features, audio_features, clips.labels)


def linear_probe(
    train: Float[Tensor, "N F"],
    train_labels: Int64[Tensor, " N"],
    test: Float[Tensor, "M F"],
    test_labels: Int64[Tensor, " M"],
    *,
    weight_decay: float = 1e-3,
    steps: int = 200,
) -> float:
    """Test accuracy of a linear classifier on frozen features.

    As in the paper, features are batch-normalised (here: by the training set's mean and deviation) and classified by
    one linear layer. Full-batch L-BFGS finds the optimum, so there is no learning rate to tune and no seed to average.

    Args:
        train: Features to fit on.
        train_labels: Their classes.
        test: Features to predict.
        test_labels: Their classes.
        weight_decay: L2 penalty on the weights.
        steps: Most L-BFGS iterations.

    Returns:
        Share of test items that are classified correctly.
    """
    mean, deviation = train.mean(0), train.std(0).clamp(min=1e-5)
    train, test = (train - mean) / deviation, (test - mean) / deviation
    classes = int(max(train_labels.max(), test_labels.max())) + 1
    weight = torch.zeros(classes, train.shape[1], device=train.device, requires_grad=True)
    bias = torch.zeros(classes, device=train.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=steps, history_size=10, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(train @ weight.T + bias, train_labels)
        loss = loss + weight_decay * weight.square().sum() / 2
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(objective)
    predicted = (test @ weight.detach().T + bias.detach()).argmax(1)
    return (predicted == test_labels).double().mean().item()


@dataclass(frozen=True)
class Scores:
    """One model's scores, all between 0 and 1.

    Attributes:
        video_probe: Linear probe of the video features.
        audio_probe: Linear probe of the audio features.
        video_knn: k-nearest-neighbour accuracy of the video embeddings.
        audio_knn: The same of the audio embeddings.
        v2a_precision_at_10: Share of right-class sounds among the 10 nearest of a picture.
        a2v_precision_at_10: Share of right-class pictures among the 10 nearest of a sound.
        v2a_recall_at_10: Share of pictures with their own sound among the 10 nearest.
    """

    video_probe: float
    audio_probe: float
    video_knn: float
    audio_knn: float
    v2a_precision_at_10: float
    a2v_precision_at_10: float
    v2a_recall_at_10: float

    def rows(self) -> list[tuple[str, float]]:
        """Readable names and values, in order."""
        return [
            (f.name.replace("_", " ").replace("v2a", "v→a").replace("a2v", "a→v"), getattr(self, f.name))
            for f in fields(self)
        ]


def score(train: Embeddings, test: Embeddings, *, k: int = 20) -> Scores:
    """All scores of one model: probes and kNN fit on ``train``, tested on ``test``; retrieval is within ``test``."""
    k = min(k, len(train.labels))
    at = min(10, len(test.labels))
    pairs = {"video": (train.video, test.video), "audio": (train.audio, test.audio)}
    features = {
        "video": (train.video_features, test.video_features),
        "audio": (train.audio_features, test.audio_features),
    }
    probe = {m: linear_probe(a, train.labels, b, test.labels) for m, (a, b) in features.items()}
    knn = {m: knn_accuracy(a, train.labels, b, test.labels, k) for m, (a, b) in pairs.items()}
    by_class = {
        "v2a": retrieval(test.video, test.audio, test.labels, test.labels, ks=[at]),
        "a2v": retrieval(test.audio, test.video, test.labels, test.labels, ks=[at]),
    }
    by_instance = retrieval(test.video, test.audio, ks=[at])
    return Scores(
        video_probe=probe["video"],
        audio_probe=probe["audio"],
        video_knn=knn["video"],
        audio_knn=knn["audio"],
        v2a_precision_at_10=by_class["v2a"].precision[at],
        a2v_precision_at_10=by_class["a2v"].precision[at],
        v2a_recall_at_10=by_instance.recall[at],
    )


def chance_scores(train: Embeddings, test: Embeddings) -> Scores:
    """What guessing scores on the same data."""
    guess = chance_accuracy(train.labels, test.labels)
    at = min(10, len(test.labels))
    by_class = retrieval(test.video, test.audio, test.labels, test.labels, ks=[at]).chance_precision[at]
    by_instance = retrieval(test.video, test.audio, ks=[at]).chance_recall[at]
    return Scores(guess, guess, guess, guess, by_class, by_class, by_instance)


def random_twin(
    model: AudioVisualModel, clips: ClipDataset, pipeline: InputPipeline, *, seed: int = 0
) -> AudioVisualModel:
    """The same architecture, untrained: the baseline that every trained model has to beat.

    Its batch-norm statistics are measured on a few batches of real clips, because an untrained network with statistics
    that do not fit its own activations would be a straw man.

    Args:
        model: Whose architecture and device to copy.
        clips: Clips to measure statistics on.
        pipeline: The model's input pipeline.
        seed: Of the random weights.
    """
    device = next(model.parameters()).device
    twin = AudioVisualModel(model.config, seed=seed).to(device)
    for norm in (m for m in twin.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm3d)):
        norm.momentum = None  # a plain average over the batches below
    mode = pipeline.training
    pipeline.eval()
    twin.train()
    order = torch.randperm(len(clips), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for index in order[:256].split(64):
            if len(index) > 1:
                twin(*pipeline({name: value.to(device) for name, value in clips.batch(index).items()}))
    pipeline.train(mode)
    return twin.eval()


def compare(
    model: AudioVisualModel,
    train: ClipDataset,
    test: ClipDataset,
    pipeline: InputPipeline,
    *,
    seed: int = 0,
    progress: bool = False,
) -> tuple[dict[str, Scores], Embeddings]:
    """Score a model beside its untrained twin and chance: "trained", "untrained", "chance".

    Args:
        model: The trained model.
        train: Clips that probes and neighbours are fitted on.
        test: Clips that are scored.
        pipeline: The model's input pipeline.
        seed: Of the untrained twin.
        progress: Whether to show progress bars.

    Returns:
        The scores by name, and the trained model's embeddings of the test clips.
    """
    untrained = random_twin(model, train, pipeline, seed=seed)
    ours, blank = (
        [embed(network, clips, pipeline, progress=progress) for clips in (train, test)]
        for network in (model, untrained)
    )
    return {"trained": score(*ours), "untrained": score(*blank), "chance": chance_scores(*ours)}, ours[1]


def table(columns: dict[str, Scores], *, title: str = "") -> str:
    """A plain-text table of scores in per cent, one column per model."""
    names = [name for name, _ in next(iter(columns.values())).rows()]
    width = max(map(len, names)) + 2
    lines = [title] if title else []
    lines.append(" " * width + "".join(f"{name:>16}" for name in columns))
    for row, name in enumerate(names):
        values: Sequence[float] = [scores.rows()[row][1] for scores in columns.values()]
        lines.append(f"{name:<{width}}" + "".join(f"{100 * value:>15.1f}%" for value in values))
    return "\n".join(lines)

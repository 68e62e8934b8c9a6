"""A model's quick scores: linear probes, nearest neighbours and retrieval, next to chance and the untrained twin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from avid_lab.datasets import ClipDataset
from avid_lab.encoders import AudioVisualModel
from avid_lab.evaluation.embeddings import Embeddings, embed, random_twin
from avid_lab.evaluation.probes import linear_probe
from avid_lab.metrics import chance_accuracy, knn_accuracy, retrieval
from avid_lab.transforms import InputPipeline


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
    """The scores of guessing on the same data."""
    guess = chance_accuracy(train.labels, test.labels)
    at = min(10, len(test.labels))
    by_class = retrieval(test.video, test.audio, test.labels, test.labels, ks=[at]).chance_precision[at]
    by_instance = retrieval(test.video, test.audio, ks=[at]).chance_recall[at]
    return Scores(guess, guess, guess, guess, by_class, by_class, by_instance)


def compare(
    models: Mapping[str, AudioVisualModel],
    train: ClipDataset,
    test: ClipDataset,
    pipeline: InputPipeline,
    *,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, tuple[Embeddings, Embeddings]]:
    """Embed the same clips with several models, and with the untrained twin of the first.

    Args:
        models: Models of one architecture, by name.
        train: Clips to fit probes and neighbours on.
        test: Clips to score.
        pipeline: The models' input pipeline.
        seed: Seed of the untrained twin.
        progress: Whether to show progress bars.

    Returns:
        Embeddings of the training and test clips, by model name and under "untrained".
    """
    twin = random_twin(next(iter(models.values())), train, pipeline, seed=seed)
    return {
        name: (embed(model, train, pipeline, progress=progress), embed(model, test, pipeline, progress=progress))
        for name, model in {**models, "untrained": twin}.items()
    }


def cannot_miss(chance: float) -> bool:
    """Whether guessing is always right, so that a score says nothing."""
    return chance > 1 - 1e-9


def table(columns: dict[str, Scores], *, title: str = "") -> str:
    """A plain-text table of scores in per cent, one column per model.

    Scores where guessing reaches 100 % are left out, with a note; with ten clips, for example, recall at 10.
    """
    names = [name for name, _ in next(iter(columns.values())).rows()]
    width = max(map(len, names)) + 2
    lines = [title] if title else []
    lines.append(" " * width + "".join(f"{name:>16}" for name in columns))
    for row, name in enumerate(names):
        values: Sequence[float] = [scores.rows()[row][1] for scores in columns.values()]
        if "chance" in columns and cannot_miss(columns["chance"].rows()[row][1]):
            lines.append(f"{name:<{width}}  left out: with so few clips, guessing reaches 100 %")
            continue
        lines.append(f"{name:<{width}}" + "".join(f"{100 * value:>15.1f}%" for value in values))
    return "\n".join(lines)

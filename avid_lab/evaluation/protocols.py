"""All protocols of ``avid-lab evaluate`` by name; they share intermediate results."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from avid_lab.datasets import ClipDataset
from avid_lab.encoders import AudioVisualModel
from avid_lab.evaluation.embeddings import BlockFeatures, Embeddings, block_features, embed, random_twin
from avid_lab.evaluation.finetuning import FineTuneConfig, fine_tune_table
from avid_lab.evaluation.probes import label_fraction_table, probe_table
from avid_lab.evaluation.results import Table
from avid_lab.evaluation.spaces import collapse_table, knn_table, positives_table, retrieval_table, similarity_report
from avid_lab.transforms import InputPipeline


@dataclass
class Subject:
    """A model with the clips to evaluate it on; shared intermediate results are computed once, on first use.

    Attributes:
        model: The model.
        pipeline: Its input pipeline.
        train: Clips for classifiers, neighbours and positives.
        test: Clips to score.
        windows: Windows per clip.
        progress: Whether to show progress bars.
        fine_tuning: Settings of fine-tuning.
    """

    model: AudioVisualModel
    pipeline: InputPipeline
    train: ClipDataset
    test: ClipDataset
    windows: int = 2
    progress: bool = False
    fine_tuning: FineTuneConfig = field(default_factory=FineTuneConfig)

    @cached_property
    def spaces(self) -> tuple[Embeddings, Embeddings]:
        """Embeddings of the training and of the test clips."""
        return self._of_both(embed)

    @cached_property
    def blocks(self) -> tuple[BlockFeatures, BlockFeatures]:
        """Block features of the training and of the test clips."""
        return self._of_both(block_features)

    def _of_both(self, measure: Callable[..., Any]) -> tuple[Any, Any]:
        how = {"windows": self.windows, "progress": self.progress}
        return tuple(measure(self.model, clips, self.pipeline, **how) for clips in (self.train, self.test))


def _probes(classifier: str) -> Callable[[Subject, Subject], Table]:
    def run(ours: Subject, blank: Subject) -> Table:
        made, beside = (
            probe_table(*one.blocks, classifier=classifier, progress=ours.progress)  # type: ignore[arg-type]
            for one in (ours, blank)
        )
        return made.with_baseline(beside)

    return run


def _similarity(ours: Subject, blank: Subject) -> Table:
    labels = ours.test.labels
    if not 1 < len(labels.unique()) < len(labels):
        return Table("Similarity of pairs", {}, "Not measured: it needs two test clips of one class and two classes.")
    return similarity_report(ours.spaces[1], blank.spaces[1]).table


def _labels(ours: Subject, blank: Subject) -> Table:
    return label_fraction_table(*ours.spaces, untrained=blank.spaces, progress=ours.progress)


def _fine_tune(ours: Subject, blank: Subject) -> Table:
    how: dict[str, Any] = {"untrained": blank.model, "config": ours.fine_tuning, "progress": ours.progress}
    if ours.train.streams != "both":
        how["modalities"] = (ours.train.streams,)
    return fine_tune_table(ours.model, ours.train, ours.test, ours.pipeline, **how)


# In the order in which they are shown: quick ones first.
PROTOCOLS: dict[str, Callable[[Subject, Subject], Table]] = {
    "retrieval": lambda ours, blank: retrieval_table(ours.spaces[1], blank.spaces[1]),
    "knn": lambda ours, blank: knn_table(*ours.spaces, untrained=blank.spaces),
    "positives": lambda ours, blank: positives_table(ours.spaces[0], blank.spaces[0]),
    "similarity": _similarity,
    "collapse": lambda ours, blank: collapse_table(ours.spaces[1], blank.spaces[1]),
    "probe": _probes("linear"),
    "svm": _probes("svm"),
    "labels": _labels,
    "finetune": _fine_tune,
}
ASK_CLASSES = ("knn", "positives", "similarity", "probe", "svm", "labels", "finetune")
ONE_SENSE = ("probe", "svm", "finetune")  # those that clips with pictures or sounds only can answer
QUICK = ("retrieval", "knn", "positives", "similarity", "collapse", "probe")


def evaluate(subject: Subject, what: Sequence[str] = QUICK, *, seed: int = 0) -> Iterator[tuple[str, Table]]:
    """Run protocols one after another, each compared with the untrained twin and chance.

    Those that ask about classes give an empty table, which says so, where the training or the test clips have only one;
    so do those that compare picture and sound, where the clips are read for one of them.

    Args:
        subject: The model and its clips.
        what: Names of `PROTOCOLS`.
        seed: Seed of the untrained twin.

    Yields:
        The name and table of each protocol, as soon as it is finished.

    Raises:
        ValueError: A protocol is unknown.
    """
    unknown = [name for name in what if name not in PROTOCOLS]
    if unknown:
        raise ValueError(f"what must be some of {', '.join(PROTOCOLS)}; got {unknown[0]!r}")
    twin = random_twin(subject.model, subject.train, subject.pipeline, seed=seed)
    blank = Subject(
        twin, subject.pipeline, subject.train, subject.test, subject.windows, subject.progress, subject.fine_tuning
    )
    classes = min(len(clips.labels.unique()) for clips in (subject.train, subject.test))
    for name in what:
        if name not in ONE_SENSE and subject.test.streams != "both":
            reason = f"Not measured: it compares picture and sound, and the clips are read for {subject.test.streams}."
            yield name, Table(name, {}, reason)
        elif name in ASK_CLASSES and classes < 2:
            reason = "Not measured: it asks about classes, and the training or the test clips have only one."
            yield name, Table(name, {}, reason)
        else:
            yield name, PROTOCOLS[name](subject, blank)

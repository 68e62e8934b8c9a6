"""Linear classifiers on frozen features: how well a linear boundary can separate the classes.

The paper (section 5) probes every block of the frozen network: its map is max-pooled, batch-normalised and classified
by one linear layer. ESC-50 is classified by one-vs-rest linear support vector machines. Both average over a clip's
windows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from tqdm.auto import tqdm

from avid_lab.evaluation.embeddings import BlockFeatures, Embeddings
from avid_lab.evaluation.results import Table
from avid_lab.metrics import Estimate, bootstrap, chance_accuracy, estimate

ClassifierName = Literal["linear", "svm"]


@dataclass(frozen=True)
class LinearClassifier:
    """Features, normalised by the training set's statistics, times a matrix.

    Attributes:
        mean: Mean of each feature.
        deviation: Standard deviation of each feature.
        weight: One row per class.
        bias: Bias of each class.
        probabilities: Whether to turn scores into probabilities, which are then averaged over windows.
    """

    mean: Float[Tensor, " F"]
    deviation: Float[Tensor, " F"]
    weight: Float[Tensor, "C F"]
    bias: Float[Tensor, " C"]
    probabilities: bool = True

    def __call__(self, features: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch C"]:
        """Score of each class: a probability, or a support vector machine's signed distance."""
        scores = ((features - self.mean) / self.deviation) @ self.weight.T + self.bias
        return scores.softmax(-1) if self.probabilities else scores


def fit_linear(
    features: Float[Tensor, "N F"],
    labels: Int64[Tensor, " N"],
    classes: int,
    *,
    weight_decay: float = 1e-3,
    steps: int = 200,
) -> LinearClassifier:
    """Multinomial logistic regression on normalised features.

    The paper trains it with Adam for a few epochs. Full-batch L-BFGS finds the optimum of the same loss, so there is no
    learning rate to tune and no seed to average.

    Args:
        features: Features to fit on.
        labels: Their classes.
        classes: Number of classes.
        weight_decay: L2 penalty on the weights.
        steps: Largest number of L-BFGS iterations.
    """
    mean, deviation = features.mean(0), features.std(0).clamp(min=1e-5)
    x = (features - mean) / deviation
    weight = torch.zeros(classes, x.shape[1], device=x.device, requires_grad=True)
    bias = torch.zeros(classes, device=x.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=steps, history_size=10, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(x @ weight.T + bias, labels)
        loss = loss + weight_decay * weight.square().sum() / 2
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(objective)
    return LinearClassifier(mean, deviation, weight.detach(), bias.detach())


def fit_svm(
    features: Float[Tensor, "N F"], labels: Int64[Tensor, " N"], classes: int, *, c: float = 1.0
) -> LinearClassifier:
    """One linear support vector machine per class, against all others, on normalised features of unit mean length.

    Args:
        features: Features to fit on.
        labels: Their classes; those that do not occur are never predicted.
        classes: Number of classes.
        c: Cost of a margin error.
    """
    from sklearn.svm import LinearSVC

    mean, deviation = features.mean(0), features.std(0).clamp(min=1e-5) * features.shape[1] ** 0.5
    machine = LinearSVC(C=c, dual=False, max_iter=5000)  # pyright: ignore[reportArgumentType]
    machine.fit(((features - mean) / deviation).cpu().double().numpy(), labels.cpu().numpy())
    found = torch.as_tensor(machine.coef_), torch.as_tensor(machine.intercept_)
    if len(machine.classes_) == 2:  # one SVM handles both
        found = tuple(torch.stack([-part[0], part[0]]) for part in found)
    weight, bias = features.new_zeros(classes, features.shape[1]), features.new_full((classes,), -torch.inf)
    there = torch.as_tensor(machine.classes_)
    weight[there], bias[there] = (part.to(features) for part in found)
    return LinearClassifier(mean, deviation, weight, bias, probabilities=False)


FITS: dict[str, Callable[[Tensor, Tensor, int], LinearClassifier]] = {
    "linear": partial(fit_linear, steps=60),  # with thousands of features, convergence would take minutes
    "svm": fit_svm,
}


def linear_probe(
    train: Float[Tensor, "N F"],
    train_labels: Int64[Tensor, " N"],
    test: Float[Tensor, "M F"],
    test_labels: Int64[Tensor, " M"],
    *,
    weight_decay: float = 1e-3,
    steps: int = 200,
) -> float:
    """Test accuracy of `fit_linear`.

    Args:
        train: Features to fit on.
        train_labels: Their classes.
        test: Features to predict.
        test_labels: Their classes.
        weight_decay: L2 penalty on the weights.
        steps: Largest number of L-BFGS iterations.

    Returns:
        Share of correctly classified test items.
    """
    classes = int(max(train_labels.max(), test_labels.max())) + 1
    classifier = fit_linear(train, train_labels, classes, weight_decay=weight_decay, steps=steps)
    return (classifier(test).argmax(1) == test_labels).double().mean().item()


def probe_table(
    train: BlockFeatures, test: BlockFeatures, *, classifier: ClassifierName = "linear", progress: bool = False
) -> Table:
    """Test accuracy of a linear classifier on every block of both frozen encoders, as in the paper's Table 1.

    Args:
        train: `block_features` of the clips to fit on; every window is an example.
        test: The same of the clips to classify, by the mean over their windows.
        classifier: "linear" is logistic regression as for Kinetics, "svm" the one-vs-rest SVM of ESC-50.
        progress: Whether to show a progress bar.

    Returns:
        Rows "video block1" ... "audio block4".

    Raises:
        ValueError: The classifier is unknown.
    """
    if classifier not in FITS:
        raise ValueError(f"classifier must be one of {', '.join(FITS)}; got {classifier!r}")
    classes = int(max(train.labels.max(), test.labels.max())) + 1
    chance = chance_accuracy(train.labels, test.labels)
    jobs = [(m, block) for m in ("video", "audio") for block in getattr(train, m)]
    rows = {}
    for modality, block in tqdm(jobs, desc=f"{classifier} probes", unit="block", disable=not progress):
        x, y = getattr(train, modality)[block], getattr(test, modality)[block]  # (N, W, F), (M, W, F)
        fitted = FITS[classifier](x.flatten(0, 1), train.labels.repeat_interleave(x.shape[1]), classes)
        correct = fitted(y).mean(1).argmax(1) == test.labels
        rows[f"{modality} {block}"] = estimate(correct.double(), chance=chance)
    kind = {"linear": "Linear probe", "svm": "One-vs-rest linear SVM"}[classifier]
    windows = next(iter((test.video or test.audio).values())).shape[1]
    return Table(f"{kind} of each frozen block, mean of {windows} window(s) a clip: accuracy", rows)


def labelled_subset(labels: Int64[Tensor, " N"], fraction: float, *, seed: int = 0) -> Int64[Tensor, " n"]:
    """Choose the clips that keep their labels: a share of every class, at least one clip of each.

    Args:
        labels: Class of each clip.
        fraction: Share of each class, in (0, 1].
        seed: Seed of the choice.

    Raises:
        ValueError: The fraction is not in (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction must be in (0, 1]; got {fraction}")
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    shuffled = labels.cpu()[order]
    chosen = []
    for label in shuffled.unique():
        mine = order[shuffled == label]
        chosen.append(mine[: max(1, round(fraction * len(mine)))])
    return torch.cat(chosen).sort().values


def label_fraction_table(
    train: Embeddings,
    test: Embeddings,
    untrained: tuple[Embeddings, Embeddings] | None = None,
    *,
    fractions: Sequence[float] = (0.01, 0.05, 0.1, 1.0),
    draws: int = 5,
    progress: bool = False,
) -> Table:
    """Linear probe of the last block's features with few labels, an equal share of each class.

    Args:
        train: Features to fit on.
        test: Features to predict.
        untrained: The same two for the untrained twin.
        fractions: Shares of the labels, each in (0, 1].
        draws: Number of random choices of labelled clips. The interval covers both other choices and other test clips.
        progress: Whether to show a progress bar.
    """
    classes = int(max(train.labels.max(), test.labels.max())) + 1
    chance = chance_accuracy(train.labels, test.labels)
    jobs = [(m, fraction) for m in ("video", "audio") for fraction in fractions]
    rows = {}
    for modality, fraction in tqdm(jobs, desc="label fractions", disable=not progress):
        x, y = getattr(train, f"{modality}_features"), getattr(test, f"{modality}_features")
        correct = []
        for seed in range(draws if fraction < 1 else 1):
            chosen = labelled_subset(train.labels, fraction, seed=seed)
            fitted = fit_linear(x[chosen], train.labels[chosen], classes)
            correct.append((fitted(y).argmax(1) == test.labels).double())
        rows[f"{modality}, {100 * fraction:g} % of labels"] = over_runs(torch.stack(correct), chance)
    made = Table("Linear probe of the last block with few labels, class-balanced: accuracy", rows)
    if untrained is None:
        return made
    return made.with_baseline(label_fraction_table(*untrained, fractions=fractions, draws=draws, progress=progress))


def over_runs(correct: Float[Tensor, "S M"], chance: float) -> Estimate:
    """Accuracy of one run like these: its interval resamples both the runs and the test clips."""
    drawn, run = [], 0
    for rows in bootstrap(correct.shape[1]):
        which = (run + torch.arange(len(rows))) % len(correct)
        drawn.append(correct[which[:, None], rows].mean(1))
        run += len(rows)
    return Estimate(correct.mean().item(), torch.cat(drawn), chance)

"""The report on the reference runs: tables with mean and spread over seeds, and the paper's findings that appear."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from avid_lab.metrics import mean_and_margin, mean_and_spread
from avid_lab.mining import AGREEMENTS
from avid_lab.reference.runs import VARIANTS

BLOCKS = tuple(f"{modality}_block{n}" for modality in ("video", "audio") for n in (1, 2, 3, 4))
RETRIEVAL = ("v2a_precision_at_10", "a2v_precision_at_10", "v2v_precision_at_10", "a2a_precision_at_10")
KNN = ("video_knn", "audio_knn")
PROBES = ("video_probe", "audio_probe")
SEPARATION = ("v2v_auc", "a2a_auc", "v2a_auc", "v2v_overlap", "a2a_overlap", "v2a_overlap")
MINED = tuple(f"positives_{how}" for how in AGREEMENTS)

# By heading: a description, the variants, the scores.
TABLES: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "Across, within, or both": (
        "The paper's first table in miniature: linear probes of every block, neighbours, retrieval, at equal steps.",
        ("cross", "joint", "self"),
        BLOCKS + KNN + RETRIEVAL + ("v2a_recall_at_10",),
    ),
    "Agreement, at equal compute": (
        "The first column is Cross-AVID with 1.5 times the usual steps. The next two continue its runs for the same "
        "number of steps.",
        ("long", "avid", "cma"),
        PROBES + KNN + RETRIEVAL + SEPARATION + MINED[:1],
    ),
    "When to start": (
        "CMA needs correct positives. Each pair of runs has equal compute. The pairs start early (after the usual "
        "steps of Cross-AVID), later (after 1.5 times as many) or late (after twice as many).",
        ("long", "cma-early", "avid", "cma", "avid-late", "cma-late"),
        PROBES + KNN + RETRIEVAL + SEPARATION,
    ),
    "Kinds of agreement": (
        "Which clips count as positives: those that agree in both senses, in either, in the picture or in the sound.",
        ("cma", "cma-union", "cma-video", "cma-audio"),
        PROBES + KNN + RETRIEVAL + SEPARATION[:2],
    ),
    "Number of positives": (
        "CMA with 32 positives, then with fewer or more.",
        ("cma", "cma-k8", "cma-k128"),
        PROBES + KNN + RETRIEVAL[2:] + SEPARATION[:2],
    ),
    "Temperature and number of negatives": (
        "Cross-AVID for half the steps: temperature 0.07 and the profile's negatives, then one of the two changed.",
        ("short", "short-t0.03", "short-t0.2", "short-n32", "short-n2048"),
        PROBES + KNN + RETRIEVAL[:2],
    ),
}
STARTS = (("early", "cma-early", "long"), ("later", "cma", "avid"), ("late", "cma-late", "avid-late"))
# The paper's findings, as (claim, better, worse, score): scores of paired runs, same seed.
CLAIMS: tuple[tuple[str, str, str, str], ...] = (
    ("Cross-AVID's pictures beat Self-AVID's", "cross", "self", "video_probe"),
    ("Cross-AVID's sounds beat Self-AVID's", "cross", "self", "audio_probe"),
    ("Cross-AVID's pictures beat Joint-AVID's", "cross", "joint", "video_probe"),
    ("Cross-AVID's sounds beat Joint-AVID's", "cross", "joint", "audio_probe"),
    *(
        (f"CMA {what}, started {when}", cma, avid, score)
        for what, score in (
            ("improves the picture's probe", "video_probe"),
            ("improves the sound's probe", "audio_probe"),
            ("improves the sounds found for a picture", "v2a_precision_at_10"),
            ("improves the pictures found for a sound", "a2v_precision_at_10"),
            ("improves neighbours among pictures", "v2v_precision_at_10"),
            ("improves neighbours among sounds", "a2a_precision_at_10"),
            ("separates same-class pictures from others", "v2v_auc"),
            ("separates same-class sounds from others", "a2a_auc"),
        )
        for when, cma, avid in STARTS
    ),
    # Less overlap is better, so AVID's minus CMA's.
    *(
        (
            f"CMA reduces the overlap of same-class and other {kind}, started {when}",
            avid,
            cma,
            score,
        )
        for kind, score in (("pictures", "v2v_overlap"), ("sounds", "a2a_overlap"))
        for when, cma, avid in STARTS
    ),
    ("Consensus trains better pictures than union", "cma", "cma-union", "v2v_precision_at_10"),
    ("Consensus trains better pictures than video alone", "cma", "cma-video", "v2v_precision_at_10"),
    ("Consensus trains better pictures than audio alone", "cma", "cma-audio", "v2v_precision_at_10"),
)


def report(results: dict[str, Any]) -> str:
    """The runs as a Markdown page.

    Args:
        results: The result of `run_all`.
    """
    made = results["made_with"]
    profile, train = made["profile"], made["profile"]["train"]
    seconds = [run["seconds"] for run in results["runs"]]
    lines = [
        "# Reference runs",
        "",
        f"Made by `{made['command']}` on {made['hardware']}, Python {made['python']}, torch {made['torch']}.",
        f"World `{profile['world']}`, model `{profile['model']}`, {train['steps']} steps of {train['batch_size']} "
        f"clips (continued and half-long runs: {train['steps'] // 2}), {profile['num_negatives']} negatives, seeds "
        f"{sorted({run['seed'] for run in results['runs']})}. "
        f"Training took {min(seconds):.0f} to {max(seconds):.0f} s per run.",
        "",
        "Numbers are per cent on held-out clips, mean ± standard deviation over the seeds. Positives are judged on the",
        "training clips; training never saw their labels. *Untrained* is the same network with random weights.",
        "[search.md](search.md) says how the recipe was found, [calibration.md](calibration.md) what CMA calibrates,",
        "[losses.md](losses.md) how other losses compare.",
    ]
    for heading, (text, variants, names) in TABLES.items():
        there = [name for name in variants if _values(results, name, names[0])]
        if len(there) > 1:
            lines += ["", f"## {heading}", "", text, "", *_table(results, there, names)]
    return "\n".join([*lines, "", *_positives(results), *_verdicts(results), ""])


def _table(results: dict[str, Any], variants: Sequence[str], names: Sequence[str]) -> list[str]:
    columns: dict[str, Callable[[str], list[float]]] = {
        VARIANTS[name].about: (lambda score, name=name: _values(results, name, score)) for name in variants
    }
    columns["untrained"] = lambda score: [run[score] for run in results["untrained"].values() if score in run]
    columns["chance"] = lambda score: [results["chance"][score]] if score in results["chance"] else []
    head = [f"| | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    rows = [f"| {readable(n)} | {' | '.join(_cell(values(n)) for values in columns.values())} |" for n in names]
    seeds = [len(values(names[0])) for label, values in columns.items() if label != "chance"]
    return [*head, *rows, f"| *seeds* | {' | '.join(map(str, seeds))} | |"]


def _positives(results: dict[str, Any]) -> list[str]:
    """Precision of the positives that the four agreements find in the memories of the same Cross-AVID runs."""
    if not _values(results, "long", MINED[0]):
        return []
    rows = [f"| {readable(name)} | {_cell(_values(results, 'long', name))} |" for name in MINED]
    left = _cell(_values(results, "cross", "false_negatives_left"))
    text = (
        "These positives come from the memories where CMA starts. The table shows the share of the 32 positives that "
        "have the query's class. "
        f"Among random clips it is {_cell(_values(results, 'long', 'false_negatives')[:1])}: these are AVID's false "
        f"negatives. Among the negatives that consensus leaves, it is {left}."
    )
    return ["## Are the positives right?", "", text, "", "| agreement | right |", "|---|---|", *rows, ""]


def _verdicts(results: dict[str, Any]) -> list[str]:
    head = [
        "## Which of the paper's findings appear at this scale",
        "",
        "Differences of paired runs (same seed), in points, with Student's 95 % interval of their mean over seeds. A",
        "finding *appears* if the interval is above zero, is *reversed* if it is below, and is *open* otherwise.",
        "",
        "| the paper's finding | score | difference | |",
        "|---|---|---|---|",
    ]
    rows = []
    for claim, better, worse, score in CLAIMS:
        found = difference(results, better, worse, score)
        if found is not None:
            mean, half, verdict = found
            interval = f"{mean:+.1f} [{mean - half:+.1f}, {mean + half:+.1f}]"
            rows.append(f"| {claim} | {readable(score)} | {interval} | {verdict} |")
    return head + rows if rows else []


def difference(results: dict[str, Any], better: str, worse: str, score: str) -> tuple[float, float, str] | None:
    """Mean paired difference of two variants in points, half its 95 % interval, and the verdict.

    ``None`` if fewer than two seeds have both runs.
    """
    a, b = (
        {r["seed"]: 100 * r["scores"][score] for r in results["runs"] if r["variant"] == name and score in r["scores"]}
        for name in (better, worse)
    )
    pairs = [a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())]
    if len(pairs) < 2:
        return None
    mean, half = mean_and_margin(pairs)
    return mean, half, "appears" if mean > half else "reversed" if mean < -half else "open"


def readable(score: str) -> str:
    """The readable name of a score."""
    words = score.replace("_", " ").replace("block", "block ")
    for short, long in (("v2a", "v→a"), ("a2v", "a→v"), ("v2v", "v-v"), ("a2a", "a-a"), ("auc", "AUC"), ("knn", "kNN")):
        words = words.replace(short, long)
    return words.replace("positives ", "right positives, ")


def _values(results: dict[str, Any], variant: str, score: str) -> list[float]:
    return [run["scores"][score] for run in results["runs"] if run["variant"] == variant and score in run["scores"]]


def _cell(values: Sequence[float]) -> str:
    if not values:
        return ""
    mean, spread = mean_and_spread([100 * value for value in values])
    return f"{mean:.1f}" + ("" if math.isnan(spread) else f" ± {spread:.1f}")

"""``avid-lab demo``: the course's story without a notebook. Train AVID, mine, evaluate, and report with pictures."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from avid_lab import plots
from avid_lab.atomic import replacing
from avid_lab.checkpoints import CheckpointError, resume, save
from avid_lab.config import Profile
from avid_lab.datasets import ClipDataset
from avid_lab.evaluation import Embeddings, chance_scores, compare, instance_table, score, table
from avid_lab.evaluation.scores import cannot_miss
from avid_lab.interactive import answers, ask
from avid_lab.interactive.players import Players
from avid_lab.metrics import false_negative_rate, positive_precision
from avid_lab.mining import Positives, mine_positives
from avid_lab.reference import Run, adapt
from avid_lab.report import Section, SummaryRow, write_report
from avid_lab.training import Trainer, avid_trainer

SHOWN = 5  # results of a gallery: one row of the page
QUERIES = 3  # galleries of held-out clips
MOST_STILLS = 24  # on the contact sheet
CLIP_BYTES = 120_000  # of one player: with all of them a report stays below 10 MB
POSITIVES = 32  # of a query, where there are many clips (the paper's number)
SAVE_EVERY = 50  # steps: what an interrupted run loses at most
# Training clips: with fewer, the committed network is adapted, since training from nothing learns little.
ADAPT_BELOW = 200
ADAPT_STEPS, ADAPT_RATE = 200, 3e-4  # of an adaptation; the network already knows much, so the rate is low
FEW = 20  # held-out clips: with fewer, one clip is more than five points


def run(
    train: ClipDataset,
    test: ClipDataset,
    profile: Profile,
    out: Path,
    *,
    start: Run | None = None,
    fresh: bool = False,
) -> str:
    """Run the whole story on these clips.

    Writes ``checkpoint.pt``, ``run.json``, ``scores.json`` and ``report.html`` into ``out``. Scores are printed and
    written before anything is drawn; a part that cannot be drawn is replaced by the reason. Clips without classes are
    evaluated by instance retrieval: which sound belongs to which picture?

    Args:
        train: Clips to learn from.
        test: Clips to evaluate on.
        profile: The model preset and the training settings.
        out: A folder; created if necessary.
        start: Adapt this run's network instead of training a new one, and show both.
        fresh: Train again, even if a finished or unfinished run of these clips and settings exists.

    Returns:
        The text to print at the end: the report's path, and its placeholders.

    Raises:
        ValueError: There are fewer than two clips on one side.
    """
    if len(train) < 2 or len(test) < 2:
        fix = "In a folder of videos one in five is held out: give at least 8."
        raise ValueError(
            f"the demo needs at least two training and two held-out clips; got {len(train)} and {len(test)}. {fix}"
        )
    begun = time.perf_counter()
    if start is None:
        trainer = avid_trainer(train, profile)
    else:
        trainer = adapt(start, train, profile.train)
        print(f"{len(train)} training clips: adapting the committed network ({start.variant}, seed {start.seed}).")
    fit(trainer, out, origin=_origin(start), fresh=fresh)
    models = {"trained": trainer.model} if start is None else {"adapted": trainer.model, "reference": start.model()}
    if start is not None:
        models["reference"] = models["reference"].to(trainer.device)
    spaces = compare(models, train, test, trainer.pipeline, progress=True)
    memory = trainer.objective.memory
    k = max(1, min(POSITIVES, len(train) // 10))  # of few clips, the 32 most alike would be nearly all
    positives = mine_positives(memory.video.cpu(), memory.audio.cpu(), k=k)

    examined = _with_classes if _classes(train, test) else _without_classes
    text, kept, rows = examined(spaces, positives, train, test)
    with replacing(out / "scores.json") as temporary:
        temporary.write_text(json.dumps(kept, indent=1, ensure_ascii=False), encoding="utf-8")
    print(f"\n{text}\n", flush=True)

    drawn = time.perf_counter()
    story = _Story(trainer, positives, test, spaces[next(iter(models))][1], started=start is not None)
    sections, problems = story.sections()
    report = write_report(
        out / "report.html",
        title="What a network learns from watching with sound",
        lead=_lead(train, test, trainer, start),
        summary_rows=rows,
        sections=sections,
        provenance={
            "command": shlex.join(["avid-lab", *sys.argv[1:]]),
            "clips": train.manifest.root,
            "model": f"{profile.model}, {sum(p.numel() for p in trainer.model.parameters()):,} parameters",
            "started from": _origin(start),
            "training": profile.train,
            "hardware": _hardware(trainer.device),
            "versions": f"Python {platform.python_version()}, torch {torch.__version__}",
            "seconds": round(time.perf_counter() - begun),
        },
        trained="Adapted" if start else "Trained",
    )
    lacks = [f"{len(problems)} things in the report are placeholders:", *(f"  {line}" for line in problems)]
    size, seconds = report.stat().st_size / 1e6, time.perf_counter() - drawn
    ends = [f"Report      {report.resolve()} ({size:.1f} MB, {seconds:.0f} s)"]
    return "\n".join([*(lacks if problems else []), *ends, f"Checkpoint  {(out / 'checkpoint.pt').resolve()}"])


# Training


def fit(trainer: Trainer, out: Path, *, origin: str, fresh: bool = False) -> None:
    """Train to the end, with a live progress line; an interrupted run resumes, a finished one is loaded.

    Args:
        trainer: The run, at its beginning.
        out: Folder of ``checkpoint.pt``; until the run is finished, it is called ``checkpoint.unfinished``.
        origin: Origin of the weights. Together with the clips, it identifies an existing run.
        fresh: Train again even if a run exists.
    """
    checkpoint, unfinished, about = out / "checkpoint.pt", out / "checkpoint.unfinished", out / "run.json"
    identity = {"started from": origin, "clips": _fingerprint(trainer.clips)}
    if fresh:
        unfinished.unlink(missing_ok=True)
    elif found := next((path for path in (unfinished, checkpoint) if path.exists()), None):
        state = "An unfinished" if found == unfinished else "A finished"
        try:
            if _read(about) != identity:
                raise CheckpointError("its clips or its start were others")
            resume(found, trainer)
            again = "" if found == unfinished else " --fresh trains again."
            print(f"{state} run of these clips and settings is loaded from {found}.{again}")
        except CheckpointError as error:
            why = "with other clips or settings, so training starts from the beginning"
            print(f"{state} run exists, but {why}: {error}")
    with replacing(about) as temporary:
        temporary.write_text(json.dumps(identity, indent=1), encoding="utf-8")
    if trainer.steps_done >= len(trainer):
        return
    with tqdm(trainer, desc="training", unit="step", total=len(trainer), initial=trainer.steps_done) as bar:
        for step in bar:
            bar.set_postfix(loss=f"{step.loss:.2f}", clips_per_s=f"{step.clips_per_s:.0f}")
            if step.index % SAVE_EVERY == 0:
                save(unfinished, trainer)
    save(checkpoint, trainer)
    unfinished.unlink(missing_ok=True)


def _origin(start: Run | None) -> str:
    return "nothing" if start is None else f"reference run {start.variant}, seed {start.seed}"


def _fingerprint(clips: ClipDataset) -> str:
    """A fingerprint of the clips, from the names and sizes of their files."""
    manifest = clips.manifest
    files = [(record.id, manifest.path(i).stat().st_size) for i, record in enumerate(manifest.records)]
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


# The examination: text to print, values to keep, rows of the report

Spaces = Mapping[str, tuple[Embeddings, Embeddings]]
Examined = tuple[str, dict[str, Any], list[SummaryRow]]


def _classes(train: ClipDataset, test: ClipDataset) -> bool:
    return train.has_classes and min(len(clips.labels.unique()) for clips in (train, test)) > 1


def _with_classes(spaces: Spaces, positives: Positives, train: ClipDataset, test: ClipDataset) -> Examined:
    first = next(iter(spaces))
    scores = {name: score(*pair) for name, pair in spaces.items()}
    scores["chance"] = chance_scores(*spaces[first])
    columns = {name: column.rows() for name, column in scores.items()}
    rows = []
    for place, (name, value) in enumerate(columns[first]):
        reference = columns["reference"][place][1] if "reference" in columns else None
        blank, chance = columns["untrained"][place][1], columns["chance"][place][1]
        if not cannot_miss(chance):
            rows.append(SummaryRow(name, value, blank, chance, reference=reference))
    same, chance = positive_precision(positives, train.labels), false_negative_rate(train.labels)
    rows.append(SummaryRow("positives of the query's class", same, None, chance))
    k = positives.index.shape[1]
    many = f"Of the {k} positives mined for each clip, {same:.1%} are of their query's class"
    one = f"The one positive mined for each clip is of its query's class in {same:.1%} of the cases"
    mined = f"{one if k == 1 else many} (chance {chance:.1%})."
    lines = [table(scores, title=f"{len(test):,} held-out clips"), "", mined, *_warning(test)]
    return "\n".join(lines), {name: dataclasses.asdict(column) for name, column in scores.items()}, rows


def _without_classes(spaces: Spaces, _positives: Positives, train: ClipDataset, test: ClipDataset) -> Examined:
    first = next(iter(spaces))
    ours = instance_table(spaces[first][1], spaces["untrained"][1])
    reference = instance_table(spaces["reference"][1]) if "reference" in spaces else None
    rows = []
    for name, row in ours.items():
        if row.percent:
            other = None if reference is None else reference[name].value
            ends = row.low, row.high
            rows.append(SummaryRow(name, row.value, row.random, row.chance, reference=other, interval=ends))
    why = "All clips are of one class" if train.has_classes else "The clips have no classes"
    lines = [
        f"{why}, so there are no scores by class. Each picture looks for its own sound among the held-out clips, "
        "and each sound for its own picture.",
        "",
        ours.text(names=(first, "")),
        *_warning(test),
    ]
    if reference is not None:
        difference = ours - reference
        title = "Adapted minus the committed network as it came, on the same clips"
        lines += ["", dataclasses.replace(difference, title=title).text(names=("difference", ""))]
    kept = {first: ours.plain()} | ({} if reference is None else {"reference": reference.plain()})
    return "\n".join(lines), kept, rows


def _warning(test: ClipDataset) -> list[str]:
    if len(test) >= FEW:
        return []
    return [
        "",
        f"Only {len(test)} held-out clips: one clip is {100 / len(test):.0f} points. Such numbers are not precise.",
    ]


# The report


def _lead(train: ClipDataset, test: ClipDataset, trainer: Trainer, start: Run | None) -> str:
    what = f"{len(train):,} clips, {len(trainer)} steps"
    if start is not None:
        what = f"A network that knows a rendered world, adapted to {len(train):,} clips in {len(trainer)} steps"
    if not _classes(train, test):
        text = f"{what}. Nobody labelled them: each picture looks for its own sound, and each sound for its picture."
    else:
        text = f"{what}, no labels: those only ask, at the end, what was learned."
    return " ".join([text, *_warning(test)[1:]])


class _Story:
    """The report's sections. One that cannot be drawn holds the reason instead."""

    def __init__(
        self, trainer: Trainer, positives: Positives, test: ClipDataset, space: Embeddings, *, started: bool
    ) -> None:
        self.trainer, self.train, self.test = trainer, trainer.clips, test
        self.positives, self.space, self.started = positives, space, started
        self.classes = _classes(self.train, test)
        seed = trainer.config.seed
        self.queries = _some(test, QUERIES, seed)
        self.query = _some(self.train, 1, seed)[0]
        stills = max(len(test.classes), 0 if self.classes else MOST_STILLS)
        self.everyone = _some(test, min(len(test), stills), seed)

    def sections(self) -> tuple[list[Section], list[str]]:
        """The sections, and one line for each thing that is a placeholder."""
        parts: dict[str, Callable[[], Sequence[Any]]] = {
            "The clips": self._clips,
            "Adapting" if self.started else "Training": lambda: [plots.loss_terms(self.trainer.history)],
            "Which sounds fit this picture?": self._retrieval,
            "One space for both senses": self._space,
            "Who agrees in picture and in sound?": self._agreement,
        }
        made, problems = [], []
        for title, build in parts.items():
            try:
                items = list(build())
            except Exception as error:  # one failed picture must not prevent the others; the problem is reported
                traceback.print_exc()
                problems.append(f"{title}: {type(error).__name__}: {error}")
                items = [f"This part could not be drawn. {type(error).__name__}: {error}"]
            problems += [line for item in items if isinstance(item, Players) for line in item.problems]
            made.append(Section(title, items))
        return made, list(dict.fromkeys(problems))

    def _clips(self) -> list[Any]:
        pictures = self.test.batch(torch.tensor(self.everyone))["video"]
        names = [self.test.name(i) for i in self.everyone]
        if self.classes:
            text = "One of each class among the held-out clips. The network never sees the names below the pictures."
        else:
            text, names = "Held-out clips, by the names of their files.", [_shortened(name) for name in names]
        return [text, plots.contact_sheet(list(pictures), names)]

    def _retrieval(self) -> list[Any]:
        right = "Green is a sound of the picture's class." if self.classes else "Green is the picture's own sound."
        text = f"A held-out picture asks; the held-out sounds answer, nearest first. {right} Play them."
        return [text, *(ask(self.space, self.test, i, SHOWN, clip_bytes=CLIP_BYTES) for i in self.queries)]

    def _space(self) -> list[Any]:
        labels, classes = self.test.labels, self.test.classes
        if not self.classes:
            labels, classes = torch.zeros_like(labels), ("",)
        return [plots.embedding_map(self.space.video, self.space.audio, labels, classes)]

    def _agreement(self) -> list[Any]:
        text = "A training clip and its first positives by cross-modal agreement: alike to the eye and to the ear."
        if not self.classes:
            text += " Without classes, only your own eyes and ears can say whether they belong together."
        labels, classes = (self.train.labels, self.train.classes) if self.classes else (None, None)
        memory, found = self.trainer.objective.memory, self.positives.index[self.query].tolist()[:SHOWN]
        scores = self.positives.score[self.query].tolist()[:SHOWN]
        return [
            text,
            plots.agreement_plane(memory, self.query, self.positives, labels, classes=classes),
            answers(self.train, self.query, found, scores, windows=2, clip_bytes=CLIP_BYTES),
        ]


def _shortened(name: str, most: int = 18) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _some(clips: ClipDataset, count: int, seed: int) -> list[int]:
    """``count`` clips at random, of different classes as long as there are any; without classes, any."""
    order = torch.randperm(len(clips), generator=torch.Generator().manual_seed(seed)).tolist()
    if clips.has_classes:
        first = {int(clips.labels[i]): i for i in reversed(order)}
        order = [i for i in order if first[int(clips.labels[i])] == i]
    return sorted(order[:count], key=lambda i: int(clips.labels[i]))


def _hardware(device: torch.device) -> str:
    cpu = f"{platform.machine()}, {torch.get_num_threads()} CPU threads"
    return f"{torch.cuda.get_device_name(device)}; {cpu}" if device.type == "cuda" else cpu

"""``avid-lab train``: AVID, or CMA from a trained AVID, with logs, live checks and resumable checkpoints.

Next to the checkpoint are ``run.json`` (all settings, readable by ``--config``), ``log.csv`` (every step) and
``checks.csv``. If the checkpoint is not called ``checkpoint.pt``, their names begin with its name.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avid_lab.atomic import remove_leftovers, replacing
from avid_lab.commands.data import place
from avid_lab.commands.fields import add_fields
from avid_lab.commands.train_logs import Logs, sibling, summary_writer
from avid_lab.config import RECIPES, ModelConfig, Recipe, TrainConfig, profile, typed_fields

if TYPE_CHECKING:
    import torch

    from avid_lab.datasets import ClipDataset
    from avid_lab.encoders import AudioVisualModel
    from avid_lab.objectives import AVID, CMA
    from avid_lab.training import Step, Trainer
    from avid_lab.transforms import InputPipeline

RECENT = 20  # steps that the shown speed is of
CHECKED = 1000  # most held-out clips in a live check


@dataclass(frozen=True)
class LossConfig:
    """Settings of the objective; see `AVID` and `CMA`.

    Args:
        cross: Weight of the cross-modal terms (in CMA: the instance terms).
        within: Weight of the within-modal terms (in CMA: the instance terms).
        num_negatives: Negatives per query.
        temperature: Divides similarities.
        momentum: Share of the old memory that an update keeps.
        k: CMA: positives per clip.
        agreement: CMA: when two clips agree: consensus, union, video, audio or another rule.
        positive_cross: CMA: weight of the positives' cross-modal terms.
        positive_within: CMA: weight of the positives' within-modal terms.
        num_within_negatives: CMA: negatives of the within-modal terms.
    """

    cross: float = 1.0
    within: float = 0.0
    num_negatives: int = 1024
    temperature: float = 0.07
    momentum: float = 0.5
    k: int = 32
    agreement: str = "consensus"
    positive_cross: float = 0.0
    positive_within: float = 1.0
    num_within_negatives: int = 64


OF_CMA = {"k", "agreement", "positive_cross", "positive_within", "num_within_negatives"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``avid-lab train``, except those that choose the clips."""
    parser.epilog = (
        "To resume an interrupted run, repeat its command. "
        "To use several processes: torchrun --nproc-per-node=N -m avid_lab train ..."
    )
    parser.add_argument(
        "--preset", choices=sorted(RECIPES), help="model and schedule (default: the profile's; with --weights, one-gpu)"
    )
    parser.add_argument("--config", type=Path, help="run.json of another run; other options override it")
    parser.add_argument(
        "--objective", choices=("avid", "cma"), help="avid (default) or cma, which needs --from or --weights"
    )
    parser.add_argument(
        "--from",
        dest="start",
        type=Path,
        metavar="CHECKPOINT",
        help="start from the model and memory of this trained AVID",
    )
    text = (
        "start from this network and new memories of the clips: released weights by name (`avid-lab fetch`), or a file"
    )
    parser.add_argument("--weights", metavar="NAME|PATH", help=text)
    parser.add_argument(
        "--out", type=Path, default=Path("runs/train/checkpoint.pt"), help="checkpoint to write (default: %(default)s)"
    )
    parser.add_argument("--fresh", action="store_true", help="train again, even if this run is finished")
    parser.add_argument(
        "--save-every", type=int, default=50, metavar="STEPS", help="steps between saves (default: %(default)s)"
    )
    parser.add_argument(
        "--check-every",
        type=float,
        default=10.0,
        metavar="PASSES",
        help=f"passes between live checks on up to {CHECKED} held-out clips; 0: none (default: %(default)s)",
    )
    parser.add_argument(
        "--tensorboard", action="store_true", help="also log for TensorBoard, in a folder next to the checkpoint"
    )
    add_fields(parser.add_argument_group("loss"), LossConfig, {"num_negatives"})
    add_fields(parser.add_argument_group("training (defaults: the preset's)"), TrainConfig, None)


def run(arguments: argparse.Namespace, clips_for: Callable[[ModelConfig], tuple[ClipDataset, ClipDataset]]) -> str:
    """Train to the end and return the line to print.

    Args:
        arguments: The command line's; ``--config`` fills in ``world`` and ``data``.
        clips_for: Returns the training and held-out clips in a model's format.

    Raises:
        ValueError: A setting is wrong, an unfinished run has other settings, or the loss is not finite.
    """
    from avid_lab.training import process_group, rank, resolve_device

    wanted = _merge(arguments)
    resolve_device(wanted["train"].get("device", "auto"))  # a wrong name fails before anything is computed
    if arguments.tensorboard:
        summary_writer()  # a missing package fails before anything is computed
    if arguments.save_every < 1 or arguments.check_every < 0:
        raise ValueError(
            f"--save-every must be >= 1 and --check-every >= 0; got {arguments.save_every} and {arguments.check_every}"
        )
    with process_group():
        trainer, test = _prepare(arguments, wanted, clips_for)
        if trainer.steps_done >= len(trainer):
            done = f"loss {trainer.history[-1].loss:.3f}, finished before as {arguments.out}; --fresh trains it again"
            return done if rank() == 0 else ""
        _train(trainer, test, arguments, wanted)
        final = [f"loss {trainer.history[-1].loss:.3f}, saved as {arguments.out}"]
        if trainer.skipped:
            final.append(f"{trainer.skipped} of {trainer.steps_done} steps overflowed in float16 and were skipped")
        own = {record.path for record in trainer.clips.manifest.records}
        if failures := [(path, problem) for path, problem in trainer.clips.failures.items() if path in own]:
            many = f"{len(failures)} files failed and others took their places. The first is"
            begin = many if len(failures) > 1 else "One file failed and another took its place:"
            final.append(f"{begin} {failures[0][0]}: {failures[0][1]}")
        return "\n".join(final) if rank() == 0 else ""


def _merge(arguments: argparse.Namespace) -> dict[str, Any]:
    """The user's settings: the configuration file, overridden by options."""
    wanted: dict[str, Any] = {"loss": {}, "train": {}}
    if arguments.config is not None:
        wanted |= _read_config(arguments.config)
    for name in ("preset", "objective", "start", "weights", "world", "data"):
        given = getattr(arguments, name)
        wanted[name] = str(given) if given is not None else wanted.get(name)
    if arguments.world or arguments.data:  # either of them replaces both
        wanted |= {name: str(value) if (value := getattr(arguments, name)) else None for name in ("world", "data")}
    for section, kind in (("loss", LossConfig), ("train", TrainConfig)):
        options = {f.name: getattr(arguments, f.name) for f in fields(kind) if hasattr(arguments, f.name)}
        wanted[section] = wanted[section] | options
    wanted["objective"] = wanted["objective"] or "avid"
    if wanted["start"] and wanted["weights"]:
        raise ValueError(
            "--from and --weights exclude each other: the first takes a run's memory, the second makes a new one"
        )
    if wanted["objective"] == "cma" and not (wanted["start"] or wanted["weights"]):
        rule = "--objective cma needs --from CHECKPOINT, a trained AVID, whose memory it mines"
        raise ValueError(f"{rule}; or --weights, whose embeddings of the clips it mines")
    if wanted["weights"]:
        wanted["preset"] = wanted["preset"] or "one-gpu"
    idle = sorted(OF_CMA & set(wanted["loss"])) if wanted["objective"] == "avid" else []
    if idle:
        raise ValueError(
            f"{', '.join(idle)}: for CMA only. Add --objective cma and --from or --weights, or leave it out."
        )
    arguments.world, arguments.data = wanted["world"], place(wanted["data"]) if wanted["data"] else None
    return wanted


def _read_config(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error}). Give the run.json of another run.") from error
    known = {"preset", "objective", "start", "weights", "world", "data", "loss", "train", "made_with"}
    if not isinstance(content, dict) or set(content) - known:
        odd = ", ".join(sorted(set(content) - known)) if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"{path}: must be an object with {', '.join(sorted(known))}; got {odd}")
    content.pop("made_with", None)
    for name in known - {"loss", "train", "made_with"}:
        if not isinstance(content.get(name), str | None):
            raise ValueError(f"{path}: {name} must be text or null; got {content[name]!r}")
    if content.get("objective") not in (None, "avid", "cma"):
        raise ValueError(f"{path}: objective must be avid or cma; got {content['objective']!r}")
    content = {"loss": {}, "train": {}} | content
    for section, kind in (("loss", LossConfig), ("train", TrainConfig)):
        content[section] = typed_fields(kind, content[section], f"{path}: {section}")
    return content


def _prepare(
    arguments: argparse.Namespace,
    wanted: dict[str, Any],
    clips_for: Callable[[ModelConfig], tuple[ClipDataset, ClipDataset]],
) -> tuple[Trainer, ClipDataset]:
    """The trainer, at its first step or where an unfinished run of the same settings stopped."""
    import torch

    from avid_lab import checkpoints
    from avid_lab.encoders import AudioVisualModel
    from avid_lab.objectives import AVID
    from avid_lab.processes import local_rank, processes, wait_for_all
    from avid_lab.training import Trainer, resolve_device
    from avid_lab.training.memory import fitted
    from avid_lab.transforms import InputPipeline

    recipe = _recipe(wanted["preset"])
    seed = wanted["train"].get("seed", recipe.train.seed)
    model, pipeline = AudioVisualModel.preset(recipe.model, seed=seed), None
    if wanted["start"]:
        model, pipeline = checkpoints.load_model(wanted["start"])
    elif wanted["weights"]:
        model, pipeline = checkpoints.load_weights(wanted["weights"])
    if local_rank() > 0:  # one process per machine renders and decodes for all
        wait_for_all()
    train, test = clips_for(model.config)
    if local_rank() == 0:
        wait_for_all()
    if len(train) < 2:
        raise ValueError("training needs at least two clips, because it compares each with others; there is one")

    config = replace(recipe.config(len(train), wanted["objective"]), **wanted["train"])
    if "accumulate" not in wanted["train"] and processes() == 1:
        config = fitted(config, model.config, resolve_device(config.device))
    loss = {"num_negatives": recipe.num_negatives} | wanted["loss"]
    generator = torch.Generator().manual_seed(seed)
    if not wanted["start"]:
        cma = wanted["objective"] == "cma"
        common = {name: value for name, value in loss.items() if not (cma and name in {*OF_CMA, "cross", "within"})}
        objective = AVID(len(train), model.config.dim, generator=generator, **common)
        if wanted["weights"]:
            pipeline = pipeline or InputPipeline(model.config.video, model.config.audio).fit(train)
            if not _unfinished(arguments.out).exists():  # its memories are in that file
                _remember(objective, model, pipeline, train, resolve_device(config.device))
        if cma:
            objective = _cma(objective, wanted["loss"])
    else:
        avid = checkpoints.load_objective(wanted["start"])
        if not isinstance(avid, AVID) or len(avid.memory) != len(train):
            got = f"a {type(avid).__name__} of {len(avid.memory)} clips"
            raise ValueError(f"--from must be a trained AVID of these {len(train)} clips; got {got}")
        avid.generator = generator
        changes = wanted["loss"]
        objective = _cma(avid, changes) if wanted["objective"] == "cma" else _continued(avid, changes)
    trainer = Trainer(model, objective, train, config, pipeline=pipeline)
    if _unfinished(arguments.out).exists():
        try:
            checkpoints.resume(_unfinished(arguments.out), trainer)
        except checkpoints.CheckpointError as error:
            fix = "Repeat the command that started it, choose another --out, or delete it."
            raise ValueError(f"an unfinished run is in the way: {error}. {fix}") from error
    elif arguments.out.exists() and not arguments.fresh:
        with contextlib.suppress(checkpoints.CheckpointError):  # of another run, which this one replaces
            checkpoints.resume(arguments.out, trainer)
    return trainer, test


def _remember(
    objective: AVID, model: AudioVisualModel, pipeline: InputPipeline, clips: ClipDataset, device: torch.device
) -> None:
    """Begin the memories with what the model makes of each clip, as a trained AVID's would."""
    import torch

    from avid_lab.evaluation import embed
    from avid_lab.processes import rank

    number = {record.id: i for i, record in enumerate(clips.manifest.records)}
    clips = clips.readable(progress=rank() == 0)  # memories of the others stay random
    found = embed(model.to(device), clips, pipeline.to(device), windows=1, progress=rank() == 0)
    rows = torch.tensor([number[record.id] for record in clips.manifest.records])
    objective.memory.video[rows] = found.video
    objective.memory.audio[rows] = found.audio


def _recipe(preset: str | None) -> Recipe:
    if preset is not None:
        if preset not in RECIPES:
            raise ValueError(f"preset must be one of {', '.join(RECIPES)}; got {preset!r}")
        return RECIPES[preset]
    chosen = profile()
    return replace(RECIPES[chosen.model], train=chosen.train, num_negatives=chosen.num_negatives)


def _cma(avid: AVID, settings: dict[str, Any]) -> CMA:
    from avid_lab.objectives import CMA

    names = {"cross": "instance_cross", "within": "instance_within"}
    return CMA.from_avid(avid, **{names.get(name, name): value for name, value in settings.items()})


def _continued(avid: AVID, changes: dict[str, Any]) -> AVID:
    """The same AVID with some settings changed; a new temperature needs a new Z."""
    weights = avid.weights | {name: changes[name] for name in ("cross", "within") if name in changes}
    if changes.get("temperature", avid.temperature) != avid.temperature:
        avid.partition.fill_(float("nan"))
    avid.restore(avid.settings() | changes | {"weights": weights})
    return avid


def _train(trainer: Trainer, test: ClipDataset, arguments: argparse.Namespace, wanted: dict[str, Any]) -> None:
    from tqdm.auto import tqdm

    from avid_lab import checkpoints
    from avid_lab.media import MediaError
    from avid_lab.processes import wait_for_all
    from avid_lab.training import rank

    out, unfinished = arguments.out, _unfinished(arguments.out)
    logs = Logs(out, trainer, arguments.tensorboard) if rank() == 0 else None
    if logs:
        for path in (out, unfinished):
            remove_leftovers(path)
        with replacing(sibling(out, "run.json")) as temporary:
            temporary.write_text(json.dumps(_record(trainer, wanted), indent=2) + "\n", encoding="utf-8")
    checked = checking = False
    bar = tqdm(trainer, "training", total=len(trainer), initial=trainer.steps_done, unit="step", disable=logs is None)
    try:
        for step in bar:
            if logs:
                bar.set_postfix_str(_status(trainer.history[-RECENT:]))
                logs.step(step)
                if _check_due(step, trainer, arguments.check_every):
                    checking = True
                    test, checked = test if checked else _held_out(test).readable(), True
                    scores = check(trainer, test)
                    checking = False
                    logs.check(step, scores)
                    shown = ", ".join(f"{name} {value:.1%}" for name, value in scores.items())
                    bar.write(f"pass {step.epoch:.1f}: {shown}")
            if step.index % arguments.save_every == 0 and step.index < len(trainer):
                checkpoints.save(unfinished, trainer)
    except (MediaError, OSError) as error:
        checkpoints.save(unfinished, trainer)
        if not checking:  # all processes have come here
            wait_for_all()
        fix = f"Step {trainer.steps_done} is saved: repeat the command to continue"
        if isinstance(error, MediaError):
            fix += "." if arguments.on_error == "skip" else ", or add --on-error skip to continue without the file."
            raise MediaError(error.path, error.problem, f"{error.fix} {fix}") from error
        raise OSError(f"{error} {fix}.") from error
    except FloatingPointError as error:
        good = f"The last good checkpoint is {unfinished}" if unfinished.exists() else "No checkpoint was saved yet"
        raise ValueError(f"{error} {good}.") from error
    finally:
        bar.close()
        if logs:
            logs.close()
    checkpoints.save(out, trainer)
    if rank() == 0:
        unfinished.unlink(missing_ok=True)


def _status(recent: Sequence[Step]) -> str:
    """The last loss; the speed of the last steps, and the share of their time spent waiting for clips."""
    seconds = sum(step.seconds for step in recent)
    clips = sum(step.clips_per_s * step.seconds for step in recent)
    waiting = sum(step.times["waiting"] for step in recent)
    text = f"loss {recent[-1].loss:.2f}, {clips / seconds:.0f} clips/s"
    text += f", waiting for data {100 * waiting / seconds:.0f} %"
    return f"{text}, {recent[-1].skipped} steps skipped" if recent[-1].skipped else text


def check(trainer: Trainer, test: ClipDataset) -> dict[str, float]:
    """Held-out scores of a run at this step; the run itself does not change.

    Neighbours come from the memory, which already holds every training clip. Clips without classes get recall only.

    Args:
        trainer: The run; its averaged weights are used if it keeps them.
        test: Held-out clips; up to `CHECKED` of them, evenly spaced, are embedded.
    """
    from avid_lab.evaluation import embed
    from avid_lab.metrics import knn_accuracy, retrieval

    test = _held_out(test)
    held_out = embed(trainer.ema or trainer.model, test, trainer.pipeline, windows=1)
    memory, labels = trainer.objective.memory, trainer.clips.labels
    k, at = min(20, len(labels)), min(10, len(test))
    found = retrieval(held_out.video, held_out.audio, ks=[at])
    recall = {f"v2a recall at {at}": found.recall[at]}
    if not trainer.clips.has_classes:
        return recall
    return {
        "video kNN": knn_accuracy(memory.video.float().cpu(), labels, held_out.video.cpu(), held_out.labels.cpu(), k),
        "audio kNN": knn_accuracy(memory.audio.float().cpu(), labels, held_out.audio.cpu(), held_out.labels.cpu(), k),
        **recall,
    }


def _held_out(test: ClipDataset) -> ClipDataset:
    """Up to `CHECKED` clips, evenly spaced."""
    import torch

    return test.subset(torch.linspace(0, len(test) - 1, min(CHECKED, len(test))).round().long())


def _check_due(step: Step, trainer: Trainer, every: float) -> bool:
    """Whether a multiple of ``every`` passes ended in this step, or the whole run."""
    if not every:
        return False
    before = step.epoch - trainer.config.batch_size / len(trainer.clips)
    return step.epoch // every > before // every or step.index == step.total


def _unfinished(out: Path) -> Path:
    return out.with_suffix(".unfinished")


def _record(trainer: Trainer, wanted: dict[str, Any]) -> dict[str, Any]:
    """All settings, in the form that ``--config`` reads, and the machine and versions used."""
    import torch

    from avid_lab import __version__
    from avid_lab.training import processes

    settings = trainer.objective_settings
    names = {"instance_cross": "cross", "instance_within": "within"}
    used = {**settings, **{names.get(name, name): weight for name, weight in settings["weights"].items()}}
    device = trainer.device
    return {
        **{name: wanted[name] for name in ("preset", "objective", "start", "weights")},
        "world": None if wanted["data"] else wanted["world"] or profile().world,
        "data": wanted["data"],
        "loss": {f.name: used[f.name] for f in fields(LossConfig) if f.name in used},
        "train": asdict(trainer.config),
        "made_with": {
            "command": shlex.join(["avid-lab", *sys.argv[1:]]),
            "clips": len(trainer.clips),
            "reading": trainer.clips.how,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
            "processes": processes(),
            "threads": torch.get_num_threads(),
            "avid_lab": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
    }

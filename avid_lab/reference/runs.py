"""One reference run: how it is trained, and its file.

A run's file has the weights, the input statistics, the memory of every training clip, and embeddings of the held-out
clips along training, so that a notebook can show results at once and continue from any of them.
"""

from __future__ import annotations

import dataclasses
import json
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm.auto import tqdm

from avid_lab.atomic import replacing
from avid_lab.config import ModelConfig, Profile, from_plain, typed_fields
from avid_lab.datasets import ClipDataset
from avid_lab.encoders import AudioVisualModel
from avid_lab.evaluation import embed
from avid_lab.memory import MemoryBank
from avid_lab.objectives import AVID, CMA
from avid_lab.training import Trainer
from avid_lab.transforms import InputPipeline

SNAPSHOTS = (0.0, 0.04, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)  # shares of a run at which held-out clips are embedded
OTHER_BATCHES = 1000  # added to the seed of a continuation, so that it does not repeat its parent's batches
REMINE_EVERY = 5.0  # passes over the clips between two minings, as in the paper for Kinetics


@dataclass(frozen=True)
class Variant:
    """One way to train.

    Args:
        about: A short description.
        learning_rate: Peak of the one-cycle schedule.
        avid: Arguments of `AVID` that differ from its defaults and the profile's.
        cma: Arguments of `CMA`, or ``None`` to train with `AVID`.
        start: The variant that this one continues, with the same seed; ``None`` starts from random weights.
        length: Steps, as a share of the profile's.
        follow: Whether held-out clips are embedded along training (at seed 0).
    """

    about: str
    learning_rate: float = 4e-3
    avid: dict[str, Any] = field(default_factory=dict)
    cma: dict[str, Any] | None = None
    start: str | None = None
    length: float = 1.0
    follow: bool = False


def _continued(about: str, cma: dict[str, Any] | None = None, *, start: str = "long", follow: bool = False) -> Variant:
    return Variant(about, learning_rate=2e-3, cma=cma, start=start, length=0.5, follow=follow)


def _short(about: str, **avid: Any) -> Variant:
    return Variant(about, avid=avid, length=0.5)


# Learning rates: data/reference/search.md says how they were found; a continuation's is half of Cross-AVID's.
# CMA starts from a trained AVID, as in the paper. "cma-early" and "cma-late" show what another start does.
VARIANTS: dict[str, Variant] = {
    "cross": Variant("Cross-AVID", follow=True),
    "self": Variant("Self-AVID", 2e-3, {"cross": 0.0, "within": 1.0}, follow=True),
    "joint": Variant("Joint-AVID", 1e-3, {"cross": 1.0, "within": 1.0}, follow=True),
    "long": _continued("Cross-AVID, longer", start="cross"),
    "avid": _continued("Cross-AVID, continued", follow=True),
    "cma": _continued("CMA, consensus", {}, follow=True),
    "cma-early": _continued("CMA, started early", {}, start="cross"),
    "avid-late": _continued("Cross-AVID, continued again", start="avid"),
    "cma-late": _continued("CMA, started late", {}, start="avid"),
    "cma-union": _continued("CMA, union", {"agreement": "union"}),
    "cma-video": _continued("CMA, video alone", {"agreement": "video"}),
    "cma-audio": _continued("CMA, audio alone", {"agreement": "audio"}),
    "cma-shared": _continued("CMA, one shared Z", {"partition": "shared"}),
    "cma-k8": _continued("CMA, 8 positives", {"k": 8}),
    "cma-k128": _continued("CMA, 128 positives", {"k": 128}),
    "short": _short("Cross-AVID, half as long"),
    "short-t0.03": _short("... temperature 0.03", temperature=0.03),
    "short-t0.2": _short("... temperature 0.2", temperature=0.2),
    "short-n32": _short("... 32 negatives", num_negatives=32),
    "short-n2048": _short("... 2048 negatives", num_negatives=2048),
}


@dataclass(frozen=True)
class Snapshot:
    """Embeddings of the held-out clips after some steps.

    Attributes:
        step: Steps of training done.
        video: (N, D) unit rows.
        audio: (N, D) unit rows.
    """

    step: int
    video: Float[Tensor, "N D"]
    audio: Float[Tensor, "N D"]


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        variant: Name in `VARIANTS`.
        seed: Seed of weights, batches, augmentation, memory and negatives.
        config: The model's configuration.
        loss: The loss of every step.
        seconds: Wall time of the training steps.
        machine: Hardware, and versions of Python and torch.
        memory: The objective's memory of the training clips.
        partition: The objective's Z of each term.
        snapshots: Held-out clips along training, oldest first; empty if the run was not followed.
        scores: By name, 0 to 1; empty until it is scored.
    """

    variant: str
    seed: int
    config: ModelConfig
    loss: list[float]
    seconds: float
    machine: dict[str, str]
    weights: dict[str, Tensor] = field(repr=False)
    statistics: dict[str, Tensor] = field(repr=False)
    memory: MemoryBank = field(repr=False)
    partition: dict[str, float]
    snapshots: list[Snapshot] = field(repr=False)
    scores: dict[str, float] = field(default_factory=dict, repr=False)

    def model(self) -> AudioVisualModel:
        """The trained model, in evaluation mode."""
        model = AudioVisualModel(self.config)
        model.load_state_dict(self.weights)
        return model.eval()

    def pipeline(self) -> InputPipeline:
        """The input pipeline it was trained with, in evaluation mode."""
        pipeline = InputPipeline(self.config.video, self.config.audio)
        pipeline.load_state_dict(self.statistics)
        return pipeline.eval()

    def objective(self, **settings: Any) -> AVID:
        """AVID with this run's memory and partition constants, ready to continue.

        Args:
            settings: Arguments of `AVID`.
        """
        avid = AVID(len(self.memory), self.config.dim, **settings)
        avid.memory.load_state_dict(self.memory.state_dict())
        known = [self.partition.get(name, torch.nan) for name in avid.term_names()]
        avid.partition = avid.partition.new_tensor(known)
        return avid

    def save(self, path: str | Path, *, half: bool = False) -> Path:
        """Write the run as one safetensors file.

        Args:
            path: Destination; written under a temporary name, then renamed.
            half: Store matrices in half precision, which halves the file and moves an embedding by about 1e-3.
        """
        tensors = {f"model.{name}": x for name, x in self.weights.items()}
        tensors |= {f"pipeline.{name}": x for name, x in self.statistics.items()}
        tensors |= {"memory.video": self.memory.video, "memory.audio": self.memory.audio}
        for snapshot in self.snapshots:
            tensors[f"snapshot.{snapshot.step:05d}.video"] = snapshot.video
            tensors[f"snapshot.{snapshot.step:05d}.audio"] = snapshot.audio
        if half:  # vectors (biases, batch-norm statistics) stay as they are: they are small, and some are tiny numbers
            tensors = {n: x.half() if x.ndim > 1 and x.is_floating_point() else x for n, x in tensors.items()}
        facts = {
            "variant": self.variant,
            "seed": self.seed,
            "config": dataclasses.asdict(self.config),
            "loss": [round(value, 4) for value in self.loss],
            "seconds": round(self.seconds, 1),
            "machine": self.machine,
            "partition": self.partition,
        }
        with replacing(path) as temporary:
            save_file({n: x.contiguous() for n, x in tensors.items()}, temporary, {"run": json.dumps(facts)})
        return Path(path)


def read(path: str | Path) -> Run:
    """Read a run's file; everything comes back in single precision.

    Raises:
        ValueError: The file does not exist or is not a run.
    """
    path = Path(path)
    if not path.exists():
        have = ", ".join(sorted(p.stem for p in path.parent.glob("*.safetensors"))) or "none"
        raise ValueError(f"{path}: no such reference run (available: {have}). Run `avid-lab reference` to make them.")
    try:
        return _read(path)
    except Exception as error:  # damaged and foreign files raise almost anything
        problem = next(iter(str(error).splitlines()), type(error).__name__)
        fix = "Copy the course's files again, or run `avid-lab reference` to make them."
        raise ValueError(f"{path}: not a reference run's file ({problem}). {fix}") from error


def _read(path: Path) -> Run:
    with safe_open(path, framework="pt") as file:
        facts = json.loads((file.metadata() or {})["run"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
    tensors = {name: x.float() if x.dtype == torch.half else x for name, x in tensors.items()}

    def part(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}

    config = from_plain(ModelConfig, facts.pop("config"), "config")
    found = part("snapshot.")
    steps = sorted({name.split(".")[0] for name in found})
    run = Run(
        **typed_fields(Run, facts, "run"),
        config=config,
        weights=part("model."),
        statistics=part("pipeline."),
        memory=_memory(tensors["memory.video"], tensors["memory.audio"]),
        snapshots=[Snapshot(int(step), found[f"{step}.video"], found[f"{step}.audio"]) for step in steps],
    )
    run.model()  # raises if the weights do not fit the configuration
    run.pipeline()
    return run


def train(
    variant: str,
    seed: int,
    clips: ClipDataset,
    test: ClipDataset,
    profile: Profile,
    *,
    parent: Run | None = None,
    progress: bool = True,
) -> Run:
    """Train one variant with one seed.

    Args:
        variant: Name in `VARIANTS`.
        seed: Seed of everything random.
        clips: Clips to train on.
        test: Held-out clips, embedded along training.
        profile: Model preset, training settings and number of negatives.
        parent: The run that this variant continues, if any.
        progress: Whether to show a progress bar.

    Raises:
        ValueError: The variant is unknown, or its parent is missing.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant must be one of {', '.join(VARIANTS)}; got {variant!r}")
    how = VARIANTS[variant]
    if how.start and (parent is None or (parent.variant, parent.seed) != (how.start, seed)):
        raise ValueError(f"{variant} continues {how.start} of seed {seed}; got {parent}")
    own_seed = seed + OTHER_BATCHES * depth(variant)
    generator = torch.Generator().manual_seed(own_seed)
    settings: dict[str, Any] = {"num_negatives": profile.num_negatives, "generator": generator} | how.avid
    if parent:
        model, avid = parent.model(), parent.objective(**settings)
    else:
        model = AudioVisualModel.preset(profile.model, seed=seed)
        avid = AVID(len(clips), model.config.dim, **settings)
    objective = avid if how.cma is None else CMA.from_avid(avid, **how.cma)
    train = dataclasses.replace(
        profile.train,
        steps=max(1, round(how.length * profile.train.steps)),
        learning_rate=how.learning_rate,
        seed=own_seed,
    )
    trainer = Trainer(model, objective, clips, train)
    due = {round(share * train.steps) for share in SNAPSHOTS} if how.follow and seed == 0 else set()
    snapshots = []

    def follow(done: int) -> None:
        if done in due:
            space = embed(trainer.model, test, trainer.pipeline, windows=1)
            snapshots.append(Snapshot(done, space.video, space.audio))

    follow(0)
    for step in (bar := tqdm(trainer, desc=f"{variant}, seed {seed}", unit="step", disable=not progress)):
        bar.set_postfix(loss=f"{step.loss:.2f}")
        if isinstance(objective, CMA):
            objective.remine(step.epoch, every=REMINE_EVERY)
        follow(step.index)
    return Run(
        variant=variant,
        seed=seed,
        config=trainer.model.config,
        loss=[step.loss for step in trainer.history],
        seconds=sum(step.seconds for step in trainer.history),
        machine=machine(),
        weights=_copy(trainer.model),
        statistics=_copy(trainer.pipeline),
        memory=_memory(objective.memory.video, objective.memory.audio),
        partition=dict(zip(objective.term_names(), objective.partition.tolist(), strict=True)),
        snapshots=snapshots,
    )


def _memory(video: Float[Tensor, "N D"], audio: Float[Tensor, "N D"]) -> MemoryBank:
    memory = MemoryBank(len(video), video.shape[1])
    for bank, rows in ((memory.video, video), (memory.audio, audio)):
        bank.copy_(torch.nn.functional.normalize(rows.detach(), dim=1))  # unit length again after rounding
    return memory


def depth(variant: str) -> int:
    """The number of runs before this variant in its chain of continuations."""
    start = VARIANTS[variant].start
    return 0 if start is None else 1 + depth(start)


def _copy(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: x.detach().cpu().contiguous().clone() for name, x in module.state_dict().items()}


def machine() -> dict[str, str]:
    """Hardware and versions of this machine."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU thread(s)"
    return {
        "hardware": f"{platform.machine()}, {device}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }

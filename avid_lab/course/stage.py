"""Everything a notebook needs to work alone: clips, a trained model, its memory and embeddings."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch

from avid_lab import evaluation, foley, reference
from avid_lab.config import Profile, course_profile
from avid_lab.datasets import ClipDataset
from avid_lab.encoders import AudioVisualModel
from avid_lab.evaluation import Embeddings
from avid_lab.memory import MemoryBank
from avid_lab.transforms import InputPipeline

# The reference run that a notebook starts from.
RUNS = {"04": "cross", "05": "long", "06": "long", "07": "cross", "08": "cma", "09": "cross", "10": "cma"}


@dataclass(frozen=True, eq=False)
class Stage:
    """A trained model and its embeddings of the clips. Everything is computed on first use.

    Attributes:
        variant: The reference run: "cross", "self", "joint", "avid", "cma", ...
        seed: Seed of the run.
        profile: The machine's profile, with the reference runs' model and world.
        trained: Whether the model is the reference run's; False in the smoke profile, where it is untrained.
        label: A description for titles and captions.
    """

    variant: str
    seed: int
    profile: Profile = field(repr=False)

    @property
    def trained(self) -> bool:
        """Whether the model is the reference run's."""
        return self.profile.name != "smoke"

    @property
    def label(self) -> str:
        """A description for titles and captions."""
        if self.trained:
            return f"reference run {self.variant}, seed {self.seed}"
        return f"UNTRAINED stand-in for the reference run {self.variant} (profile smoke: results mean nothing)"

    @cached_property
    def run(self) -> reference.Run:
        """The reference run itself: ``.model()``, ``.snapshots``, ``.memory``, ``.scores``.

        Raises:
            ValueError: The profile is smoke, which has no reference runs, or the run is not committed.
        """
        if not self.trained:
            raise ValueError("the smoke profile has no reference runs. Set AVID_LAB_PROFILE=cpu or gpu.")
        return self.other(self.variant, self.seed)

    @staticmethod
    def other(variant: str, seed: int = 0) -> reference.Run:
        """Another reference run, to compare with.

        Raises:
            ValueError: The run is not committed.
        """
        return reference.load(variant, seed)

    @cached_property
    def clips(self) -> ClipDataset:
        """The training clips."""
        return foley.load(self.profile.world, split="train")

    @cached_property
    def test_clips(self) -> ClipDataset:
        """The held-out clips."""
        return foley.load(self.profile.world, split="test")

    @cached_property
    def names(self) -> list[str]:
        """Class name of each training clip."""
        return [self.clips.classes[c] for c in self.clips.labels]

    @cached_property
    def test_names(self) -> list[str]:
        """Class name of each held-out clip."""
        return [self.test_clips.classes[c] for c in self.test_clips.labels]

    @cached_property
    def model(self) -> AudioVisualModel:
        """The trained model, in evaluation mode; in the smoke profile an untrained one."""
        model = self.run.model() if self.trained else AudioVisualModel.preset(self.profile.model, seed=self.seed)
        return model.eval()

    @cached_property
    def pipeline(self) -> InputPipeline:
        """Makes the model's inputs, in evaluation mode."""
        if self.trained:
            return self.run.pipeline()
        return InputPipeline(self.clips.video, self.clips.audio).fit(self.clips).eval()

    @cached_property
    def embeddings(self) -> Embeddings:
        """The model's embeddings of the training clips."""
        return evaluation.embed(self.model, self.clips, self.pipeline)

    @cached_property
    def test_embeddings(self) -> Embeddings:
        """The model's embeddings of the held-out clips."""
        return evaluation.embed(self.model, self.test_clips, self.pipeline)

    @cached_property
    def memory(self) -> MemoryBank:
        """The memory at the end of the run; in the smoke profile the untrained model's embeddings."""
        if self.trained:
            return self.run.memory
        video, audio = self.embeddings.video, self.embeddings.audio
        memory = MemoryBank(len(video), video.shape[1], momentum=0.0)
        memory.update(torch.arange(len(video)), video.float(), audio.float())  # momentum 0: exactly these rows
        memory.momentum = 0.5
        return memory

    @cached_property
    def snapshots(self) -> list[reference.Snapshot]:
        """Held-out embeddings along training, oldest first; empty in the smoke profile."""
        return self.run.snapshots if self.trained else []


def stage(notebook: str, variant: str | None = None, *, seed: int = 0) -> Stage:
    """Everything that ``notebook`` needs to start without the ones before it.

    Args:
        notebook: "05".
        variant: A reference run other than the notebook's own.
        seed: Seed of the run.

    Raises:
        ValueError: The notebook starts from scratch.
    """
    if variant is None and notebook not in RUNS:
        raise ValueError(f"notebook must be one of {', '.join(RUNS)}, or name a variant; got {notebook!r}")
    made = Stage(variant or RUNS[notebook], seed, course_profile())
    print(f"Stage {notebook}: {made.label}.")
    return made

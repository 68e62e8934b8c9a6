"""Renders one clip of the world from its index, with its ground truth: `render(index, config)`.

Everything about clip ``i`` follows from ``np.random.default_rng([seed, i])``, which spawns independent streams for the
events, the look, the sound and the faults: changing a setting of one leaves the others unchanged.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray

from avid_lab.foley.scenes import CATALOGUE, SCENES
from avid_lab.foley.sound import Studio, unit
from avid_lab.foley.stage import Stage
from avid_lab.foley.timeline import Array, Timeline

VERSION = 5  # increase it whenever a drawing or a sound changes, so that old and new files do not mix
FAULTS = ("off_screen", "silent", "noisy", "distractors", "sound_distractors")  # of some clips, by their shares
NUISANCES = ("background", "drift", "reverb", "noise", "look_alike", "sound_alike")
SHARES = (*NUISANCES, *FAULTS, "test_share")
LIMITS = {"clips": (1, 10**7), "size": (32, 1024), "fps": (1, 120), "duration_s": (1, 60), "rate": (8000, 96_000)}


@dataclass(frozen=True)
class FoleyConfig:
    """Settings of a world. Strengths and shares are in [0, 1].

    Args:
        clips: Number of clips; scenes take turns, so that classes are balanced.
        seed: Seed of everything random, together with the clip's index.
        size: Side of the picture in pixels.
        fps: Frames per second.
        duration_s: Length of a clip in seconds.
        rate: Samples per second of the sound.
        scenes: Names from `avid_lab.foley.SCENES`; all by default.
        background: Salience of the textured background, the picture's nuisance.
        drift: Amount of camera motion.
        reverb: Audibility of the room and the microphone.
        noise: Loudness of the background noise.
        distractors: Share of clips with a second, silent object.
        sound_distractors: Share of clips with another scene in the background of the sound.
        look_alike: How far the distinctive details of look-alikes may fade: 0 not at all, 1 completely.
        sound_alike: How similar the timbres of sound-alikes may become.
        off_screen: Share of clips with the sound of another scene (faulty positives).
        silent: Share of clips with almost no sound.
        noisy: Share of clips whose sound is buried in noise.
        test_share: Share of the clips in the split "test"; the others are "train".
    """

    clips: int = 2048
    seed: int = 0
    size: int = 128
    fps: float = 16.0
    duration_s: float = 4.0
    rate: int = 24_000
    scenes: tuple[str, ...] = SCENES
    background: float = 1.0
    drift: float = 1.0
    reverb: float = 1.0
    noise: float = 1.0
    distractors: float = 0.15
    sound_distractors: float = 0.15
    look_alike: float = 0.5
    sound_alike: float = 0.5
    off_screen: float = 0.05
    silent: float = 0.02
    noisy: float = 0.02
    test_share: float = 0.2

    def __post_init__(self) -> None:
        for name in SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"FoleyConfig.{name} must be in [0, 1]; got {getattr(self, name)!r}")
        for name, (low, high) in LIMITS.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"FoleyConfig.{name} must be between {low} and {high}; got {getattr(self, name)!r}")
        if self.size % 2:
            raise ValueError(f"FoleyConfig.size must be even, as H.264 requires; got {self.size}")
        unknown = [s for s in self.scenes if s not in CATALOGUE]
        if unknown or not self.scenes:
            raise ValueError(
                f"FoleyConfig.scenes must be names from {', '.join(SCENES)}; got {', '.join(unknown) or 'none'}"
            )

    @property
    def digest(self) -> str:
        """Eight hex digits that change with any field but ``clips``, and with `VERSION`."""
        content = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "clips"}
        content |= {name: float(content[name]) for name in (*SHARES, "fps", "duration_s")}
        return hashlib.sha256(repr((VERSION, sorted(content.items()))).encode()).hexdigest()[:8]


PRESETS: dict[str, FoleyConfig] = {
    "smoke": FoleyConfig(clips=64),
    "pocket": FoleyConfig(clips=2048),
    "full": FoleyConfig(clips=20_480),
}


def scene_of(index: int, config: FoleyConfig) -> str:
    """The scene of clip ``index``: scenes take turns."""
    return config.scenes[index % len(config.scenes)]


def split_of(index: int, config: FoleyConfig) -> str:
    """The split: "test" for an even share of every class, "train" for the rest."""
    turn, scene = divmod(index, len(config.scenes))
    # Golden-ratio steps give every run of clips of a scene its share.
    place = ((turn + 1) * 0.6180339887 + scene * 0.7548776662) % 1
    return "test" if place < config.test_share else "train"


def render(index: int, config: FoleyConfig) -> tuple[NDArray[np.uint8], Array, dict[str, str]]:
    """Draw and synthesise clip ``index``.

    Returns:
        The picture (T, H, W, 3) uint8, the sound (samples,) float32 in [-1, 1], and the ground truth in the form of the
        manifest.
    """
    events_rng, look_rng, sound_rng, fault_rng = np.random.default_rng([config.seed, index]).spawn(4)
    seen = scene_of(index, config)
    events = CATALOGUE[seen].timeline(events_rng, config.duration_s)

    # One draw per setting, in a fixed order: a clip that a share affects is also affected by any higher share.
    draws = zip(FAULTS, fault_rng.uniform(size=len(FAULTS)), strict=True)
    hit = {name: bool(value < getattr(config, name)) for name, value in draws}
    others = [s for s in config.scenes if CATALOGUE[s].sound_group != CATALOGUE[seen].sound_group]
    others = others or list(config.scenes)
    heard, heard_events = seen, events
    if hit["off_screen"] and len(config.scenes) > 1:
        heard = str(fault_rng.choice(others))
        heard_events = CATALOGUE[heard].timeline(fault_rng, config.duration_s)

    cue = 1 - config.look_alike * look_rng.uniform() ** 2
    frames = round(config.duration_s * config.fps)
    how = {"background": config.background, "drift": config.drift, "wide": not CATALOGUE[seen].small}
    stage = Stage(look_rng, frames, config.fps, config.size, cue=cue, **how)
    distractor = ""
    unlike = [s for s in config.scenes if CATALOGUE[s].look_group != CATALOGUE[seen].look_group]
    candidates = [s for s in unlike if CATALOGUE[s].small]
    if hit["distractors"] and candidates:
        distractor = str(fault_rng.choice(candidates))
    _film(stage, seen, events, distractor, fault_rng, config)

    sound_cue = 1 - config.sound_alike * sound_rng.uniform() ** 2
    pitch = 2 ** sound_rng.uniform(-0.6, 0.6)
    studio = Studio(sound_rng, config.duration_s, config.rate, pitch=pitch, cue=sound_cue)
    second = str(fault_rng.choice(others)) if hit["sound_distractors"] else ""
    sound, room = _record(studio, heard, heard_events, second, config, silent=hit["silent"], noisy=hit["noisy"])

    truth = {
        "scene": seen,
        "heard_scene": heard,
        "look_group": CATALOGUE[seen].look_group,
        "sound_group": CATALOGUE[heard].sound_group,
        "off_screen": str(int(heard != seen)),
        "silent": str(int(hit["silent"])),
        "noisy": str(int(hit["noisy"])),
        "distractor": distractor,
        "sound_distractor": second,
        "look_tell": f"{cue:.3f}",
        "sound_tell": f"{sound_cue:.3f}",
        "onsets": ";".join(f"{t:.4f}" for t in events.onsets),
        "heard_onsets": ";".join(f"{t:.4f}" for t in heard_events.onsets),
        "background": stage.backdrop,
        "background_rgb": "".join(f"{int(255 * v):02x}" for v in stage.palette.ground),
        "pitch": f"{pitch:.3f}",
        "scale": f"{stage.place.scale:.3f}",
        **room,
    }
    return stage.develop(), sound, truth


def _film(
    stage: Stage, scene: str, events: Timeline, distractor: str, rng: np.random.Generator, config: FoleyConfig
) -> None:
    pictures = [CATALOGUE[scene].picture(stage, events)]
    if distractor:
        other = CATALOGUE[distractor]
        pictures.append(other.picture(stage.corner(rng), other.timeline(rng, config.duration_s)))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # for this thread only: such small steps take longer on several threads
    try:
        for picture in pictures:
            next(picture)  # the still set
        assert stage.film is not None
        for picture in pictures:
            if next(picture, "done") != "done":
                raise RuntimeError("a scene's picture() must yield exactly once")
    finally:
        torch.set_num_threads(threads)


def _record(
    studio: Studio, scene: str, events: Timeline, second: str, config: FoleyConfig, *, silent: bool, noisy: bool
) -> tuple[Array, dict[str, str]]:
    rng = studio.rng
    signal = unit(CATALOGUE[scene].sound(studio, events))
    if second:
        other = CATALOGUE[second]
        signal = signal + 10 ** (-12 / 20) * unit(other.sound(studio, other.timeline(rng, config.duration_s)))
    t60, wet = rng.uniform(0.15, 1.1), rng.uniform(0.05, 0.7) * config.reverb
    signal = unit(studio.room(signal, t60, wet, config.reverb))
    snr_db = rng.uniform(-4, 2) if noisy else rng.uniform(12, 34)
    low, tilt = rng.choice([20.0, 60.0, 200.0, 800.0]), rng.uniform(-1.2, 0.2)
    hiss = studio.noise(low, low * rng.uniform(4, 60), tilt)
    signal = signal + (hiss * 10 ** (-snr_db / 20) if noisy else hiss * config.noise * 10 ** (-snr_db / 20))
    loudness = rng.uniform(-29, -21)
    room = {"t60_s": f"{t60:.2f}", "wet": f"{wet:.2f}", "snr_db": f"{snr_db:.1f}", "loudness_db": f"{loudness:.1f}"}
    return studio.master(hiss if silent else signal, -66 if silent else loudness), room


def describe(config: FoleyConfig) -> dict[str, object]:
    """The configuration as plain values, for a side file."""
    return {"version": VERSION, **asdict(config)}

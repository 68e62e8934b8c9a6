"""One training input from a file: half a second of picture, two of sound, augmented, as tensors; on one thread.

From one file, at one place; then random windows of long originals against copies made for training.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from torchvision.transforms import functional as TV

from avid_lab import foley
from avid_lab.config import PRESETS, PROFILES, AudioSpec, VideoSpec
from avid_lab.datasets import ClipDataset, Manifest, Record
from avid_lab.datasets.prepare import prepare
from avid_lab.datasets.windows import COLUMN
from avid_lab.foley import FoleyConfig
from avid_lab.media import Clip, MediaError, probe, read_clip, write_clip
from avid_lab.training import avid_trainer
from avid_lab.training.memory import keep_freed_memory
from avid_lab.transforms import InputPipeline, LogSpectrogram, VideoAugmentation
from avid_lab.transforms.picture import _draw_crops
from benchmarks.harness import as_json, compare

SOUND = AudioSpec()  # 2 s at 24 kHz
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def make_file(path: Path, width: int, height: int) -> Path:
    """Four seconds of moving texture with a tone, H.264 and AAC."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, height // 8 + 16, width // 8 + 16, generator=generator)
    texture = torch.nn.functional.interpolate(coarse, scale_factor=8, mode="bicubic")[0].clamp(0, 1)
    frames = [texture[:, i : i + height, 2 * i % 64 : 2 * i % 64 + width] for i in range(64)]
    video = (torch.stack(frames, 1) * 255).byte()
    sound = 0.3 * torch.sin(2 * torch.pi * 440 * torch.arange(4 * 24_000) / 24_000)[None]
    return write_clip(path, Clip(video, sound, 16.0, 24_000))


def published(
    path: Path, size: int, generator: torch.Generator, spectrogram: LogSpectrogram, start_s: float = 1.0
) -> Any:
    """The released pipeline, from its description: RGB images, and every transform frame by frame as PIL does it."""
    draw = torch.rand(9, generator=generator).tolist()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        container.seek(int(start_s / stream.time_base), stream=stream)
        images = []
        for frame in container.decode(stream):
            if frame.time >= start_s + len(images) / 16 - 1e-6:
                images.append(frame.to_image())
            if len(images) == 8:
                break
    width, height = images[0].size
    top, left, h, w = _draw_crops(torch.tensor(draw[:4])[None], (0.08, 1.0), height, width)[0].tolist()
    frames = []
    for image in images:
        image = TV.resized_crop(image, top, left, h, w, [size, size])
        image = TV.hflip(image) if draw[4] < 0.5 else image
        image = TV.adjust_brightness(image, 0.6 + 0.8 * draw[5])
        image = TV.adjust_contrast(image, 0.6 + 0.8 * draw[6])
        image = TV.adjust_saturation(image, 0.6 + 0.8 * draw[7])
        image = TV.adjust_hue(image, -0.2 + 0.4 * draw[8])
        frames.append(TV.normalize(TV.to_tensor(image), MEAN, STD))
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler("fltp", "mono", SOUND.rate)
        container.seek(int((start_s - 0.5) / stream.time_base), stream=stream)
        pieces, count = [], 0
        for frame in container.decode(stream):
            if frame.time + frame.samples / frame.sample_rate < start_s - 0.5:
                continue
            frame.pts = None
            for piece in resampler.resample(frame):
                pieces.append(piece.to_ndarray()[0])
                count += piece.samples
            if count >= SOUND.samples:
                break
    wave = torch.from_numpy(np.concatenate(pieces)[: SOUND.samples])
    wave = torch.nn.functional.pad(wave, (0, SOUND.samples - len(wave)))
    return torch.stack(frames, 1), spectrogram(wave[None, None])


def decode_alone(path: Path) -> None:
    """The limit: FFmpeg decodes these frames and samples, and nothing else happens."""
    with av.open(str(path)) as container:
        for stream, begin_s, end_s in ((container.streams.video[0], 1.0, 1.5), (container.streams.audio[0], 0.5, 2.5)):
            stream.codec_context.thread_count = 1
            container.seek(int(begin_s / float(stream.time_base or 1)), stream=stream)
            for frame in container.decode(stream):
                if (frame.time or 0.0) + 1e-6 >= end_s - 1 / 16 * (stream.type == "video"):
                    break


def augmenting(size: int) -> InputPipeline:
    """The augmentation of training with the published range of crops."""
    return InputPipeline(VideoSpec(8, 16.0, size), SOUND, augmentation=VideoAugmentation(size, scale=(0.08, 1.0)))


def run(quick: bool) -> dict[str, Any]:
    """Milliseconds per clip, without workers: workers scale with the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    keep_freed_memory()  # as `Trainer` does on a CPU
    rows, skipped = [], []
    spectrogram = LogSpectrogram(SOUND)
    with tempfile.TemporaryDirectory() as folder:
        for size, width, height, required in ((224, 320, 240, 1.9), (112, 128, 128, 2.2)):
            path = make_file(Path(folder) / f"{width}.mp4", width, height)
            generator = torch.Generator().manual_seed(0)
            pipeline = augmenting(size)

            def as_published(path: Path = path, size: int = size, generator: torch.Generator = generator) -> Any:
                return published(path, size, generator, spectrogram)

            def as_here(path: Path = path, to: InputPipeline = pipeline, g: torch.Generator = generator) -> Any:
                clip = read_clip(path, 1.0, VideoSpec(8, 16.0, None), SOUND, audio_start_s=0.5)
                assert clip.video is not None and clip.audio is not None
                return to({"video": clip.video[None], "audio": clip.audio[None]}, g)

            candidates = {"published pipeline": as_published, "read_clip, InputPipeline": as_here}
            try:
                candidates["torchcodec + torchvision v2"] = partial(torchcodec(size, spectrogram), path, 1.0)
            except (ImportError, RuntimeError) as error:
                skipped.append(f"torchcodec: {str(error).splitlines()[0]}")
            name = f"clip to tensors, {size} from {width}x{height}"
            decoding = []
            for _ in range(20):
                begun = time.perf_counter()
                decode_alone(path)
                decoding.append(time.perf_counter() - begun)
            rows += compare(
                name,
                candidates,
                turns=9 if quick else 41,
                required={"read_clip, InputPipeline": required},
                unit="clip",
                least_s=dict.fromkeys(candidates, float(np.median(decoding))),
            )
        more = copies(quick, Path(folder))
    torch.set_num_threads(threads)
    rows += more.pop("rows")
    skipped += more.pop("skipped")
    for what in skipped:
        print(f"  skipped: {what}")
    return {"rows": as_json(rows), "skipped": skipped, "training": training(quick), "copies": more}


def training(quick: bool) -> dict[str, dict[str, float]]:
    """A step of the course's training on all cores, with clips decoded in advance or from files each time."""
    size, ways = PROFILES["cpu"], {"decoded cache": {}, "files": {"cache": False}}
    size = replace(size, train=replace(size.train, steps=4 if quick else 12))
    run, found = PRESETS[size.model], {}
    with tempfile.TemporaryDirectory() as folder:
        world = foley.build(replace(foley.PRESETS["smoke"], clips=128), folder, progress=False)
        for name, how in ways.items():
            clips = ClipDataset(world, video=run.video, audio=run.audio, progress=False, **how)
            index, generator, reading = torch.arange(size.train.batch_size), torch.Generator().manual_seed(0), []
            for _ in range(5):
                begun = time.perf_counter()
                clips.batch(index, generator)
                reading.append(time.perf_counter() - begun)
            times = [step.times for step in avid_trainer(clips, size)][1:]
            found[name] = {
                "step, s": float(np.median([sum(one.values()) for one in times])),
                "of it inputs: reading, augmentation, spectrogram, s": float(np.median([one["data"] for one in times])),
                "of these reading, s": float(np.median(reading)),
            }
            told = " / ".join(f"{seconds:.3f}" for seconds in found[name].values())
            print(f"  course's training, {name:16} {told} s a step / of it inputs / of these reading")
    return found


def torchcodec(size: int, spectrogram: LogSpectrogram) -> Callable[[Path, float], Any]:
    """What a user of today's PyTorch tools would write: the whole clip a tensor, torchvision's v2 transforms."""
    from torchcodec.decoders import AudioDecoder, VideoDecoder
    from torchvision.transforms import v2

    augment = v2.Compose(
        [
            v2.RandomResizedCrop(size, scale=(0.08, 1.0), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(0.4, 0.4, 0.4, 0.2),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(list(MEAN), list(STD)),
        ]
    )

    def load(path: Path, start_s: float) -> Any:
        decoder = VideoDecoder(str(path), num_ffmpeg_threads=1, seek_mode="approximate")
        frames = decoder.get_frames_played_at([start_s + i / 16 for i in range(8)]).data
        sound = AudioDecoder(str(path), sample_rate=SOUND.rate, num_channels=1)
        wave = sound.get_samples_played_in_range(start_s - 0.5, start_s + 1.5).data[:, : SOUND.samples]
        wave = torch.nn.functional.pad(wave, (0, SOUND.samples - wave.shape[1]))
        return augment(frames), spectrogram(wave[None])

    return load


# Copies for training: from originals as public sets have them to what `avid-lab data prepare` writes.
SOURCES, SECONDS = 8, 10.0
# As `prepare` chooses.
X264 = {"preset": "veryfast", "crf": "26", "mbtree": "0", "bf": "0", "g": "12", "tune": "fastdecode"}
SWEEP: dict[str, dict[str, str]] = {
    "every frame a key frame": {"g": "1"},
    "groups of 4": {"g": "4"},
    "groups of 8": {"g": "8"},
    "groups of 12 (chosen)": {},
    "groups of 16": {"g": "16"},
    "groups of 32": {"g": "32"},
    "B-frames": {"bf": "3"},
    "superfast": {"preset": "superfast"},
    "medium": {"preset": "medium"},
    "crf 23": {"crf": "23"},
    "crf 29": {"crf": "29"},
    "no tuning": {"tune": ""},
    "no tuning, B-frames, superfast, groups of 32 (before)": {"tune": "", "bf": "3", "preset": "superfast", "g": "32"},
    "index at the end": {"movflags": ""},
}


def originals(folder: Path) -> tuple[Manifest, str]:
    """Ten seconds each, 340x256 at 30 fps, H.264 with x264's defaults (groups of 250 frames), AAC in stereo at 44 kHz.

    The pictures are those of the videos in the folder that ``AVID_LAB_CLIPS`` names, repeated until they are long
    enough; without it, scenes of the rendered world.
    """
    named = os.environ.get("AVID_LAB_CLIPS")
    size = FoleyConfig(clips=SOURCES, size=340, fps=30.0, duration_s=SECONDS)
    frames = round(30 * SECONDS)
    real = [] if named is None else [path for path in sorted(Path(named).rglob("*.mp4")) if _is_long(path)]
    found = []
    for i in range(SOURCES):
        picture, sound, _ = foley.render(i, size)
        video = torch.from_numpy(picture)[:, 42:298]  # (T, 256, 340, 3)
        if real:
            path = real[i * len(real) // SOURCES]  # of all kinds
            length = int((probe(path).duration_s - 0.1) * 30)
            clip = read_clip(path, 0.0, VideoSpec(min(length, frames), 30.0, None), None)
            assert clip.video is not None
            whole = torch.nn.functional.interpolate(
                clip.video.transpose(0, 1).float(), (256, 340), mode="bilinear", antialias=True
            )
            video = whole.round().byte()[torch.arange(frames) % len(whole)].permute(0, 2, 3, 1)
        encode(folder / f"{i}.mp4", video.numpy(), sound, 30, 24_000, {"crf": "23"}, rate_out=44_100, layout="stereo")
        found.append(Record(str(i), f"{i}.mp4", "", SECONDS, "", {COLUMN: f"0-{SECONDS:g}"}))
    return Manifest(folder, found), "videos" if real else "rendered scenes"


def _is_long(path: Path) -> bool:
    try:
        info = probe(path)
    except MediaError:
        return False
    return info.video is not None and min(info.video.width, info.video.height) >= 256 and info.duration_s >= 3


def encode(
    path: Path,
    frames: np.ndarray,
    sound: np.ndarray,
    fps: int,
    rate: int,
    x264: dict[str, str],
    *,
    rate_out: int | None = None,
    layout: str = "mono",
) -> None:
    """Write frames (T, H, W, 3) and mono samples with these options of x264."""
    options = {name: value for name, value in x264.items() if value and name != "movflags"}
    flags = {} if "movflags" in x264 else {"movflags": "+faststart"}
    with av.open(str(path), "w", options=flags) as container:
        video = container.add_stream("libx264", rate=fps, options={"threads": "1", **options})
        video.height, video.width, video.pix_fmt = *frames.shape[1:3], "yuv420p"
        audio = container.add_stream("aac", rate=rate_out or rate, layout=layout)
        wave = av.AudioFrame.from_ndarray(sound[None].astype(np.float32), "fltp", "mono")
        wave.sample_rate = rate
        resampler = av.AudioResampler("fltp", layout, rate_out or rate)
        for i, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, fps)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for piece in [*resampler.resample(wave), *resampler.resample(None)]:
            container.mux(audio.encode(piece))
        container.mux(audio.encode(None))


def copies(quick: bool, folder: Path) -> dict[str, Any]:
    """Random windows from prepared copies against those of the originals, and the copies' settings."""
    (folder / "originals").mkdir()
    manifest, source = originals(folder / "originals")
    made = prepare(manifest, folder / "copies", workers=0, progress=False)
    spectrogram, generator, pipeline = LogSpectrogram(SOUND), torch.Generator().manual_seed(0), augmenting(224)

    def of(clips: Manifest, load: Callable[[Path, float], Any], starts: torch.Generator) -> Callable[[], None]:
        """One random window of each file."""

        def work() -> None:
            for i in range(SOURCES):
                load(clips.path(i), 0.5 + 8.0 * torch.rand((), generator=starts).item())

        return work

    def streamed(manifest: Manifest, starts: torch.Generator) -> Callable[[], None]:
        """One random window of each file, as `Trainer` reads it."""
        clips = ClipDataset(manifest, video=VideoSpec(8, 16.0, 224), audio=SOUND, cache=False, workers=0)

        def work() -> None:
            pipeline(clips.batch(torch.arange(SOURCES), starts), generator)

        return work

    def by_published(path: Path, start_s: float) -> Any:
        return published(path, 224, generator, spectrogram, start_s)

    def drawing() -> torch.Generator:
        return torch.Generator().manual_seed(0)

    turns, skipped = (3 if quick else 15), []
    ways = {
        "published pipeline, originals": of(manifest, by_published, drawing()),
        "streamed originals": streamed(manifest, drawing()),
        "streamed copies": streamed(made, drawing()),
    }
    shared: dict[str, Any] = {"turns": turns, "amount": float(SOURCES), "unit": "clip"}
    case = f"random window of 10 s, 224 pixels ({source})"
    rows = compare(case, ways, required={"streamed copies": 5.0}, **shared)
    try:
        by_torchcodec = torchcodec(224, spectrogram)
        pair = {
            "torchcodec, originals": of(manifest, by_torchcodec, drawing()),
            "streamed copies": streamed(made, drawing()),
        }
        rows += compare(f"the same, {source}", pair, required={"streamed copies": 2.5}, **shared)
    except (ImportError, RuntimeError) as error:
        skipped.append(f"torchcodec: {str(error).splitlines()[0]}")
    size = {
        "originals": np.mean([manifest.path(i).stat().st_size for i in range(SOURCES)]) / 1e3,
        "copies": np.mean([made.path(i).stat().st_size for i in range(SOURCES)]) / 1e3,
    }
    return {"rows": rows, "skipped": skipped, "kB of 10 s": size, "settings": sweep(quick, manifest, folder)}


def sweep(quick: bool, manifest: Manifest, folder: Path) -> list[dict[str, Any]]:
    """What every setting of the encoder costs: size, encoding, quality, and CPU time of reading a random window."""
    names = list(SWEEP)[2:4] if quick else list(SWEEP)
    files, found = 2 if quick else SOURCES, {}
    for name in names:
        settings, spent, error = X264 | SWEEP[name], 0.0, []
        for i in range(files):
            clip = read_clip(manifest.path(i), 0.0, VideoSpec(160, 16.0, 256), AudioSpec(duration_s=SECONDS))
            assert clip.video is not None and clip.audio is not None
            frames = clip.video.permute(1, 2, 3, 0).numpy()
            begun = time.process_time()
            encode(folder / f"{name}-{i}.mp4", frames, clip.audio[0].numpy(), 16, SOUND.rate, settings)
            spent += time.process_time() - begun
            again = read_clip(folder / f"{name}-{i}.mp4", 0.0, VideoSpec(160, 16.0, 256), None).video
            assert again is not None
            error.append(float((again.float() - clip.video.float()).square().mean()))
        size = sum((folder / f"{name}-{i}.mp4").stat().st_size for i in range(files)) / files
        found[name] = {
            "settings": name,
            "kB of 10 s": size / 1e3,
            "encoding, s": spent / files,
            "PSNR, dB": 10 * float(np.log10(255**2 / np.mean(error))),
        }
    times: dict[str, list[float]] = {name: [] for name in names}
    starts = torch.Generator().manual_seed(0)
    for _ in range(2 if quick else 12):
        for i in range(files):
            start_s = 0.5 + 8.0 * torch.rand((), generator=starts).item()
            for name in names:
                begun = time.process_time()
                path = folder / f"{name}-{i}.mp4"
                read_clip(path, start_s, VideoSpec(8, 16.0, 256), SOUND, audio_start_s=start_s - 0.5)
                times[name].append(time.process_time() - begun)
    for name, row in found.items():
        row["window, ms"] = 1e3 * float(np.mean(np.sort(times[name])[: -len(times[name]) // 4]))  # but the slowest
        shown = "  ".join(f"{value:8.3g} {what}" for what, value in row.items() if what != "settings")
        print(f"  {name:56} {shown}", flush=True)
    return list(found.values())

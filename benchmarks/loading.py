"""One training input from a file: half a second of picture, two of sound, augmented, as tensors; on one thread."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from torchvision.transforms import functional as TV

from avid_lab import foley
from avid_lab.config import PRESETS, PROFILES, AudioSpec, VideoSpec
from avid_lab.datasets import ClipDataset
from avid_lab.media import Clip, read_clip, write_clip
from avid_lab.media.planes import read_planes
from avid_lab.training import avid_trainer
from avid_lab.transforms import LogSpectrogram, PlaneAugmentation, VideoAugmentation
from avid_lab.transforms.picture import _draw_crop
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


def published(path: Path, size: int, generator: torch.Generator, spectrogram: LogSpectrogram) -> Any:
    """The released pipeline, from its description: RGB images, and every transform frame by frame as PIL does it."""
    draw = torch.rand(9, generator=generator).tolist()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        container.seek(int(1.0 / stream.time_base), stream=stream)
        images = []
        for frame in container.decode(stream):
            if frame.time >= 1.0 - 1e-6:
                images.append(frame.to_image())
            if len(images) == 8:
                break
    width, height = images[0].size
    top, left, h, w = (
        int(x) for x in torch.cat(_draw_crop(torch.tensor(draw[:4])[None], (0.08, 1.0), height, width)).tolist()
    )
    frames = []
    for image in images:
        image = TV.resized_crop(image, top, left, max(h, 1), max(w, 1), [size, size])
        image = TV.hflip(image) if draw[4] < 0.5 else image
        image = TV.adjust_brightness(image, 0.6 + 0.8 * draw[5])
        image = TV.adjust_contrast(image, 0.6 + 0.8 * draw[6])
        image = TV.adjust_saturation(image, 0.6 + 0.8 * draw[7])
        image = TV.adjust_hue(image, -0.2 + 0.4 * draw[8])
        frames.append(TV.normalize(TV.to_tensor(image), MEAN, STD))
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler("fltp", "mono", SOUND.rate)
        container.seek(int(0.5 / stream.time_base), stream=stream)
        pieces, count = [], 0
        for frame in container.decode(stream):
            if frame.time + frame.samples / frame.sample_rate < 0.5:
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


def run(quick: bool) -> dict[str, Any]:
    """Milliseconds per clip, without workers: workers scale with the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rows, skipped = [], []
    spectrogram = LogSpectrogram(SOUND)
    with tempfile.TemporaryDirectory() as folder:
        for size, width, height, required in ((224, 320, 240, 1.9), (112, 128, 128, 2.2)):
            path = make_file(Path(folder) / f"{width}.mp4", width, height)
            generator = torch.Generator().manual_seed(0)
            spec = VideoSpec(8, 16.0, size)
            planes, colours = PlaneAugmentation(size, scale=(0.08, 1.0)), VideoAugmentation(size, scale=(0.08, 1.0))

            def as_published(path: Path = path, size: int = size, generator: torch.Generator = generator) -> Any:
                return published(path, size, generator, spectrogram)

            def by_planes(
                path: Path = path, spec: VideoSpec = spec, to: Any = planes, g: torch.Generator = generator
            ) -> Any:
                clip = read_planes(path, 1.0, spec, SOUND, audio_start_s=0.5)
                assert clip.audio is not None
                planes = clip.luma[None], clip.chroma[None], clip.to_rgb[None]
                return to.augment(*planes, g), spectrogram(clip.audio[None])

            def by_rgb(
                path: Path = path, spec: VideoSpec = spec, to: Any = colours, g: torch.Generator = generator
            ) -> Any:
                clip = read_clip(path, 1.0, VideoSpec(8, 16.0, None), SOUND, audio_start_s=0.5)
                assert clip.video is not None and clip.audio is not None
                return to(clip.video[None], g), spectrogram(clip.audio[None])

            candidates = {"published pipeline": as_published, "planes, one affine": by_planes, "RGB, batched": by_rgb}
            try:
                candidates["torchcodec + torchvision v2"] = torchcodec(path, size, spectrogram)
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
                required={"planes, one affine": required},
                unit="clip",
                least_s=dict.fromkeys(candidates, float(np.median(decoding))),
            )
    torch.set_num_threads(threads)
    for what in skipped:
        print(f"  skipped: {what}")
    return {"rows": as_json(rows), "skipped": skipped, "training": training(quick)}


def training(quick: bool) -> dict[str, dict[str, float]]:
    """A step of the course's training on all cores, with clips decoded in advance or from files each time."""
    size, ways = PROFILES["cpu"], {"decoded cache": {}, "files": {"cache": False}}
    ways["files, planes"] = {"cache": False, "planes": True}
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


def torchcodec(path: Path, size: int, spectrogram: LogSpectrogram) -> Any:
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

    def load() -> Any:
        decoder = VideoDecoder(str(path), num_ffmpeg_threads=1, seek_mode="approximate")
        frames = decoder.get_frames_played_at([1.0 + i / 16 for i in range(8)]).data
        sound = AudioDecoder(str(path), sample_rate=SOUND.rate, num_channels=1)
        wave = sound.get_samples_played_in_range(0.5, 2.5).data[:, : SOUND.samples]
        wave = torch.nn.functional.pad(wave, (0, SOUND.samples - wave.shape[1]))
        return augment(frames), spectrogram(wave[None])

    load()
    return load

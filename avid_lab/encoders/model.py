"""Both encoders and their heads: a clip in, two unit vectors out."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from avid_lab.config import PRESETS, ModelConfig
from avid_lab.encoders.blocks import ProjectionHead
from avid_lab.encoders.networks import AudioEncoder, Encoder, TorchvisionVideoEncoder, VideoEncoder
from avid_lab.encoders.released import fill, read_model
from avid_lab.fetching import weights


class AudioVisualModel(nn.Module):
    """Two encoders and two heads: a clip in, a unit vector for its picture and one for its sound out.

    Args:
        config: What to build, see `ModelConfig`.
        seed: Seeds the initial weights without touching the global random state; ``None`` uses the global state.

    Example:
        >>> model = AudioVisualModel.preset("pocket", seed=0)
        >>> v, a = model(torch.randn(2, 3, 8, 48, 48), torch.randn(2, 1, 64, 65))
        >>> v.shape, a.shape
        (torch.Size([2, 128]), torch.Size([2, 128]))
    """

    def __init__(self, config: ModelConfig | None = None, *, seed: int | None = None) -> None:
        super().__init__()
        self.config = config = config or ModelConfig()
        with torch.random.fork_rng(devices=[], enabled=seed is not None):
            if seed is not None:
                torch.default_generator.manual_seed(seed)  # torch.manual_seed would also reseed a GPU
            self.video_encoder = _video_encoder(config)
            self.audio_encoder = AudioEncoder(config.audio_widths, config.pooled_blocks)
            self.video_head = ProjectionHead(
                self.video_encoder.features, config.head, config.dim, norm=config.head_norm
            )
            self.audio_head = ProjectionHead(
                self.audio_encoder.features, config.head, config.dim, norm=config.head_norm
            )

    @classmethod
    def preset(cls, name: str, *, seed: int | None = None) -> AudioVisualModel:
        """Build a named model: "pocket" (laptop CPU), "paper-small" (depth 10) or "paper" (R(2+1)D-18, 21.29 M).

        Raises:
            ValueError: No preset has this name.
        """
        if name not in PRESETS:
            raise ValueError(f"name must be a model preset: one of {', '.join(PRESETS)}; got {name!r}")
        return cls(PRESETS[name], seed=seed)

    @classmethod
    def released(cls, name: str) -> AudioVisualModel:
        """A network that the paper's authors released, in evaluation mode; `avid-lab fetch` gets its file first.

        Its input is that of the preset "paper". `checkpoints.load_weights` also gives the authors' input pipeline.

        Args:
            name: "avid-cma-audioset", "avid-audioset", "avid-cma-kinetics" or "avid-kinetics".

        Raises:
            ValueError: No released network has this name, or its file is damaged.
            FileNotFoundError: It was not fetched; the message names the command. Nothing is fetched here.
        """
        return cls.from_released_file(weights(name))

    @classmethod
    def from_released_file(cls, path: str | Path) -> AudioVisualModel:
        """The network of a file that the paper's authors released, in evaluation mode.

        Raises:
            CheckpointError: The file is missing or unreadable, or its keys or shapes differ from the paper's.
        """
        config, state = read_model(Path(path))
        model = cls(config, seed=0)
        fill(Path(path), model, state)
        return model.eval()

    def embed_video(self, video: Float[Tensor, "B 3 T H W"]) -> Float[Tensor, "B D"]:
        """Unit embeddings of pictures, see `forward`."""
        _check_input("video", video, 5, 3, "(B, 3, T, H, W)", next(self.parameters()).device)
        return _unit(self.video_head(self.video_encoder(video)))

    def embed_audio(self, audio: Float[Tensor, "B 1 frames bins"]) -> Float[Tensor, "B D"]:
        """Unit embeddings of log spectrograms, see `forward`."""
        _check_input("audio", audio, 4, 1, "(B, 1, frames, bins)", next(self.parameters()).device)
        return _unit(self.audio_head(self.audio_encoder(audio)))

    def forward(
        self, video: Float[Tensor, "B 3 T H W"], audio: Float[Tensor, "B 1 frames bins"]
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]:
        """Embed both halves of B clips.

        Args:
            video: Frames, ImageNet-normalised (`InputPipeline` makes them).
            audio: Log spectrograms, time before frequency, z-scored per bin.

        Returns:
            Video and audio embeddings, rows of unit length, in float32 also under autocast.

        Raises:
            ValueError: A tensor has the wrong number of axes or channels, or is on another device than the model.
        """
        return self.embed_video(video), self.embed_audio(audio)

    def shapes(self) -> str:
        """A table of every stage: its output shape for one clip of the expected size, and its parameters.

        Computed on torch's meta device, which has shapes but no values: it costs nothing and changes nothing.
        """
        size = self.config.video.size or 112
        video = torch.empty(1, 3, self.config.video.frames, size, size, device="meta")
        audio = torch.empty(1, 1, self.config.audio.frames, self.config.audio.bins, device="meta")
        ghost = copy.deepcopy(self).to("meta").eval()
        lines = [f"{'stage':<14}{'output':<22}{'parameters':>12}", "-" * 48]
        for name, encoder, head, x in (
            ("video", ghost.video_encoder, ghost.video_head, video),
            ("audio", ghost.audio_encoder, ghost.audio_head, audio),
        ):
            lines.append(_row(f"{name} input", x, 0))
            for stage, out in encoder.block_maps(x).items():
                lines.append(_row(f"{name} {stage}", out, _count(encoder.stages[stage])))
            features = encoder(x)
            lines += [_row(f"{name} max", features, 0), _row(f"{name} head", head(features), _count(head))]
        return "\n".join([*lines, "-" * 48, f"{'total':<36}{_count(self):>12,}"])


def _video_encoder(config: ModelConfig) -> Encoder:
    if config.video_backbone == "r2plus1d_18":
        return TorchvisionVideoEncoder(config.pooled_blocks)
    return VideoEncoder(
        config.video_widths,
        config.video_blocks,
        config.video_stem,
        config.video_stem_stride,
        config.video_stem_pool,
        config.pooled_blocks,
    )


def _unit(x: Tensor) -> Tensor:
    wide = x if x.dtype == torch.float64 else x.float()  # a half-precision norm loses three digits
    return F.normalize(wide, dim=-1)


def _check_input(name: str, x: Tensor, axes: int, channels: int, rule: str, device: torch.device) -> None:
    if x.ndim != axes or x.shape[1] != channels:
        raise ValueError(f"{name} must have shape {rule}; got {tuple(x.shape)}")
    if x.device != device:
        raise ValueError(
            f"{name} must be on the model's device, {device}; got {x.device}. Move it with .to({str(device)!r})."
        )


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _row(name: str, x: Tensor, parameters: int) -> str:
    return f"{name:<14}{' x '.join(map(str, x.shape[1:])):<22}{parameters:>12,}"

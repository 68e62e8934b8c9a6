"""Waveforms to a network's input: log power spectrograms."""

from __future__ import annotations

import torch
import torch.nn.functional as F
import torchaudio.functional as AF
from jaxtyping import Float
from torch import Tensor, nn

from avid_lab.config import AudioSpec
from avid_lab.precision import doubled


class LogSpectrogram(nn.Module):
    """The paper's log power spectrogram, time before frequency, z-scored per bin.

    A Hann STFT of length 2 * n_fft; of its n_fft + 1 power bins the lowest is kept and the others are averaged in
    pairs; then decibels, at most 100 below the clip's loudest value. Frame i is centred at sample
    i * (samples // frames), with silence beyond the ends.

    Args:
        spec: Format of waveforms and spectrogram.

    Attributes:
        mean: Per-bin mean in dB, (bins,), 0 until `fit`.
        std: Per-bin standard deviation in dB, (bins,), 1 until `fit`.
    """

    mean: Tensor
    std: Tensor
    window: Tensor

    def __init__(self, spec: AudioSpec) -> None:
        super().__init__()
        self.spec = spec
        self.register_buffer("mean", torch.zeros(spec.bins))
        self.register_buffer("std", torch.ones(spec.bins))
        self.register_buffer("window", torch.hann_window(2 * spec.n_fft), persistent=False)

    def forward(
        self, audio: Float[Tensor, "B 1 {self.spec.samples}"]
    ) -> Float[Tensor, "B 1 {self.spec.frames} {self.spec.bins}"]:
        """The z-scored spectrogram of each clip."""
        return (self.decibels(audio) - self.mean) / self.std

    def decibels(
        self, audio: Float[Tensor, "B 1 {self.spec.samples}"]
    ) -> Float[Tensor, "B 1 {self.spec.frames} {self.spec.bins}"]:
        """The spectrogram in dB, before the z-score, for plots."""
        spec = self.spec
        # In single precision, values 100 dB below the loudest show rounding, which differs between CPU and GPU.
        precise = torch.float32 if audio.device.type == "mps" else torch.float64
        padded = F.pad(audio[:, 0], (spec.n_fft, spec.n_fft))
        frames = padded.unfold(1, 2 * spec.n_fft, spec.samples // spec.frames)[:, : spec.frames]
        spectrum = torch.fft.rfft(frames.to(precise) * self.window.to(precise))  # (B, frames, n_fft + 1)
        power = spectrum.real.square() + spectrum.imag.square()  # several times faster than the square of abs
        power = power.float()[:, None]  # (B, 1, frames, n_fft + 1)
        paired = (power[..., 1::2] + power[..., 2::2]) / 2
        power = torch.cat([power[..., :1], paired], dim=3)
        return AF.amplitude_to_DB(power, multiplier=10.0, amin=1e-10, db_multiplier=0.0, top_db=100.0)

    @torch.no_grad()
    def fit(self, waveforms: Float[Tensor, "N 1 {self.spec.samples}"]) -> LogSpectrogram:
        """Measure mean and standard deviation of each bin over these waveforms.

        A bin that never changes (above the cut-off of all recordings) gets a deviation of 1.
        """
        levels = self.decibels(waveforms.to(self.mean.device)).flatten(0, 2)  # (N * frames, bins)
        levels = doubled(levels)
        std = levels.std(0, correction=0)
        self.mean.copy_(levels.mean(0))
        self.std.copy_(torch.where(std > 1e-3, std, 1.0))
        return self

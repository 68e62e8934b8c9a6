"""Notebook 01: from a power spectrum to what the network hears."""

from __future__ import annotations

import torch

from avid_lab.course.checks import Exercise
from avid_lab.course.exercises.inputs import normal


def log_spectrogram_bins(power):
    """power (frames, n + 1) of a Fourier transform, n even -> (frames, n / 2 + 1) in decibels.

    Keep the lowest bin and average the others in pairs. Values more than 100 dB below the loudest of all frames are raised
    to that floor.
    """
    pairs = power[:, 1:].unflatten(1, (-1, 2)).mean(2)  # (frames, n / 2)
    power = torch.cat([power[:, :1], pairs], dim=1)  # (frames, n / 2 + 1)
    decibels = 10 * power.clamp(min=1e-10).log10()
    return decibels.clamp(min=decibels.max() - 100)


def _by_slices(power):
    x = torch.cat([power[:, :1], (power[:, 1::2] + power[:, 2::2]) / 2], dim=1)
    x = 10 * x.clamp(min=1e-10).log10()
    return x.clamp(min=x.max() - 100)


def _decibels_averaged(power):
    """Decibels are averaged instead of power. The mean of two logarithms is not the logarithm of the mean: average
    the power first, then take the logarithm.
    """
    decibels = 10 * power.clamp(min=1e-10).log10()
    pairs = decibels[:, 1:].unflatten(1, (-1, 2)).mean(2)
    decibels = torch.cat([decibels[:, :1], pairs], dim=1)
    return decibels.clamp(min=decibels.max() - 100)


def _lowest_in_a_pair(power):
    """The lowest bin is part of a pair. Bin 0 is the constant part of the signal and stays single: pair bins 1 and
    2, 3 and 4, and so on.
    """
    pairs = power[:, :-1].unflatten(1, (-1, 2)).mean(2)
    power = torch.cat([pairs, power[:, -1:]], dim=1)
    decibels = 10 * power.clamp(min=1e-10).log10()
    return decibels.clamp(min=decibels.max() - 100)


def _natural_logarithm(power):
    """The natural logarithm is used. A decibel is ten times the logarithm to base ten: `log10`, not `log`."""
    pairs = power[:, 1:].unflatten(1, (-1, 2)).mean(2)
    decibels = 10 * torch.cat([power[:, :1], pairs], dim=1).clamp(min=1e-10).log()
    return decibels.clamp(min=decibels.max() - 100)


def _amplitude(power):
    """The power is squared again. 20 log10 is for amplitudes. Power is already a squared amplitude, so use 10 log10."""
    pairs = power[:, 1:].unflatten(1, (-1, 2)).mean(2)
    decibels = 20 * torch.cat([power[:, :1], pairs], dim=1).clamp(min=1e-10).log10()
    return decibels.clamp(min=decibels.max() - 100)


def _no_floor(power):
    """The floor 100 dB below the loudest is missing. Silence has a power of 0, and its logarithm is minus infinity.
    Keep everything within 100 dB of the loudest value.
    """
    pairs = power[:, 1:].unflatten(1, (-1, 2)).mean(2)
    return 10 * torch.cat([power[:, :1], pairs], dim=1).clamp(min=1e-10).log10()


def _floor_at_each_frame(power):
    """Each frame has its own floor. Use the loudest value of the whole clip for the floor, not of each frame.
    Otherwise silent frames turn into noise.
    """
    pairs = power[:, 1:].unflatten(1, (-1, 2)).mean(2)
    decibels = 10 * torch.cat([power[:, :1], pairs], dim=1).clamp(min=1e-10).log10()
    return decibels.maximum(decibels.amax(1, keepdim=True) - 100)


def _top_cut(power):
    """The top is cut off instead of the bottom. `clamp(min=...)` raises what is too quiet; `clamp(max=...)` cuts what is loud."""
    pairs = power[:, 1:].unflatten(1, (-1, 2)).mean(2)
    decibels = 10 * torch.cat([power[:, :1], pairs], dim=1).clamp(min=1e-10).log10()
    return decibels.clamp(max=decibels.max() - 100)


def _frames_in_pairs(power):
    """Neighbouring frames are averaged instead of neighbouring bins. Time is axis 0; frequency is axis 1: pair along axis 1."""
    even = len(power) // 2 * 2
    decibels = 10 * ((power[0:even:2] + power[1:even:2]) / 2).clamp(min=1e-10).log10()
    return decibels.clamp(min=decibels.max() - 100)


def _added(power):
    """Pairs are summed, not averaged. Average the pairs instead of adding them: a sum is 3 dB louder."""
    pairs = power[:, 1:].unflatten(1, (-1, 2)).sum(2)
    decibels = 10 * torch.cat([power[:, :1], pairs], dim=1).clamp(min=1e-10).log10()
    return decibels.clamp(min=decibels.max() - 100)


def _every_second(power):
    """Every second bin is dropped. You drop every second bin, and the sound in it is lost. Average each pair."""
    decibels = 10 * torch.cat([power[:, :1], power[:, 1::2]], dim=1).clamp(min=1e-10).log10()
    return decibels.clamp(min=decibels.max() - 100)


def _spectrum():
    return (normal(7, 9, seed=0).square() * 1e3,)


def _with_silence():
    power = normal(6, 17, seed=1).square() * 1e6
    power[2] = 0  # a silent frame
    power[3] *= 1e-9
    power[4, 5:7] = 0  # a silent pair in a loud frame
    return (power,)


def _loud_and_quiet():
    """No silence, but levels that are far apart: 80 dB between frames, and 130 dB between the bins of a frame."""
    return (normal(7, 9, seed=3).square() * torch.logspace(14, 6, 7)[:, None] * torch.logspace(0, -13, 9),)


EXERCISES = (
    Exercise(
        task="Average the bins of a power spectrum in pairs, except the lowest. Return decibels within 100 dB of the loudest value.",
        reference=log_spectrogram_bins,
        probes=(_spectrum, _loud_and_quiet, _with_silence),
        wrong=(
            _decibels_averaged,
            _lowest_in_a_pair,
            _natural_logarithm,
            _amplitude,
            _no_floor,
            _floor_at_each_frame,
            _added,
            _every_second,
            _top_cut,
            _frames_in_pairs,
        ),
        forms=(_by_slices,),
        large=lambda: (normal(100, 257, seed=2).square(),),
        hints=(
            "Three steps: pairs, decibels, floor. `power[:, 1:]` is everything but the lowest bin.",
            "`x.unflatten(1, (-1, 2))` turns (frames, n) into (frames, n / 2, 2); the mean over the last axis averages each pair.",
            "Put the lowest bin back in front with `torch.cat([power[:, :1], pairs], dim=1)`. A decibel is `10 * x.log10()`; "
            "`clamp` keeps numbers above a floor, first of the power (silence has none), then of the decibels.",
        ),
    ),
)

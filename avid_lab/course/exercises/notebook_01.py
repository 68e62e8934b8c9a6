"""Notebook 01: from a power spectrum to what the network hears, and from clips to batches."""

from __future__ import annotations

import torch

from avid_lab.course.checks import Exercise, Property
from avid_lab.course.exercises.inputs import integers, normal

# --- decibels ----------------------------------------------------------------------------------------------------------


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


# --- the loader --------------------------------------------------------------------------------------------------------


def load_batch(pictures, sounds, index, draws, frames, fps, rate):
    """Cut a random window out of each clip of a batch: picture and sound of the same moments.

    pictures (N, F, H, W, 3) at fps, uint8, sounds (N, S) at rate, a multiple of fps; index (B,): the clips of the batch;
    draws (B,) in [0, 1): where each window begins -> picture (B, 3, frames, H, W), uint8 as before, and sound
    (B, 1, frames * rate / fps)

    A window may begin at each frame from which it fits into the clip: a draw of 0 is the first of them, a draw just below
    1 the last, and all are equally likely. The sound is as long as the pictures.
    """
    first = (draws * (pictures.shape[1] - frames + 1)).long()  # (B,): the first frame of each window
    each = rate // fps  # samples during one frame
    cuts = list(zip(index.tolist(), first.tolist(), strict=True))
    picture = torch.stack([pictures[i, f : f + frames] for i, f in cuts])  # (B, frames, H, W, 3)
    sound = torch.stack([sounds[i, f * each : (f + frames) * each] for i, f in cuts])  # (B, frames * each)
    return picture.permute(0, 4, 1, 2, 3), sound[:, None]


def _by_indexing(pictures, sounds, index, draws, frames, fps, rate):
    first = (draws * (pictures.shape[1] - frames + 1)).floor().long()
    each = rate // fps
    picture = pictures[index[:, None], first[:, None] + torch.arange(frames)]
    sound = sounds[index[:, None], each * first[:, None] + torch.arange(each * frames)]
    return picture.movedim(4, 1), sound.unsqueeze(1)


def _windows(pictures, sounds, index, first, begin, frames, samples):
    """Windows of the clips in index, pictures from frame first on, sounds from sample begin on."""
    picture = pictures[index[:, None], first[:, None] + torch.arange(frames)]
    sound = sounds[index[:, None], begin[:, None] + torch.arange(samples)]
    return picture.movedim(4, 1), sound.unsqueeze(1)


def _first(pictures, draws, frames):
    return (draws * (pictures.shape[1] - frames + 1)).long()


def _last_never(pictures, sounds, index, draws, frames, fps, rate):
    """The last window is never drawn. A clip of F frames has F - frames + 1 windows: with F = frames, there is one."""
    first = (draws * (pictures.shape[1] - frames)).long()
    each = rate // fps
    cuts = list(zip(index.tolist(), first.tolist(), strict=True))
    picture = torch.stack([pictures[i, f : f + frames] for i, f in cuts])
    sound = torch.stack([sounds[i, f * each : (f + frames) * each] for i, f in cuts])
    return picture.permute(0, 4, 1, 2, 3), sound[:, None]


def _rounded(pictures, sounds, index, draws, frames, fps, rate):
    """The first frame is rounded to the nearest. Then the first and the last window are drawn half as often as the others.
    Round down.
    """
    first = (draws * (pictures.shape[1] - frames)).round().long()
    return _windows(pictures, sounds, index, first, first * (rate // fps), frames, frames * rate // fps)


def _rounded_up(pictures, sounds, index, draws, frames, fps, rate):
    """The first frame is rounded up. Then the first window is hardly ever drawn. Round down, among F - frames + 1 windows."""
    first = (draws * (pictures.shape[1] - frames)).ceil().long()
    return _windows(pictures, sounds, index, first, first * (rate // fps), frames, frames * rate // fps)


def _clamped(pictures, sounds, index, draws, frames, fps, rate):
    """Windows that do not fit are moved back to the last one, so that one is drawn far too often. Draw only among the windows
    that fit: F - frames + 1.
    """
    first = (draws * pictures.shape[1]).long().clamp(max=pictures.shape[1] - frames)
    return _windows(pictures, sounds, index, first, first * (rate // fps), frames, frames * rate // fps)


def _around_the_end(pictures, sounds, index, draws, frames, fps, rate):
    """Windows go on at the beginning of the clip when they reach its end. Draw only among the windows that fit."""
    twice = pictures.repeat(1, 2, 1, 1, 1), sounds.repeat(1, 2)
    first = (draws * pictures.shape[1]).long()
    return _windows(*twice, index, first, first * (rate // fps), frames, frames * rate // fps)


def _always_the_first(pictures, sounds, index, draws, frames, fps, rate):
    """Every window is the first one. Draws are below 1, so they must be multiplied before they become whole numbers."""
    first = draws.long()
    return _windows(pictures, sounds, index, first, first, frames, frames * rate // fps)


def _side_by_side(pictures, sounds, index, draws, frames, fps, rate):
    """Windows lie side by side. A window may begin at every frame, not only at multiples of `frames`."""
    first = (draws * (pictures.shape[1] // frames)).long() * frames
    return _windows(pictures, sounds, index, first, first * (rate // fps), frames, frames * rate // fps)


def _whole_seconds(pictures, sounds, index, draws, frames, fps, rate):
    """Windows begin at whole seconds. A window may begin at every frame: round down frames, not seconds."""
    second = (draws * (pictures.shape[1] - frames + 1) / fps).long()
    return _windows(pictures, sounds, index, second * fps, second * rate, frames, frames * rate // fps)


def _between_frames(pictures, sounds, index, draws, frames, fps, rate):
    """The sound begins before the draw is rounded down to a frame, so it begins up to a frame after the picture. Begin it with
    the frame: f * rate / fps.
    """
    each, sounds = rate // fps, torch.nn.functional.pad(sounds, (0, rate // fps))
    begin = (draws * (pictures.shape[1] - frames + 1) * each).long()
    return _windows(pictures, sounds, index, begin // each, begin, frames, frames * each)


def _sound_from_the_beginning(pictures, sounds, index, draws, frames, fps, rate):
    """The sound always begins with the clip. It must begin at the moment of the first frame: sample f * rate / fps."""
    first = _first(pictures, draws, frames)
    return _windows(pictures, sounds, index, first, 0 * first, frames, frames * rate // fps)


def _picture_from_the_beginning(pictures, sounds, index, draws, frames, fps, rate):
    """The picture always begins with the clip. Both must begin at the moment that was drawn."""
    first = _first(pictures, draws, frames)
    return _windows(pictures, sounds, index, 0 * first, first * (rate // fps), frames, frames * rate // fps)


def _sound_at_the_frames_number(pictures, sounds, index, draws, frames, fps, rate):
    """The sound begins at the sample with the number of the frame. Frames and samples have different clocks: frame f is
    shown f / fps seconds after the beginning, and that is sample f * rate / fps.
    """
    first = _first(pictures, draws, frames)
    return _windows(pictures, sounds, index, first, first, frames, frames * rate // fps)


def _places_of_their_own(pictures, sounds, index, draws, frames, fps, rate):
    """Picture and sound each get a place of their own. The sound's start is drawn among all samples, so it begins up to a
    frame after the picture. Draw once, then convert the frame to a sample: f * rate / fps.
    """
    samples = frames * rate // fps
    begin = (draws * (sounds.shape[1] - samples + 1)).long()
    return _windows(pictures, sounds, index, _first(pictures, draws, frames), begin, frames, samples)


def _samples_counted_as_frames(pictures, sounds, index, draws, frames, fps, rate):
    """The sound has as many samples as the picture has frames. One frame lasts rate / fps samples."""
    picture, sound = load_batch(pictures, sounds, index, draws, frames, fps, rate)
    return picture, sound[..., :frames]


def _one_place_for_all(pictures, sounds, index, draws, frames, fps, rate):
    """All windows of the batch begin at the same frame. Each clip has its own draw."""
    first = _first(pictures, draws, frames)[:1].expand(len(index))
    return _windows(pictures, sounds, index, first, first * (rate // fps), frames, frames * rate // fps)


def _first_clips(pictures, sounds, index, draws, frames, fps, rate):
    """The batch holds the first clips instead of those in index. Row b of the batch is clip index[b]."""
    first, clips = _first(pictures, draws, frames), torch.arange(len(index))
    return _windows(pictures, sounds, clips, first, first * (rate // fps), frames, frames * rate // fps)


def _sound_of_other_clips(pictures, sounds, index, draws, frames, fps, rate):
    """The sound is of other clips. The picture is that of the clip in index, but the sound is that of the clip with the row's
    own number. A network learns nothing from such pairs.
    """
    picture, _ = load_batch(pictures, sounds, index, draws, frames, fps, rate)
    _, sound = load_batch(pictures, sounds, torch.arange(len(index)), draws, frames, fps, rate)
    return picture, sound


def _colours_last(pictures, sounds, index, draws, frames, fps, rate):
    """Colours are the last axis. A network wants (B, 3, frames, H, W): `permute(0, 4, 1, 2, 3)`."""
    picture, sound = load_batch(pictures, sounds, index, draws, frames, fps, rate)
    return picture.permute(0, 2, 3, 4, 1), sound


def _turned(pictures, sounds, index, draws, frames, fps, rate):
    """Height and width are exchanged: the picture is turned on its side. `permute(0, 4, 1, 2, 3)` keeps their order."""
    picture, sound = load_batch(pictures, sounds, index, draws, frames, fps, rate)
    return picture.transpose(3, 4), sound


def _time_first(pictures, sounds, index, draws, frames, fps, rate):
    """Colours and time are exchanged. The order is clip, colour, frame, height, width."""
    picture, sound = load_batch(pictures, sounds, index, draws, frames, fps, rate)
    return picture.transpose(1, 2), sound


def _no_channel(pictures, sounds, index, draws, frames, fps, rate):
    """The sound's channel axis is missing. A network wants (B, 1, samples): `sound[:, None]`."""
    picture, sound = load_batch(pictures, sounds, index, draws, frames, fps, rate)
    return picture, sound[:, 0]


def _reshaped(pictures, sounds, index, draws, frames, fps, rate):
    """The axes are reshaped instead of moved. `reshape` and `view` keep the order of the numbers in memory, so pixels get mixed
    up. Use `permute`.
    """
    picture, sound = load_batch(pictures, sounds, index, draws, frames, fps, rate)
    return picture.permute(0, 2, 3, 4, 1).reshape(picture.shape), sound


def _small_clips(seed, draws, frames, fps, rate):
    """Five clips of nine frames of 2 x 3 pixels, all different."""
    pictures = integers(5, 9, 2, 3, 3, below=256, seed=seed).to(torch.uint8)
    sounds = normal(5, 9 * rate // fps, seed=seed + 1)
    return pictures, sounds, torch.tensor([3, 0, 4, 3]), torch.tensor(draws), frames, fps, rate


def _clips():
    return _small_clips(0, [0.62, 0.13, 0.33, 0.87], 4, 4, 20)


def _ends():
    return _small_clips(2, [0.0, 0.999, 0.49, 0.7], 6, 8, 24)


def _all_frames():
    return _small_clips(4, [0.0, 0.5, 0.9, 0.999], 9, 3, 12)


def _repeatable(function):
    args = _clips()
    once, again = function(*args), function(*args)
    same = all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    return (
        None if same else "Called twice with the same draws, it cut other windows. Where a window begins is in `draws`."
    )


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
    Exercise(
        task="Cut a random window out of each clip of a batch: some frames, and the sound of the same moments.",
        reference=load_batch,
        probes=(_clips, _ends, _all_frames),
        wrong=(
            _last_never,
            _rounded,
            _rounded_up,
            _clamped,
            _around_the_end,
            _always_the_first,
            _side_by_side,
            _whole_seconds,
            _between_frames,
            _sound_from_the_beginning,
            _picture_from_the_beginning,
            _sound_at_the_frames_number,
            _places_of_their_own,
            _samples_counted_as_frames,
            _one_place_for_all,
            _first_clips,
            _sound_of_other_clips,
            _colours_last,
            _turned,
            _time_first,
            _no_channel,
            _reshaped,
        ),
        properties=(Property("it draws random numbers of its own", _repeatable),),
        forms=(_by_indexing,),
        hints=(
            "Three steps: the first frame of each window, the cuts, the order of the axes. How many windows fit into a clip?",
            "`(draws * places).long()` turns draws into whole numbers from 0 to places - 1. Frame f is shown f / fps seconds after "
            "the beginning; which sample is that?",
            "Cut clip by clip and `torch.stack` the pieces, or index with (B, 1) and (B, frames) tensors at once. `permute` brings "
            "the colours forward; `sound[:, None]` adds a channel.",
        ),
    ),
)

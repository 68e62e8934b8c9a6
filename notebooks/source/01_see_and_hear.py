# %% [markdown]
# # 01 · See and hear the data
#
# Before you train a network on video, look at its input. After this notebook you can
#
# * read a clip from any video file, and say what each axis of its tensors means,
# * make a log spectrogram step by step and read one with your eyes,
# * cut training windows out of clips, picture and sound of the same moments,
# * show what augmentation changes and what it must not change,
# * name the *nuisances* of a clip, and test whether they alone give the label away.
#
# **Needs:** notebook 00. **Time:** 50 minutes, including a quarter of a minute of computing (CPU; GPU: not measured).
#
# **Before you start:** three questions about notebook 00.
#
# <details><summary>1. The game needs no labels. Where does the right answer come from?</summary>
#
# From the recording itself: picture and sound of a clip were made at the same moment. Only the pairing is known, not
# what is seen or heard.
#
# </details>
# <details><summary>2. A network finds 5 of 10 right sounds. Is that good?</summary>
#
# You cannot tell without something to compare it with. With two dozen kinds of scene, guessing finds less than one of
# ten; the same network untrained does no better. Next to those, 5 is a lot.
#
# </details>
# <details><summary>3. What does the memory hold, and what are negatives?</summary>
#
# It holds a note of every clip: the points of its picture and its sound when the network last saw it. Negatives are
# notes of other clips, drawn at random, from which a point is pushed away.
#
# </details>

# %%
import math

import torch
import torch.nn.functional as F
from IPython.display import display

import avid_lab as al
from avid_lab import media, plots
from avid_lab.course import exercise, lab
from avid_lab.interactive import gallery, player

profile = al.profile()
clips = al.foley.load(profile.world, split="train")
test_clips = al.foley.load(profile.world, split="test")
records = clips.manifest.records
names = [clips.classes[c] for c in clips.labels]

# %% [markdown]
# ## A file
#
# A clip starts as an ordinary mp4 file. `probe` reads its header without decoding anything.

# %%
path = clips.path(0)
info = media.probe(path)
picture, sound = info.video, info.audio
print(f"{info.duration_s:g} s")
print(f"picture: {picture.codec}, {picture.width} x {picture.height}, {picture.fps:g} frames a second")
print(f"sound:   {sound.codec}, {sound.rate} samples a second")

# %%
player(path, caption=names[0])

# %% [markdown]
# ## A clip
#
# `read_clip` decodes exactly what you ask for: a number of frames at a frame rate, and the sound of the same moments.
# Here is the whole file at its original size.

# %%
seen = al.VideoSpec(frames=64, fps=16.0, size=None)
heard = al.AudioSpec(rate=24_000, duration_s=4.0, frames=200)
whole = media.read_clip(path, 0.0, seen, heard)
print(f"picture {tuple(whole.video.shape)}: colours, frames, height, width")
print(f"sound   {tuple(whole.audio.shape)}: channel, samples")

# %% [markdown]
# Picture and sound share one time axis. The thin lines mark the true events, which we know because we rendered the
# clip. At each line, something starts in the sound. A frame shows the moment under its middle, so compare the frames on
# both sides of a mark to see what moved.

# %%
onsets = [float(t) for t in clips.manifest.column("onsets")[0].split(";") if t]
plots.clip_sheet(whole, onsets=onsets, title=f"{names[0]}: {len(onsets)} events, each seen and heard")

# %% [markdown]
# ## What the model is given
#
# A model does not see four seconds at full size. The pocket model of this course gets a **window**: eight small frames
# that span one second, and two seconds of sound around them. Training draws a new random window every time.

# %%
batch = clips.batch(torch.arange(4), generator=torch.Generator().manual_seed(0))  # four clips, random windows
for name in ("video", "audio"):
    print(f"{name}: {tuple(batch[name].shape)}, {batch[name].dtype}")
print(f"the frames span {clips.video.frames / clips.video.fps:g} s, the sound {clips.audio.duration_s:g} s")

# %% [markdown]
# Read the shapes aloud: *batch, colours, time, height, width* for the picture, *batch, channel, samples* for the sound.
# Frames are slightly larger than the model's input, which leaves room for a random crop.
#
# ## From waveform to spectrogram
#
# Thousands of samples per second are hard to compare. A **spectrogram** shows how strong each frequency is at each
# moment:
#
# $$ X_{t,f} = \left|\sum_n w_n\, x_{n + tH}\, e^{-2\pi i f n / L}\right|^2, \qquad S_{t,f} = 10 \log_{10} X_{t,f} $$
#
# with a window $w$ of length $L$, moved by a hop $H$. The logarithm makes quiet sounds count, as they do for your ear.
# Finally, each frequency bin is shifted and scaled to mean 0 and standard deviation 1 over the whole dataset (a
# *z-score*), so that no bin dominates just because it is always loud.
#
# A Fourier transform has more frequencies than a small network needs, so we average neighbouring bins in pairs.
#
# **Exercise ●○○.** Convert power to decibels. If you leave it blank, the reference solution runs instead. If your answer is
# wrong, the badge says what is wrong.


# %%
@exercise("log_spectrogram_bins")
def log_spectrogram_bins(power):
    """power (frames, n + 1) of a Fourier transform, n even -> (frames, n / 2 + 1) in decibels.

    Keep the lowest bin and average the others in pairs. Values more than 100 dB below the loudest of all frames are raised
    to that floor.
    """
    ...


# %% [markdown]
# Apply it to the sound of the clip above. (The window length trades time against pitch: a long window separates pitches
# but blurs time, a short one does the opposite.)


# %%
def fourier_power(sound, length):
    """sound (samples,) -> (frames, length / 2 + 1): power of a Fourier transform with a Hann window."""
    transform = torch.stft(sound, length, length // 4, window=torch.hann_window(length), return_complex=True)
    return transform.abs().square().T


windows = {
    f"window of {1000 * n / whole.rate:.0f} ms": log_spectrogram_bins(fourier_power(whole.audio[0], n))
    for n in (128, 512, 2048)
}
plots.spectrograms(
    windows, whole, title=f"A short window separates moments, a long one pitches ({lab.credit('log_spectrogram_bins')})"
)

# %% [markdown]
# Now compute it with the library, for four clips at once.


# %%
def first(scene):
    """The first clip of a scene whose sound is its own and can be heard."""
    faults = ("off_screen", "silent", "noisy")
    return next(
        i for i, c in enumerate(records) if c.label == scene and all(c.extras[fault] == "0" for fault in faults)
    )


four = [first(scene) for scene in ("songbird", "rain", "church_bell", "ping_pong")]
sounds = clips.batch(torch.tensor(four))["audio"]  # (4, 1, samples)
spectrogram = al.transforms.LogSpectrogram(clips.audio)
spectrogram.fit(clips.batch(torch.arange(min(256, len(clips))))["audio"])  # mean and deviation of every bin
standard = spectrogram(sounds)  # (4, 1, time, frequency)
print(tuple(standard.shape), f"mean {standard.mean():+.2f}, standard deviation {standard.std():.2f}")

# %%
spectra = dict(zip("ABCD", standard[:, 0], strict=True))
plots.spectrograms(spectra, clips.audio, title="What four clips sound like to the network")

# %% [markdown]
# Which of the four is a series of sharp hits? Which is a steady hiss, a tone that rings on, a song?

# %%
lab.predict("01-1", "Which one is the tone that rings on?", ["A", "B", "C", "D"])

# %%
lab.reveal("01-1", "C", "horizontal lines that slowly fade are the partials of something struck")
# %%
gallery(None, [clips.path(i) for i in four], [f"{letter}: {names[i]}" for letter, i in zip("ABCD", four, strict=True)])

# %% [markdown]
# ## Exercise ●●●: the loader
#
# `clips.batch` made the windows above. Write the part that cuts them. All clips are decoded already. Your function gets the
# numbers of the clips that the batch wants, and for each a random number in $[0, 1)$ that says where its window begins. (It
# draws nothing itself, so that a training can be repeated exactly.) Picture and sound have different clocks, and a window
# must hold *the same moments* of both: otherwise the network learns from pairs that do not belong together.


# %%
@exercise("load_batch")
def load_batch(pictures, sounds, index, draws, frames, fps, rate):
    """Cut a random window out of each clip of a batch: picture and sound of the same moments.

    pictures (N, F, H, W, 3) at fps, uint8, sounds (N, S) at rate, a multiple of fps; index (B,): the clips of the batch;
    draws (B,) in [0, 1): where each window begins -> picture (B, 3, frames, H, W), uint8 as before, and sound
    (B, 1, frames * rate / fps)

    A window may begin at each frame from which it fits into the clip: a draw of 0 is the first of them, a draw just below
    1 the last, and all are equally likely. The sound is as long as the pictures.
    """
    ...


# %% [markdown]
# Try it on the four clips, decoded whole. A second of ping-pong shows whether you hear a hit when you see it.

# %%
decoded = [media.read_clip(clips.path(i), 0.0, seen, heard) for i in four]
pictures = torch.stack([clip.video.permute(1, 2, 3, 0) for clip in decoded])  # (4, 64, height, width, 3)
sounds = torch.stack([clip.audio[0] for clip in decoded])  # (4, samples)
picture, sound = load_batch(pictures, sounds, torch.tensor([3, 0]), torch.tensor([0.5, 0.9]), 16, 16, 24_000)
plots.clip_sheet(
    picture[0], sound[0], fps=16, rate=24_000, title=f"Seen and heard at once ({lab.credit('load_batch')})"
)

# %% [markdown]
# ## Augmentation: what may change, and what must not
#
# If a model saw the same crop in the same light each time, it could recognise a clip by a corner of its wallpaper. So
# we crop, mirror and recolour a clip at random every time we draw it. All frames of the clip get the same random
# change: position and colour vary, but *motion is kept*.

# %%
pipeline = al.InputPipeline(clips.video, clips.audio).fit(clips)
same = clips.batch(torch.zeros(9, dtype=torch.int64))  # the same clip, nine times
augmented, _ = pipeline.train()(same, generator=torch.Generator().manual_seed(1))
views = {"as it is": same["video"][0]} | {f"view {i + 1}": x for i, x in enumerate(pipeline.pixels(augmented))}
plots.contact_sheet(list(views.values()), list(views), columns=5, title="One clip, nine ways to see it")

# %% [markdown]
# Not every change is harmless.

# %%
lab.note("01-e", "Name a kind of video for which mirroring or recolouring would *hurt*, and say what would be lost.")

# %% [markdown]
# <details><summary>An answer</summary>
#
# *Mirroring* hurts where left and right have a meaning: written text, a clock, driving on the right, or stereo sound
# that says from which side something comes. *Recolouring* hurts where colour is the answer: traffic lights, ripe and
# unripe fruit, a flame that turns blue. In each case the two views would have to get the same embedding, so the network
# must forget what tells them apart. An augmentation is a statement about what does not matter.
#
# </details>

# %% [markdown]
# ## A real recording
#
# So far, everything was rendered. Do real recordings look like this? Take a short video with sound, from your phone or
# your camera, of something that *makes* its sound: clap, close a door, pour water. Give its path here and run the cell.
# (Notebook 10 can also record one with this computer's camera.) No file is part of the course, so without one the cell
# shows nothing.

# %%
MY_CLIP = None  # "/home/me/clap.mp4"
if MY_CLIP is None:
    print("No recording given: set MY_CLIP to a video of yours, or read on.")
else:
    start_s = next(iter(media.probe(MY_CLIP).both_s))[0]
    mine = media.read_clip(MY_CLIP, start_s, seen, heard, short_side=160)
    display(plots.clip_sheet(mine, title="Your own recording"))
    display(player(MY_CLIP, caption="your own recording"))

# %% [markdown]
# Can you find the moment of an event in picture and sound alike? What is in the picture but not in the sound, and what
# is in the sound but not in the picture?
#
# <details><summary>An answer</summary>
#
# In most recordings only the event itself is in both. The wall, the light and the furniture are silent. The hum of a
# fridge, a voice behind the camera and the echo of the room are not seen. That is why comparing the two can only teach
# what they share, and also why real video is hard: much of its sound comes from *off screen*.
#
# </details>
#
# ## The truth about every clip
#
# Because we rendered the world, each clip comes with its full description. Training never sees it; we use it to
# *understand* what the network has learned.

# %%
record = records[0]
print(f"{record.id}: label {record.label}, {record.duration_s:g} s")
for name, value in record.extras.items():
    print(f"  {name:<17} {value}")

# %% [markdown]
# Some of these names need a word. `look_tell` and `sound_tell` say how clearly the picture and the sound show what
# distinguishes this scene from its doubles (1: fully, 0: not at all). `pitch` and `scale` are factors of pitch and size.
# `t60_s` is the time in seconds until the echo of the room has fallen by 60 dB, and `wet` is how much of that echo is mixed
# in. `snr_db` says how far the noise lies below the sound.
#
# Some scenes are meant to be confused. **Look-alikes** share their picture and differ in sound; **sound-alikes** share
# their sound and differ in picture. A few clips break the rules: their sound comes from *off screen*, or there is none.
# Real video is full of both.

# %%
groups = {}
for clip in records:
    if clip.extras["off_screen"] == "1":
        continue  # it sounds like another scene
    groups.setdefault(("look alike", clip.extras["look_group"]), set()).add(clip.label)
    groups.setdefault(("sound alike", clip.extras["sound_group"]), set()).add(clip.label)
for (kind, name), members in sorted(groups.items()):
    if len(members) > 1:
        print(f"{kind:<12} {name:<14} {', '.join(sorted(members))}")
for fault in ("off_screen", "silent", "noisy"):
    share = sum(clip.extras[fault] == "1" for clip in records) / len(records)
    print(f"{fault:<12} {100 * share:.1f} % of the clips")

# %% [markdown]
# ## Could a model cheat?
#
# If the average colour or the loudness gave the label away, the label would teach nothing about objects or sounds. Let
# us test exactly that, with a nearest-neighbour classifier that sees *only* the nuisance.

# %%
lab.predict(
    "01-2",
    "Take the better of mean colour and loudness: how well does it predict the kind of scene, compared with guessing?",
    ["no better", "up to three times as good", "better than that"],
)


# %%
def mean_colour(clips):
    """(N, 3): the average red, green and blue of each clip's centre window."""
    parts = [clips.batch(index)["video"].float().mean((2, 3, 4)) for index in torch.arange(len(clips)).split(128)]
    return torch.cat(parts)


def loudness(clips):
    """(N, 1): the level of each clip's centre window in decibels."""
    parts = [clips.batch(index)["audio"].square().mean((1, 2)) for index in torch.arange(len(clips)).split(128)]
    return 10 * torch.cat(parts).clamp(min=1e-10).log10()[:, None]


bars = {}
for name, describe in {"mean colour": mean_colour, "loudness": loudness}.items():
    train, test = describe(clips), describe(test_clips)
    mean, spread = train.mean(0), train.std(0).clamp(min=1e-6)
    distance = torch.cdist((test - mean) / spread, (train - mean) / spread)
    nearest = clips.labels[distance.topk(15, largest=False).indices]  # (M, 15) labels of the nearest
    bars[name] = (nearest.mode(1).values == test_clips.labels).double().mean().item()
chance = al.metrics.chance_accuracy(clips.labels, test_clips.labels)
best = max(bars, key=bars.get)
plots.accuracy_bars(bars, chance=chance, title=f"By {best} alone, {bars[best]:.0%} are right")

# %% tags=["claim"]
claim("colour and loudness stay far from an answer", bars[best], below=0.3)

# %%
times = bars[best] / chance
truth = "no better" if times < 1.2 else "up to three times as good" if times < 3 else "better than that"
lab.reveal("01-2", truth, f"{times:.1f} times as good as guessing")

# %% [markdown]
# The nuisances say little about the *class*: they beat guessing, and stay far from an answer. But they say a lot about the *instance*: the same wallpaper is in every
# frame of a clip. Keep that in mind. If a model only has to tell one clip's picture from other clips' pictures,
# wallpaper is enough. Notebook 03 catches a model doing exactly that.
#
# ## Recap
#
# * A clip is a window of frames (B, 3, T, H, W) and a spectrogram (B, 1, time, frequency) of the same moments.
# * Augmentation defines what does *not* matter: position, mirroring, colour, loudness.
# * In this world, picture and sound share the event and nothing else: not the wallpaper, not the room's echo. Comparing
#   them can only teach what they share.
#
# **If it went wrong.** *A file cannot be read:* the error names the file, the problem and the fix. *No sound:* is the
# browser tab muted? *The badge is red:* read its diagnosis; the reference solution runs in the meantime.
#
# **Further reading.** A. Owens, A. Efros, *Audio-Visual Scene Analysis with Self-Supervised Multisensory Features*,
# ECCV 2018. *Foley* is a film maker's word for sounds made in a studio to fit a picture.

# %%
lab.progress("01")

# %% [markdown]
# # 00 · Start here
#
# A ball hits the floor, and you *hear* it. Nobody labelled that moment, yet picture and sound agree on it. This course
# turns that agreement into a teacher: one network watches, another listens, and both learn to recognise things without
# a single label.
#
# The method is **Audio-Visual Instance Discrimination with Cross-Modal Agreement** (AVID and CMA), by Pedro Morgado, Nuno
# Vasconcelos and Ishan Misra (CVPR 2021, [arXiv 2004.12943](https://arxiv.org/abs/2004.12943)).
#
# **In this notebook** you will
#
# * check that your machine is ready,
# * watch and hear the clips that the course uses,
# * train a small model live, and ask it which sounds belong to a picture.
#
# **Needs:** a little Python; PyTorch helps. **Time:** 15 minutes, including about 4 minutes of computing on a laptop's
# CPU.

# %% [markdown]
# ## Is everything ready?
#
# The next cell checks this machine: versions, codecs, disk, JupyterLab. For everything that is not *ok*, it prints the
# command that fixes it.

# %%
import torch
from IPython.display import display

import avid_lab as al
from avid_lab import doctor, plots
from avid_lab.course import lab
from avid_lab.interactive import LiveLoss, gallery

checks = doctor.examine()
print(doctor.table(checks))

# %% [markdown]
# A **profile** sets the size of the experiments: `cpu` for a laptop, `gpu` where there is one, `smoke` for automated
# tests (it trains so little that its results mean nothing). The environment variable `AVID_LAB_PROFILE` overrides the
# choice.

# %%
profile = al.profile()
profile

# %% [markdown]
# ## Meet the clips
#
# A course cannot ship real video datasets, and they lack something a course needs: the truth about every clip. So this
# package *renders* its own small world. Each clip shows four seconds of one event. Picture and sound come from the same
# timeline and are saved as an ordinary mp4 file. The first run takes a minute or two; later runs just read the files.

# %%
size = al.config.PRESETS[profile.model]  # of the pictures and sounds that this profile's network receives
clips = al.foley.load(profile.world, split="train", video=size.video, audio=size.audio)
test_clips = al.foley.load(profile.world, split="test", video=size.video, audio=size.audio)
names = [clips.classes[c] for c in clips.labels]
print(f"{len(clips)} clips to train on, {len(test_clips)} held out, {len(clips.classes)} kinds of scene:")
print(", ".join(clips.classes))

# %%
plots.contact_sheet(
    [clips[(clips.labels == c).nonzero()[0].item()]["video"] for c in range(len(clips.classes))],
    clips.classes,
    title="One frame of every kind of scene",
)

# %% [markdown]
# Play a few. **Turn your sound on**, and notice how much you hear that you cannot see.

# %%
gallery(None, [clips.path(i) for i in range(5)], names[:5], title="Five clips of the training set")

# %% [markdown]
# ## A game with no labels
#
# Here is the whole idea as a game. You get a clip *without sound* and a few hundred sounds *without pictures*. Which
# sound was recorded with the picture?
#
# To win, you must know that bells ring and rain hisses. A network that learns to win must find that out too. The game
# needs no labels: every video comes with the right answer for free. Each clip is its own class, an *instance*, hence
# **instance discrimination**. The answer is in the *other* modality, hence **audio-visual**.
#
# Two networks play together. One maps eight frames to a point on a sphere, the other maps a spectrogram to a point on
# the same sphere. Training pulls the two points of one clip together and pushes the points of other clips away.

# %%
model = al.AudioVisualModel.preset(profile.model, seed=0)
print(model.shapes())

# %% [markdown]
# The model has never been trained. Ask it for the sounds that best fit a picture: of the ten it ranks highest, how many
# will be of the right kind? *Pick a number before you see the answer.* This course often asks you to predict: a wrong
# guess shows you what you believed.

# %%
lab.predict(
    "00-1", "Of the ten sounds that an untrained model ranks highest, how many are of the right kind?", low=0, high=10
)

# %%
pipeline = al.InputPipeline(clips.video, clips.audio).fit(clips)
before = al.evaluation.embed(model, test_clips, pipeline)
blank = al.retrieval(before.video, before.audio, test_clips.labels, test_clips.labels, ks=[10])
print(
    f"untrained: {10 * blank.precision[10]:.1f} of 10 are right; guessing gives {10 * blank.chance_precision[10]:.1f}"
)
lab.reveal("00-1", 10 * blank.precision[10], "an untrained network can only guess", close=0.3)

# %% [markdown]
# ## Train it, now
#
# `AVID` keeps a *memory* of every clip's picture and sound, draws other clips from it to compare with (*negatives*),
# and computes the loss. `Trainer` is an iterator over training steps, so the loop is yours. Notebooks 02 and 03 explain
# each of these parts; for now, watch it learn.

# %%
lab.predict("00-2", "And after a few minutes of training?", low=0, high=10)

# %%
objective = al.AVID(
    len(clips), model.config.dim, num_negatives=profile.num_negatives, generator=torch.Generator().manual_seed(0)
)
trainer = al.Trainer(model, objective, clips, profile.train, pipeline=pipeline)
live = LiveLoss("Training Cross-AVID")
for step in trainer:
    live.show(step)

# %%
after = al.evaluation.embed(model, test_clips, pipeline)
found = al.retrieval(after.video, after.audio, test_clips.labels, test_clips.labels, ks=[10])
print(
    f"trained:   {10 * found.precision[10]:.1f} of 10 are right; guessing gives {10 * found.chance_precision[10]:.1f}"
)
lab.reveal("00-2", 10 * found.precision[10], "and nobody labelled a single bell", close=1.0)

# %% [markdown]
# The model has *never seen* these clips. Ask it about the first three held-out clips, not the best three. The picture
# on the left is the question; beside it are the clips whose **sounds** the model finds closest. Play them: even the
# mistakes have reasons.

# %%
for query in range(3):
    display(lab.ask(after, test_clips, query, count=3))

# %% [markdown]
# **Try it.** Ask about other clips: `lab.ask(after, test_clips, 10)`. Which scenes does a short training already separate, and
# which does it mix up? Do the mixed-up ones *sound* alike?
#
# ## Recap
#
# * The game: find the sound that was recorded with a picture, among many. Every video comes with the right answer, for
#   free.
# * A network that plays well has learned what things look and sound like, without a single label.
# * A number says little by itself. The whole course compares it with guessing and with the same network untrained.
#
# ## Where the course goes
#
# | notebook | question |
# |---|---|
# | 00 Start here | does it run, and what is the game? |
# | 01 See and hear the data | what does a network see and hear of a clip, and how could it cheat? |
# | 02 Contrast from scratch | what is a contrastive loss made of: negatives, temperature, memory? |
# | 03 AVID | why compare across the senses, and not within one? |
# | 04 Similarity and its calibration | is a similarity of 0.8 a lot? |
# | 05 Cross-modal agreement | which clips belong together, if there are no labels? |
# | 06 CMA | what does training with those positives add, at equal compute? |
# | 07 The loss lab | what breaks when you change the loss while it trains? |
# | 08 Evaluation | what does a network know, and how would you know that it does? |
# | 09 Beyond | InfoNCE, SigLIP, robust weights: what came after? |
# | 10 Capstone | your own videos, and the road to Kinetics and AudioSet |
#
# Each notebook starts with what you will learn, asks for a *prediction* before it shows a result, and works on its own.
#
# **If something went wrong.** A red line in the check at the top says how to fix it. `avid-lab doctor` in a terminal
# runs the same check. You can rerun an interrupted cell: finished clips are kept.
#
# **Further reading.** P. Morgado, N. Vasconcelos, I. Misra, *Audio-Visual Instance Discrimination with Cross-Modal
# Agreement*, CVPR 2021. R. Arandjelović, A. Zisserman, *Look, Listen and Learn*, ICCV 2017: an early version of the
# game with video and sound.

# %%
lab.progress("00")

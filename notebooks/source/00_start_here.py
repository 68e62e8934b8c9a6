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
# * play a game against two networks, one of them trained,
# * see the whole method in one picture,
# * train a network of your own, which joins the game while it learns.
#
# **Needs:** a little Python; PyTorch helps. **Time:** 15 minutes. Three of them are your training, on two cores of a
# recent CPU (measured: 176 s); an older or busy one needs up to twice as long. Read on while it runs. (The first start
# also renders the clips, which takes a minute or two.)

# %% [markdown]
# ## Is everything ready?
#
# The next cell checks this machine. For everything that is not *ok*, it prints the command that fixes it; `avid-lab
# doctor` in a terminal does the same. You can rerun an interrupted cell: finished clips are kept.

# %%
from avid_lab import doctor

print(doctor.table(doctor.examine()))

# %%
import torch
from IPython.display import display

import avid_lab as al
from avid_lab import plots
from avid_lab.course import lab
from avid_lab.interactive import Game, LiveLoss, gallery

stage = lab.stage("00", "long")
profile, clips, test_clips = stage.profile, stage.clips, stage.test_clips
print(f"Profile {profile.name}: your training will take {profile.train.steps} steps.")

# %% [markdown]
# A **profile** sets the size of the experiments: `cpu` for a laptop, `gpu` where there is one, `smoke` for automated
# tests (it trains so little that its results mean nothing). The environment variable `AVID_LAB_PROFILE` overrides the
# choice.
#
# ## A game with no labels
#
# You see a clip *without its sound*, and hear six sounds *without their pictures*. Which sound was recorded with the
# picture? Two networks play along. One is untrained. The other was trained beforehand and is part of the course. Both
# have never met these clips.
#
# **Turn your sound on**, then click the sounds, or press their letters.

# %%
pipeline = stage.pipeline
untrained = al.evaluation.embed(al.evaluation.random_twin(stage.model, clips, pipeline), test_clips, pipeline)
game = Game(test_clips, {"untrained": untrained, "trained": stage.test_embeddings})
game

# %% tags=["claim"]
claim("the trained network plays well", game.score("trained"), above=0.6)

# %% [markdown]
# To win, you must know that bells ring and rain hisses. A network that learns to win must find that out too. The game
# needs no labels: every video comes with the right answer for free. Each clip is its own class, an *instance*, hence
# **instance discrimination**. The answer is in the *other* modality, hence **audio-visual**.
#
# Six clips say little. Let every held-out picture choose among *all* held-out sounds: of the ten sounds that a network
# ranks highest, how many are of the picture's kind? *Pick a number before you see the answer.* This course often asks
# you to predict: a wrong guess shows you what you believed.

# %%
lab.predict("00-1", "Of the ten sounds that the *trained* network ranks highest, how many are right?", low=0, high=10)


# %%
def right_of_ten(space):
    """Of the ten sounds closest to a picture, how many are of its kind (mean over all pictures), and by guessing."""
    found = al.retrieval(space.video, space.audio, test_clips.labels, test_clips.labels, ks=[10])
    return 10 * found.precision[10], 10 * found.chance_precision[10]


trained, guessing = right_of_ten(stage.test_embeddings)
blank, _ = right_of_ten(untrained)
print(f"untrained: {blank:.1f} of 10, trained: {trained:.1f} of 10, guessing: {guessing:.1f} of 10")
lab.reveal("00-1", trained, "and nobody labelled a single bell", close=0.15)

# %% tags=["claim"]
claim("an untrained network can only guess", blank, below=1.5)
claim("the trained network finds most", trained, above=7)

# %% [markdown]
# ## The method in one picture
#
# One network maps frames to a point on a sphere, the other maps a spectrogram to a point on the same sphere. (The
# picture draws a circle; the real sphere has 128 dimensions.) Training pulls the two points of one clip together and
# pushes the points of other clips away.

# %%
plots.method_film()

# %% [markdown]
# Watch one step. A clip gives two points. The memory holds a *note* of every clip's picture and sound: where its points
# were when the network last saw it. The picture's point is pulled to the note of its own sound, and pushed from notes
# of $K$ other clips, drawn at random: the **negatives**. The gradient changes the networks. Then the clip's own notes
# follow its new points. That is all. Notebooks 02 and 03 build each part.
#
# ## Meet the clips
#
# A course cannot ship real video datasets, and they lack something a course needs: the truth about every clip. So this
# package *renders* its own small world. Each clip shows four seconds of one event. Picture and sound come from the same
# timeline and are saved as an ordinary mp4 file.

# %%
print(f"{len(clips)} clips to train on, {len(test_clips)} held out, {len(clips.classes)} kinds of scene")
first = [int((clips.labels == c).nonzero()[0]) for c in range(len(clips.classes))]  # a clip of each kind
plots.contact_sheet([clips[i]["video"] for i in first], clips.classes, title="One frame of every kind of scene")

# %% [markdown]
# Play a few, and notice how much you hear that you cannot see.

# %%
gallery(None, [clips.path(i) for i in range(4)], stage.names[:4], title="Four clips of the training set")

# %% [markdown]
# ## Train your own, now
#
# `AVID` keeps the memory, draws the negatives and computes the loss. `Trainer` is an iterator over training steps, so
# the loop is yours. Four times on the way, your network plays the same rounds as in the game above, where it joins as
# *yours*: scroll up and play on while it learns.

# %%
lab.predict("00-2", "Your network trains for a few minutes. How many of its ten will be right?", low=0, high=10)

# %%
model = al.AudioVisualModel.preset(profile.model, seed=0)
objective = al.AVID(
    len(clips), model.config.dim, num_negatives=profile.num_negatives, generator=torch.Generator().manual_seed(0)
)
trainer = al.Trainer(model, objective, clips, profile.train, pipeline=pipeline)
live = LiveLoss("Your training")
for step in trainer:
    live.show(step)
    if step.index % max(1, step.total // 4) == 0:
        mine = al.evaluation.embed(model, test_clips, pipeline)
        game.add("yours", mine)
        print(f"after {step.index} steps: {right_of_ten(mine)[0]:.1f} of 10; in the game {game.score('yours'):.0%}")

# %%
yours, _ = right_of_ten(mine)
lab.reveal("00-2", yours, "your network had to find out for itself what goes together", close=0.15)

# %% tags=["claim"]
claim("a few minutes of training beat guessing by far", yours, above=5)

# %% [markdown]
# The network in the game was trained beforehand, for longer, with the same method.
#
# Your model has *never seen* the held-out clips. Ask it about the first two of them, not the best two. The picture
# on the left is the question; beside it are the clips whose **sounds** your model finds closest. Play them: even the
# mistakes have reasons.

# %%
for query in range(2):
    display(lab.ask(mine, test_clips, query, count=2))

# %% [markdown]
# **Try it.** Ask about other clips: `lab.ask(mine, test_clips, 10)`. Which scenes does a short training already
# separate, and which does it mix up? Do the mixed-up ones *sound* alike?
#
# <details><summary>An answer</summary>
#
# Scenes with a sound of their own are separated first: steady hisses against single strokes, low hums against high
# calls. Most of what stays mixed up sounds alike (two things that are struck, two that hiss). Some mistakes have
# another reason: the sound of a clip comes from something off screen, or there is none. Then no network can be right.
# Notebook 03 counts these cases.
#
# </details>
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
# | 00 Start here | what is the game? |
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
# Each notebook starts with what you will learn and, from 01 on, with a short quiz about the ones before. It asks for a
# *prediction* before it shows a result, and works on its own. Exercises are marked by difficulty: ●○○ fill a line,
# ●●○ write a function, ●●● write a part of the system. Answers are folded: think first, then open them.
#
# **Further reading.** P. Morgado, N. Vasconcelos, I. Misra, *Audio-Visual Instance Discrimination with Cross-Modal
# Agreement*, CVPR 2021. R. Arandjelović, A. Zisserman, *Look, Listen and Learn*, ICCV 2017: an early version of the
# game with video and sound.

# %%
lab.progress("00")

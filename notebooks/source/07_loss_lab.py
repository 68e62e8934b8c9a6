# %% [markdown]
# # 07 · The loss lab: edit the loss while it trains
#
# After this notebook you can
#
# * change the loss of a *running* training from a cell, and explain what a jump in its curve means and what it does
#   not,
# * write your own loss and train a real network with it,
# * distinguish collapse from progress although the loss falls in both cases, and say what each alarm can and cannot hear,
# * compare two losses fairly: from the same starting point, on the same batches, with a difference that starts at
#   exactly zero,
# * diagnose and repair a broken training from what it shows.
#
# **Needs:** notebook 02 (the loss) and 03 (AVID). **Time:** 60 minutes, including about 3 minutes of computing on one
# core of a laptop's CPU (GPU: not measured).

# %% [markdown]
# ## Before you start: four questions about earlier notebooks
#
# Answer each in your head, or on paper. Then unfold.
#
# 1. (02) The temperature falls. Do the scores become larger or smaller in size?
# 2. (02) $Z$ was estimated at one temperature. What happens if you use it at another?
# 3. (03) Which vectors does a step move: the network's output, the memory, or both?
# 4. (06) Two objectives have losses of 4.0 and 6.1. Which one trains better?
#
# <details><summary>Answers</summary>
#
# 1. Larger: a score is the similarity divided by the temperature.
# 2. $KZ$ no longer is what random pairs score. If it is far too small, every negative looks real.
# 3. The gradient moves the network. The memory follows: the new embedding is averaged into it after the step.
# 4. Nobody knows. Losses with different terms or temperatures cannot be compared.
#
# </details>

# %%
import copy
import dataclasses
import math

import torch
import torch.nn.functional as F
from IPython.display import display

import avid_lab as al
from avid_lab import evaluation, plots, reference
from avid_lab.course import broken, exercise, lab
from avid_lab.interactive import LiveTraining, LossLab
from avid_lab.interactive.vetting import GALLERY, LossRefused, set_loss
from avid_lab.metrics import alignment, effective_rank, uniformity, uniformity_of_the_sphere

stage = lab.stage("07")
clips, test_clips, pipeline = stage.clips, stage.test_clips, stage.pipeline

# %% [markdown]
# **Where this leads.** The figure shows what Cross-AVID built in the committed reference run: of the ten sounds nearest to a
# held-out picture, how many are of its kind? You will take a copy of this network, replace one function of three
# arguments, and damage the network in seconds *while its loss falls*. Then you will learn how to notice this.


# %%
def right_sounds(space, labels, k=10):
    """Of the k sounds nearest to a picture, the share of its class; and what chance would give."""
    k = min(k, len(labels))
    found = al.retrieval(space.video, space.audio, labels, labels, ks=[k])
    return found.precision[k], found.chance_precision[k]


along = stage.snapshots or [reference.Snapshot(0, stage.test_embeddings.video, stage.test_embeddings.audio)]
right, chance = zip(*(right_sounds(space, test_clips.labels) for space in along), strict=True)
plots.curves(
    [space.step for space in along],
    {"sounds of the picture's class among the ten nearest": right},
    levels={"chance": chance[0]},
    percent=True,
    xlabel="step",
    title=f"From {right[0]:.0%} to {right[-1]:.0%} ({stage.label})",
)

# %% [markdown]
# ## A health check that is not the loss
#
# A loss only measures what it was written to measure. Three numbers look at the *space* instead, and they need no
# labels. For unit embeddings $\mathbf v_i$ of pictures and $\mathbf a_i$ of sounds:
#
# * **alignment** $\frac1N\sum_i \lVert\mathbf v_i-\mathbf a_i\rVert^2$: how far partners are apart; 0 is perfect, 2 is unrelated;
# * **uniformity** $\log \operatorname{mean}_{i\neq j} e^{-2\lVert\mathbf v_i-\mathbf v_j\rVert^2}$: how evenly embeddings cover the sphere; 0 is a single point, lower is more even;
# * **effective rank** $\exp\left(-\sum_k p_k\log p_k\right)$, where $p_k$ are the singular values of the matrix of embeddings, scaled to sum to one: how many directions are in use; 1 is a line.
#
# Alignment alone is easy to cheat: put everything in one place. **Collapse** is exactly that, and the other two numbers
# can show it. They are alarms, not grades: a high rank does not make a network good, and a network can forget what it
# knew while its rank *rises*. So the check also asks for the right sounds among the five nearest, with labels that training
# never sees.

# %%
few = test_clips.subset(range(0, len(test_clips), 3))  # a third of the held-out clips, for quick repeated checks


def health(model):
    """Alignment, uniformity and effective rank of a model's embeddings of held-out clips."""
    seen = evaluation.embed(model, few, pipeline, windows=1)
    return {
        "alignment": alignment(seen.video, seen.audio).mean().item(),
        "uniformity": uniformity(seen.video).item(),
        "effective rank": effective_rank(seen.video).item(),
        "right sounds, %": 100 * right_sounds(seen, few.labels, k=5)[0],
    }


lab.predict(
    "07-1",
    f"Embeddings have {stage.model.config.dim} numbers. How many directions do the pictures of an untrained network use (effective rank)?",
    low=1,
    high=100,
)

# %%
untrained = evaluation.random_twin(stage.model, clips, pipeline)
checks = {"untrained": health(untrained), "trained": health(stage.model)}
print(f"{'':<12}" + "".join(f"{name:>16}" for name in checks["trained"]))
for name, found in checks.items():
    print(f"{name:<12}" + "".join(f"{value:>16.2f}" for value in found.values()))
D = stage.model.config.dim
print(f"{'the limit':<12}{0:>16.2f}{uniformity_of_the_sphere(D):>16.2f}{D:>16.2f}{100:>16.2f}")
lab.reveal(
    "07-1",
    round(checks["untrained"]["effective rank"], 1),
    "random features spread over many directions that mean nothing: rank shows whether a space is open, not whether it is good",
    close=0.3,
)

# %% [markdown] tags=["instructor"]
# **Teaching note (5 min).** Ask which of the three numbers is perfect for a constant network (alignment: 0), and which
# two give it away. A common misconception is that uniformity should be as low as possible: perfect uniformity would
# place two clips of one scene as far apart as any others. Alignment and uniformity pull against each other; every
# contrastive loss is a compromise between them.

# %% [markdown]
# ## A training run that you can control
#
# We continue training the reference network from where it stopped, with the same memory, a constant learning rate and
# small batches, so that a step takes a fraction of a second.
#
# `LiveTraining` runs the steps in its own thread. In the cell below it takes some steps by itself and then waits. Then
# it is **yours**: press *Start* and move any slider. Each change takes effect within one step and leaves a mark on the
# curves. Point at a step of one chart, and every chart over the steps shows its values there.


# %%
def continued(steps=400, seed=1):
    """A training that continues from the end of the reference run, on other batches."""
    model, memory = copy.deepcopy(stage.model), copy.deepcopy(stage.memory)
    generator = torch.Generator().manual_seed(0)
    objective = al.AVID(len(clips), model.config.dim, num_negatives=stage.profile.num_negatives, generator=generator)
    objective.memory = memory
    config = dataclasses.replace(
        stage.profile.train,
        steps=steps,
        batch_size=32 if stage.trained else 16,
        learning_rate=4e-4,
        schedule="constant",
        seed=seed,
        warmup=0.0,
    )
    return al.Trainer(model, objective, clips, config, pipeline=copy.deepcopy(pipeline))


async def advance(training, steps):
    """Let a panel take some steps, and wait for them; its pictures update."""
    training.runner.pause_at = training.runner.runs[0].trainer.steps_done + steps
    training.start()
    await training.finished()


STEPS = 40 if stage.trained else 3
live = LiveTraining(continued(), title="Cross-AVID, continued")
shown = display(live, display_id=True)
await advance(live, STEPS)
shown.update(live)

# %% [markdown]
# ### A jump of the loss
#
# The temperature divides every similarity before the loss sees it. Raise it from 0.07 to 0.5 for the next step, with
# the same network. (The slider also lets the next batch estimate $Z$ anew, because $Z$ is the mean of $e^s$ at one
# temperature. Keeping the old one is a fault that you will meet below.)

# %%
lab.predict(
    "07-2", "The temperature goes from 0.07 to 0.5. What does the loss do immediately?", ["falls", "stays", "jumps up"]
)

# %%
before = live.trainer.history[-5:]
live.knobs["temperature"].value = 0.5
await advance(live, 5 if stage.trained else 1)
after = live.trainer.history[-1]
live.knobs["temperature"].value = 0.07
await advance(live, STEPS // 2)

mean_before = sum(step.loss for step in before) / len(before)
jump = after.loss - mean_before
plots.loss_terms(live.trainer.history, smoothing=0.5, title=f"A few steps at T = 0.5 move the loss by {jump:+.1f}")

# %%
lab.reveal(
    "07-2",
    "jumps up" if jump > 0.3 else "falls" if jump < -0.3 else "stays",
    "the network hardly changed in these steps, but the ruler did. Divided by 0.5, similarities are too small for confident answers",
)

# %% [markdown]
# **Losses of different temperatures, different numbers of negatives or different formulas are not comparable.** A
# change of the loss's *definition* moves the curve immediately; a change of the *network* takes steps. When you edit a
# loss, judge by something that you did not edit.
#
# ## Write your own
#
# AVID's loss functions only see scores: `positive` (B, P) and `negative` (B, K), each a similarity divided by the
# temperature, and the constant $Z$, which you may ignore. In AVID P is 1; in CMA a query has several positives. NCE was
#
# $$\mathcal L = -\log\frac{e^{s_+}}{e^{s_+}+KZ}-\sum_{k}\log\frac{KZ}{e^{s_k}+KZ}.$$
#
# **Exercise ●●○, an experiment.** Invent another one. There is no single right answer: the badge checks that positives pull,
# negatives push, nothing overflows, and the order of the negatives does not matter.


# %%
@exercise("my_loss")
def my_loss(positive, negative, Z):
    """positive (B, P), negative (B, K): similarity / temperature; Z: a constant you may ignore -> one number, to minimise."""
    ...


# %% [markdown]
# Before it trains a network, look at its *slope*: how hard does it pull a positive and push a negative, depending on
# where they are? The figure shows one clip with 64 negatives, everything else fixed.


# %%
def slopes(loss, points):
    """Size of the gradient with respect to the positive's similarity, and to one negative's, at these similarities."""
    pulls, pushes = [], []
    for at in points:
        positive = torch.full((1, 1), 0.5 / 0.07)
        negative = torch.linspace(-0.3, 0.3, 64)[None] / 0.07
        positive[0, 0], rest = at / 0.07, negative.clone()
        x = positive.requires_grad_()
        pulls.append(torch.autograd.grad(loss(x, rest, torch.tensor(2.0)), x)[0].abs().item())
        y = rest.clone()
        y[0, 0] = at / 0.07
        y.requires_grad_()
        pushes.append(
            torch.autograd.grad(loss(torch.full((1, 1), 0.5 / 0.07), y, torch.tensor(2.0)), y)[0][0, 0].abs().item()
        )
    return torch.tensor(pulls), torch.tensor(pushes)


points = torch.linspace(-0.9, 0.95, 38)
losses = {"NCE": al.nce_loss, f"my_loss ({lab.credit('my_loss')})": my_loss, "InfoNCE": al.losses.nce_softmax_loss}
sides = {name: slopes(loss, points.tolist()) for name, loss in losses.items()}  # pull, push
panels = {
    title: {name: (side[which] / side[which].max().clamp(min=1e-12)).tolist() for name, side in sides.items()}
    for which, title in enumerate(
        ("Pull at the positive, by its similarity", "Push at one negative, by its similarity")
    )
}
plots.curve_panels(points, panels, xlabel="cosine similarity", ylabel="slope / largest slope")

# %% [markdown]
# Where the slope is zero, the network learns nothing: that clip, or that negative, is *done*. Where the slope is large,
# the loss spends its effort. Hard negatives, easy positives, a margin: you can see all of them here before you take a
# single step.
#
# Now put your function into the running training. It takes one line, from any cell, even while the training runs:

# %%
live.loss = my_loss
await advance(live, STEPS // 2)
recent = live.trainer.history[-2 * (STEPS // 2) :]
steps = [step.index for step in recent]
plots.tracks(
    {"loss": {"loss of the step": (steps, [step.loss for step in recent])}},
    marks={f"my_loss ({lab.credit('my_loss')}) begins": float(steps[len(steps) // 2])},
)

# %% [markdown]
# In the panel above, a mark on the curves shows where your loss took over. If the curve jumps there, you know by now
# why that means nothing.
#
# ### What the lab refuses
#
# A mistake in a loss should not ruin your training. So the lab first tries a new function on one batch of random
# embeddings. Here are some mistakes that everyone makes once:

# %%
mistakes = {
    "a vector": lambda positive, negative, Z: -positive,
    "a plain number": lambda positive, negative, Z: -positive.mean().item(),
    "nothing to learn": lambda positive, negative, Z: positive.detach().mean() - negative.detach().mean(),
    "an overflow": lambda positive, negative, Z: (1e4 * negative).exp().mean() - positive.mean(),
    "a wrong shape": lambda positive, negative, Z: (positive @ negative).mean(),
}
for name, mistake in mistakes.items():
    try:
        live.loss = mistake
    except LossRefused as refused:
        print(f"{name}: {str(refused).replace('<lambda>', 'your loss')}\n")
print("Still training with:", live.loss.__name__)

# %% [markdown]
# ## A fork in the road
#
# To see what a change *does*, compare with the same training without it. A **fork** copies everything: weights, memory,
# optimiser state, random numbers. Both copies then take the same batches, the same augmentations and the same
# negatives, so every difference comes from the change. First comes the control, a fork without any change:

# %%
base = continued()
twins = LossLab(base, title="Control: nothing is changed")
await advance(twins, 6 if stage.trained else 2)
a, b = ([step.loss for step in side.trainer.history] for side in (twins.a, twins.b))
print(
    f"largest difference of the two losses in {len(a)} steps: {max(abs(x - y) for x, y in zip(a, b, strict=True)):.1e}"
)
twins.close()

# %% [markdown]
# That is our zero. (A fork removes the luck of the batches, but not the luck of the *starting point*: a difference
# between A and B is certain for this network, but says little about the next one. For that you need several seeds;
# experiment 3 asks for them.)
#
# ## Break it: no negatives
#
# A contrastive loss says "be close to your partner, far from others". The second half makes it expensive. Why not leave
# it out, and only pull each picture to its own sound?
#
# $$\mathcal L_{\text{only partners}} = -\frac1{BT}\sum_i \mathbf v_i^\top\mathbf a_i$$
#
# Besides losses of scores, the lab accepts losses of a *batch* of embeddings: it recognises them by their first
# argument, `video`. Run A keeps NCE, run B only pulls. In the panel, *Undo* takes back the last change of a loss or
# setting, again and again until the fork.


# %%
def only_partners(video, audio, temperature):
    """Unit embeddings (B, D) of pictures and of their sounds -> one number."""
    return -(video * audio).sum(1).mean() / temperature


lab.predict("07-3", "Without negatives, what does B's loss do?", ["rises", "stays", "falls"])
lab.predict("07-4", "And what does the effective rank of B's pictures do?", ["rises", "stays", "falls"])


# %%
async def follow(lab_panel, steps, looks=6):
    """Run a loss lab and check the health of both networks on the way; returns steps done, checks of A, checks of B."""
    shown = display(lab_panel, display_id=True)
    sides = (lab_panel.a, lab_panel.b)
    done, found = [0], [[health(side.trainer.model)] for side in sides]
    for _ in range(looks):
        await advance(lab_panel, max(1, steps // looks))
        done.append(sides[0].trainer.steps_done - lab_panel.began_at)
        for side, checks in zip(sides, found, strict=True):
            checks.append(health(side.trainer.model))
    shown.update(lab_panel)
    return done, *found


collapse = LossLab(base, title="A: NCE. B: only partners, no negatives")
collapse.b.loss = only_partners
done, healthy, starved = await follow(collapse, 72 if stage.trained else 2, looks=6 if stage.trained else 2)


# %%
def compare_health(done, a, b, names, title):
    """The checks of two networks along their training."""
    words = {"alignment": "alignment: 0 is perfect", "uniformity": "uniformity: 0 is one point"}
    panels = {
        words.get(what, what): {
            name: (done, [found[what] for found in run]) for name, run in zip(names, (a, b), strict=True)
        }
        for what in a[0]
    }
    return plots.tracks(panels, xlabel="steps after the fork", title=title, columns=2)


start, end = starved[0]["effective rank"], starved[-1]["effective rank"]
compare_health(
    done,
    healthy,
    starved,
    ("A: NCE", "B: only partners"),
    f"Effective rank {done[-1]} steps after the fork: {healthy[-1]['effective rank']:.1f} with negatives, {end:.1f} without",
)

# %%
losses = [step.loss for step in collapse.b.trainer.history][collapse.began_at :]


def way(first, last, share=0.05):
    """Whether a number rises, falls, or stays within a share of itself."""
    return "stays" if abs(last - first) < share * max(abs(first), 1e-9) else "rises" if last > first else "falls"


print(
    f"B's loss: {losses[0]:.2f} -> {losses[-1]:.2f}. Its floor is -1 / T = {-1 / 0.07:.2f}: every partner at similarity 1."
)
lab.reveal("07-3", way(losses[0], losses[-1]), "it is easier than ever: it only asks partners to agree")
lab.reveal(
    "07-4",
    way(start, end),
    "the cheapest way to agree with every partner is to always give the same answer; A, with the same batches and rate, is the comparison",
)

# %% [markdown]
# **By its own measure, B only improves.** Nothing in its loss asks it to tell one clip from another, and the shortest way
# down is the same answer for all clips. Only a measure that the loss does not optimise can show that. That is why the
# tables of this course include *chance*, *untrained*, and something about the space.
#
# *Two questions.* Which of the four panels tells B from A most clearly, and which would have misled you? And why does
# the healthy run A not simply go on improving?
#
# <details><summary>An answer</summary>
#
# Alignment *praises* B: partners come closer, which is all that B asks for. Uniformity and rank describe a shape. Where
# they fall, they ring the alarm; but they may stay calm, or rise, while a network forgets which sound belongs to which
# picture. The last panel asks exactly that. It needs labels, so use it to judge, not to train.
#
# A left a carefully cooled end: the reference run's learning rate had fallen to zero. Now it continues with a constant
# rate and half of the batch, so its weights shake more, and held-out scores may drop before they recover. That is why
# every comparison here has an A.
#
# </details>
#
# How fast a network collapses depends on more than the loss. Batch norm in our network's heads forces every number to
# vary within a batch. And a memory remembers a richer past: *no negatives* in the gallery pulls towards old *notes*
# instead of the batch's own sounds, and collapses more slowly. Such brakes delay a collapse, but they do not prevent
# it.
#
# Negatives are one way to keep a space open. Methods without them need another: a predictor and a stopped gradient (BYOL, SimSiam), or a term that punishes low rank directly (VICReg, Barlow Twins).

# %% [markdown] tags=["instructor"]
# **Teaching note (10 min).** Let the class watch only B's loss and vote on which run to keep. Then show the histograms
# of the panel, and ask where the two hills of B must end up if nothing keeps them apart. Misconception: "collapse
# happens because the learning rate is too high". Let them lower B's rate slider to 0.1 and press Start: does it just
# take longer? Discussion: does the memory save B? (Notes are old embeddings; they follow.)

# %% [markdown]
# ## Break it again: forget to normalise
#
# Cosine similarity needs vectors of length one. Forget the division, and a score is $\lVert\mathbf v\rVert\,\lVert\mathbf a\rVert\cos\theta / T$. Nothing crashes. A is InfoNCE over the batch, B the same formula over the raw outputs of the heads.

# %%
lab.predict(
    "07-5",
    "Without normalisation, is B's first loss larger or smaller than A's?",
    ["smaller", "about the same", "larger"],
)


# %%
@torch.no_grad()
def lengths(model):
    """Mean length of the video head's raw outputs, before normalisation."""
    model.eval()
    video, _ = pipeline(few.batch(torch.arange(len(few))))
    return model.video_head(model.video_encoder(video)).norm(dim=1).mean().item()


forgot = LossLab(
    base,
    a={"loss": "InfoNCE, in batch"},
    b={"loss": "forgot to normalise"},
    title="A: InfoNCE in the batch. B: not normalised",
)
begun = lengths(forgot.b.trainer.model)
done, fine, runaway = await follow(forgot, 24 if stage.trained else 2, looks=3 if stage.trained else 2)
first_a, first_b = (side.trainer.history[forgot.began_at].loss for side in (forgot.a, forgot.b))
ended = {name: lengths(side.trainer.model) for name, side in (("A", forgot.a), ("B", forgot.b))}

# %%
print(
    f"first loss    A {first_a:8.2f}    B {first_b:8.2f}    (log of the batch: {math.log(base.config.batch_size):.2f})"
)
print(f"length of v   before {begun:.2f}    A {ended['A']:.2f}    B {ended['B']:.2f}")
for name, found in (("A", fine[-1]), ("B", runaway[-1])):
    print(f"{name}: " + ", ".join(f"{what} {value:.2f}" for what, value in found.items()))
ratio = first_b / first_a
lab.reveal(
    "07-5",
    "larger" if ratio > 1.2 else "smaller" if ratio < 0.8 else "about the same",
    "lengths multiply every score: they act like a temperature that the network sets itself, and wrong answers become confident",
)

# %% [markdown]
# Length makes a network *sure* without making it *right*. The loss now has a temperature that nobody chose, and that
# varies with the clip and with the weights. The panel's similarity histograms use normalised memories in both runs:
# check whether the hills of the same class and of other classes still separate.
#
# ## The gallery
#
# The menus of the lab offer seven starting points. Here is one short run of each, all from the same fork and with the
# same batches:

# %%
rows = {}
for name, make in GALLERY.items():
    trainer = base.fork()
    set_loss(trainer, make())
    trained_steps = [trainer.step().loss for _ in range(12 if stage.trained else 1)]
    rows[name] = health(trainer.model) | {"loss": trained_steps[-1]}
print(f"{'after ' + str(len(trained_steps)) + ' steps':<22}" + "".join(f"{what:>17}" for what in rows["NCE"]))
print(f"{'at the fork':<22}" + "".join(f"{value:>17.2f}" for value in health(base.model).values()))
for name, found in rows.items():
    print(f"{name:<22}" + "".join(f"{value:>17.2f}" for value in found.values()))

# %% [markdown]
# Read it by columns. The losses span orders of magnitude, and you cannot rank by them. Then compare the other columns with
# the row *at the fork*: which rows moved, and in which direction? A dozen steps show what breaks immediately. They
# cannot show *which of the working losses is best*. Nor do they show that *no negatives* is harmless, although its loss
# looks so good: give it more steps and watch the rank.
#
# ## Your loss against NCE
#
# Same fork, same batches: NCE in A, yours in B. Watch the upper right curve of the panel: it shows the difference.

# %%
mine = LossLab(base, b={"loss": my_loss}, title=f"A: NCE. B: my_loss ({lab.credit('my_loss')})")
done, nce, own = await follow(mine, 30 if stage.trained else 2, looks=3 if stage.trained else 2)

# %%
steps, gap = mine.gap()
compare_health(
    done,
    nce,
    own,
    ("A: NCE", f"B: my_loss ({lab.credit('my_loss')})"),
    f"After {done[-1]} steps my_loss is {100 * gap[-1]:+.1f} points from NCE in {mine.compared}",
)

# %%
lab.note(
    "07-a",
    "What does your loss do differently from NCE, which figure shows it, and what would change your mind?",
)

# %% [markdown]
# ## Repair a broken run ●●●
#
# Most time in this field goes into trainings that *nearly* work. Here are six small ones: two heads learn on frozen
# features of the reference network, from random weights, in a second or two each. One is healthy. In each of the other
# five, **one part of the loop is broken**: every patient has a different one.
#
# | part | what it should do |
# |---|---|
# | `pairs` | give every picture the sound of its own clip |
# | `negatives` | draw other clips, never the query itself |
# | `Z` | estimate $Z$ at the temperature of the loss |
# | `memory` | average the new embeddings into the notes after every step |
# | `evaluation` | embed held-out clips as in training, with unit length |
#
# Nothing crashes. You see what one always sees: curves.

# %%
some = stage.clips.subset(range(0, len(stage.clips), 2 if stage.trained else 1))
features, held_out = (evaluation.embed(stage.model, part, pipeline, windows=1) for part in (some, few))
patients = {name: broken.train(features, held_out, name) for name in (broken.HEALTHY, *broken.PATIENTS)}
plots.tracks(broken.charts(patients), columns=2, title="Six trainings: one is healthy, five have one broken part each")

# %% [markdown]
# One more number for each, from the last check:

# %%
print(f"{'':<10}{'right sounds':>14}{'length of held-out embeddings':>32}")
for name, patient in patients.items():
    print(f"{name:<10}{patient.found[-1]:>13.0%}{patient.length[-1]:>32.2f}")

# %% [markdown]
# Which part is broken in which patient? Write down the sign that convinces you: one panel in which this patient, and
# no other, differs from the healthy one.

# %%
for name in broken.PATIENTS:
    lab.predict(f"07-{name}", f"Which part is broken in patient {name}?", list(broken.PARTS))

# %% [markdown]
# Now treat them. A repair replaces one part by a sound one, and trains again. A wrong repair changes nothing. Fill in your
# diagnoses and run the cell, as often as you like:

# %%
MY_REPAIRS = {"A": None, "B": None, "C": None, "D": None, "E": None}  # for example "memory"

for name, part in MY_REPAIRS.items():
    if part is None:
        print(f"{name}: not treated yet")
    else:
        treated = broken.train(features, held_out, name, repair=part)
        cured = treated == patients[broken.HEALTHY]
        print(
            f"{name}: {'cured' if cured else 'no better'}, right sounds {patients[name].found[-1]:.0%} -> {treated.found[-1]:.0%}"
        )

# %% [markdown]
# <details><summary>Hints, one sign for each part</summary>
#
# * `pairs`: the loss can learn nothing about held-out clips, and the similarity to the own sound's note stays low.
# * `negatives`: one negative is *exactly* as similar as the partner, for every picture and at every step.
# * `Z`: before anything is learned, every score is about noise, and the loss should be about $\log(1+K)+1$. With $K = 64$
#   that is 5.2, or 0.7 on the axis. This one starts far above.
# * `memory`: the notes do not move.
# * `evaluation`: training is that of the healthy run in every panel. Only the lengths of held-out embeddings differ.
#
# </details>

# %%
for name in broken.PATIENTS:
    lab.reveal(f"07-{name}", broken.diagnosis(name), broken.PARTS[broken.diagnosis(name)])

# %% tags=["claim"]
if stage.trained:
    ends = {name: patient.found[-1] for name, patient in patients.items()}
    lost = {broken.diagnosis(name): ends[broken.HEALTHY] - ends[name] for name in broken.PATIENTS}
    for part in ("pairs", "memory"):
        claim(f"{part}: the test score shows it", lost[part], above=0.2)
    for part in ("Z", "negatives", "evaluation"):
        claim(f"{part}: the test score hardly shows it", lost[part], below=0.12)

# %% [markdown]
# *Question.* Which of the faults would you have noticed from the test score alone?
#
# <details><summary>An answer</summary>
#
# Two of five: sounds of the wrong clips, and notes that are never renewed. These end near chance. With a wrong $Z$, the
# query among its negatives, or embeddings of any length, the right sounds are found about as often as by the healthy run,
# on this small problem. The loss tells little more: it ends a little higher or not at all, and who knows where it should
# end? Only sharp questions find such faults: does any negative tie with the partner? Is the first loss what noise gives? Do the notes
# move? Is the length one? Such checks belong into tests of code, where they run before anybody looks at a curve.
#
# </details>

# %% [markdown]
# ## Experiments
#
# 1. **Half a collapse.** A loss may keep its negatives and still collapse a little. Try `negative.clamp(min=0)` inside yours, or 8 negatives instead of hundreds (the slider), and watch the rank.
# 2. **Rescue.** Fork *after* the collapse, `rescue = LossLab(collapse.b.trainer)`, then `rescue.b.loss = al.nce_loss`:
#    can NCE spread a collapsed space again? How many steps does it take?
# 3. **Three seeds.** Repeat your comparison from `continued(seed=2)`, `3` and `4`, that is, on other batches, and write
#    down the three differences. Is the average difference larger than their spread?
# 4. **Focus.** Multiply each negative's term by its similarity. How does your slope change, and what does that do to
#    *false negatives*, other clips of the same scene?

# %%
lab.note("07-b", "Which experiment did you run, and what are the numbers (all seeds)?")

# %% [markdown]
# <details><summary>What to look for</summary>
#
# 1. With the clamp, a negative below similarity 0 is done: nothing pushes it further. With few negatives each step pushes
#    in a few directions only. Watch rank *and* right sounds: they need not agree.
# 2. A collapse makes differences small, not zero (notebook 02), so negatives can push them apart again. An open space is
#    not yet a good one: does the number of right sounds come back, too? Let $Z$ be estimated again first.
# 3. The mean of three differences is known to about 2.5 of their standard deviations (Student, two degrees of freedom). If
#    it is smaller than that, you have no verdict.
# 4. The push moves to the most similar negatives, and the false ones are among them (notebook 09 measures how much). And a
#    trap: where the similarity is below zero, the term changes its sign, and your loss *pulls* that negative.
#
# </details>

# %%
for closing in (collapse, forgot, mine):
    closing.close()

# %% [markdown]
# **If it went wrong.**
#
# * *The panel does not move:* a training pauses after its planned steps. *Start* continues; *Start over* goes back to
#   the beginning.
# * *"lets no gradient through":* your loss detaches something, or compares where it should subtract: `>` has no slope.
# * *The training says "failed":* the loss or its gradient became NaN. Change the loss, then press *Start*: it continues
#   from the last good state.
# * *A slider acts late:* its messages wait while a cell runs. After the cell they take effect within one step.
#
# ## Recap
#
# * A loss is a ruler that you can swap at any step. A jump at the swap comes from the ruler, not from the network.
# * Collapse looks like success to a loss without negatives. Effective rank and uniformity are alarms that the loss is not;
#   only a test says what the network still knows.
# * A broken run rarely crashes. For every part of the loop there is a question with a sharp answer: ask it.
# * Vectors without normalisation create a temperature that nobody chose.
# * A fork with the same batches makes a comparison exact for one starting point. Seeds make it general.
# * Slopes show where a loss teaches. Look at them before you train.
#
# **Further reading.** T. Wang, P. Isola, *Understanding Contrastive Representation Learning through Alignment and Uniformity on the Hypersphere*, ICML 2020.
# O. Roy, M. Vetterli, *The Effective Rank: A Measure of Effective Dimensionality*, EUSIPCO 2007. J.-B. Grill et al., *Bootstrap Your Own Latent*, NeurIPS 2020.
# X. Chen, K. He, *Exploring Simple Siamese Representation Learning*, CVPR 2021. A. Bardes, J. Ponce, Y. LeCun, *VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning*, ICLR 2022.

# %%
lab.progress("07")

# %% [markdown]
# # 02 · Contrast from scratch: the loss, its ruler, its negatives, its memory
#
# After this notebook you can
#
# * write noise-contrastive estimation from its equation, derive its gradient, and explain how it differs from softmax,
# * explain what $Z$ is for, and what goes wrong when it is too small or too large,
# * predict the effect of temperature, number of negatives and momentum, and test it in an experiment that trains in
#   about a second,
# * explain why a loss without negatives may learn nothing at all.
#
# **Needs:** PyTorch basics; a glance at notebook 01. **Time:** 60 minutes, including about one and a half minutes of
# computing on a laptop's CPU (GPU: not measured).
#
# **Before you start:** four questions about notebooks 00 and 01.
#
# <details><summary>1. What is the label of a clip in instance discrimination?</summary>
#
# The clip itself. With N clips there are N "classes" of one clip each. Nobody has to name anything.
#
# </details>
# <details><summary>2. Why is a clip cropped and recoloured at random, but all its frames in the same way?</summary>
#
# Position and colour should not matter, so they vary from draw to draw. Motion should matter, so it is kept: if each
# frame had its own crop, everything would seem to jump.
#
# </details>
# <details><summary>3. Colour and loudness alone hardly predict the kind of scene. Why are they dangerous all the same?</summary>
#
# They say a lot about the *instance*: the same wallpaper is in every frame of a clip. A loss that only asks "which
# clip?" within one sense can be satisfied with that.
#
# </details>
# <details><summary>4. What are the rows and the columns of a spectrogram, as the network gets it?</summary>
#
# Rows are moments, columns are pitches: time before frequency. In the figures time runs to the right, so there they are
# turned.
#
# </details>

# %%
import math
from types import SimpleNamespace

import torch
import torch.nn.functional as F

import avid_lab as al
from avid_lab import plots
from avid_lab.course import exercise, frames, lab
from avid_lab.interactive import NCEMicroscope

stage = lab.stage("02", "cross")
clips, test_clips, memory = stage.clips, stage.test_clips, stage.memory
N, D = memory.video.shape
K = stage.profile.num_negatives
seeds = (0, 1, 2) if stage.trained else (0,)

# %% [markdown]
# **Where this leads.** A list holds one *note* for every clip's sound: a unit vector. Show the network a picture and
# ask: which of these notes belongs to it? At first, it can only guess. A few hundred training steps later the clip's
# own note stands out, although no clip was ever labelled. Here is the list before and after training (the line above
# names the reference run).


# %%
def own_and_others(video, audio):
    """Similarity of each picture to its own sound, and to the sounds of other clips (a sample)."""
    similarity = video @ audio.T  # (N, N)
    others = similarity[~torch.eye(len(video), dtype=torch.bool)]
    return similarity.diagonal(), others[
        torch.randperm(len(others), generator=torch.Generator().manual_seed(0))[:20000]
    ]


blank = al.MemoryBank(N, D, generator=torch.Generator().manual_seed(0))  # random directions
after = "reference run" if stage.trained else "UNTRAINED"
found = {"random notes": own_and_others(blank.video, blank.audio), after: own_and_others(memory.video, memory.audio)}
plots.similarity_histograms(
    found, kinds=("its own sound", "other clips' sounds"), title="Can a picture find its own sound?"
)

# %% [markdown]
# (AUC, at the right, is the chance that a picture is more similar to its own sound than to another clip's: 0.5 is
# guessing, 1 is perfect. Notebook 04 comes back to it.)
#
# ## The picture, and the words
#
# This notebook builds the part in colour: a query, the notes that it is compared with, and the loss.

# %%
plots.method(("heads", "memory", "negatives", "loss"), title="What this notebook builds")

# %% [markdown]
# One letter has one meaning in the whole course. Come back to this table whenever you need it.
#
# | letter | meaning | here |
# |---|---|---|
# | $N$ | number of training clips, the *instances* | about 1,600 |
# | $B$ | clips in a batch | 64 |
# | $D$ | dimension of the sphere | 128 |
# | $\mathbf v_i, \mathbf a_i$ | embeddings of picture and sound of clip $i$: unit vectors, computed now | |
# | $\bar{\mathbf v}_i, \bar{\mathbf a}_i$ | their notes in the memory: unit vectors, from earlier steps | |
# | $T$ | temperature | 0.07 |
# | $s$ | score: a cosine similarity divided by $T$ | |
# | $K$ | *negatives* drawn for a query (capital letter) | 512 |
# | $Z$ | partition constant, the ruler of the scores | |
# | $m$ | momentum of the memory | 0.5 |
# | $k$ | *positives* of a clip in CMA, or neighbours looked at (small letter; from notebook 04 on) | 32 |
# | $\mathcal P_i$ | the positives of clip $i$ (from notebook 05 on) | |
# | v2a, a2v | a picture asks the notes of sounds, a sound asks the notes of pictures | |
# | v2v, a2a | a picture asks the notes of pictures, a sound those of sounds | |
#
# *Note*, *memory* and *reference run* are words of this course: a note is one row of the memory, and a reference run is
# a training that was done beforehand and is committed with the course (so it is also called a *committed run*).
# *Cross-AVID* is the method of notebook 03: it compares pictures with notes of sounds, and sounds with notes of pictures.
#
# ## One question, or many?
#
# Write $s_j = \langle \mathbf v, \bar{\mathbf a}_j\rangle / T$ for the **score** of note $j$: the cosine similarity of
# picture and note, divided by a **temperature** $T$. The obvious loss is the one you know from classification, with
# every clip as its own class:
#
# $$\text{softmax:}\qquad P(j) = \frac{e^{s_j}}{\sum_{n=1}^{N} e^{s_n}}$$
#
# This is **one** question with $N$ answers. Its denominator runs over every clip, for every picture, at every step.
# **Noise-contrastive estimation** (NCE) asks something cheaper: *is this pair real, or was the sound drawn at random?*
# One real pair and $K$ random ones make $K+1$ yes-or-no questions.

# %%
print(f"{'':<10}{'clips':>11}{'softmax over all':>20}{'NCE, K = 1024':>16}   multiplications per query")
for name, count in {"here": N, "Kinetics": 232_067, "AudioSet": 1_784_108}.items():
    print(f"{name:<10}{count:>11,}{count * 128:>20,}{1025 * 128:>16,}")

# %% [markdown]
# Look at the first row. At *our* size cost does not matter, and modern accelerators handle a matrix product with a
# quarter of a million notes easily. Cost was the original argument for NCE. A second difference matters more to us. It
# follows from the equation, so we derive that first.
#
# ## The equation
#
# Let $e^{s_j}/(N Z)$ be the model's probability of note $j$ given the picture. The constant $Z$ makes the probabilities
# sum to about one. A random draw picks each note with probability $1/N$, and there are $K$ draws for each real pair. So
# the odds of *real* against *drawn* are
#
# $$\frac{1}{K}\cdot\frac{e^{s}/(NZ)}{1/N} = \frac{e^{s}}{KZ}
# \qquad\Longrightarrow\qquad P(\text{real}\mid s) = \frac{e^{s}}{e^{s} + K Z}.$$
#
# $N$ cancels. The loss is the cross-entropy of all $K+1$ answers:
#
# $$\text{NCE}(s_+; s_1 \dots s_K) = -\log \frac{e^{s_+}}{e^{s_+} + KZ} \;-\; \sum_{k=1}^{K} \log \frac{KZ}{e^{s_k} + KZ}$$
#
# **Exercise ●●○.** Write it. The badge below the cell says whether your answer is right and, if not, what is wrong. Until
# it is right, the reference solution runs instead.


# %%
@exercise("nce_loss")
def nce_loss(positive, negative, Z):
    """positive (B, 1), negative (B, K): similarity / temperature; Z: the partition constant -> one number, a tensor."""
    ...


# %% [markdown]
# **Now the second difference.** Add the same number to *all* scores of a query, its positive and its negatives. In
# softmax it cancels: softmax only sees differences. NCE judges each pair by itself, against the fixed ruler $KZ$.

# %%
lab.predict("02-1", "All scores rise by 3. Which loss notices?", ["softmax", "NCE", "both", "neither"])

# %%
generator = torch.Generator().manual_seed(0)
positive, negative = torch.randn(64, 1, generator=generator) + 2, torch.randn(64, 16, generator=generator)
seen = set()
for name, loss in {"softmax": lambda p, n: al.nce_softmax_loss(p, n), "NCE": lambda p, n: nce_loss(p, n, 1.65)}.items():
    before, after = loss(positive, negative).item(), loss(positive + 3, negative + 3).item()
    print(f"{name:<8} {before:.3f}  ->  {after:.3f}")
    seen |= {name} if abs(after - before) > 1e-3 else set()
lab.reveal(
    "02-1",
    "both" if len(seen) == 2 else seen.pop() if seen else "neither",
    "softmax ranks the answers of one query; NCE estimates for each single pair how likely it is to be real",
)

# %% [markdown]
# So softmax learns a *ranking*, and NCE learns a ranking **and a level**: a score of 5 should mean the same for every
# query. Keep that in mind. Notebook 04 asks what such a level is worth, and where it is missing.
#
# ## The ruler Z
#
# $Z$ should make the chances sum to one: $\sum_j e^{s_j} / (NZ) = 1$, so $Z$ is the mean of $e^{s}$ over all notes. The
# negatives are a random sample of the notes. AVID estimates $Z$ as the mean over the first batch, then keeps it fixed.
#
# **Exercise ●○○.** Estimate $Z$.


# %%
@exercise("partition_constant")
def partition_constant(negative):
    """negative (B, K): scores of random pairs -> Z, one number, taken as a constant."""
    ...


# %% [markdown]
# Here is a good habit: before you run a training loop, work out what the first loss should be. Random unit vectors in
# $D$ dimensions have similarities with mean 0 and standard deviation $1/\sqrt D$. At the estimated $Z$, each of the $K$
# negatives contributes about $e^{s_k}/(KZ)$ to the loss.

# %%
lab.predict(
    "02-2", f"Random notes, K = {K}, T = 0.07, Z as estimated. What is the loss of the first batch?", low=0, high=20
)


# %%
def scores_of(query, notes, index, negatives, T):
    """Scores (B, 1) of the right notes and (B, K) of the drawn ones."""
    every = query @ notes.T / T  # (B, N): our list is short, so score all of it and pick
    return every.gather(1, index[:, None]), every.gather(1, negatives)


generator = torch.Generator().manual_seed(0)
index = torch.arange(min(256, N))
drawn = al.objectives.draw_negatives(index[:, None], N, K, generator)
positive, negative = scores_of(blank.video[index], blank.audio, index, drawn, 0.07)
Z = partition_constant(negative)
first = nce_loss(positive, negative, Z).item()
print(
    f"Z = {Z:.2f}, log(K Z) + 1 = {math.log(K * Z) + 1:.2f}, loss of the first batch = {first:.2f} ({lab.credit('nce_loss')})"
)
lab.reveal(
    "02-2",
    first,
    "the positive contributes about log(K Z), because its odds are 1 to K Z; all negatives together contribute 1",
    close=0.05,
)

# %% [markdown]
# ## What Z does
#
# The derivative of the loss with respect to a score is $P(\text{real}) - 1$ for the positive (it is **pulled**) and
# $P(\text{real})$ for each negative (they are **pushed**). Both depend on $Z$.

# %%
lab.predict(
    "02-3",
    "Z is a hundred times too small. What does the first gradient mostly do?",
    ["pull partners together", "push strangers apart", "nothing"],
)


# %%
def pull_and_push(positive, negative, Z):
    """Mean gradient size for the positive's score, and its sum over the negatives' scores."""
    positive, negative = positive.detach().requires_grad_(), negative.detach().requires_grad_()
    nce_loss(positive, negative, Z).backward()
    return -positive.grad.sum().item(), negative.grad.sum().item()


factors = torch.logspace(-6, 6, 25)
forces = torch.tensor([pull_and_push(positive, negative, Z * factor) for factor in factors])  # (25, 2)
pull, push = forces.clamp(min=1e-6).T
title = f"At the estimated Z, {K} negatives push {push[12] / pull[12]:.2f} times as hard as the positive pulls"
lines = {"pull of the positive": pull, "push of all negatives": push}
plots.curves(factors, lines, log="xy", xlabel="Z / the estimate of Z", ylabel="size of the gradient", title=title)

# %%
pull, push = pull_and_push(positive, negative, Z / 100)
kind = "nothing" if max(pull, push) < 0.1 else "push strangers apart" if push > pull else "pull partners together"
lab.reveal(
    "02-3",
    kind,
    f"pull {pull:.2f}, push {push:.1f}: with too short a ruler every stranger looks real, and the few true pairs drown",
)

# %% [markdown]
# Read the figure from both ends. **Too small:** every random pair looks real at first, all $K$ of them push with full
# force, and the one positive is lost among them. **Too large:** every pair looks drawn. The positive is pulled with
# full force all the time, and the negatives hardly push at all until their scores have grown large. One estimate at the
# right moment balances the two.
#
# ## The gradient on the sphere
#
# Pull and push were derivatives with respect to *scores*. What happens to the embedding itself? Three steps:
#
# 1. *Scores.* $\partial\,\text{NCE}/\partial s_+ = P(\text{real}\mid s_+) - 1$, and
#    $\partial\,\text{NCE}/\partial s_k = P(\text{real}\mid s_k)$: differentiate the two logarithms.
# 2. *Chain rule.* A score is $s_j = \langle\mathbf v, \bar{\mathbf a}_j\rangle / T$, so its gradient with respect to
#    $\mathbf v$ is $\bar{\mathbf a}_j / T$. Together:
#    $\;\mathbf g = \frac1T\Big(\sum_{k=1}^K P(\text{real}\mid s_k)\,\bar{\mathbf a}_k -
#    \big(1 - P(\text{real}\mid s_+)\big)\,\bar{\mathbf a}_+\Big)$.
# 3. *The sphere.* $\mathbf v$ is normalised, so a change of its length changes nothing. Only the part of $\mathbf g$
#    along the sphere remains: $\mathbf g - \langle\mathbf g, \mathbf v\rangle\,\mathbf v$.
#
# Read it once more. One vector pulls, $K$ vectors push, each as strongly as the network is *wrong* about it, and a
# small $T$ makes all of them stronger. The film in notebook 00 was drawn with this formula.
#
# **Exercise ●●●.** Write this gradient by hand. The cell after it compares yours with autograd's. (The badge also accepts an
# answer that uses autograd, but then the comparison says nothing.)


# %%
@exercise("nce_gradient")
def nce_gradient(query, note, others, Z, temperature):
    """query, note (D,), others (K, D): unit vectors -> (D,): gradient of the NCE loss at the query, along the sphere."""
    ...


# %%
T, off = 0.07, []
for i in range(20):
    x = blank.video[i].clone().requires_grad_()
    v = F.normalize(x, dim=0)
    al.nce_loss((blank.audio[i] @ v / T)[None, None], (blank.audio[drawn[i]] @ v / T)[None], Z).backward()
    by_hand = nce_gradient(blank.video[i], blank.audio[i], blank.audio[drawn[i]], Z, T)
    off.append(((by_hand - x.grad).norm() / x.grad.norm()).item())
print(f"largest relative difference from autograd, 20 queries: {max(off):.1e} ({lab.credit('nce_gradient')})")

# %% tags=["claim"]
claim("the formula is autograd's gradient", max(off), below=1e-3)

# %% [markdown]
# ## One query under the microscope
#
# You see its score, probability and gradient for every note, and the equation with its numbers. In a running notebook,
# drag the temperature, $K$ and $Z$, and click a bar.

# %%
NCEMicroscope((memory.video, memory.audio), clips.labels, clips.classes)

# %% [markdown]
# Yellow bars are **false negatives**: they were drawn as strangers but are of the query's kind. The loss cannot know
# this. It pushes them anyway.

# %% [markdown] tags=["instructor"]
# **Teaching note (10 min).** Let pairs of students set $Z$ by hand in the microscope ("estimate" off) until pull and
# push balance, then switch "estimate" on. They will find the estimate themselves. Common misconception: "$Z$
# normalises, so it cannot matter, as in softmax". It is a *constant* here: the loss does not compute it from the scores
# at hand, and that is why the level of a score can mean something.

# %% [markdown]
# ## Temperature: who gets pushed?
#
# Similarities lie in $[-1, 1]$, and $T$ decides how much a difference counts. With a small $T$, only the negatives most
# like the query count. With a large $T$, all count the same. Move the slider. The grey hill shows where the negatives
# are; the orange one shows where the *pushing* happens. (The notes are from the trained run; $Z$ is estimated again for
# each $T$.)


# %%
alike = clips.labels[drawn] == clips.labels[index][:, None]  # (B, K): false negatives


def draw_push(T):
    """Where the negatives are, and where the push is."""
    _, negative = scores_of(memory.video[index], memory.audio, index, drawn, T)
    push = (negative - math.log(K) - partition_constant(negative).log()).sigmoid()  # P(real) = size of the gradient
    hardest = push.sort(dim=1, descending=True).values[:, : max(1, K // 10)].sum() / push.sum()
    wrong = (push * alike).sum() / push.sum()
    similarity, even = negative * T, torch.ones_like(push)
    groups = {"negatives": (similarity, even / even.sum()), "their push": (similarity, push / push.sum())}
    title = f"T = {T:g}: {hardest:.0%} of the push by the hardest tenth, {wrong:.0%} on false negatives"
    return plots.histograms(groups, bins=60, reach=(-0.6, 0.8), xlabel="similarity to the query", title=title)


frames(draw_push, [0.02, 0.03, 0.05, 0.07, 0.1, 0.2, 0.5, 1.0], label="temperature", start=3)

# %% [markdown]
# Small temperatures look clever (why waste force on the easy ones?) until you read the second number: the negatives
# most like a clip are often of its own kind. **Hard and false go together.** The temperature decides which clips you
# are willing to push away by mistake.
#
# ## Drawing negatives
#
# **Exercise ●●○.** Draw $K$ other instances for each query. Every other instance is equally likely; the query itself never
# appears. (Whether an instance may be drawn twice is up to you.) Pitfall: if you hit the query and take its neighbour
# instead, the draw is not uniform.


# %%
@exercise("sample_negatives")
def sample_negatives(index, N, K, generator):
    """index (B,): the queries; -> (B, K) other instances, uniform over the N - 1 that are not the query."""
    ...


# %%
strangers = sample_negatives(index, N, K, torch.Generator().manual_seed(1))
false = (clips.labels[strangers] == clips.labels[index][:, None]).double()
print(
    f"false negatives: {false.mean():.1%} of all, {false.sum(1).mean():.1f} per query of {K} ({lab.credit('sample_negatives')})"
)
print(f"queries with at least one: {(false.sum(1) > 0).double().mean():.1%}")

# %% [markdown]
# ## The memory
#
# Where do the notes come from? Embedding 512 other clips for every query would make a step hundreds of times more
# expensive. So AVID remembers. After each step, the note of each clip in the batch moves towards its new embedding and
# is normalised to length one.
#
# $$\bar{\mathbf a}_i \leftarrow \frac{m\,\bar{\mathbf a}_i + (1-m)\,\mathbf a_i}{\lVert m\,\bar{\mathbf a}_i + (1-m)\,\mathbf a_i\rVert}$$
#
# **Exercise ●○○.** Write the update. There are three pitfalls: which of the two gets $m$, along which axis to normalise,
# and whether gradients may flow into the memory. Return a new memory: the one that you are given must stay as it is.


# %%
@exercise("memory_update")
def memory_update(memory, index, embedding, momentum):
    """memory (N, D) unit rows; index (B,) different rows; embedding (B, D) unit; -> the new memory (N, D)."""
    ...


# %% [markdown]
# ## An experiment that trains in a second
#
# Now all four parts are yours, and you will want to turn every knob. Training the whole network takes minutes, so we
# take a shortcut. The eyes and ears of the reference run stay **frozen**. Only two linear heads on top of them are
# trained from scratch, with your loss, your $Z$, your negatives and your memory. The test: of the 10 held-out sounds
# closest to a held-out picture, how many are of its kind? (Figures show chance; the first title shows what untrained
# heads reach.)

# %%
space, held_out = stage.embeddings, stage.test_embeddings


def standardised(name):
    """Frozen features of training and held-out clips; each has mean 0 and deviation 1 over the training clips."""
    train, test = getattr(space, name), getattr(held_out, name)
    mean, deviation = train.mean(0), train.std(0) + 1e-6
    return (train - mean) / deviation, (test - mean) / deviation


(eyes, test_eyes), (ears, test_ears) = standardised("video_features"), standardised("audio_features")


@torch.no_grad()
def examine(heads):
    """Share of the 10 closest held-out sounds that are of the picture's class."""
    video, audio = F.normalize(heads[0](test_eyes), dim=1), F.normalize(heads[1](test_ears), dim=1)
    nearest = (video @ audio.T).topk(10, dim=1).indices
    return (test_clips.labels[nearest] == test_clips.labels[:, None]).double().mean().item()


# %%
def experiment(steps=200 if stage.trained else 4, K=K, T=0.07, momentum=0.5, ruler=1.0, loss=nce_loss, seed=0):
    """Train two linear heads with Cross-AVID's two terms; `ruler` multiplies the estimate of Z."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    heads = torch.nn.ModuleList([torch.nn.Linear(x.shape[1], D) for x in (eyes, ears)])
    notes = [F.normalize(torch.randn(N, D, generator=generator), dim=1) for _ in heads]  # of pictures, of sounds
    optimizer, Z, losses = torch.optim.Adam(heads.parameters(), lr=3e-3), [None, None], []
    for _ in range(steps):
        index = torch.randperm(N, generator=generator)[:64]
        new = [F.normalize(head(x[index]), dim=1) for head, x in zip(heads, (eyes, ears), strict=True)]
        negatives, total = sample_negatives(index, N, K, generator), 0.0
        for asks, answers in ((0, 1), (1, 0)):
            positive, negative = scores_of(new[asks], notes[answers], index, negatives, T)
            if Z[asks] is None:
                Z[asks] = ruler * partition_constant(negative)
            total = total + loss(positive, negative, Z[asks]) / 2
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        notes = [memory_update(old, index, embedding, momentum) for old, embedding in zip(notes, new, strict=True)]
        losses.append(total.item())
    now = F.normalize(heads[1](ears), dim=1).detach()  # what the head would write today
    return SimpleNamespace(score=examine(heads), losses=losses, fresh=(now * notes[1]).sum(1).mean().item())


untrained = sum(experiment(steps=0, seed=seed).score for seed in seeds) / len(seeds)
chance = al.metrics.chance_accuracy(clips.labels, test_clips.labels)
trial = experiment()
plots.loss_terms(
    trial.losses,
    title=f"Two heads from scratch: {trial.losses[0]:.1f} to {trial.losses[-1]:.1f}; precision {untrained:.0%} before, "
    f"{trial.score:.0%} after ({lab.credit('nce_loss')})",
)


# %%
def sweep(knob, values, title, **fixed):
    """Train with every value of a knob and every seed, and draw the precision; returns the trials by value."""
    trials = {value: [experiment(**{knob: value}, **fixed, seed=seed) for seed in seeds] for value in values}
    means = {value: sum(t.score for t in found) / len(found) for value, found in trials.items()}
    plots_of = {f"{value:g}": [t.score for t in found] for value, found in trials.items()}
    best = max(means, key=means.get)
    ax = plots.accuracy_bars(plots_of, chance, xlabel="precision of the 10 nearest sounds", title=title(means, best))
    ax.set_ylabel(knob)
    return ax, trials


# %% [markdown]
# ### How exact must Z be?

# %%
ax, rulers = sweep(
    "ruler",
    [1e-4, 1e-2, 1, 1e2, 1e4, 1e8],
    lambda means, best: (
        f"Z too small by 100: {means[1e-2]:.0%} right. As estimated: {means[1]:.0%}. Too large by 100: {means[1e2]:.0%}"
    ),
)
ax

# %% [markdown]
# The two errors have different costs, as the figure of forces suggested: compare a hundred times too small with a
# hundred times too large, then look at the extremes. But these features are frozen. Before you conclude that a long
# ruler is always safe, look at the circle below. Remember this in notebook 06, which adds a *new* kind of pair with its
# own scores: the $Z$ of the old pairs is too small for the new ones by orders of magnitude.
#
# ### Which temperature?

# %%
temperatures = [0.01, 0.03, 0.07, 0.2, 1.0]
lab.predict("02-4", "Which temperature gives the best heads?", [f"{T:g}" for T in temperatures])

# %%
ax, by_temperature = sweep(
    "T", temperatures, lambda means, best: f"Temperature {best:g} does best here ({means[best]:.0%})"
)
ax

# %%
means = {f"{T:g}": sum(t.score for t in found) for T, found in by_temperature.items()}
lab.reveal(
    "02-4",
    max(means, key=means.get),
    "small ones push only the hardest negatives, and many of those are false; the top of the curve is flat, so compare the dots before you believe in a winner",
)

# %% [markdown]
# ### How many negatives, and which loss?
#
# We can also use the same negatives in one softmax question (*InfoNCE with a memory*). It needs no $Z$.

# %%
rows = {}
for name, loss in {"NCE": nce_loss, "softmax": al.nce_softmax_loss}.items():
    for count in (1, 8, 64, 512) if stage.trained else (1, 8):
        rows[f"{name}, K = {count}"] = [experiment(K=count, loss=loss, seed=seed).score for seed in seeds]
mean = {name: sum(x) / len(x) for name, x in rows.items()}
fewest, most = mean["NCE, K = 1"], max(mean[name] for name in mean if name.startswith("NCE"))
title = f"One negative already gives {fewest:.0%}; the best number with NCE gives {most:.0%}"
plots.accuracy_bars(rows, chance, xlabel="precision of the 10 nearest sounds", title=title)

# %% [markdown]
# More negatives describe the crowd better, with diminishing returns, and they include more false ones: here, hundreds
# are no better than dozens. Compare the two losses with care: judge by the dots of the seeds, at the $K$ you would
# really use.
#
# ### And with the whole network?
#
# There a run takes minutes instead of a second. `avid-lab reference --variants short short-t0.03 short-t0.2 short-n32
# short-n2048` trains five, each half as long as the run above and with one setting changed, and writes the same score.
#
# When the recipe of this course was searched for (`data/reference/search.md`), a temperature of 0.07 or 0.1 made little
# difference once the heads saw all blocks of the network. Other choices mattered far more.
#
# Why can the experiment with two heads not decide how much $T$ and $K$ matter for a whole network?
#
# <details><summary>An answer</summary>
#
# Its features are frozen, and they come from a network that was trained at $T = 0.07$ with 512 negatives. They already
# hold what that choice found, so the experiment is biased towards "nothing matters much". A whole network must find its
# features with the temperature that it gets. Short runs of whole networks have their own bias: they only show who
# learns *early*. In both, compare differences between settings with those between dots before you form a theory.
#
# </details>
#
# ### The cost of an old memory
#
# Our experiment draws its clips anew at each step. So a clip is visited every $N/B$ steps on average, and its last visit
# is about as long ago. With momentum $m$, a note also keeps a share of older visits: once it was visited often, its
# content is about $\frac NB\cdot\frac{1}{1-m}$ steps old. Before that, a share of it is still its *random start*: each
# step takes a share $\frac BN(1-m)$ of it away. The network has changed since then. To measure by how much, compare every
# note with what the head *would write today*.

# %%
ax, ages = sweep(
    "momentum",
    [0.0, 0.5, 0.9, 0.98],
    lambda means, best: f"From momentum 0 to 0.98: from {means[0.0]:.0%} to {means[0.98]:.0%} right",
)
steps = len(trial.losses)
print(f"after {steps} steps, so {steps * 64 / N:.1f} visits of each clip on average:")
print("momentum   age in the long run, in steps   still random start   similarity to today's embedding")
for m, found in ages.items():
    age, left = N / 64 / (1 - m), (1 - 64 / N * (1 - m)) ** steps
    print(f"{m:8g}   {age:29.0f}   {left:18.0%}   {sum(t.fresh for t in found) / len(found):.2f}")
ax

# %% tags=["claim"]
scores = {m: sum(t.score for t in found) / len(found) for m, found in ages.items()}
claim("old and unwritten notes teach less", scores[0.5] - scores[0.98], above=0.05)
claim("at 0.98 most of a note is its random start", (1 - 64 / N * 0.02) ** steps, above=0.7)
short_ruler = [sum(t.score for t in rulers[z]) / len(rulers[z]) for z in (1e-2, 1)]
claim("a ruler a hundred times too short is a disaster", short_ruler[1] - short_ruler[0], above=0.3)
claim("the experiment learns", trial.score, above=0.6)

# %% [markdown]
# Read the last row with care: at momentum 0.98 a note is mostly its random start after so few visits. It is not old, it
# has hardly been written. Only a much longer training would show what such a momentum does.
#
# A note is stale by design; it only has to be *fresh enough*. Longer and slower training tolerates older notes: what
# counts is how far the network moves between two visits. The paper trains in passes, which visit every clip once in a
# new order, with momentum 0.5 and 256 of 232,067 clips per step. A Kinetics clip was then last visited about 530 steps
# ago on average (7/12 of a pass), and the content of its note, with what it keeps of earlier passes, is about 1,400 steps
# old. Notebook 09 shows two alternatives: a queue of recent embeddings, and the batch itself.

# %% [markdown] tags=["instructor"]
# **Teaching note (15 min).** This experiment works well as a race: each group gets one knob, writes down a prediction
# *with a mechanism*, and reports how it turned out. Ask what the experiment cannot show (the answer is folded above).
# `data/reference/search.md` tells how the recipe was found, with whole networks.
#
# Misconception: "softmax has no Z, so it is better". Softmax computes a sum over its own negatives at every step, and
# it gives up the level.

# %% [markdown]
# ## Why negatives at all: collapse on a circle
#
# This world is small enough to see everything. It has 120 events, each a direction (its colour). A camera and a
# microphone record each event, each with its own noise. Two small networks map picture and sound to a **circle**. Left:
# your NCE, with all other events as negatives. Middle: the same, with a $Z$ a thousand times too large. Right: only the
# pull, "partners, be alike!"

# %%
lab.predict(
    "02-5", "Without negatives, where do the points end up?", ["all in one place", "each pair in its own place"]
)


# %%
def tiny_world(events=120, noise=0.6, seed=0):
    """Angles of events, and two noisy recordings of each, (events, 6)."""
    generator = torch.Generator().manual_seed(seed)
    angle = torch.rand(events, generator=generator) * 2 * math.pi
    recordings = []
    for _ in range(2):
        own = noise * torch.randn(events, 4, generator=generator)
        mix = torch.linalg.qr(torch.randn(6, 6, generator=generator)).Q
        recordings.append(torch.cat([angle.cos()[:, None], angle.sin()[:, None], own], dim=1) @ mix)
    return angle, recordings


def on_a_circle(moments, with_negatives=True, ruler=1.0, T=0.2, seed=0):
    """Train two encoders to the circle; returns the points (2, events, 2) at some steps."""
    torch.manual_seed(seed)
    angle, recordings = tiny_world()
    others = ~torch.eye(len(angle), dtype=torch.bool)
    encoders = [torch.nn.Sequential(torch.nn.Linear(6, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2)) for _ in range(2)]
    optimizer = torch.optim.Adam([p for encoder in encoders for p in encoder.parameters()], lr=0.01)
    found, Z = {}, None
    for step in range(max(moments) + 1):
        video, audio = (F.normalize(encoder(x), dim=1) for encoder, x in zip(encoders, recordings, strict=True))
        if step in moments:
            found[step] = torch.stack([video, audio]).detach()
        scores = video @ audio.T / T
        positive, negative = scores.diagonal()[:, None], scores[others].view(len(angle), -1)
        Z = ruler * partition_constant(negative) if Z is None else Z
        loss = nce_loss(positive, negative, Z) if with_negatives else -positive.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return angle, found


# %%
moments = [0, 2, 5, 10, 20, 40, 80, 150, 300]
worlds = {
    "with negatives": on_a_circle(moments),
    "Z too large": on_a_circle(moments, ruler=1000.0),
    "without": on_a_circle(moments, with_negatives=False),
}


def gathered(points):
    """Length of the mean of all points: 0 spread round the circle, 1 all in one place."""
    return points.flatten(0, 1).mean(0).norm().item()


def draw_circle(step):
    shown = {f"{name}\ngathered {gathered(found[step]):.2f}": found[step] for name, (_, found) in worlds.items()}
    title = f"After {step} steps (inner ring pictures, outer ring sounds, colour the event)"
    return plots.circles(shown, tiny_world()[0], title=title)


frames(draw_circle, moments, label="step", start=len(moments) - 1)

# %%
end = {name: gathered(found[moments[-1]]) for name, (_, found) in worlds.items()}
lab.reveal(
    "02-5",
    "all in one place" if end["without"] > 0.8 else "each pair in its own place",
    "the two recordings have different noise, so they agree perfectly only if every event gets the same answer",
)

# %% [markdown]
# That is **collapse**: a nearly perfect score for "be alike". Is *nothing* left? Look closely.

# %%
for name, (_, found) in worlds.items():
    video, audio = found[moments[-1]]
    similarity = video @ audio.T  # (120, 120)
    own = similarity.diagonal()[:, None]
    rank = ((similarity > own).sum(1) + (similarity == own).sum(1) / 2 + 0.5).median()  # among equals: the middle
    print(
        f"{name:<16} similarity of strangers {similarity.mean():6.3f} ± {similarity.std():.3f}, own sound ranks {rank:.0f} of 120"
    )

# %% [markdown]
# Rank and spread say different things. Without negatives, strangers are as similar as partners, up to tiny differences.
# A ranking may still find some order in them, left over from the start: the networks only had to make the differences
# *small*, not to remove them. But nothing in the loss keeps them, and no threshold and no half precision would see
# them. A good rank of the own sound is no proof against collapse; look at the spread as well.
#
# Negatives make the constant answer expensive, so the points must spread. The cheapest way to spread *and* agree is to
# arrange the points by what picture and sound share: the event. Compare the middle: a loss may have negatives on paper
# and hardly any in its gradient. A contrastive loss does two things: it aligns partners and spreads the crowd evenly
# (Wang and Isola).
#
# (Methods without negatives exist, such as BYOL and DINO; each prevents the constant answer in another way.)
#
# ## A trap in half precision
#
# GPUs like 16-bit numbers. The equation, typed in as written, does not: a perfect match at $T = 0.07$ needs
# $e^{1/0.07}$.

# %%
print(f"e^(1/0.07) = {math.exp(1 / 0.07):,.0f}; largest half-precision number = {torch.finfo(torch.half).max:,.0f}")
print(f"smallest safe temperature in half precision: {1 / math.log(torch.finfo(torch.half).max):.3f}\n")
literal = lambda s, c: -(s.exp() / (s.exp() + c)).log()  # noqa: E731
careful = lambda s, c: F.softplus(math.log(c) - s)  # noqa: E731
for dtype in (torch.float32, torch.bfloat16, torch.float16):
    s = torch.tensor(1 / 0.07, dtype=dtype)
    print(f"{dtype!s:<15} as typed {literal(s, 1000).item():<10.3g} with softplus {careful(s, 1000).item():.3g}")

# %% [markdown]
# The result is `nan` at the very moment when the network has understood a pair. (bfloat16 has the range but only two to
# three digits: look at what is left of the loss.) The identity
# $-\log\frac{e^s}{e^s+c} = \operatorname{softplus}(\log c - s)$ never computes $e^s$. The library uses it, always in
# single precision.
#
# ## Experiments
#
# 1. **Break it gently.** Run `experiment(K=1, T=0.01)`. Which of the two knobs hurts more on its own?
# 2. **A drifting ruler.** Estimate $Z$ again at *every* step (one line of `experiment`). Which other loss does this
#    resemble?
# 3. **Near collapse.** At which `ruler` does `on_a_circle` collapse? Does a temperature of 5 do the same? Why not?

# %%
lab.note("02-e", "Which experiment did you run, what did you expect, and what happened?")

# %% [markdown]
# <details><summary>Answers</summary>
#
# 1. The two figures above show what each knob costs alone. Together there is one negative per query, and at $T = 0.01$
#    only a negative that happens to be close is pushed: most queries are not pushed at all.
# 2. Softmax. A $Z$ that is estimated again from the scores at hand is nearly the denominator of softmax, and like it, it
#    gives up the level: all scores may rise together without a cost.
# 3. The larger the ruler, the weaker the push; try 10, 100, 1000. A temperature of 5 does not do the same, because $Z$ is
#    estimated *at* that temperature: the ruler fits again, and pull and push stay balanced.
#
# </details>

# %% [markdown] tags=["instructor"]
# **Teaching note (5 min).** Closing question: "Our negatives are uniform. Which would you draw instead, and which clips
# would that hurt?"

# %% [markdown]
# **If it went wrong.**
#
# * *A badge is red:* read its diagnosis; the reference solution runs in the meantime, so the figures stay right.
# * *`nan`:* your `nce_loss` takes `exp` of large scores. See the trap above.
# * *Your precision differs from your neighbour's by a point or two:* seeds and machines cause that. Compare dots, not
#   digits.
#
# ## Recap
#
# * NCE asks $K+1$ yes-or-no questions: is this pair real, or drawn? Softmax asks one question with many answers.
# * $Z$ sets the level. If it is too small, the push of strangers drowns the pull. If it is too large, strangers are
#   hardly pushed, and everything may collapse.
# * The temperature decides which negatives are pushed; the hardest are often false negatives.
# * The memory provides many negatives at the price of slightly old notes. Their age matters only as far as the network
#   moves during a pass.
# * The gradient is one pull and K pushes, each as strong as the network is wrong, along the sphere.
# * Without negatives, the same answer for everything is perfect.
#
# **Further reading.** M. Gutmann, A. Hyvärinen, *Noise-contrastive estimation: A new estimation principle for unnormalized statistical models*, AISTATS 2010.
# Z. Wu, Y. Xiong, S. Yu, D. Lin, *Unsupervised Feature Learning via Non-Parametric Instance Discrimination*, CVPR 2018 (memory, NCE, temperature).
# A. van den Oord, Y. Li, O. Vinyals, *Representation Learning with Contrastive Predictive Coding*, arXiv 2018 (InfoNCE).
# T. Wang, P. Isola, *Understanding Contrastive Representation Learning through Alignment and Uniformity on the Hypersphere*, ICML 2020.
# F. Wang, H. Liu, *Understanding the Behaviour of Contrastive Loss*, CVPR 2021 (temperature).

# %%
lab.progress("02")

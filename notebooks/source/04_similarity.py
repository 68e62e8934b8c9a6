# %% [markdown]
# # 04 · What is a similarity worth?
#
# "These two clips are 0.8 similar." So what? After this notebook you can
#
# * distinguish *ranking* from *calibration*, and measure each: AUC, $d'$, overlap; reliability curve, expected
#   calibration error,
# * show that the same number means different things within pictures, within sounds and across the two,
# * explain with a short proof and a measurement why cross-modal training does not determine within-modal similarity,
# * give all three kinds of pairs one scale without a single label,
# * recognise three measures that flatter: each can be fooled on its own.
#
# **Needs:** notebook 03; at least, that Cross-AVID only compares pictures with sounds. **Time:** 55 minutes, including
# about half a minute of computing on a laptop's CPU (GPU: not measured).

# %% [markdown]
# ## Before you start: four questions about earlier notebooks
#
# Answer each in your head, or on paper. Then unfold.
#
# 1. (01) A picture and its sound come from one clip. What is the network *not* told about them?
# 2. (02) The temperature divides every similarity. Which order of the candidates does it change?
# 3. (03) Which pairs does Cross-AVID's loss compare, and which never?
# 4. (03) A network finds the right sound for nine pictures of ten. Does that say anything about the similarity of two
#    *pictures*?
#
# <details><summary>Answers</summary>
#
# 1. Any label. It only knows that the two belong to one clip.
# 2. None: it stretches all similarities alike. It changes how hard the loss pulls and pushes.
# 3. Pictures with sounds. Never two pictures, never two sounds.
# 4. Nothing directly. That is what this notebook is about.
#
# </details>

# %%
import math

import torch
import torch.nn.functional as F

import avid_lab as al
from avid_lab import evaluation, plots, reference
from avid_lab.course import exercise, frames, lab
from avid_lab.interactive.calibration import CalibrationExplorer
from avid_lab.metrics import fit_probability, pairs

stage = lab.stage("04", "cross")
if stage.trained:
    clips, space = stage.test_clips, stage.test_embeddings  # held out
else:
    clips, space = stage.clips, stage.embeddings  # the smoke profile holds out too few clips to make pairs of
labels = clips.labels
twin = evaluation.embed(evaluation.random_twin(stage.model, stage.clips, stage.pipeline), clips, stage.pipeline)
KINDS = {"v-v": ("video", "video"), "a-a": ("audio", "audio"), "v-a": ("video", "audio")}

# %% [markdown]
# **Where this leads.** There are three kinds of pairs: two pictures (v-v), two sounds (a-a), and a picture with the
# sound of *another* clip (v-a). Blue shows pairs from the same kind of scene, grey shows pairs from two kinds. The
# network is a trained Cross-AVID (the line above names the reference run); the clips are held out. This whole notebook is about this figure: how far apart blue and grey are, and *where on the axis* they lie.


# %%
def similarities(space, kind):
    """Similarities of same-class pairs and of different-class pairs (i, j), i != j."""
    x, y = (getattr(space, side) for side in KINDS[kind])
    similarity, alike = x @ y.T, labels[:, None] == labels[None]
    return similarity[alike & ~torch.eye(len(x), dtype=torch.bool)], similarity[~alike]


found = {kind: similarities(space, kind) for kind in KINDS}
plots.similarity_histograms(found, title="One word, three meanings")

# %% [markdown]
# We use labels for this test only; training never saw them.
#
# ## One threshold
#
# Suppose you want an app that says "same kind of scene" when two things are at least 0.5 similar: two pictures, two
# sounds, or a picture and a sound. It is tempting to use one number for everything.

# %%
lab.predict("04-1", "What share of the v-a pairs of the SAME class is at least 0.5 similar?", low=0, high=100, unit="%")

# %%
print(f"{'at least 0.5':<14}{'same class':>12}{'different':>12}")
for kind, (same, different) in found.items():
    print(f"{kind:<14}{(same >= 0.5).double().mean():>12.1%}{(different >= 0.5).double().mean():>12.1%}")
lab.reveal(
    "04-1",
    100 * (found["v-a"][0] >= 0.5).double().mean().item(),
    "within a sense 0.5 separates the two kinds of pairs; across the senses hardly any pair reaches it",
    close=0.25,
)

# %% tags=["claim"]
if stage.trained:
    for kind in ("v-v", "a-a"):
        passing = [(part >= 0.5).double().mean() for part in found[kind]]
        claim(f"{kind}: 0.5 separates", passing[0] - passing[1], above=0.5)
    claim("v-a: almost no pair of one class reaches 0.5", (found["v-a"][0] >= 0.5).double().mean(), below=0.02)

# %% [markdown]
# ## Ranking: AUC
#
# So 0.5 was the wrong number for v-a. Let us measure without a threshold: draw one pair of the same class and one
# of different classes. How often is the first more similar?
#
# $$\text{AUC} = P(s_{\text{same}} > s_{\text{different}}) + \tfrac12 P(s_{\text{same}} = s_{\text{different}})$$
#
# 0.5 is a coin flip, 1 is perfect. **Exercise ●○○.** Write it. Half a point for ties matters: a network that gives the same
# number for every pair must get 0.5.


# %%
@exercise("similarity_auc")
def similarity_auc(same, different):
    """same (S,), different (T,): similarities of pairs -> how often a same pair is more similar; ties count half."""
    ...


# %% [markdown]
# Comparing all pairs with all pairs would take a billion comparisons; a thousand against four thousand give nearly the
# same answer. The other columns show the library's AUC over all pairs, computed from ranks, and the untrained network.


# %%
def some(values, count, seed=0):
    """A random sample of the values."""
    return values[torch.randperm(len(values), generator=torch.Generator().manual_seed(seed))[:count]]


print(f"{'AUC':<6}{lab.credit('similarity_auc'):>12}{'all pairs':>12}{'untrained':>12}{'chance':>9}")
for kind, (same, different) in found.items():
    yours = float(similarity_auc(some(same, 1000), some(different, 4000)))
    every, base = (al.separation(*(getattr(s, side) for side in KINDS[kind]), labels).auc for s in (space, twin))
    print(f"{kind:<6}{yours:>12.3f}{every:>12.3f}{base:>12.3f}{0.5:>9.3f}")

# %% tags=["claim"]
if stage.trained:
    aucs = {kind: al.separation(*(getattr(space, side) for side in KINDS[kind]), labels).auc for kind in KINDS}
    claim("all three kinds rank well", min(aucs.values()), above=0.85)

# %% [markdown]
# All three kinds rank far better than an untrained network, v-a among them. Yet no single threshold works for all three.
# AUC does not see *where* similarities lie: squash or shift them, and AUC stays the same. **Ranking is not
# calibration.**
#
# ## Two more measures: d' and overlap
#
# $$d' = \frac{\mu_{\text{same}} - \mu_{\text{different}}}{\sqrt{(\sigma^2_{\text{same}} + \sigma^2_{\text{different}})/2}}
# \qquad\qquad \text{overlap} = \sum_{\text{bins}} \min(p_{\text{same}},\, p_{\text{different}})$$
#
# $d'$ counts standard deviations between the two means. It suits bell curves and misleads for other shapes. Overlap
# compares whole shapes: 1 if blue covers grey, 0 if they never meet.


# %%
def d_prime(same, different):
    """Distance of the means in units of the pooled standard deviation."""
    return ((same.mean() - different.mean()) / ((same.var() + different.var()) / 2).sqrt()).item()


def overlap(same, different, bins=100):
    """Shared area of the two histograms over [-1, 1]."""
    heights = [torch.histc(x.clamp(-1, 1), bins, -1, 1) / len(x) for x in (same, different)]
    return torch.minimum(*heights).sum().item()


for kind, pair in found.items():
    print(f"{kind}   d' = {d_prime(*pair):.2f}   overlap = {overlap(*pair):.2f}")

# %% [markdown]
# ## Every threshold at once
#
# For each threshold, what share of the same-class pairs lies above it (*hits*), and what share of the different-class
# pairs (*false alarms*)? If both errors cost the same, the best threshold is where hits minus false alarms is largest.
# The figure shows that difference: 100 % would be a perfect threshold, 0 % a useless one.

# %%
thresholds = torch.linspace(-1, 1, 41)
gain = {}  # by kind: hits minus false alarms at each threshold
for kind, pair in found.items():
    hits, alarms = (1 - torch.searchsorted(x.sort().values, thresholds) / len(x) for x in pair)
    gain[kind] = hits - alarms
best = {kind: thresholds[values.argmax()].item() for kind, values in gain.items()}
title = "Best threshold: " + ", ".join(f"{kind} {value:.2f}" for kind, value in best.items())
plots.curves(
    thresholds, gain, percent=True, xlabel="threshold on the similarity", ylabel="hits minus false alarms", title=title
)

# %% tags=["claim"]
if stage.trained:
    claim(
        "the best threshold across the senses is far below those within",
        min(best["v-v"], best["a-a"]) - best["v-a"],
        above=0.2,
    )

# %% [markdown]
# In a running notebook, drag the threshold, go back in training with the first slider, and **Fit** threshold and
# temperature to one kind of pair. Then see how well they work for the other two.

# %%
CalibrationExplorer(stage.snapshots or (space.video, space.audio), labels)

# %% [markdown] tags=["instructor"]
# **Teaching note (10 min).** Fit to video–audio, read the calibration errors aloud, then fit to video–video and read
# again. Misconception: "AUC is high, so 0.8 means 80 %". AUC does not change under any increasing transformation; ask
# for one that keeps AUC and makes every similarity larger than 0.9. Second misconception: calibration only means
# choosing a good threshold. That is true for *one* kind of pair with labels at hand. But this course is about a method
# that mines positives without labels, and it must trust the number.

# %% [markdown]
# ## From a similarity to a probability
#
# We would like to say "these two are of the same kind with probability 0.7", and be right in 7 of 10 such cases. We can
# check that promise. A logistic curve turns a similarity $s$ into a probability,
#
# $$p(s) = \frac{1}{1 + e^{-(\alpha s + \beta)}},$$
#
# fitted on the pairs of one half of the clips and tested on the other half. Then sort the pairs into bins of $p$. In
# each bin, compare the mean promise with the share of pairs that kept it.
#
# **Exercise ●●○.** Write this *reliability table*.


# %%
@exercise("reliability")
def reliability(confidence, correct, bins):
    """confidence (N,) in [0, 1], correct (N,) True or False -> (mean confidence (bins,), share correct (bins,)).

    The bins split [0, 1] evenly; an edge belongs to the bin above it, but 1.0 to the last; an empty bin gives NaN.
    """
    ...


# %% [markdown]
# The **expected calibration error** is the mean distance between promise and truth, with each bin weighted by its
# number of pairs: $\text{ECE} = \sum_b \frac{n_b}{N} \lvert \text{promise}_b - \text{truth}_b \rvert$.


# %%
def ece(p, correct, bins=10):
    """Expected calibration error, from your reliability table."""
    promise, truth = reliability(p, correct, bins)
    weight = (p * bins).long().clamp(max=bins - 1).bincount(minlength=bins) / len(p)
    return (weight * (promise - truth).abs()).nansum().item()


order = labels.argsort(stable=True)
halves = order[::2], order[1::2]  # each half has clips of every class, no clip is in both
fit_on, test_on = (
    {kind: pairs(getattr(space, x)[half], getattr(space, y)[half], labels[half]) for kind, (x, y) in KINDS.items()}
    for half in halves
)
curve = {
    kind: fit_probability(part.similarity, part.same) for kind, part in fit_on.items()
}  # similarity -> probability


def promises(ways):
    """The reliability table of each kind of pair, with the curve of the kind that ``ways`` names."""
    tables = {}
    for kind, which in ways.items():
        part = test_on[kind]
        p = curve[which](part.similarity)
        tables[f"{kind}, curve of {which}: ECE {100 * ece(p, part.same):.1f} %"] = reliability(p, part.same, 10)
    return tables


own = promises({kind: kind for kind in KINDS})
plots.reliability_curves(own, title=f"Each kind with its own curve ({lab.credit('reliability')})")

# %% [markdown]
# With its own curve, each kind keeps its promises. But look at how far to the right each curve goes. Now use the curve
# of v-a, *the only kind that training compared*, for all three.

# %%
errors = {kind: 100 * ece(curve["v-a"](part.similarity), part.same) for kind, part in test_on.items()}
title = f"The curve of v-a is off by {errors['v-v']:.0f} points for pictures"
plots.reliability_curves(promises(dict.fromkeys(KINDS, "v-a")), title=title)

# %% tags=["claim"]
if stage.trained:
    claim("the curve of v-a is far off for pictures", errors["v-v"], above=10)
    claim("v-a itself keeps its promises", errors["v-a"], below=3)

# %% [markdown]
# **That is what "not calibrated" means here.** Similarities within a modality and similarities across modalities are
# two currencies without an exchange rate.
#
# *Question.* The curve of v-a says "certainly the same" for most pictures that are 0.5 similar. Where does it learn that?
#
# <details><summary>An answer</summary>
#
# From its own kind of pair: across the senses, 0.5 is far above anything that occurs, so the fitted curve is at 100 %
# there. For pictures, 0.5 is nothing special, and many pairs of different kinds of scene reach it.
#
# </details>
#
# ### Exercise ●●●: fit the curve
#
# The library fitted $\alpha$ and $\beta$. Do it yourself. They should make what happened as probable as possible, so
# minimise the cross-entropy $-\sum_i \left[ y_i \log p_i + (1 - y_i) \log (1 - p_i) \right]$, where $y_i$ is 1 for pairs of
# the same kind. Its gradient is *promise minus truth*, times what each number is multiplied with:
#
# $$ g = \sum_i (p_i - y_i) \begin{pmatrix} s_i \\ 1 \end{pmatrix} $$
#
# How far should you go downhill? **Newton's method** asks how the gradient itself changes. Differentiate $g$ by $\alpha$ and
# $\beta$ (each $p_i$ depends on them): that is a 2 x 2 table $H$. If it stayed the same, $g$ would vanish after the step
# $-H^{-1} g$. It does not, so repeat. A dozen steps are enough.


# %%
@exercise("logistic_curve")
def logistic_curve(similarity, same, steps):
    """similarity (P,), same (P,) True or False -> slope and offset of the curve p = 1 / (1 + exp(-(slope * s + offset))).

    They minimise the cross-entropy, summed over the pairs. Newton's method starts where both are 0. In each of `steps`
    steps it subtracts the solution d of H d = g: g is the gradient, H (2, 2) its derivative. There may be 100,000 pairs: a
    table (P, P) would not fit into memory.
    """
    ...


# %% [markdown]
# Where is $p = \frac12$? That is what "probably the same kind" costs in each currency.

# %%
even = {}
for kind, part in fit_on.items():
    slope, offset = logistic_curve(part.similarity, part.same, 12)
    even[kind] = (-offset / slope).item()
    away = (torch.sigmoid(slope * part.similarity + offset) - curve[kind](part.similarity)).abs().max()
    print(f"{kind}: even odds at {even[kind]:.2f}; the library's curve differs by {away:.4f} at most")

# %% tags=["claim"]
if stage.trained:
    claim("the same odds cost far more among pictures", even["v-v"] - even["v-a"], above=0.3)

# %% [markdown]
# ### A measure that flatters
#
# One question before you put an ECE into a paper:

# %%
lab.predict(
    "04-2",
    "Each gets its own curve. Which one has the smaller ECE for pictures?",
    ["the trained network", "the untrained one"],
)

# %%
names = {"the trained network": space, "the untrained one": twin}
measured = {}
for name, embeddings in names.items():
    fit, test = (pairs(embeddings.video[half], embeddings.video[half], labels[half]) for half in halves)
    p = fit_probability(fit.similarity, fit.same)(test.similarity)
    brier = (p - test.same.double()).square().mean().item()
    measured[name] = ece(p, test.same)
    print(f"{name:<22} ECE {measured[name]:.2%}   Brier {brier:.2%}   promises from {p.min():.0%} to {p.max():.0%}")
base = test.same.double().mean().item()
print(f"{'always the base rate':<22} ECE {0:.2%}   Brier {base * (1 - base):.2%}   promises {base:.1%} for every pair")
lab.reveal(
    "04-2",
    min(measured, key=measured.get),
    "a network that always answers the base rate keeps every promise and says nothing",
)

# %% [markdown]
# Calibration without *sharpness* is free. Report ECE together with AUC, or use the Brier score (the mean squared error
# of the probability), which penalises both. Note the base rate, too: with 22 classes, one pair in 22 is of the same
# class. A method that looks for a clip's true relatives among *thousands* faces a worse one.
#
# ### An exchange rate without labels
#
# Is there one scale for all three kinds? Here are four ways, each tested on clips that the curve did not see:
#
# * a curve of its own for each kind of pair (it needs labels of pairs of that kind),
# * the curve of v-a for all, as above,
# * one curve, fitted to all three kinds *together*: a compromise,
# * one curve on **standardised** similarities. From each similarity, subtract the mean of random pairs of its kind, and
#   divide by their standard deviation. Both come from the memory of the *training* clips, and need no labels.

# %%
lab.predict("04-5", "Standardising divides the error of the one curve for all by ...", low=1, high=10, unit="")

# %%
notes = stage.memory
for kind, (mean, deviation) in evaluation.levels(notes).items():
    print(f"random pairs {kind}: mean {mean:+.2f}, standard deviation {deviation:.2f}")
cost = evaluation.curve_errors(space, labels, notes)
print(f"\n{'calibration error, points':<28}" + "".join(f"{kind:>8}" for kind in KINDS) + f"{'mean':>8}")
for name, row in cost.items():
    print(
        f"{name:<28}" + "".join(f"{100 * row[kind]:>8.1f}" for kind in KINDS) + f"{100 * sum(row.values()) / 3:>8.1f}"
    )
average = {name: sum(row.values()) / 3 for name, row in cost.items()}
lab.reveal(
    "04-5",
    round(average["one curve for all"] / average["one curve, standardised"], 1),
    "the levels of the three kinds were most of the trouble.",
    close=0.3,
)

# %% tags=["claim"]
if stage.trained:
    claim("own curves are best", average["its own curve"] - min(average.values()), below=0.001)
    claim("a borrowed curve is worst", average["the curve of v-a"] - max(average.values()), above=-0.001)
    claim(
        "standardising at least halves the error of one curve",
        average["one curve, standardised"] / average["one curve for all"],
        below=0.5,
    )

# %% [markdown]
# Two errors of this table are easily confused. *The curve of v-a* is off by tens of points: it was never fitted to the
# others. *One curve for all* is off by only a few: it was fitted to everything, and most pairs are of different classes,
# where any curve can say "no" and be right. (The table uses bins with equally many pairs, so its numbers differ a little
# from those of your table above.)
#
# %% [markdown]
# ## Why? What a cross-modal loss cannot see
#
# Cross-AVID's loss depends only on the products $\langle \mathbf v_i, \mathbf a_j \rangle$. Suppose all sounds lie in a
# few directions of the space. Give every picture an extra component along a direction $\mathbf e$ that *no sound uses*:
#
# $$\mathbf v_i' = \sqrt{1 - c^2}\;\mathbf v_i + c\,\mathbf e, \qquad
# \langle \mathbf v_i', \mathbf a_j\rangle = \sqrt{1-c^2}\,\langle \mathbf v_i, \mathbf a_j\rangle, \qquad
# \langle \mathbf v_i', \mathbf v_j'\rangle = (1-c^2)\langle \mathbf v_i, \mathbf v_j\rangle + c^2.$$
#
# Across, only the scale changes, as with a higher temperature. Within, all similarities move towards one. **The ranking
# across modalities stays exactly the same.** Move the slider.


# %%
def with_blind(c, extra):
    """Pictures with a share c of their length in directions that no sound uses, and the unchanged sounds."""
    video = torch.cat([math.sqrt(1 - c * c) * space.video, c * extra], dim=1)
    return video, F.pad(space.audio, (0, extra.shape[1]))


def draw_blind(c):
    video, audio = with_blind(c, torch.ones(len(labels), 1))
    shifted = {"v-v": al.separation(video, video, labels), "v-a": al.separation(video, audio, labels)}
    passing = (shifted["v-v"].different >= 0.5).double().mean().item()
    title = f"c = {c:g}: {passing:.0%} of different v-v pairs pass 0.5"
    ax = plots.similarity_histograms(shifted, title=title)
    ax.set_xlim(-1, 1)  # the same axis in every frame
    return ax


frames(draw_blind, [0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.97], label="c, the unseen share", start=3)

# %% [markdown]
# Does the loss object? It sees the smaller scale. Compute it, with the $Z$ of $c = 0$ frozen, and once more with a
# temperature that is smaller by the same factor:

# %%
T = 0.07
drawn = al.objectives.draw_negatives(
    torch.arange(len(labels))[:, None], len(labels), 64, torch.Generator().manual_seed(0)
)


def cross_loss(c, temperature, Z=None):
    """NCE of pictures against sounds with an unseen share c, and its Z."""
    video, audio = with_blind(c, torch.ones(len(labels), 1))
    positive = (video * audio).sum(1, keepdim=True) / temperature
    negative = torch.einsum("bd,bkd->bk", video, audio[drawn]) / temperature
    Z = negative.exp().mean() if Z is None else Z
    return al.nce_loss(positive, negative, Z).item(), Z


start, Z = cross_loss(0.0, T)
for c in (0.0, 0.3, 0.5, 0.7, 0.9):
    same_T, smaller_T = cross_loss(c, T, Z)[0], cross_loss(c, T * math.sqrt(1 - c * c), Z)[0]
    print(f"c = {c:<5g}loss at T = {T}: {same_T:.3f}    at T = {T * math.sqrt(1 - c * c):.3f}: {smaller_T:.3f}")

# %% tags=["claim"]
if stage.trained:
    claim("the loss rises with the unseen share", cross_loss(0.7, T, Z)[0] - start, above=0.05)
    claim("a small share costs almost nothing", cross_loss(0.3, T, Z)[0] - start, below=0.05)
claim(
    "at a smaller temperature it is the same", abs(cross_loss(0.7, T * math.sqrt(1 - 0.49), Z)[0] - start), below=1e-3
)

# %% [markdown]
# The loss objects to the lost *scale*, and only to that: a small unseen share costs almost nothing, and at a temperature
# that makes up for the scale the loss is the same to the last digit. It never asks *what* the pictures hold in the
# unseen direction.
#
# Neither AUC changed, but 0.5 lost its meaning: only *calibration* was lost. It can get worse. Let the blind directions
# hold something specific to the clip, such as the colour of its wallpaper. Then the *ranking* of pictures breaks as
# well, while the ranking across modalities stays the same.

# %%
colour = torch.tensor(
    [[int(c[i : i + 2], 16) / 255 for i in (0, 2, 4)] for c in clips.manifest.column("background_rgb")]
)
wallpaper = F.normalize(colour - colour.mean(0), dim=1)  # (N, 3)
for c in (0.0, 0.5, 0.8, 0.95):
    video, audio = with_blind(c, wallpaper)
    within, across = al.separation(video, video, labels).auc, al.separation(video, audio, labels).auc
    print(f"c = {c:<5g} AUC v-v {within:.3f}   v-a {across:.3f}")

# %% [markdown]
# ### Does the real network do that?
#
# That was a thought experiment. Now let us measure. Sort the directions of the space by how much of the *sounds* lies
# along them (the right singular vectors of all sound embeddings). How much of the *pictures* lies along the first ones?

# %%
lab.predict(
    "04-3",
    "A few directions hold 90 % of the sounds' squared length. How much of the pictures' squared length do they hold?",
    low=0,
    high=100,
    unit="%",
)


# %%
def visible(space):
    """Cumulative share of sounds and of pictures in the sounds' directions, best first, and these directions."""
    directions = torch.linalg.svd(space.audio, full_matrices=False).Vh  # (D, D) rows
    shares = [(x @ directions.T).square().mean(0).cumsum(0) for x in (space.audio, space.video)]
    return *shares, directions


heard, seen, directions = visible(space)
count = int((heard < 0.9).sum()) + 1


chosen = [1, 2, 4, 6, 8, 11, 16, 24, 32, 48, 64, 96, len(heard)]
chosen = [k for k in chosen if k <= len(heard)]
lines = {
    f"share of the {name}": [shares[k - 1].item() for k in chosen]
    for name, shares in (("pictures", seen), ("sounds", heard))
}
even = {"if evenly spread": [k / len(heard) for k in chosen]}
title = f"{count} directions hold 90 % of the sounds and {seen[count - 1]:.0%} of the pictures"
plots.curves(
    chosen,
    lines,
    levels=even,
    percent=True,
    log="x",
    xlabel="directions, those of the sounds first",
    ylabel="share of the squared length",
    title=title,
)

# %%
lab.reveal(
    "04-3",
    100 * seen[count - 1].item(),
    f"spread evenly it would be {100 * count / len(heard):.1f}: a small share of a picture is enough for the game across, and the rest makes up v-v similarity",
    close=0.3,
)

# %% [markdown]
# So a large part of each picture lies where the sounds are not, and the similarity of two pictures consists mostly of that
# part. It need not be *useless*: it comes from the same network, whose features were trained. It is merely
# **unconstrained**. How well does it rank?

# %%
blind = directions[count:]
for kind, side in (("v-v", "video"), ("a-a", "audio")):
    x = getattr(space, side)
    parts = {"all": x, "seen": F.normalize(x @ directions[:count].T, dim=1), "unseen": F.normalize(x @ blind.T, dim=1)}
    print(kind, *(f"  AUC {name} {al.separation(y, y, labels).auc:.3f}" for name, y in parts.items()))

# %% tags=["claim"]
if stage.trained:
    claim("most of a picture lies outside the sounds' directions", seen[count - 1], below=0.6)
    parts = F.normalize(space.video @ blind.T, dim=1)
    claim("and that part ranks well, too", al.separation(parts, parts, labels).auc, above=0.9)

# %% [markdown]
# *Question.* The unseen part of the pictures ranks nearly as well as the whole. Why, if no term ever asked for it?
#
# <details><summary>An answer</summary>
#
# Both parts are linear read-outs of one set of features, and the loss has shaped those features: they tell the kinds of
# scenes apart. What the loss does not fix is how much weight each direction gets, and so at which *level* similarities
# end up. Invariance says that within-modal similarity *may* be arbitrary. The measurement says that here it is good at
# ranking, and that nothing ties its level to that of v-a.
#
# </details>

# %% [markdown] tags=["instructor"]
# **Teaching note (10 min).** The argument has two halves; keep them apart. (1) Invariance: a cross-modal loss *permits*
# arbitrary within-modal similarity. (2) Measurement: how much of a picture lies where the loss looks. Neither says that
# within-modal similarity must be bad: in the first figure its AUC is respectable. The claim is that it is
# *unconstrained*. For a-a, "seen" is defined by the sounds' own directions, so it is a control, not a test. Good
# question for the class: which term would you add to the loss? (Self-AVID's is the wrong answer of notebook 03; CMA's
# is the right one of notebook 06.)

# %% [markdown]
# ## Along training
#
# Here are the held-out clips at eight moments of the same run. Watch *when* blue and grey separate, and where they
# settle.


# %%
def draw_moment(moment):
    snapshot = by_step[moment]
    ax = plots.similarity_histograms({k: similarities(snapshot, k) for k in KINDS}, title=f"Step {snapshot.step}")
    ax.set_xlim(-1, 1)
    return ax


stand_ins = [reference.Snapshot(step, x.video, x.audio) for step, x in enumerate((twin, space))]  # smoke profile only
by_step = {snapshot.step: snapshot for snapshot in stage.snapshots or stand_ins}
frames(draw_moment, list(by_step), label="step", start=len(by_step) - 1)

# %% [markdown]
# ## What comes next
#
# **Cross-modal agreement** (CMA, notebooks 05 and 06) adds terms within each sense. Without labels, it finds clips that
# agree in picture *and* sound, and pulls their pictures together, and their sounds, too. Does that *separate* better,
# does it *calibrate*, or both? Here are two committed runs of equal length: AVID continued, and CMA from the same start.

# %%
lab.predict(
    "04-4", "Which of the two does CMA improve, compared with AVID?", ["separation", "calibration", "both", "neither"]
)

# %%
ends = {name: stage.other(name.lower()) if stage.trained else None for name in ("AVID", "CMA")}
table = {}
for name, run in ends.items():
    end = run.snapshots[-1] if run else stand_ins[-1]
    row = {
        f"overlap {kind}, %": 100 * al.separation(*(getattr(end, s) for s in KINDS[kind]), labels).overlap
        for kind in KINDS
    }
    for curve_name, by_kind in evaluation.curve_errors(end, labels, run.memory if run else stage.memory).items():
        if curve_name.startswith("one"):
            row[f"error of {curve_name}, points"] = 100 * sum(by_kind.values()) / 3
    table[name] = row
print(f"{'held-out, seed 0':<40}" + "".join(f"{name:>8}" for name in table))
for measure in table["CMA"]:
    print(f"{measure:<40}" + "".join(f"{row[measure]:>8.1f}" for row in table.values()))
ratio = {measure: table["CMA"][measure] / table["AVID"][measure] for measure in table["CMA"]}
parted = sum(ratio[f"overlap {kind}, %"] for kind in KINDS) / 3 < 0.95
tuned = ratio["error of one curve for all, points"] < 0.75
truth = "both" if parted and tuned else "separation" if parted else "calibration" if tuned else "neither"
lab.reveal("04-4", truth, "one seed is an anecdote, so the next cell uses all committed seeds")

# %% tags=["claim"]
if stage.trained:
    claim("CMA separates better", sum(ratio[f"overlap {kind}, %"] for kind in KINDS) / 3, below=0.95)
    claim("CMA does not calibrate", ratio["error of one curve for all, points"], between=(0.75, 1.3))

# %%
results = reference.results()
print("CMA minus AVID over all committed seeds, in points, with 95 % intervals:")
for score in ("v2v_auc", "v2v_overlap", "a2a_auc", "a2a_overlap", "v2a_auc", "v2a_overlap"):
    found_over_seeds = reference.difference(results, "cma", "avid", score)
    if found_over_seeds is None:
        print(f"{score:<13}no verdict: fewer than two seeds of each are committed")
    else:
        mean, half, _ = found_over_seeds
        print(f"{score:<13}{mean:+.1f} ± {half:.1f}   {'clear' if abs(mean) > half else 'open'}")

# %% [markdown]
# So more separation does not bring calibration: they are two properties, and CMA's loss asks for the first only. Notebook 06
# finds out why.
#
# *Question.* Three measures were said to flatter. Which one is fooled by what?
#
# <details><summary>An answer</summary>
#
# AUC is blind to levels: any increasing function leaves it alone. $d'$ assumes bell curves: a long, harmless tail of the
# grey pairs makes it smaller although nothing overlaps. ECE is perfect for a network that always answers the base rate.
# **When two measures disagree, look at the histogram before you choose the one you like.** None of them says whether a
# linear classifier improves; notebook 06 reports that.
#
# </details>
#
# ## Experiments
#
# 1. **Other curves, with intervals.** `evaluation.similarity_report(space, twin, method="isotonic")` fits any increasing
#    curve, and resamples *clips* for the intervals, because all pairs of an unusual clip are unusual together. Which ECE
#    changes? Does this fix the shared curve?
# 2. **Other pairs.** Self-AVID only compares within one modality: `stage.other("self").snapshots[-1]`. Predict its
#    three AUCs, then measure.
# 3. **Fewer relatives.** Keep only 3 clips per class. Which of AUC, overlap, ECE and Brier depend on the base rate?

# %%
lab.note("04-e", "Which experiment did you run, what did you expect, and what happened?")

# %% [markdown]
# <details><summary>What to expect</summary>
#
# 1. A kind's own curve gains little: the logistic one fitted it already. The shared curve is not repaired, whatever its
#    shape: one function cannot give the same similarity two meanings.
# 2. Within each sense it ranks better than an untrained network. Across the senses its AUC is about 0.5: no term ever
#    compared a picture with a sound.
# 3. AUC and overlap compare shares *within* each of the two groups, so the base rate does not matter to them (they only
#    become noisier). ECE and Brier are means over all pairs, and change with it.
#
# </details>

# %% [markdown]
# **If it went wrong.**
#
# * *`similarity_auc` runs out of memory:* you passed all pairs; take a sample with `some`.
# * *A reliability curve jumps at its right end:* few pairs have such a high probability. Look at the bin's count.
# * *In the `smoke` profile* nothing is trained: the cells run, but the numbers mean nothing.
#
# ## Recap
#
# * Ranking (AUC) ignores where similarities lie; calibration is only about that.
# * A probability is a promise that you can check: reliability curve, ECE. Without sharpness it is cheap, so check AUC
#   or Brier, too.
# * A cross-modal loss only constrains products across modalities. Directions that the other sense does not use are
#   free, and they make up most of within-modal similarity.
# * *Separation* and *calibration* are two properties. CMA improves the first and not the second. Standardising each kind
#   of pair by its own random pairs nearly gives one scale for all, without labels.
#
# **Further reading.** P. Morgado, N. Vasconcelos, I. Misra, *Audio-Visual Instance Discrimination with Cross-Modal Agreement*, CVPR 2021 (section on within-modal similarity).
# C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, *On Calibration of Modern Neural Networks*, ICML 2017.
# M. Pakdaman Naeini, G. Cooper, M. Hauskrecht, *Obtaining Well Calibrated Probabilities Using Bayesian Binning*, AAAI 2015 (ECE).
# J. Platt, *Probabilistic Outputs for Support Vector Machines*, 1999 (the logistic curve).
# W. Liang, Y. Zhang, Y. Kwon, S. Yeung, J. Zou, *Mind the Gap: Understanding the Modality Gap in Multi-modal Contrastive Representation Learning*, NeurIPS 2022.

# %%
lab.progress("04")

# %% [markdown]
# # 08 · What does a network know? Retrieval, neighbours, probes
#
# After this notebook you can
#
# * examine a network that was trained without labels in five ways, four of which you write yourself, and explain what
#   each examination can *not* see,
# * read a score properly: compare it with chance and with the same network untrained, and give it an interval,
# * keep a frozen network frozen, and show what happens if you do not,
# * distinguish a failure of the network from a failure of the question, by ear.
#
# **Needs:** notebook 03; 06 introduces CMA, the network that we examine. **Time:** 60 minutes to read, listen and
# write. Computing takes a little more than 1½ minutes on a laptop's CPU (one thread of a shared x86 machine), because we only train linear classifiers. GPU: not measured.

# %%
import copy
import dataclasses
import math

import torch
import torch.nn.functional as F

import avid_lab as al
from avid_lab import evaluation, plots, reference
from avid_lab.course import exercise, lab
from avid_lab.interactive import gallery
from avid_lab.interactive.embedding_map import EmbeddingMap
from avid_lab.interactive.retrieval import RetrievalExplorer
from avid_lab.interactive.search import confident_wrong
from avid_lab.metrics import estimate

stage = lab.stage("08")
clips, test_clips, pipeline = stage.clips, stage.test_clips, stage.pipeline
classes, labels, test_labels = len(clips.classes), clips.labels, test_clips.labels
results = reference.results()

# %% [markdown]
# ## What do you remember?
#
# Answer in your head, then unfold.
#
# **1.** *(02)* A network maps every clip to the same point. What is the loss of "bring each picture close to its own sound", without negatives?
#
# <details><summary>An answer</summary>
#
# The best possible one: all pairs coincide. Negatives are what makes this solution bad. In this notebook you write a score that must not be fooled by it.
#
# </details>
#
# **2.** *(03)* Why compare a picture with *sounds*, and not with other views of itself?
#
# <details><summary>An answer</summary>
#
# Two views of one picture share wallpaper, colours and camera, so these are enough to find the match. Picture and sound share only the event.
#
# </details>
#
# **3.** *(04)* Two networks have the same AUC. Does a similarity of 0.6 mean the same in both?
#
# <details><summary>An answer</summary>
#
# No. AUC measures separation: it uses only the order of the pairs. What 0.6 *means* is calibration, and any rising function of the similarity changes it without changing the AUC.
#
# </details>
#
# **4.** *(06)* Why was CMA compared with AVID *continued for as many steps*, and not with the AVID that it started from?
#
# <details><summary>An answer</summary>
#
# More steps alone help. Against the start, every continuation looks good; only equal compute shows what the positives add.
#
# </details>

# %% [markdown]
# ## Where this leads
#
# The figure shows one network, one set of held-out clips, and four examinations. Every row asks the same question,
# *what did it learn?*, and the answers lie far apart.


# %%
def committed(variant, score):
    """A score of the committed runs, one value per seed."""
    return [run["scores"][score] for run in results["runs"] if run["variant"] == variant]


EXAMINATIONS = {
    "a picture finds its very own sound among 10": "v2a_recall_at_10",
    "the 10 sounds it finds are of its class": "v2a_precision_at_10",
    "20 nearest pictures vote on its class": "video_knn",
    "a linear classifier reads its class": "video_probe",
}
blank_scores = list(results["untrained"].values())
seen = {words: committed("cma", score) for words, score in EXAMINATIONS.items()}
blank = {words: [scores[score] for scores in blank_scores] for words, score in EXAMINATIONS.items()}
chance = {words: results["chance"][score] for words, score in EXAMINATIONS.items()}
means = [100 * sum(values) / len(values) for values in seen.values()]
title = f"One network scores {min(means):.0f} to {max(means):.0f} % (committed runs)"
plots.seed_rows(seen, blank, chance, label="CMA (dots: seeds)", xlabel="score on held-out clips", title=title)

# %% tags=["claim"]
claim("the answers lie far apart", max(means) - min(means), above=20)

# %% [markdown]
# ## The set-up: frozen, held out, and with a twin
#
# Examinations may *learn from* the training clips (the network never saw their labels) and *judge* on held-out clips.
# The network runs in evaluation mode, without augmentation, and we average the embeddings of two windows of each clip.
# It also has a **twin**: the same architecture with random weights. The twin's batch-norm statistics come from real
# clips, so the comparison is fair. Whatever the twin can do did not come from learning.

# %%
train, test = stage.embeddings, stage.test_embeddings
twin = evaluation.random_twin(stage.model, clips, pipeline)
blank_train, blank_test = (evaluation.embed(twin, part, pipeline) for part in (clips, test_clips))
print(f"{len(clips):,} training and {len(test_clips):,} held-out clips of {classes} classes; {stage.label}")
print(f"embeddings {tuple(test.video.shape)} for comparing, features {tuple(test.video_features.shape)} for probing")

# %% [markdown]
# ## 1. Retrieval: find the other half
#
# A picture asks, and all held-out sounds answer, sorted by similarity. Does it find *its own*? Recall at $k$ is the
# share of queries whose target is among the first $k$:
#
# $$ \text{R@}k \;=\; \frac1N \sum_i \big[\, r_i \le k \,\big], \qquad r_i = \big|\{\, j : s_{ij} \ge s_{ii} \,\}\big| \quad\text{(the rank of the target of } i\text{)}. $$
#
# **Exercise ●○○.** Mind the ties: an item with the *same* score as the target ranks before it. Why so strict? Think of a
# network that gives every pair the same score.


# %%
@exercise("recall_at_k")
def recall_at_k(score, k):
    """score (N, N), row i: scores of query i, whose target is item i -> share of queries with the target in the top k.

    An item with the target's own score ranks before the target.
    """
    ...


# %%
lab.predict(
    "08-1",
    f"One of {len(test_clips)} sounds is a picture's own. For how many pictures is it among the first 10?",
    low=0,
    high=100,
    unit="%",
)

# %%
ks = [k for k in (1, 2, 5, 10, 20, 50, 100, 200) if k < len(test_clips)]
asked = {"picture → sound": test.video @ test.audio.T, "sound → picture": test.audio @ test.video.T}
asked["untrained, picture → sound"] = blank_test.video @ blank_test.audio.T
recalls = {name: [float(recall_at_k(score, k)) for k in ks] for name, score in asked.items()}
first = recalls["picture → sound"][0]
ten = max(i for i, k in enumerate(ks) if k <= 10)
lab.reveal(
    "08-1",
    100 * recalls["picture → sound"][ten],
    "compare it with chance before you judge, and read on to judge the question",
)
title = f"The nearest sound is the right one for {100 * first:.0f} % of pictures ({lab.credit('recall_at_k')})"
levels = {"chance, k / N": [k / len(test_clips) for k in ks]}
plots.curves(ks, recalls, levels, log="x", percent=True, xlabel="k", ylabel="own clip in the first k", title=title)

# %% [markdown]
# Now the worst network there is. It gives *every* pair the same score.

# %%
collapsed = torch.ones(len(test_clips), len(test_clips))
at = min(10, len(test_clips) - 1)
strict, chance_at = float(recall_at_k(collapsed, at)), at / len(test_clips)
kind = float(((collapsed > collapsed.diagonal()[:, None]).sum(1) < at).double().mean())
print(f"collapsed, recall at {at}: {100 * strict:.1f} % (by chance {100 * chance_at:.1f} %)")
print(f"the same with > instead of >= (ties count as found): {100 * kind:.0f} %")

# %% [markdown]
# One character decides between nothing and perfection. Ties are rare in a healthy network, so nobody notices the wrong
# rule until the day on which it matters. An alternative that is fair on average gives the target a random place among
# its equals; then a collapsed network is exactly at chance. We take the strict rule: whoever does not tell two items
# apart has not found one.

# %% [markdown]
# Back to the trained network. Disappointing at $k=1$? Think about the question. The held-out clips include nearly twenty bouncing balls, and nothing
# in a picture says which of twenty thuds belongs to *this* ball. So recall by **instance** asks in part for something
# that cannot be known. That is why we ask again by **class**: any sound of the query's kind is a hit. We also ask
# within a modality: by instance, the target is the same clip at another moment; by class, the query itself is excluded.
#
# **Mean average precision** uses the whole ranking instead of one cut-off. With $r_{i1} < r_{i2} < \dots$ the ranks of
# the $n_i$ right answers of query $i$,
#
# $$ \text{mAP} = \frac1N \sum_i \frac1{n_i} \sum_{m=1}^{n_i} \frac{m}{r_{im}} . $$

# %%
directions = ["v→a", "a→v", "v→v", "a→a"]
lab.predict("08-2", "By class, which direction has the highest mean average precision?", directions)

# %%
found = evaluation.retrieval_table(test, blank_test)
rows = [row for kind in ("instance", "class") for d in directions if (row := f"{d} {kind} mAP") in found]
by_class = {d: found[f"{d} class mAP"].value for d in directions if f"{d} class mAP" in found}
best = max(by_class, key=by_class.get)
hardest = min((row for row in rows if "instance" in row), key=lambda row: found[row].value)
lab.reveal("08-2", best, "look at the intervals before you build a story on it")
title = f"By class, {best} does best; {hardest.removesuffix(' mAP')} is hardest"
plots.estimate_rows(found, rows=rows, xlabel="mean average precision, 95 % intervals over clips", title=title)

# %% tags=["claim"]
across = [(found[f"{d} instance mAP"].value, found[f"{d} class mAP"].value) for d in ("v→a", "a→v")]
claim("across the senses, by class is far easier than by instance", min(b - a for a, b in across), above=0.15)
claim(
    "across modalities the twin is at chance", found["v→a class mAP"].random - found["v→a class mAP"].chance, below=0.03
)
claim("within a modality even the twin finds some pictures", found["v→v instance mAP"].random, above=0.05)

# %% [markdown]
# Read it in pairs. Across the senses, *by instance* is hard and *by class* is far easier: the network knows **what** it
# sees better than **which one**. Within a modality, the same clip at another moment is easy to find, since wallpaper
# and pitch stay the same; even the untrained twin (rings) finds some pictures that way. Across modalities the twin is
# at chance: nothing comes for free there.
#
# The same rankings as medians:

# %%
for name in ("v→a instance median rank", "v→a class median rank", "v→a instance R@1", "v→a class R@1"):
    print(f"{name:<26} {found[name]}")

# %% [markdown]
# ## What an interval says, and what it does not
#
# The intervals are **bootstraps**: resample the clips with replacement, compute the score again, and repeat this a
# thousand times. The middle 95 % is the interval. It answers *"what if we had other held-out clips of the same kind?"*
# It does **not** answer *"what if I had trained with another seed?"* Only training with other seeds answers that, and
# the committed runs did.

# %%
for name, row in (("v2a_recall_at_10", "v→a instance R@10"), ("v2a_precision_at_10", None), ("video_knn", None)):
    values = 100 * torch.tensor(committed("cma", name))
    text = f"{name:<20} committed seeds: {', '.join(f'{x:.1f}' for x in values)}"
    if row in found:
        text += f";  bootstrap of seed {stage.seed}: {100 * found[row].low:.1f} to {100 * found[row].high:.1f}"
    print(text)

# %% [markdown]
# **Think.** What is random in one training run, and which of it does each of the two intervals hold fixed? How much can
# a handful of seeds show?
#
# <details><summary>An answer</summary>
#
# Random are the initial weights, the order of the batches, windows and crops, the negatives, and the start of the
# memory. The bootstrap over clips holds *all* of it fixed: it compares *these* weights. An interval over seeds varies
# it, and holds the clips fixed. A paper that bootstraps its test items to show that *method A* beats *method B* has
# shown that its one pair of networks differs, no more. A handful of seeds shows little: Student's interval is
# 2.8 standard errors wide on each side for five seeds and 4.3 for three, so a difference must be large against its
# spread.
#
# </details>

# %% [markdown] tags=["instructor"]
# **Teaching note (8 min).** Let students name everything that is random before they unfold the answer. The most common
# misreading of an interval in papers is the one named there.

# %% [markdown]
# ## Ask your own questions
#
# Every point is a clip, ordered by its similarity to the query. Click one to play it next to the query; choose another
# direction; *next failure* goes to the worst queries. Upload or record your own clip: the network has never seen one.
# (A published notebook shows a still picture. Run the cell to get the live panel.)

# %%
explorer = RetrievalExplorer(test, test_clips, stage.model, pipeline)
explorer

# %%
lab.note("08-1", "Find a query whose ten answers are all wrong. Is it the network's fault, or the question's?")

# %% [markdown]
# <details><summary>An answer</summary>
#
# Check three things, in this order. *The clip:* is its sound off-screen, silent or buried in noise? Then no network could
# know. *The question:* do the ten answers sound like the picture (a typewriter for a clock)? Then another label would
# have called them right. *The network:* only if both are in order, and a person would know the answer at once, is it the
# network's mistake. Most all-wrong queries fall into the first two groups.
#
# </details>

# %% [markdown]
# This is the same space as a map, along training: pictures on the left, sounds on the right, with a line for each clip.
# The map shows two directions of 128, so trust neighbours only if the explorer above confirms them.

# %%
shown = stage.snapshots if stage.trained else (test.video, test.audio)
EmbeddingMap(shown, test_labels, test_clips.classes, paths=[test_clips.path(i) for i in range(len(test_clips))])

# %% [markdown]
# ## 2. Neighbours that vote
#
# Retrieval asks about rankings. The simplest *classifier* needs nothing more: let the $k$ nearest training clips vote.
# It has no parameters to fit, so it judges the geometry as it is.
#
# **Exercise ●●○.** Write the vote.


# %%
@exercise("knn_predict")
def knn_predict(train, train_labels, test, k):
    """train (N, F), train_labels (N,), test (M, F) -> (M,): the most common class of the k nearest by cosine similarity.

    Classes are 0, 1, 2, ...; if they tie, the lower one wins.
    """
    ...


# %%
voters = [k for k in (1, 3, 5, 10, 20, 50, 100, 200, 400, 800) if k <= len(clips)]
votes = {
    "pictures": [(knn_predict(train.video, labels, test.video, k) == test_labels) for k in voters],
    "sounds": [(knn_predict(train.audio, labels, test.audio, k) == test_labels) for k in voters],
    "untrained, pictures": [
        (knn_predict(blank_train.video, labels, blank_test.video, k) == test_labels) for k in voters
    ],
}
guess = al.metrics.chance_accuracy(labels, test_labels)
accuracy = {name: [estimate(hit.double()) for hit in hits] for name, hits in votes.items()}
top = max(range(len(voters)), key=lambda i: accuracy["pictures"][i].value)
title = f"Pictures are classified best with k = {voters[top]} ({lab.credit('knn_predict')})"
plots.curves(
    voters,
    accuracy,
    {"chance": guess},
    log="x",
    percent=True,
    xlabel="k (neighbours that vote)",
    ylabel="accuracy, with 95 % intervals",
    title=title,
)

# %% [markdown]
# The plateau is long. The curve can only drop where $k$ exceeds the size of a class (about 75 training clips), because
# strangers must vote then. Which classes do the voters confuse? Rows are true classes, columns are predicted ones.

# %%
k = min(20, len(clips))
matrices = {}
for name, (bank, query) in {"pictures": (train.video, test.video), "sounds": (train.audio, test.audio)}.items():
    predicted = knn_predict(bank, labels, query, k)
    matrices[name] = torch.zeros(classes, classes).index_put((test_labels, predicted), torch.ones(1), accumulate=True)


def worst_pair(matrix):
    """The two classes that are confused most, in words."""
    wrong = (matrix + matrix.T).fill_diagonal_(0).triu()
    row, column = divmod(int(wrong.argmax()), classes)
    return f"{clips.classes[row]} and {clips.classes[column]}".replace("_", " ")


plots.confusion(matrices["sounds"], clips.classes, title=f"Confused sounds: mostly {worst_pair(matrices['sounds'])}")

# %%
for name, matrix in matrices.items():
    right = 100 * matrix.diagonal().sum() / matrix.sum()
    print(f"{name:>9}: {right:.1f} % right; confused most: {worst_pair(matrix)}")

# %% [markdown]
# ## 3. A linear probe
#
# A vote gives all directions of the space the same weight. A **linear probe** can *choose*: it fits a weight to each
# feature and shows what a linear classifier can find. The paper's tables are linear probes of the frozen network (of
# its features before the head, which keep more than the embedding). One step of softmax regression, with the features
# $\mathbf x$ fixed:
#
# $$ \mathbf p = \operatorname{softmax}(W\mathbf x + \mathbf b), \qquad W \leftarrow W - \eta\,\tfrac1B \sum_i (\mathbf p_i - \mathbf y_i)\,\mathbf x_i^\top, \qquad \mathbf b \leftarrow \mathbf b - \eta\, \tfrac1B \sum_i (\mathbf p_i - \mathbf y_i). $$
#
# **Exercise ●●○.** Write this step, by hand or with autograd.


# %%
@exercise("linear_probe_step")
def linear_probe_step(features, labels, weight, bias, learning_rate):
    """features (B, F), labels (B,), weight (C, F), bias (C,) -> (weight, bias) after one step of gradient descent.

    The loss is softmax cross-entropy, averaged over the batch. The features are frozen; what is given stays as it is.
    """
    ...


# %%
def probe_by_hand(features, test_features, steps=200, rate=1.0):
    """Held-out accuracy after every tenth step of full-batch gradient descent."""
    mean, deviation = features.mean(0), features.std(0).clamp(min=1e-5)
    x, y = (features - mean) / deviation, (test_features - mean) / deviation  # statistics of the *training* clips only
    weight, bias = torch.zeros(classes, x.shape[1]), torch.zeros(classes)
    seen = []
    for step in range(steps + 1):
        if step % 10 == 0:
            seen.append(((y @ weight.T + bias).argmax(1) == test_labels).double().mean().item())
        weight, bias = linear_probe_step(x, labels, weight, bias, rate)
    return seen


steps = 200 if stage.trained else 20
by_hand = {
    "pictures": probe_by_hand(train.video_features, test.video_features, steps),
    "sounds": probe_by_hand(train.audio_features, test.audio_features, steps),
    "untrained pictures": probe_by_hand(blank_train.video_features, blank_test.video_features, steps),
}
optimum = evaluation.linear_probe(train.video_features, labels, test.video_features, test_labels)
ends = ", ".join(f"{name} {100 * values[-1]:.1f} %" for name, values in by_hand.items())
print(f"after {steps} steps ({lab.credit('linear_probe_step')}): {ends}")
print(f"pictures at the optimum of the library's regularised probe (L-BFGS): {100 * optimum:.1f} %")

# %% [markdown]
# A few steps are enough, because nothing deep is fitted. The library's `fit_linear` finds the optimum with L-BFGS, so
# there is no learning rate to tune and no seed to average over.
#
# ### Exercise ●●●: the whole examination
#
# One number is still chosen by hand: how strongly large weights are *penalised*. Whoever chooses it on the held-out clips
# has learned from the exam. So set a part of the *training* clips aside, let them choose, and then fit again with all.
# With squared errors instead of cross-entropy, each fit is one system of linear equations (*ridge regression*):
#
# $$ \min_{W, \mathbf b} \; \lVert XW + \mathbf b - Y \rVert^2 + \lambda \lVert W \rVert^2
# \qquad\Longrightarrow\qquad (X_c^\top X_c + \lambda I)\, W = X_c^\top Y_c . $$
#
# $X$ are the features, $Y$ has a 1 for the class of each clip and 0 elsewhere, and $c$ means that the mean over the fitted
# clips was subtracted. Why that takes care of $\mathbf b$ is the first thing to find out.


# %%
@exercise("ridge_probe")
def ridge_probe(train, labels, test, held, penalties):
    """A linear probe by least squares, which chooses its own penalty.

    train (N, F), labels (N,), test (M, F): features; held (N,): True for training clips that only help to choose;
    penalties (P,) -> (scores (M, C) of all classes, the chosen penalty).

    A fit minimises ||X W + b - Y||^2 + penalty ||W||^2, where Y has a 1 for the class of each clip, else 0; b is free. The
    penalty with the most held clips right is chosen (the first of equals); then *all* training clips are fitted with it.
    """
    ...


# %%
aside = torch.arange(len(clips)) % 5 == 0  # one in five training clips chooses
penalties = torch.logspace(0, 5, 6)
print(f"one linear probe, fitted in two ways, per cent right ({lab.credit('ridge_probe')})")
print(f"{'':<20}{'ridge':>8}{'penalty':>11}{'softmax, L-BFGS':>18}")
for name, (known, asked) in {
    "pictures": (train.video_features, test.video_features),
    "sounds": (train.audio_features, test.audio_features),
    "untrained pictures": (blank_train.video_features, blank_test.video_features),
}.items():
    mean, deviation = known.mean(0), known.std(0).clamp(min=1e-5)
    known, asked = (known - mean) / deviation, (asked - mean) / deviation
    scores, penalty = ridge_probe(known, labels, asked, aside, penalties)
    by_ridge = (scores.argmax(1) == test_labels).double().mean()
    by_softmax = evaluation.linear_probe(known, labels, asked, test_labels)
    print(f"{name:<20}{100 * by_ridge:>8.1f}{penalty:>11,.0f}{100 * by_softmax:>18.1f}")

# %% [markdown]
# **Think.** Squared errors punish a score of 3 for the right class as much as a score of -1. Why does such a probe work all
# the same? And why must the clips that choose the penalty be neither the fitted ones nor the held-out ones?
#
# <details><summary>An answer</summary>
#
# Only the order of the scores decides, and a least-squares fit puts the right class first wherever the classes are about
# linearly separable, even though its scores are no probabilities. On the fitted clips, the smallest penalty always looks
# best, because it fits them most closely. On the held-out clips, the choice would fit *them*: the more penalties you try,
# the more luck goes into the best one, and the reported number is too high.
#
# </details>
#
# ## Frozen means frozen
#
# "I froze the network: its weights are not in my optimizer, and it runs under `no_grad`." That is *not* enough. A
# network in **train mode** also updates its batch-norm statistics in every forward pass:
#
# $$ \boldsymbol\mu \leftarrow 0.9\,\boldsymbol\mu + 0.1\,\boldsymbol\mu_\text{batch} . $$

# %%
lab.predict(
    "08-3",
    "The network makes one pass over the training clips in train mode, under no_grad, sorted by class as in folders. "
    "What happens to a probe that was fitted before?",
    ["nothing, no weight moved", "its accuracy rises", "its accuracy falls"],
)


# %%
classifier = evaluation.fit_linear(train.video_features, labels, classes)


def one_pass(order, training):
    """The probe's hits on a copy of the network after one pass over the clips without any gradient."""
    network = copy.deepcopy(stage.model).train(training)
    with torch.no_grad():
        for index in order.split(32):
            if len(index) > 1:
                network.video_encoder(pipeline(clips.batch(index))[0])
    now, before = network.state_dict(), stage.model.state_dict()
    weights = sum(not torch.equal(w, b) for w, b in zip(network.parameters(), stage.model.parameters(), strict=True))
    moved = [name for name in now if name.startswith("video") and not torch.equal(now[name], before[name])]
    seen = evaluation.embed(network.eval(), test_clips, pipeline, windows=2)
    hits = (classifier(seen.video_features).argmax(1) == test_labels).double()
    print(f"{weights} weights and {len(moved):3d} batch-norm statistics moved: probe {100 * hits.mean():.1f} %")
    return estimate(hits)


shuffled = torch.randperm(len(clips), generator=torch.Generator().manual_seed(0))
after = {
    "eval mode, any order": one_pass(shuffled, training=False),
    "train mode, shuffled": one_pass(shuffled, training=True),
    "train mode, class by class": one_pass(labels.argsort(stable=True), training=True),
}

# %%
lost = after["train mode, class by class"] - after["eval mode, any order"]  # paired: the same clips
truth = (
    "nothing, no weight moved"
    if lost.low <= 0 <= lost.high
    else f"its accuracy {'rises' if lost.value > 0 else 'falls'}"
)
lab.reveal(
    "08-3",
    truth,
    "the statistics come from the last twenty batches or so, and sorted by class those show less than half of the classes",
)
change = f"{100 * lost.value:+.1f} points [{100 * lost.low:+.1f}, {100 * lost.high:+.1f}]"
plots.estimate_rows(after, xlabel="held-out accuracy of the same probe", title=f"Class by class: {change}")

# %% [markdown]
# Shuffled batches hide the fault, which is why it survives: the paper's own released probe has it. Look for it whenever
# you cannot reproduce a "frozen" result. `evaluation.embed` puts everything in evaluation mode, then restores the mode
# of each layer.
#
# ## How few labels?
#
# Self-supervision does not promise a better score with all labels. It promises a *good* score with few.

# %%
fractions = (0.01, 0.03, 0.1, 0.3, 1.0)
few = evaluation.label_fraction_table(train, test, (blank_train, blank_test), fractions=fractions, draws=3)
panels, shares = {}, [100 * f for f in fractions]
for modality in ("video", "audio"):
    rows = [few[f"{modality}, {share:g} % of labels"] for share in shares]
    title = f"{modality}: 1 % of labels {100 * rows[0].value:.0f} %, all {100 * rows[-1].value:.0f} %"
    panels[title] = {"CMA, frozen": rows, "untrained": [row.random for row in rows]}
plots.curve_panels(
    shares, panels, {"chance": guess}, log="x", percent=True, xlabel="labels used, %", ylabel="held-out accuracy"
)

# %% tags=["claim"]
cheap, dear = few["video, 1 % of labels"], few["video, 100 % of labels"]
claim(
    "with 1 % of the labels the frozen network beats the untrained one with all", cheap.value - dear.random, above=0.0
)

# %% [markdown]
# One per cent is a single clip of each class. The interval covers both the choice of that clip and the choice of
# held-out clips. For pictures, *one* labelled clip of each class on top of learned features is worth more than *all*
# labels on top of random ones.
#
# ## Which block knows the class?
#
# The paper probes every block, and later blocks are better: on Kinetics, Cross-AVID reaches 19.8, 27.0, 34.8 and 40.0 %
# from block 1 to block 4. Here are ours, from the committed runs:


# %%
models = {"CMA": "cma", "Self-AVID": "self", "untrained": None}
panels, depth = {}, (1, 2, 3, 4)
for modality in ("video", "audio"):
    lines = {}
    for name, variant in models.items():
        scores = [f"{modality}_block{n}" for n in depth]
        runs = [committed(variant, s) if variant else [seed[s] for seed in blank_scores] for s in scores]
        lines[name] = [sum(values) / len(values) for values in runs]
    ends = [100 * lines["untrained"][n] for n in (0, -1)]
    panels[f"{modality}, untrained: {ends[0]:.0f} % falls to {ends[1]:.0f} %"] = lines
levels = {"chance": results["chance"]["video_block1"]}
plots.curve_panels(depth, panels, levels, percent=True, xlabel="block", ylabel="linear probe")

# %% tags=["claim"]
pictures, sounds = panels.values()
claim(
    "block 1 of a network that has learned nothing reads most classes of pictures", pictures["untrained"][0], above=0.7
)
claim("untrained, it falls by far with depth", pictures["untrained"][0] - pictures["untrained"][3], above=0.3)
flat = [max(lines["CMA"]) - min(lines["CMA"]) for lines in (pictures, sounds)]
claim("trained, the four blocks are nearly alike", max(flat), below=0.08)
claim(
    "Self-AVID: the deeper, the less is left of the class",
    pictures["Self-AVID"][0] - pictures["Self-AVID"][3],
    above=0.1,
)

# %% [markdown]
# Nothing rises here as in the paper. Trained, our four blocks are nearly alike, which has a cause that you know: the
# heads of the pocket model see *all* blocks, so the loss trains each of them to say what it can. Self-AVID's blocks were
# trained, too, but to tell clips apart by what they look like; the deeper, the less is left of the class. But the
# **untrained** curve is the riddle. The first block of a network that has learned *nothing* reads most classes, and every further
# random block loses some of it. Before you distrust the code, ask what a probe of block 1 gets. It gets a *map*, not a
# vector: 16 channels on 12 × 12 places, 2,304 numbers that say **what is where**. Our hypothesis: in our tidy world
# each object has its usual place, so *where* gives the class away. A fair test keeps all 2,304 numbers and forgets only
# the places: **sort** the 144 values of each channel.

# %%
options = ["it stays within 5 points", "it falls, but stays above block 4", "it falls below block 4"]
lab.predict("08-4", "What happens to the probe of untrained block 1 without the places?", options)


# %%
def first_block(network):
    """(N, 16, h, w) maps of the first video block, of training and held-out clips; and (N, F) of the last one."""
    parts = [evaluation.block_features(network, part, pipeline, windows=1) for part in (clips, test_clips)]
    maps = [part.video["block1"][:, 0].unflatten(1, (16, -1)) for part in parts]  # (N, 16, places)
    return maps, [part.video["block4"][:, 0] for part in parts]


def pixels(part):
    """(N, 3, places): the frames' mean over time on 12 x 12 places, no network at all."""
    batches = torch.arange(len(part)).split(128)
    frames = torch.cat([pipeline(part.windows(index, 1))[0].mean(2) for index in batches])
    return F.adaptive_avg_pool2d(frames, 12).flatten(2)


def forget(pair):
    """The same numbers, without the places that they came from."""
    return [x.sort(2).values for x in pair]


def read(pair):
    """Held-out accuracy of a linear probe on two (N, ...) features."""
    x, y = (part.flatten(1) for part in pair)
    return evaluation.linear_probe(x, labels, y, test_labels, steps=60)


(maps, last), (ours, ours_last) = first_block(twin), first_block(stage.model)
colours = [pixels(part) for part in (clips, test_clips)]
where = {
    "pixels, no network": read(colours),
    "pixels, places forgotten": read(forget(colours)),
    "untrained block 1": read(maps),
    "untrained block 1, places forgotten": read(forget(maps)),
    "untrained block 4": read(last),
    "trained block 1": read(ours),
    "trained block 1, places forgotten": read(forget(ours)),
    "trained block 4": read(ours_last),
}

# %%
full, forgot, deep = (where[f"untrained block {name}"] for name in ("1", "1, places forgotten", "4"))
lab.reveal(
    "08-4",
    options[0] if forgot > full - 0.05 else options[1] if forgot > deep else options[2],
    "layout goes with the places; texture and colour stay",
)
title = f"Untrained block 1: {100 * full:.0f} % with places, {100 * forgot:.0f} % without them"
plots.accuracy_bars(where, guess, xlabel="held-out accuracy of a linear probe, one window a clip", title=title)

# %% [markdown]
# This is no miracle. Raw pixels, averaged over time, already explain a good part of it without any network; random
# filters add contours. The difference within each pair of bars shows what *places* are worth. The rest beats block 4
# for a simple reason: 2,304 numbers hold more than 128. A probe measures the data and the features **together**, and an
# easy world makes weak features look good. In real video the camera and the subject move; there the map of block 1 is
# worth less, and the paper's order holds. To see what learning added, look at features without places, and always at
# the distance to the *twin*.
#
# **Think.** Why did we *sort* each channel's values? Averaging them would forget the places, too.
#
# <details><summary>An answer</summary>
#
# An average leaves 16 numbers instead of 2,304. If the probe then fell, you could not tell whether the *places* were
# missing or the *number of features*. Sorting changes one thing and holds the other fixed. (16 random mixtures of the
# whole map, places included, do no better than 16 averages: the number of features matters that much.) Random features
# in great number are useful in general; this is why a "pixels" and an "untrained" row belong in every table of probes.
#
# </details>

# %% [markdown] tags=["instructor"]
# **Teaching note (10 min).** Students like to "explain" a surprising number before checking it. Stop after the figure
# of blocks, collect hypotheses (a bug, leakage between splits, lucky seeds, random features are good), and ask which
# experiment would refute each of them. The tests in the cell (forget the places, raw pixels) refute or confirm. That
# random features can be good is the idea behind reservoir computing and random kitchen sinks. Discussion: do you know a
# benchmark with a "pixels" baseline?

# %% [markdown]
# ## Equal compute: CMA against AVID continued
#
# Now use the examinations for their purpose. CMA and AVID both continued the same run for equally many steps. They are
# judged on the same clips, so the differences are **paired**: each resample draws the same clips for both, which
# cancels what is hard for both.

# %%
lab.predict("08-5", "Out of ten scores, in how many is CMA ahead of AVID with an interval above zero?", low=0, high=10)

# %%
other = stage.other("avid").model() if stage.trained else twin
avid_train, avid_test = (evaluation.embed(other, part, pipeline) for part in (clips, test_clips))


def examined(train, test):
    """Ten scores of one network."""
    retrieved = evaluation.retrieval_table(test)
    rows = {
        name: retrieved[name]
        for name in retrieved
        if name.endswith(("class mAP", "→v instance R@10", "→a instance R@10"))
    }
    rows |= {f"{m} kNN": row for m, row in evaluation.knn_table(train, test).items()}
    rows |= {
        f"{m} probe": evaluation.label_fraction_table(train, test, fractions=(1.0,))[f"{m}, 100 % of labels"]
        for m in ("video", "audio")
    }
    return {name: row for name, row in rows.items() if name[:3] not in ("v→v", "a→a") or "class" in name}


ours, theirs = examined(train, test), examined(avid_train, avid_test)
gains = {name: ours[name] - theirs[name] for name in ours}


ahead, behind = sum(g.low > 0 for g in gains.values()), sum(g.high < 0 for g in gains.values())
lab.reveal("08-5", ahead, "these intervals know nothing of other seeds; read on", close=0.1)
title = f"These two networks: CMA ahead in {ahead}, behind in {behind}, undecided in {len(gains) - ahead - behind}"
plots.differences(gains, xlabel="CMA minus AVID, in points, paired 95 % intervals over clips", title=title)

# %% [markdown]
# This is one pair of networks. "CMA is better at retrieval" would be a statement about *all* seeds, so ask the committed
# runs, which trained both with several. The intervals below are over seeds: they are wider, and they are the ones that
# count for a method.

# %%
SCORES = {
    "v2v_overlap": "overlap of pictures (less is better)",
    "a2a_overlap": "overlap of sounds (less is better)",
    "v2v_auc": "AUC of pictures",
    "a2a_auc": "AUC of sounds",
    "v2v_precision_at_10": "ten nearest pictures of a picture",
    "a2a_precision_at_10": "ten nearest sounds of a sound",
    "v2a_precision_at_10": "ten nearest sounds of a picture",
    "a2v_precision_at_10": "ten nearest pictures of a sound",
    "video_probe": "linear probe of pictures",
    "audio_probe": "linear probe of sounds",
}


def by_seed(variant, score):
    """A score of the committed runs in per cent, by seed."""
    return {run["seed"]: 100 * run["scores"][score] for run in results["runs"] if run["variant"] == variant}


pairs = {words: (by_seed("cma", score), by_seed("avid", score)) for score, words in SCORES.items()}
over_seeds = {
    words: [ours[s] - theirs[s] for s in sorted(ours.keys() & theirs.keys())] for words, (ours, theirs) in pairs.items()
}
plots.seed_differences({"CMA minus AVID": over_seeds}, title="All committed seeds, dot by dot")

# %% tags=["claim"]
claim("CMA separates: overlap of pictures falls", sum(over_seeds["overlap of pictures (less is better)"]), below=0)
claim("CMA separates: overlap of sounds falls", sum(over_seeds["overlap of sounds (less is better)"]), below=0)

# %% [markdown]
# Look for a pattern in *which kind* of score moves. Overlap and AUC (notebook 04) put the similarities of **all** pairs on
# one scale: they measure **separation**. Neighbours measure it locally, within each query's own list. The linear probe
# asks what can be *found*, and AVID's features hold that already. So agreement puts in order what was there, more than it
# adds to it. It does not *calibrate* either: notebook 06 shows that what a similarity means stays as unclear as before. (On
# Kinetics the released models do gain in the probe, 43.0 to 44.4 %.) Where an interval contains zero, the data do not
# decide, whatever the sign of the dot. Choose the examination for your use case *before* you see the numbers.

# %% [markdown]
# ## Has the space collapsed?
#
# A contrastive loss can fail silently: all embeddings end up close together, or along a few directions. Three gauges
# detect this (Wang and Isola; Roy and Vetterli):
#
# * **alignment** $\;\mathbb E\,\|\mathbf v_i - \mathbf a_i\|^2$: how far apart partners are; 0 is perfect, 2 is
#   unrelated,
# * **uniformity** $\;\log \mathbb E_{i \ne j}\, e^{-2 \|\mathbf x_i - \mathbf x_j\|^2}$: how evenly the sphere is filled; 0 is a single point, lower is more even,
# * **effective rank** $\;\exp\big(-\sum_d p_d \log p_d\big)$ with $p$ the normalised singular values: how many directions are in use.
#
# Before you trust them, try a trick: append the same constant, 2, to every embedding as a 129th coordinate, and
# normalise to length one again.

# %%
lab.predict(
    "08-6", "What does that do to retrieval (recall at 10)?", ["it falls to chance", "it falls a little", "nothing"]
)


# %%
def glued(x, constant=2.0):
    """(..., D) unit rows with one more coordinate, the same for all, normalised again."""
    return F.normalize(F.pad(x.double(), (0, 1), value=constant), dim=-1)


sides = ("video", "audio", "video_windows", "audio_windows")
squeezed = dataclasses.replace(test, **{side: glued(getattr(test, side)) for side in sides})
ten = min(10, len(test_clips) - 1)
before, now = (float(recall_at_k(space.video.double() @ space.audio.double().T, ten)) for space in (test, squeezed))
truth = (
    "nothing"
    if abs(now - before) < 0.005
    else "it falls a little"
    if now > 3 * ten / len(test_clips)
    else "it falls to chance"
)
lab.reveal("08-6", truth, "every pair gets (s + 4) / 5 instead of s, which changes no ranking")
gauges = {
    "as trained": evaluation.collapse_table(test, blank_test),
    "with 2 glued on": evaluation.collapse_table(squeezed),
}
plots.collapse_panels(gauges, title=f"Recall at 10 stays at {100 * now:.1f} %, but every measure changes")

# %% [markdown]
# *Retrieval only sees order.* These measures see spread, and so does anything that uses the similarity as a **number**: a
# threshold, a temperature, another modality's scale. No single examination sees everything, which is why there are
# several.
#
# ## Failures worth hearing
#
# Our world knows what is wrong with its clips: some are silent, some are buried in noise, some have the sound of
# another scene (off-screen). How many of the network's mistakes come from these?

# %%
truth = {
    name: torch.tensor([x == "1" for x in test_clips.manifest.column(name)])
    for name in ("off_screen", "silent", "noisy")
}
truth["second sound"] = torch.tensor([x != "" for x in test_clips.manifest.column("sound_distractor")])
truth["intact"] = ~torch.stack(list(truth.values())).any(0)
near = {"v→a": (test.video @ test.audio.T).topk(ten).indices, "a→v": (test.audio @ test.video.T).topk(ten).indices}
right = {d: (test_labels[near[d]] == test_labels[:, None]).double().mean(1) for d in near}  # (N,): precision at 10
for name, which in truth.items():
    if which.any():
        shares = "   ".join(
            f"{d} {100 * row.value:5.1f} % [{100 * row.low:.0f}, {100 * row.high:.0f}]"
            for d, row in ((d, estimate(x[which])) for d, x in right.items())
        )
        print(f"{name:<13}{int(which.sum()):4d} clips   precision at 10: {shares}")

# %% [markdown]
# Look at *off-screen*. The label names what you **see**; a sound can only know what you **hear**.

# %%
kinds = ["what is seen", "what is heard", "neither"]
lab.predict("08-7", "An off-screen sound asks for pictures. What do most of the ten show?", kinds)

# %%
heard = torch.tensor([test_clips.classes.index(name) for name in test_clips.manifest.column("heard_scene")])
answers = test_labels[near["a→v"][truth["off_screen"]]]  # (n, 10): what the pictures show
seen, sound = ((answers == x[truth["off_screen"], None]).double() for x in (test_labels, heard))
shares = (
    torch.stack([seen.mean(), sound.mean(), 1 - seen.mean() - sound.mean()])
    if len(answers)
    else torch.tensor([0.0, 0, 1])
)
lab.reveal(
    "08-7",
    kinds[int(shares.argmax())],
    f"{100 * shares[1]:.0f} % show what is heard, {100 * shares[0]:.0f} % what is seen",
)

# %% [markdown]
# If the answer is *what is heard*, the network was right and our label was the wrong question. So set the faulty clips
# aside, and listen to the network's **own** mistakes: intact sounds that are the most confident about a wrong picture.
# Each pair shows the clip that asked, then the clip whose picture it chose. Play both. Would you have known?

# %%
sure = confident_wrong(test.audio, test.video, test_labels.numpy())
worst = [i for i in torch.from_numpy(sure).argsort(descending=True).tolist() if truth["intact"][i]][:3]
chosen = [int(near["a→v"][i, 0]) for i in worst]
pairs = [i for pair in zip(worst, chosen, strict=True) for i in pair]
captions = [
    f"{n // 2 + 1} {'asks' if n % 2 == 0 else 'chosen'}: {stage.test_names[i].replace('_', ' ')}"
    for n, i in enumerate(pairs)
]
gallery(
    None,
    [test_clips.path(i) for i in pairs],
    captions,
    title="The most confident mistakes of sounds, in pairs",
    columns=4,
    clip_bytes=22_000,
)

# %%
lab.note(
    "08-2",
    "For each pair: could a person know the answer from the sound alone? What would you change, the network or the world?",
)

# %% [markdown]
# <details><summary>An answer</summary>
#
# Close your eyes and play the pair. If *you* cannot tell the sounds apart, the limit lies in the sound, and no training
# helps: change the question (ask for a group of sounds, or use the picture, too). If you can tell them apart easily, ask
# what you used, and whether the network could have it: two seconds, 64 spectrogram frames and coarse frequencies may not
# show it. Only what remains is the network's. "The network is 80 % right" always needs the addition: right *about a
# label that somebody chose*.
#
# </details>

# %% [markdown] tags=["instructor"]
# **Teaching note (10 min).** Play the pairs with the picture hidden and let the class vote before the reveal; human
# accuracy on sound-alikes is a ceiling that no table shows. Assessment idea: each student brings one mistake and one
# sentence of evidence that shows whose mistake it is.

# %% [markdown]
# ## Experiments
#
# 1. **Centre it.** Subtract the training mean from the embeddings and normalise again, before `knn_predict` and
#    retrieval. Which direction gains the most, and why across modalities?
# 2. **Embeddings or features?** Give `knn_predict` the features instead of the embeddings, and the probe the
#    embeddings. Which examination works better with which?
# 3. **Unfreeze it.** `evaluation.fine_tune(stage.model, clips, test_clips, pipeline, "video", fraction=0.05)` trains
#    all weights on 5 % of the labels (a minute or two). Is it better than the probe with 5 %?

# %%
lab.note("08-3", "Which experiment did you run? What are the numbers (with interval), and how do you explain them?")

# %% [markdown]
# <details><summary>What to expect</summary>
#
# 1. Across modalities. The two clouds lie in different places (the modality gap, notebook 09), and a constant offset
#    between them helps nobody. Within a modality, centring hardly changes the order.
# 2. The vote works well on the embedding, which was trained to be compared by angle. The probe prefers the features: it
#    can choose among more numbers, and the head has thrown some of them away.
# 3. With so few labels, training all weights easily does worse than the probe: many weights and hardly anything to fix
#    them. Compare the intervals, and note how many minutes each cost.
#
# </details>

# %% [markdown]
# **If it went wrong.**
#
# * *Everything is at chance:* what does `lab.stage` say? In the smoke profile the network is untrained.
# * *Recall is 1 at k = 1:* you compare pictures with the same pictures. Exclude the query, or use another window.
# * *The probe does not learn:* did you standardise the features, with the statistics of the training clips? A feature
#   of size 100 makes the step explode.
# * *My frozen scores differ from run to run:* look for a `.train()`; see above.
#
# ## Recap
#
# * Retrieval measures order, votes measure neighbourhoods, probes measure what a linear classifier can find, gauges
#   measure spread. None replaces another.
# * By instance and by class are different questions, and nobody could tell some instances apart.
# * Compare every score with chance and an untrained twin, and give it an interval. An interval over clips says nothing
#   about seeds.
# * `no_grad` does not freeze batch norm. Evaluation mode does.
# * Early blocks keep a map with many numbers. In a tidy world that is enough; check with pixels before you praise a
#   network.
# * Before you count a mistake, listen to it.
#
# ## Further reading
#
# * P. Morgado, N. Vasconcelos, I. Misra, *Audio-Visual Instance Discrimination with Cross-Modal Agreement*, CVPR 2021: the protocols used here.
# * T. Wang, P. Isola, *Understanding Contrastive Representation Learning through Alignment and Uniformity on the Hypersphere*, ICML 2020.
# * G. Alain, Y. Bengio, *Understanding Intermediate Layers Using Linear Classifier Probes*, ICLR workshop 2017.
# * Z. Wu, Y. Xiong, S. Yu, D. Lin, *Unsupervised Feature Learning via Non-Parametric Instance Discrimination*, CVPR 2018: neighbours that vote.
# * O. Roy, M. Vetterli, *The Effective Rank: A Measure of Effective Dimensionality*, EUSIPCO 2007.
# * B. Efron, *Bootstrap Methods: Another Look at the Jackknife*, The Annals of Statistics, 1979.

# %%
lab.progress("08")

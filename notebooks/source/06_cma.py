# %% [markdown]
# # 06 · Train CMA and compare it with AVID at equal compute
#
# After this notebook you can
#
# * write CMA's new parts, negatives without positives, the within-modal loss and mining again, and train with your own
#   code,
# * explain why the new terms compare pictures with *pictures*, and why they need their own constant $Z$,
# * make a fair comparison: train the same model for the same number of steps *without* the new idea, with several seeds
#   and intervals,
# * say what CMA improves (it *separates*) and what it does not (it does not *calibrate*).
#
# **Needs:** notebooks 03 and 05; 04 for the words *separation* and *calibration*. **Time:** 60 minutes to read and try.
# Computing, mostly training, takes about two minutes on one CPU core (GPU: not measured).

# %% [markdown]
# ## Before you start: four questions about earlier notebooks
#
# Answer each in your head, or on paper. Then unfold.
#
# 1. (02) What does $Z$ do in the NCE loss, and when is it set?
# 2. (03) Why does Self-AVID learn wallpaper, and Cross-AVID not?
# 3. (04) A space has an AUC of 0.99 for pairs of pictures. Does a similarity of 0.8 mean "the same kind, with probability
#    0.8"?
# 4. (05) Two clips look alike (0.9) and sound different (0.1). What is their consensus, and what is their union?
#
# <details><summary>Answers</summary>
#
# 1. Where $e^s = KZ$, the loss is undecided between "real" and "noise". $Z$ is the mean of $e^s$ over the
#    negatives of the first batch; then it is frozen.
# 2. A picture can recognise *its own* memory by its wallpaper. A sound has no wallpaper, so only what picture and sound
#    share helps to find it.
# 3. No. AUC is about order only. Any increasing function of the similarity has the same AUC.
# 4. Consensus is the minimum, 0.1; union is the maximum, 0.9.
#
# </details>

# %%
import copy
import dataclasses
import math

import torch
import torch.nn.functional as F

import avid_lab as al
from avid_lab import plots, reference
from avid_lab.course import exercise, lab
from avid_lab.interactive import LiveLoss, gallery
from avid_lab.interactive.calibration import CalibrationExplorer
from avid_lab.reference.report import readable

stage = lab.stage("06")
clips, labels, memory = stage.clips, stage.clips.labels, stage.memory
N = len(clips)
k = min(32, N - 2)  # positives of every clip
draws = stage.profile.num_negatives
results = reference.results()  # scores of all committed runs
steps_of_avid = results["made_with"]["profile"]["train"]["steps"]  # of "cross"; a continued run takes half as many

# %% [markdown]
# ## Where this leads
#
# Two committed runs continue from one Cross-AVID for the same number of steps: one as AVID, one as CMA. The figure shows
# the similarity of all pairs of *held-out pictures*, same-class pairs and others: at the common start and at the end of
# each run. More training changes a network in any case. So this notebook never asks "is it better than before?" but "is
# it better than **the other one**?"

# %%
seen = stage.test_clips if stage.trained else clips  # clips to judge on; the smoke world holds out too few
if stage.trained:
    followed = {"AVID, continued": stage.other("avid").snapshots, "CMA": stage.other("cma").snapshots}
    source = "committed runs, seed 0"
else:
    alone = [reference.Snapshot(0, stage.embeddings.video, stage.embeddings.audio)]
    followed, source = {"AVID, continued": alone, "CMA": alone}, "UNTRAINED stand-ins"
start = followed["CMA"][0]
spaces = {"at the start": start, **{name: run[-1] for name, run in followed.items()}}
pairs = {name: al.separation(space.video, space.video, seen.labels) for name, space in spaces.items()}
overlap = [f"{100 * found.overlap:.0f}" for found in pairs.values()]
title = f"Overlap {overlap[0]} %, then {overlap[1]} % (AVID) and {overlap[2]} % (CMA), {source}"
plots.similarity_histograms(pairs, title=title)

# %% tags=["claim"]
if stage.trained:
    claim("CMA's pictures overlap less than AVID's", pairs["AVID, continued"].overlap - pairs["CMA"].overlap, above=0)

# %% [markdown]
# ## What Cross-AVID never looked at
#
# Its loss compares a picture with *sounds*, and a sound with *pictures*. No term ever compares two pictures, so nothing
# says how similar two pictures should be. Only the detour through sound shapes the space of pictures.

# %%
question = "Take a trained Cross-AVID. What is the mean similarity of two pictures of DIFFERENT classes, compared with a picture"
options = ["higher", "about the same (within 0.05)", "lower"]
lab.predict("06-1", f"{question} and the sound of another class?", options)

# %%
across = al.separation(start.video, start.audio, seen.labels)
within = pairs["at the start"]
gap = within.different.mean().item() - across.different.mean().item()
print(f"different classes: v-v {within.different.mean():+.2f}, v-a {across.different.mean():+.2f}")
print(f"same class:        v-v {within.same.mean():+.2f}, v-a {across.same.mean():+.2f}")
truth = options[1] if abs(gap) <= 0.05 else options[0] if gap > 0 else options[2]
lab.reveal("06-1", truth, "the loss only pushes random pairs apart across the modalities.")

# %% tags=["claim"]
if stage.trained:
    claim("pictures of different classes are more similar than a picture and a sound", gap, above=0.05)

# %% [markdown]
# ## The new terms
#
# Cross-modal agreement (notebook 05) gives every clip $i$ a set $\mathcal P_i$ of 32 other clips. CMA keeps Cross-AVID
# and adds a second discrimination *within each modality*. Its right answers are the memories of these positives:
#
# $$ \mathcal L = \ell(\mathbf v_i; \bar{\mathbf a}_i) + \ell(\mathbf a_i; \bar{\mathbf v}_i)
# + \frac{1}{|\mathcal P_i|}\sum_{p\in\mathcal P_i} \left[\, \ell(\mathbf v_i; \bar{\mathbf v}_p) + \ell(\mathbf a_i; \bar{\mathbf a}_p) \right] $$
#
# The first two terms are Cross-AVID; the sum is new. (The paper adds the terms up. The authors' code, and this library,
# average the two directions and divide by the sum of the weights. That divides everything by four: a constant factor,
# which Adam does not notice.)

# %%
plots.method(
    ["memory", "positives", "loss"], kind="cma", title="CMA: mined positives join the comparison within a sense"
)

# %% [markdown]
# **Why within a modality?** Self-AVID did that and learned wallpaper (notebook 03)! The difference is the right answer.
# There, a picture had to match *its own* memory, wallpaper included. Here it has to match the memories of *other* clips
# of its kind, with other wallpapers. They only share the scene.
#
# **Why not across** (my picture, their sounds)? Think about it before you unfold.
#
# <details><summary>An answer</summary>
#
# It is possible, and the library can do it (`positive_cross=1.0`, experiment 3). What speaks for *within* is a gap, not
# a proof. Cross-AVID already compares pictures with sounds, so across there is a term that says how similar a pair
# should be. Between two pictures there is none: their similarity is whatever the detour through sounds left behind
# (notebook 04 measured how much that is). The new terms go where no term was. Whether that is the best use of the
# positives is a question for an experiment, and the paper's answer, by experiment, was *within*.
#
# </details>
#
# ## Exercise 1 ●●○: negatives without the positives
#
# If a positive were drawn as a negative, one term would pull what the other pushes. Draw from all other instances, each
# equally likely; whether one may be drawn twice is up to you again. (The released code excludes the positives but not the
# query itself.)


# %%
@exercise("cma_negatives")
def cma_negatives(index, positives, N, K, generator):
    """index (B,): queries; positives (N, P): of every instance -> (B, K): neither the query nor one of its positives.

    All other instances are equally likely, and the draw comes from `generator`.
    """
    ...


# %%
positives = al.mine_positives(memory.video, memory.audio, k).index  # (N, k)
batch = torch.arange(min(64, N))
generator = torch.Generator().manual_seed(0)
drawn = {
    "AVID's draw": al.objectives.draw_negatives(batch[:, None], N, draws, generator),
    f"cma_negatives ({lab.credit('cma_negatives')})": cma_negatives(batch, positives, N, draws, generator),
}
for name, negatives in drawn.items():
    spared = (negatives[:, :, None] == positives[batch][:, None]).any(2).double().mean()
    false = al.metrics.drawn_false_negatives(negatives, batch, labels)
    print(f"{name}: {100 * spared:.2f} % are positives, {100 * false:.2f} % are of the query's class")

# %% [markdown]
# ## Exercise 2 ●●○: the within-modal loss
#
# It is the NCE of notebook 02 with P right answers instead of one. Mind the order: *average the P losses*. Averaging
# the P memories first and comparing with their mean is a different loss: it would accept a picture that matches the
# average but no single clip.


# %%
@exercise("within_positive_loss")
def within_positive_loss(video, video_memory, positives, negatives, temperature, Z):
    """NCE within one modality, with P positives per query.

    video (B, D); video_memory (N, D); positives (B, P), negatives (B, K): instances -> one number: for each query the mean
    over its positives, plus the sum over its K negatives; then the mean over queries. The noise has the weight K Z.
    """
    ...


# %% [markdown]
# Compare yours with the library on one batch of real embeddings. `CMA.from_avid` takes a trained AVID with its
# memories, settings and $Z$, and mines positives.


# %%
def begin():
    """A copy of the model at the start of both runs, and AVID with its memory."""
    settings = {"num_negatives": draws, "generator": torch.Generator().manual_seed(1)}
    if stage.trained:
        return stage.run.model(), stage.run.objective(**settings)
    avid = al.AVID(N, memory.video.shape[1], **settings)
    avid.memory.load_state_dict(memory.state_dict())
    return copy.deepcopy(stage.model), avid


_, avid = begin()
cma = al.CMA.from_avid(avid, k=k)
negatives = cma_negatives(batch, cma.positives, N, draws, torch.Generator().manual_seed(2))
with torch.no_grad():
    v, a = stage.model(*stage.pipeline(clips.batch(batch)))  # (B, D) each
    output = cma(v, a, batch, negatives)
    terms = output.terms
Z = dict(zip(cma.term_names(), cma.partition.tolist(), strict=True))
few = negatives[:, : cma.num_within_negatives]  # within a modality, 64 negatives are enough
by_hand = within_positive_loss(v, cma.memory.video, cma.positives[batch], few, cma.temperature, Z["positive_v2v"])
print(f"positive_v2v: {by_hand:.4f} ({lab.credit('within_positive_loss')}), library {terms['positive_v2v']:.4f}")
print(f"{'term':>14}{'value':>10}{'Z':>14}")
for name, term in terms.items():
    print(f"{name:>14}{term:>10.2f}{Z[name]:>14,.1f}")
print(f"{'their sum':>14}{sum(terms.values()):>10.2f}   (the equation)")
print(f"{'the loss':>14}{output.loss:>10.2f}   (a quarter of it: two directions averaged, two weights of 1)")

# %% [markdown]
# Look at the column of $Z$. It is the mean of $e^{s}$ over random pairs: what the loss considers *normal*. Across
# modalities, random pairs score about zero. Within a modality they were never pushed apart, and the exponential turns
# that into a huge number.
#
# ## One Z for all?
#
# The released code estimates $Z$ once, for the first term, and uses it for all four. What does the within-modal term
# see then? Any random pair of pictures that is slightly alike looks like a match.

# %%
lab.predict("06-2", "With one shared Z, how many times larger is the first loss of CMA?", low=0, high=30, unit="times")

# %%
first = {}
for rule in ("per_term", "shared"):
    twin = al.CMA.from_avid(begin()[1], k=k, partition=rule)
    video = v.clone().requires_grad_()
    output = twin(video, a, batch, negatives)
    (gradient,) = torch.autograd.grad(output.loss, video)
    first[rule] = {name: term.item() for name, term in output.terms.items()} | {
        "loss": output.loss.item(),
        "gradient": gradient.norm().item(),
        "Z": twin.partition[twin.term_names().index("positive_v2v")].item(),
    }
print(f"{'':>14}{'own Z':>12}{'shared Z':>12}")
for name in first["shared"]:
    print(f"{name:>14}" + "".join(f"{first[rule][name]:>12,.2f}" for rule in ("per_term", "shared")))
ratio = first["shared"]["loss"] / first["per_term"]["loss"]
lab.reveal("06-2", round(ratio, 1), "the within-modal terms drown the cross-modal ones.", close=0.1)

# %% [markdown]
# Why? Plot the *belief* $e^{s}/(e^{s} + KZ)$ that a pair is real against its similarity, on top of a histogram of the
# similarities of pictures. Where the curve is flat at one, the loss is **saturated**: it pushes all such negatives with
# full force, whether they are slightly alike or nearly identical.

# %%
score_of = {
    "random pictures": torch.einsum("bd,bkd->bk", v, memory.video[few]).flatten(),
    "the positives": torch.einsum("bd,bpd->bp", v, memory.video[positives[batch]]).flatten(),
}


x = torch.linspace(-0.6, 1, 300)
believed, mean = {}, {}
for rule, word in (("per_term", "own Z"), ("shared", "shared Z")):
    log_KZ = math.log(few.shape[1] * first[rule]["Z"])
    believed[word] = x, torch.sigmoid(x / cma.temperature - log_KZ)
    mean[rule] = torch.sigmoid(score_of["random pictures"] / cma.temperature - log_KZ).mean().item()
title = f"Mean belief in a random pair: {mean['shared']:.1%} with the shared Z, {mean['per_term']:.1%} with its own"
plots.beliefs(score_of, believed, xlabel="similarity of two pictures", title=title)

# %% tags=["claim"]
if stage.trained:
    claim("with a shared Z the first loss is larger", ratio, above=1.0)
    claim("random pictures are believed more with a shared Z", mean["shared"] - mean["per_term"], above=0)

# %% [markdown]
# So here every term estimates its own $Z$ (`partition="per_term"`, the library's default). What a shared constant does
# to the features in the end is an experiment below.
#
# *Question.* Would training not simply "absorb" a wrong $Z$, by shifting all scores?
#
# <details><summary>An answer</summary>
#
# It would, if scores could shift. NCE is logistic regression with a fixed offset $\log KZ$. But scores are products of
# unit vectors, divided by the temperature: they lie between $-1/0.07$ and $1/0.07$, and to lower *all* similarities of
# random pairs, the vectors would have to spread out further than a sphere allows. So a wrong $Z$ stays wrong, and the
# network spends its gradient on it. The own-$Z$ curve also leaves a pull on the positives: where their histogram lies,
# the belief is still below one.
#
# </details>

# %% [markdown] tags=["instructor"]
# **Teaching note (8 min).** This is the place for "what is Z, really?". Ask what the own-Z curve implies for the
# positives before they unfold the answer. Misconception: "negative pairs of pictures should be at 0." Nothing says so;
# only the order matters until someone compares numbers across modalities.

# %% [markdown]
# ## Train both, here and now
#
# ### Exercise 3 ●●●: mine again
#
# Positives age: the memory moves while you train on them. The paper mines again every few passes. Write the part of the
# loop that decides when, mines, and reports how much has changed. `mined_at` is the pass at which the present positives
# were mined. Mine if `every` passes or more have gone by, and return the present pass as the new `mined_at`; otherwise
# return the positives and the `mined_at` that you were given, and 0 as the share.


# %%
@exercise("remined")
def remined(video, audio, positives, epoch, mined_at, every):
    """video, audio (N, D): memories; positives (N, P) of pass `mined_at` -> (positives (N, P), mined_at, share of new ones).

    The share is that of all N x P positives which their query did not have before, and 0 if nothing was mined. Consensus; best
    first; never the query itself.
    """
    ...


# %% [markdown]
# Now the training. Both runs start with the same weights and memory, and use the same batches in the same order, the same number of steps and
# the same learning rate. One continues as AVID, the other as CMA, **with your draw of the negatives**. To fit into a
# minute, this is far shorter than the committed runs. Take the result as a demonstration that the code trains, not as
# evidence.


# %%
class MyCMA(al.CMA):
    """CMA that draws its negatives with the function above."""

    def forward(self, video, audio, index, negatives=None):
        if negatives is None:
            negatives = cma_negatives(index, self.positives, len(self.memory), self.num_negatives, self.generator)
        return super().forward(video, audio, index, negatives)


steps = {"smoke": 6, "cpu": 100, "gpu": 500}[stage.profile.name]
settings = dataclasses.replace(stage.profile.train, steps=steps, learning_rate=1e-3, seed=2000)


def go_on(name, make):
    """Train on from the common start, with the objective that ``make`` builds from AVID; returns the trainer."""
    model, avid = begin()
    trainer = al.Trainer(model, make(avid), clips, settings, pipeline=copy.deepcopy(stage.pipeline))
    live, mined_at = LiveLoss(name, every_s=5), 0.0
    for step in trainer:
        live.show(step)
        objective = trainer.objective
        if isinstance(objective, al.CMA):
            notes = objective.memory
            found = remined(notes.video, notes.audio, objective.positives, step.epoch, mined_at, 2.0)
            if found[1] != mined_at:
                print(f"{name}: mined again after {step.epoch:.1f} passes, {found[2]:.0%} of the positives are new")
            objective.positives, mined_at = found[:2]
    return trainer


credit = lab.credit("cma_negatives")
mine = {"CMA": go_on(f"CMA ({credit})", lambda avid: MyCMA.from_avid(avid, k=k))}

# %%
mine["AVID, continued"] = go_on("AVID, continued", lambda avid: avid)

# %% [markdown]
# *Question.* CMA's loss is higher than AVID's. Has it learned less?
#
# <details><summary>An answer</summary>
#
# The two losses have different terms, so their values cannot be compared. CMA averages two cross-modal terms and two
# within-modal ones, which start from other values.
#
# </details>
#
# Neither loss can judge. A fair question belongs to neither: are pictures
# of one class more similar than others (**AUC**)? How much do the two histograms **overlap**? Of a picture's ten
# nearest pictures, how many are of its class (**P@10**)?


# %%
def judge(space):
    """Separation and neighbours within and across the modalities, in per cent."""
    row = {}
    for pair, (x, y) in {"v-v": (space.video, space.video), "a-a": (space.audio, space.audio)}.items():
        found = al.separation(x, y, seen.labels)
        near = (x @ y.T).fill_diagonal_(-torch.inf).topk(min(10, len(x) - 1)).indices
        right = (seen.labels[near] == seen.labels[:, None]).double().mean().item()
        row |= {f"{pair} AUC": 100 * found.auc, f"{pair} overlap": 100 * found.overlap, f"{pair} P@10": 100 * right}
    return row


table = {"start": judge(start)}
for name in ("AVID, continued", "CMA"):
    table[name] = judge(al.evaluation.embed(mine[name].model, seen, stage.pipeline, windows=1))
print(f"{'':14}" + "".join(f"{name:>17}" for name in table))
for score in table["start"]:
    print(f"{score:14}" + "".join(f"{row[score]:>17.1f}" for row in table.values()))
difference = table["CMA"]["v-v P@10"] - table["AVID, continued"]["v-v P@10"]
print(f"\nyour runs, {steps} steps, one seed: CMA {difference:+.1f} points of v-v P@10 against AVID")
lab.note("06-1", "CMA against AVID, live", steps=steps, difference=round(difference, 2), credit=credit)

# %% [markdown]
# ## The committed runs
#
# Now the same comparison, but longer. These runs embedded the held-out clips along the way, so we can watch both leave
# the same point.

# %%
judged = {name: {snapshot.step: judge(snapshot) for snapshot in run} for name, run in followed.items()}
panels = {
    f"{score}, %": {name: (list(rows), [row[score] for row in rows.values()]) for name, rows in judged.items()}
    for score in ("v-v P@10", "v-v overlap", "a-a P@10", "a-a overlap")
}
plots.tracks(panels, xlabel="steps since the runs split", title=f"Two ways to go on ({source})", columns=2)

# %% [markdown]
# This is one seed; do not judge yet. (The figure and the panel use one window per clip; the scores of the verdict
# average two, so they differ slightly.)
#
# ## Does CMA calibrate?
#
# *Separation* asks whether same-class pairs are more similar than others. *Calibration* asks whether a similarity means a
# probability, and the same one for pictures, for sounds and across (notebook 04). CMA has terms within pictures and
# within sounds now. So is one curve enough for all three kinds of pairs?

# %%
options = ["much better calibrated after CMA", "about the same", "much worse after CMA"]
lab.predict(
    "06-5",
    "One curve from similarity to probability for all three kinds of pairs: after CMA, compared with AVID?",
    options,
)

# %%
if stage.trained:
    notes = {"AVID, continued": stage.other("avid").memory, "CMA": stage.other("cma").memory}
    cost = {name: al.evaluation.curve_errors(followed[name][-1], seen.labels, notes[name]) for name in followed}
    print(
        f"{'calibration error, points':<28}"
        + "".join(f"{f'{kind} {name[:4]}':>11}" for kind in ("v-v", "a-a", "v-a") for name in cost)
    )
    for curve in cost["CMA"]:
        print(
            f"{curve:<28}"
            + "".join(f"{100 * cost[name][curve][kind]:>11.1f}" for kind in ("v-v", "a-a", "v-a") for name in cost)
        )
    both = [sum(cost[name]["one curve for all"].values()) / 3 for name in ("AVID, continued", "CMA")]
    truth = options[1] if abs(both[1] - both[0]) < 0.25 * both[0] else options[0] if both[1] < both[0] else options[2]
    lab.reveal("06-5", truth, f"mean error {100 * both[0]:.1f} points after AVID, {100 * both[1]:.1f} after CMA.")

# %% tags=["claim"]
if stage.trained:
    for name in cost:
        mean_of = {curve: sum(row.values()) / 3 for curve, row in cost[name].items()}
        claim(
            f"{name}: one curve for all is several times worse than own curves",
            mean_of["one curve for all"] / mean_of["its own curve"],
            above=2,
        )
        claim(
            f"{name}: standardising at least halves its error",
            mean_of["one curve, standardised"] / mean_of["one curve for all"],
            below=0.5,
        )
    claim("CMA hardly changes the error of one curve for all", both[1] / both[0], between=(0.75, 1.25))

# %% [markdown]
# **CMA separates, and it does not calibrate.** Each kind of pair is fine with a curve *of its own*, after AVID and after
# CMA. One curve for all fails after both. *Why?* Say it before you unfold; the table of $Z$ above has the reason.
#
# <details><summary>An answer</summary>
#
# Nothing in the loss ties the levels of two terms together. Each term has its own $Z$, set from its own random pairs:
# that makes the *zero point* of every term relative. Same-class pairs end near 0.9 within pictures and near 0.2 between
# picture and sound, and no term minds. One $Z$ for all ties the levels, but at the start it lies far from the level of the
# within-modal pairs, as you saw. The committed runs tried it: the error of the one curve falls, and far more neighbours
# are lost than CMA gains (`data/reference/calibration.md` has the numbers).
#
# What does repair the one curve needs no training and no labels: *standardise*. Subtract from each similarity the mean
# of random pairs of its kind in the memory, and divide by their standard deviation (last line of the table). The best
# is a curve for each kind, but it needs labels of some pairs.
#
# </details>
#
# In the panel, drag the threshold, and **Fit** a probability to one kind of pair: it does not fit the others. Solid lines
# are the last run, dashed lines the first. (A published notebook shows a still picture.)

# %%
CalibrationExplorer(followed, seen.labels)

# %% [markdown]
# ## Which clips are the nearest neighbours?
#
# A held-out picture asks, and other held-out *pictures* answer: first AVID's four nearest, then CMA's. This query gains
# the most, so it flatters CMA; the line above the clips gives the count for all queries.

# %%
near = {}
for name, run in followed.items():
    near[name] = (run[-1].video @ run[-1].video.T).fill_diagonal_(-torch.inf).topk(min(10, len(seen) - 1)).indices
hits = {name: (seen.labels[found] == seen.labels[:, None]).sum(1) for name, found in near.items()}  # (n,) of 10
gain = hits["CMA"] - hits["AVID, continued"]
print(f"of {len(gain)} queries, CMA is better for {int((gain > 0).sum())}, worse for {int((gain < 0).sum())}")
query = int(gain.argmax())
shown = [(name, i) for name, found in near.items() for i in found[query, :4].tolist()]
words = [name.replace("_", " ") for name in (stage.test_names if stage.trained else stage.names)]
gallery(
    seen.path(query),
    [seen.path(i) for _, i in shown],
    [f"{name.split(',')[0]}: {words[i]}" for name, i in shown],
    correct=[seen.labels[i] == seen.labels[query] for _, i in shown],
    query_caption=f"the query: {words[query]}",
    title="The nearest pictures, by AVID continued and by CMA",
    columns=4,
    clip_bytes=26_000,
)

# %% [markdown]
# ## The verdict
#
# We ask the frozen networks ten questions about held-out clips. The committed runs start CMA from three points of one
# AVID, and each time an AVID continues from the same point for the same steps. The figure shows all three starts, so
# that nobody can choose the best-looking one: CMA minus AVID for each seed (blue dots), its mean, and Student's 95 %
# interval (none where there is only one seed). An improvement *appears* (green) if the whole interval is above zero. An
# interval from two or three seeds is wide, and cut where it leaves the figure.

# %%
asked = [
    "v2v_precision_at_10",
    "a2a_precision_at_10",
    "v2a_precision_at_10",
    "a2v_precision_at_10",
    "v2v_auc",
    "a2a_auc",
]
asked += ["video_knn", "audio_knn", "video_probe", "audio_probe"]
lab.predict("06-3", "On which of these does CMA gain the most, on average?", [readable(score) for score in asked])


# %%
def paired(better, worse, score):
    """Differences of two variants in points, one for each seed that has both."""
    runs = {(run["variant"], run["seed"]): run["scores"] for run in results["runs"]}
    seeds = sorted(seed for variant, seed in runs if variant == better and (worse, seed) in runs)
    return [100 * (runs[better, seed][score] - runs[worse, seed][score]) for seed in seeds]


begun = {1.0: ("cross", "cma-early", "long"), 1.5: ("long", "cma", "avid"), 2.0: ("avid", "cma-late", "avid-late")}
begun = {
    f"after {round(share * steps_of_avid):,} steps": runs
    for share, runs in begun.items()
    if paired(*runs[1:], asked[0])
}
gains = {
    start: {readable(score): paired(cma, avid, score) for score in asked} for start, (_, cma, avid) in begun.items()
}
shown = plots.seed_differences(
    gains, xlabel="CMA minus AVID, points", title="CMA against AVID, continued from the same point"
)
mean = {
    score: sum(sum(rows[score]) / len(rows[score]) for rows in gains.values()) / len(gains)
    for score in map(readable, asked)
}
lab.reveal("06-3", max(mean, key=mean.get), f"by {max(mean.values()):+.1f} points, mean over starts and seeds.")
shown

# %%
every = {score: [value for rows in gains.values() for value in rows[score]] for score in map(readable, asked)}
for score, values in every.items():
    print(f"{score:<36} CMA is ahead in {sum(value > 0 for value in values)} of {len(values)} pairs of runs")

# %% tags=["claim"]
for score in ("v2v_precision_at_10", "a2a_precision_at_10"):
    values = every[readable(score)]
    claim(
        f"CMA is ahead in {score} in nearly every pair of runs",
        sum(value > 0 for value in values) / len(values),
        above=0.8,
    )
probes = [value for score in ("video_probe", "audio_probe") for value in every[readable(score)]]
near = [value for score in ("v2v_precision_at_10", "a2a_precision_at_10") for value in every[readable(score)]]
claim("neighbours gain more than linear probes", sum(near) / len(near) - sum(probes) / len(probes), above=0.5)

# %% [markdown]
# Read it critically. Write your own abstract first: what do the intervals allow you to say? Then unfold.
#
# <details><summary>An answer</summary>
#
# * **Neighbours within a sense** gain, in nearly every pair of runs. The within-modal terms shape exactly these
#   similarities.
# * **Search across the senses** gains as well, although no term of CMA compares across for the positives.
# * **A linear probe** gains less, or nothing. It has labels, and can stretch or ignore any direction of the features: it
#   separates by itself what CMA separates for it.
# * **Grey is an answer.** With few seeds, it is the honest answer for anything whose interval contains zero, even where
#   all dots are on one side.
# * The three columns are not three independent confirmations: they share their seeds.
#
# "At this scale, CMA improves neighbours and search over the same steps of AVID. Linear probes gain a point or two, and
# three of their four intervals contain zero. CMA does not calibrate."
#
# </details>
#
# The paper also reports gains in transfer, with a much larger network and dataset. Nothing here confirms or contradicts
# that.

# %% [markdown] tags=["instructor"]
# **Teaching note (10 min).** These are the most valuable ten minutes of the unit. Let students first write the abstract
# they would *like* to write, then the one the intervals allow. Discuss: matched steps or matched seconds? (A CMA step
# is slightly more expensive; mining costs almost nothing at this N.) Matched tuning? (Both use one learning rate,
# chosen for AVID: is that fair to CMA?) Misconception: "overlapping error bars mean no difference": the pairs share a
# start, so only the interval of the *difference* counts.

# %% [markdown]
# ## When to start
#
# CMA trusts its positives. How many were right at each start, and does the gain depend on it?

# %%
options = ["the earlier the better", "the later the better", "no clear order"]
lab.predict("06-4", "How does the gain of CMA over AVID in v-v P@10 depend on the start?", options)


# %%
def mean_of(variant, score):
    """Mean of a score over the seeds, in per cent."""
    values = [100 * run["scores"][score] for run in results["runs"] if run["variant"] == variant]
    return sum(values) / len(values)


after_start = {}  # by start: gain of CMA over AVID, mean over seeds
print(
    f"{'CMA starts':<20}{'right positives':>16}{'v-v P@10: start':>18}{'AVID':>8}{'CMA':>8}{'CMA - AVID, by seed':>30}"
)
for when, (origin, cma_run, avid_run) in begun.items():
    gain = paired(cma_run, avid_run, "v2v_precision_at_10")
    after_start[when] = sum(gain) / len(gain)
    three = (mean_of(variant, "v2v_precision_at_10") for variant in (origin, avid_run, cma_run))
    print(
        f"{when:<20}{mean_of(origin, 'positives_consensus'):>14.0f} %{next(three):>18.1f}{next(three):>8.1f}{next(three):>8.1f}",
        end="",
    )
    print(f"{', '.join(f'{value:+.1f}' for value in gain):>30}")
in_order = list(after_start.values())
change = in_order[-1] - in_order[0]
truth = options[2] if abs(change) < 1 else options[1] if change > 0 else options[0]
lab.reveal("06-4", truth, f"from the first start to the last, the mean gain changes by {change:+.1f} points. But why?")

# %% tags=["claim"]
claim(
    "at every start, at least nine in ten positives are right",
    min(mean_of(origin, "positives_consensus") for origin, *_ in begun.values()),
    above=90,
)
claim("the later the start, the larger the gain", change, above=1)
shared = paired("cma-shared", "cma", "v2a_precision_at_10")
if shared:
    claim("a shared Z loses far more right sounds than CMA gains", sum(shared) / len(shared), below=-10)
claim(
    "because AVID declines when it goes on",
    mean_of("avid-late", "v2v_precision_at_10") - mean_of("long", "v2v_precision_at_10"),
    below=0,
)
claim(
    "and not because later CMA runs are better",
    mean_of("cma-late", "v2v_precision_at_10") - mean_of("cma", "v2v_precision_at_10"),
    below=1.0,
)

# %% [markdown]
# The gain grows with the start. Is a late start therefore better? Look at the columns before the difference.
#
# <details><summary>An answer</summary>
#
# No: the CMA networks are about equally good. The gain grows because the *other* side falls. AVID that goes on for too
# long loses neighbours: it keeps pushing every clip away from all others, those of its own kind included (the false
# negatives of notebook 05), and once it has learned the easy part, that is what is left to do. CMA takes the positives
# out of the negatives and pulls them closer, which holds the classes together.
#
# A difference has two ends. Look at both before you explain it.
#
# </details>
#
# Even at the first start, more than nine in ten positives are right: this AVID has learned its world well before CMA
# begins. So these runs cannot show what happens to a CMA that starts *too early*. A method that trains on its own guesses
# amplifies what it starts from, in both directions; experiment 4 starts it from a network that knows nothing. The paper
# also starts CMA from a trained AVID.
#
# ## Does the better rule also train the better network?
#
# Notebook 05 counted right positives for four rules. These committed runs change one setting of the CMA above (consensus,
# 32 positives) and start from the same point. Which rule trains the best network?

# %%
knobs = {
    "video alone": "cma-video",
    "union": "cma-union",
    "audio alone": "cma-audio",
    "8 positives": "cma-k8",
    "128 positives": "cma-k128",
}
knobs = {name: variant for name, variant in knobs.items() if paired(variant, "cma", asked[0])}  # those committed
lab.predict(
    "06-6", "Which rule trains the best neighbours among pictures (v-v P@10)?", ["consensus", "union", "video", "audio"]
)

# %%
columns = {
    readable(score): {name: paired(variant, "cma", score) for name, variant in knobs.items()}
    for score in ("v2v_precision_at_10", "a2a_precision_at_10", "v2a_precision_at_10")
}
shown = plots.seed_differences(
    columns, intervals=False, xlabel="changed minus CMA, points", title="One setting changed, same start, same steps"
)
rules = {"video": "cma-video", "union": "cma-union", "consensus": "cma", "audio": "cma-audio"}
mined, after = {}, {}  # means over seeds: right positives at the start; v-v P@10 at the end, minus consensus
print(f"{'rule':<12}{'right positives at the start':>30}{'v-v P@10 - consensus':>24}{'a-a P@10 - consensus':>24}")
for rule, variant in rules.items():
    if values := paired(variant, "cma", "v2v_precision_at_10"):
        found = [100 * run["scores"][f"positives_{rule}"] for run in results["runs"] if run["variant"] == "long"]
        ears = paired(variant, "cma", "a2a_precision_at_10")
        mined[rule], after[rule] = sum(found) / len(found), sum(values) / len(values)
        print(f"{rule:<12}{mined[rule]:>28.1f} %{after[rule]:>24.1f}{sum(ears) / len(ears):>24.1f}")
best = max(after, key=after.get)
lab.reveal("06-6", best, f"the most right positives were those of {max(mined, key=mined.get)}.")
shown

# %% tags=["claim"]
if len(after) == 4:
    claim("sight alone mines more right positives than consensus", mined["video"] - mined["consensus"], above=0)
    claim("and trains worse neighbours among pictures", after["video"], below=-0.5)
    claim("hearing alone mines the fewest", mined["audio"] - min(mined.values()), below=0.01)
    claim("and trains better pictures than sight alone", after["audio"] - after["video"], above=0)

# %% [markdown]
# So *does* the better rule train the better network? Look at the first two columns of the table: are they in the same
# order? Find a reason before you unfold.
#
# <details><summary>An answer</summary>
#
# No. Sight alone mines the most right positives and trains the *worst* neighbours among pictures. Hearing alone mines
# the fewest, and its pictures become better than those of sight alone. A positive teaches a sense only what it did not
# know: clips that are near in pictures *already* bring the pictures no news, right or wrong. What the ear finds does.
# Consensus asks both, so each sense hears from the other.
#
# Counting right positives is cheap and shows when a rule is bad. It does not say which of several good rules to train
# with. Only training does. These are differences of a point or two from a few seeds, so read the dots, not the order of
# the means alone.
#
# </details>

# %% [markdown]
# ## Experiments
#
# 1. **One Z.** `go_on("shared", lambda avid: MyCMA.from_avid(avid, k=k, partition="shared"))`, then `judge` it. Predict
#    the first loss from the table above.
# 2. **Fixed or updated?** Change the `2.0` passes in `go_on` to 1000. Do the positives get better if you mine again?
# 3. **Across modalities.** `MyCMA.from_avid(avid, k=k, positive_cross=1.0, positive_within=0.0)`: the detour instead of
#    the direct way.
# 4. **Too early.** Let `begin` return an untrained network: `al.AudioVisualModel.preset("pocket")` and a fresh `al.AVID`.
#    Count its right positives first (`al.positive_precision`), then train both for 100 steps.

# %%
lab.note("06-2", "Which experiment did you run, what did you expect, and what happened?")

# %% [markdown]
# <details><summary>What to look for</summary>
#
# 1. The first loss is larger by the factor that you measured, and most of it comes from the within-modal terms. In the
#    committed runs, a shared $Z$ costs more than ten points of right sounds.
# 2. The line that `go_on` prints says how many positives are *new*. New is not better: count the right ones before and
#    after (`al.positive_precision`).
# 3. Use the same table as above, and look at the pairs *across*, too. With one seed and a hundred steps, a point or two
#    decides nothing; several seeds do.
# 4. An untrained memory has few right positives (notebook 05's last figure). Then CMA pulls strangers together, and no
#    longer pushes them apart. Compare with AVID from the same start, not with the CMA above.
#
# </details>

# %% [markdown]
# ## If it went wrong
#
# * *The loss jumps to a hundred or more:* Z comes from another temperature or another term. After you change
#   `temperature`, call `objective.partition.fill_(torch.nan)`; the next step estimates Z again.
# * *CMA is worse everywhere:* look at its positives first (`al.positive_precision(cma.positives, labels)`). If they are poor, train AVID longer, and compare with the figure above.
# * *"nothing is left to draw":* you asked for more positives than there are clips; lower `k`.
#
# ## Recap
#
# * CMA adds a discrimination *within* each modality. Its right answers are other clips that agree in both senses.
# * Its negatives exclude the query and its positives. Its terms need their own $Z$, because random pairs within a
#   modality are not at zero.
# * The only fair comparison is with the same AVID, trained on for the same number of steps. Differences are paired by
#   seed and have intervals.
# * CMA *separates*: neighbours and search gain. A probe with labels needs that less. CMA does not *calibrate*: nothing ties
#   the levels of its terms together. Standardising each kind of pair nearly repairs that, without labels.
# * The rule with the most right positives need not train the best network: a positive teaches what its sense did not know.
# * Agreement amplifies what is there. Start when most of the positives are right.
#
# ## Further reading
#
# * P. Morgado, N. Vasconcelos, I. Misra, *Audio-Visual Instance Discrimination with Cross-Modal Agreement*, CVPR 2021. Sections 4 and 5.
# * M. Gutmann, A. Hyvärinen, *Noise-Contrastive Estimation*, AISTATS 2010: where $Z$ comes from.
# * P. Khosla et al., *Supervised Contrastive Learning*, NeurIPS 2020: many positives, averaged outside the logarithm.
# * K. Musgrave, S. Belongie, S.-N. Lim, *A Metric Learning Reality Check*, ECCV 2020: what remains of progress after
#   matched comparisons.

# %%
lab.progress("06")

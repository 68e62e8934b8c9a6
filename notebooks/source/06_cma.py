# %% [markdown]
# # 06 · Train CMA and compare it with AVID at equal compute
#
# After this notebook you can
#
# * write CMA's two new parts, negatives without positives and the within-modal loss, and train with your own code,
# * explain why the new terms compare pictures with *pictures*, and why they need their own constant $Z$,
# * make a fair comparison: train the same model for the same number of steps *without* the new idea, with several seeds
#   and intervals,
# * describe what improves, what does not, and when to start.
#
# **Needs:** notebooks 03 and 05; 04 for the word *calibration*. **Time:** 50 minutes to read and try. Computing, mostly
# training, took 72 s on one CPU core (GPU: not measured).

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
from avid_lab.plots.style import AUDIO, FAINT, GOOD, INK, MUTED, VIDEO, add_axes, new_figure, styled
from avid_lab.reference.report import readable

stage = lab.stage("06")
clips, labels, memory = stage.clips, stage.clips.labels, stage.memory
N = len(clips)
K = min(32, N - 2)  # positives of every clip
draws = stage.profile.num_negatives

# %% [markdown]
# ## Where this leads
#
# Two committed runs continue from one Cross-AVID for the same 450 steps: one as AVID, one as CMA. The figure shows the
# similarity of all pairs of *held-out pictures*, same-class pairs and others: at the common start and at the end of
# each run. Both improve, because longer training helps anyway. So this notebook never asks "is it better than before?"
# but "is it better than **the other one**?"

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
plots.similarity_histograms(
    {name: (found.same, found.different) for name, found in pairs.items()},
    title=f"Overlap {overlap[0]} %, then {overlap[1]} % (AVID) and {overlap[2]} % (CMA), {source}",
)

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

# %% [markdown]
# ## The new terms
#
# Cross-modal agreement (notebook 05) gives every clip $i$ a set $\mathcal P_i$ of 32 other clips. CMA keeps Cross-AVID
# and adds a second discrimination *within each modality*. Its right answers are the memories of these positives:
#
# $$ \mathcal L = \ell(\mathbf v_i; \bar{\mathbf a}_i) + \ell(\mathbf a_i; \bar{\mathbf v}_i)
# + \frac{1}{|\mathcal P_i|}\sum_{p\in\mathcal P_i} \left[\, \ell(\mathbf v_i; \bar{\mathbf v}_p) + \ell(\mathbf a_i; \bar{\mathbf a}_p) \right] $$
#
# The first two terms are Cross-AVID; the sum is new.
#
# **Why within a modality?** Self-AVID did that and learned wallpaper (notebook 03)! The difference is the right answer.
# There, a picture had to match *its own* memory, wallpaper included. Here it has to match the memories of *other* clips
# of its kind, with other wallpapers. They only share the scene.
#
# **Why not across** (my picture, their sounds)? Because the detour does that already: my picture is near my sound, and
# my sound was *chosen* to be near theirs. Only picture-to-picture has no direct link.
#
# ## Exercise 1: negatives without the positives
#
# If a positive were drawn as a negative, one term would pull what the other pushes. (The released code excludes the
# positives but not the query itself.)


# %%
@exercise("cma_negatives")
def cma_negatives(index, positives, N, K, generator):
    """index (B,): queries; positives (N, P): of every instance -> (B, K): neither the query nor one of its positives."""
    ...


# %%
positives = al.mine_positives(memory.video, memory.audio, K).index  # (N, K)
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
# ## Exercise 2: the within-modal loss
#
# It is the NCE of notebook 02 with P right answers instead of one. Mind the order: *average the P losses*. Averaging
# the P memories first and comparing with their mean is a different loss: it would accept a picture that matches the
# average but no single clip.


# %%
@exercise("within_positive_loss")
def within_positive_loss(video, video_memory, positives, negatives, temperature, Z):
    """NCE within one modality, with P positives per query.

    video (B, D); video_memory (N, D); positives (B, P), negatives (B, K): instances -> one number: for each query the mean
    over its positives, plus the sum over its negatives; then the mean over queries.
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
cma = al.CMA.from_avid(avid, k=K)
negatives = cma_negatives(batch, cma.positives, N, draws, torch.Generator().manual_seed(2))
with torch.no_grad():
    v, a = stage.model(*stage.pipeline(clips.batch(batch)))  # (B, D) each
    terms = cma(v, a, batch, negatives).terms
Z = dict(zip(cma.term_names(), cma.partition.tolist(), strict=True))
few = negatives[:, : cma.num_within_negatives]  # within a modality, 64 negatives are enough
by_hand = within_positive_loss(v, cma.memory.video, cma.positives[batch], few, cma.temperature, Z["positive_v2v"])
print(f"positive_v2v: {by_hand:.4f} ({lab.credit('within_positive_loss')}), library {terms['positive_v2v']:.4f}")
print("Z of each term:", {name: f"{z:,.1f}" for name, z in Z.items()})

# %% [markdown]
# Look at the last line. $Z$ is the mean of $e^{s}$ over random pairs: what the loss considers *normal*. Across
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
    twin = al.CMA.from_avid(begin()[1], k=K, partition=rule)
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


@styled
def beliefs():
    """Similarities of pictures, and the belief that each constant gives them."""
    page = new_figure(8.2, 4.2)
    ax = add_axes(page)
    for (name, values), colour in zip(score_of.items(), (MUTED, GOOD), strict=True):
        ax.hist(values.numpy(), 50, range=(-1, 1), density=True, color=colour, alpha=0.35, label=name)
    ax.set(xlim=(-0.6, 1), xlabel="similarity of two pictures", yticks=[], ylabel="how many pairs")
    other = ax.twinx()
    x, mean = torch.linspace(-0.6, 1, 300), {}
    for (rule, word), colour in zip((("per_term", "own Z"), ("shared", "shared Z")), (VIDEO, AUDIO), strict=True):
        log_KZ = math.log(few.shape[1] * first[rule]["Z"])
        other.plot(x, torch.sigmoid(x / cma.temperature - log_KZ), color=colour, linewidth=2.2, label=word)
        mean[rule] = 100 * torch.sigmoid(score_of["random pictures"] / cma.temperature - log_KZ).mean()
    other.set(ylim=(0, 1.02), ylabel="belief that a pair is real")
    handles = [*ax.get_legend_handles_labels()[0], *other.get_legend_handles_labels()[0]]
    ax.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
    shares = f"{mean['shared']:.1f} % with the shared Z, {mean['per_term']:.1f} % with its own"
    ax.set_title(f"Mean belief in a random pair: {shares}", pad=30)
    return ax


beliefs()

# %% [markdown]
# So here every term estimates its own $Z$ (`partition="per_term"`, the library's default). In a pilot study for this
# course, the shared constant did not just slow CMA down: it *destroyed* features that AVID had learned. Try it in the
# experiments.

# %% [markdown] tags=["instructor"]
# **Teaching note (8 min).** This is the place for "what is Z, really?". NCE is logistic regression with a fixed offset
# $\log KZ$. Students often think that training "absorbs" a wrong Z. It would, if training could *shift* all scores; but
# unit vectors limit scores to $\pm 1/0.07$. Ask what the own-Z curve implies for the positives (their belief is far
# from one, too: a strong pull remains). Misconception: "negative pairs of pictures should be at 0." Nothing says so;
# only the order matters until someone compares numbers across modalities.

# %% [markdown]
# ## Train both, here and now
#
# Both start with the same weights and memory, and use the same batches in the same order, the same number of steps and
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


steps = {"smoke": 6, "cpu": 100, "gpu": 450}[stage.profile.name]
settings = dataclasses.replace(stage.profile.train, steps=steps, learning_rate=1e-3, seed=2000)


def go_on(name, make):
    """Train on from the common start, with the objective that ``make`` builds from AVID; returns the trainer."""
    model, avid = begin()
    trainer = al.Trainer(model, make(avid), clips, settings, pipeline=copy.deepcopy(stage.pipeline))
    live = LiveLoss(name, every_s=5)
    for step in trainer:
        live.show(step)
    return trainer


credit = lab.credit("cma_negatives")
mine = {"CMA": go_on(f"CMA ({credit})", lambda avid: MyCMA.from_avid(avid, k=K))}

# %%
mine["AVID, continued"] = go_on("AVID, continued", lambda avid: avid)

# %% [markdown]
# The two losses are not comparable, because they have different terms. A fair question belongs to neither: are pictures
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
# ## The committed runs: 450 steps
#
# Now the same comparison, but longer. These runs embedded the held-out clips along the way, so we can watch both leave
# the same point.


# %%
@styled
def along(scores=("v-v P@10", "v-v overlap")):
    """Two scores of the two followed runs, step by step."""
    page = new_figure(9.0, 3.5)
    grid = page.add_gridspec(1, len(scores))
    for place, score in enumerate(scores):
        ax, last = add_axes(page, grid[place]), {}
        for (name, run), colour in zip(followed.items(), (MUTED, GOOD), strict=True):
            values = [judge(snapshot)[score] for snapshot in run]
            last[name] = values[-1]
            ax.plot([snapshot.step for snapshot in run], values, "o-", color=colour, markersize=4, label=name)
        ax.set(xlabel="steps since the runs split", ylabel=f"{score}, %")
        ax.set_title(f"{score}: CMA {last['CMA'] - last['AVID, continued']:+.1f} points at the end")
        ax.legend()
        ax.grid(axis="y")
    return page


along()

# %% [markdown]
# This is one seed; do not judge yet. (The figure and the panel use one window per clip; the scores of the verdict
# average two, so they differ slightly.) First look at the similarities themselves. In the panel, drag the threshold:
# the same number should mean the same for pictures, for sounds and across. **Fit** a probability to one space, and see
# how well it works in the others. (A published notebook shows a still picture.)

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
# We ask the frozen networks nine questions about held-out clips. The figure shows the difference CMA minus AVID for
# each seed (same start, same steps), its mean and Student's 95 % interval. An improvement *appears* if the whole
# interval is above zero.

# %%
asked = ["video_probe", "audio_probe", "video_knn", "audio_knn", "v2v_precision_at_10", "a2a_precision_at_10"]
asked += ["v2a_precision_at_10", "v2v_auc", "a2a_auc"]
results = reference.results()
lab.predict("06-3", "On which of these does CMA gain the most?", [readable(score) for score in asked])


# %%
def paired(better, worse, score):
    """Differences of two variants in points, one for each seed that has both."""
    runs = {(run["variant"], run["seed"]): run["scores"] for run in results["runs"]}
    seeds = sorted(seed for variant, seed in runs if variant == better and (worse, seed) in runs)
    return [100 * (runs[better, seed][score] - runs[worse, seed][score]) for seed in seeds]


@styled
def verdict(better="cma", worse="avid"):
    """Differences by score: seeds, mean, interval."""
    ax = add_axes(new_figure(8.2, 4.2))
    colours = {"appears": GOOD, "reversed": AUDIO, "open": MUTED}
    found = []
    for row, score in enumerate(asked):
        values = paired(better, worse, score)
        mean, half, word = reference.difference(results, better, worse, score) or (values[0], 0.0, "open")
        found.append(word)
        reach = min(half, 12.0)  # two seeds alone make intervals wider than any picture
        ax.hlines(row, mean - reach, mean + reach, color=colours[word], linewidth=2.4)
        ax.plot(values, [row] * len(values), "o", color=colours[word], alpha=0.45, markersize=5)
        ax.plot(mean, row, "D", color=colours[word], markersize=7)
        ax.text(1.02, row, f"{mean:+.1f}  {word}", transform=ax.get_yaxis_transform(), va="center", color=INK)
    ax.axvline(0, color=INK, linewidth=1)
    ax.set_yticks(range(len(asked)), [readable(score) for score in asked])
    ax.set_ylim(len(asked) - 0.5, -0.5)
    ax.set_xlabel("CMA minus AVID continued, points")
    ax.grid(axis="x")
    count = {word: found.count(word) for word in colours}
    seeds = f"{len(values)} seed{'s' * (len(values) > 1)}"
    ax.set_title(f"{count['appears']} appear, {count['reversed']} reversed, {count['open']} open ({seeds})")
    return ax


shown = verdict()
mean = {readable(score): sum(values := paired("cma", "avid", score)) / len(values) for score in asked}
lab.reveal("06-3", max(mean, key=mean.get), f"by {max(mean.values()):+.1f} points on average (committed runs).")
shown

# %% [markdown]
# Read it critically. What a difference is worth depends on what you need:
#
# * **Neighbours and AUC use the similarities directly.** The within-modal terms shape exactly these.
# * **A linear probe has labels** and can stretch or ignore any direction of the features. It can correct a badly
#   calibrated space by itself, so calibration helps it little. Extra steps help more, and AVID had the same number of
#   them.
# * *Open* is an answer. With so few seeds, it is the honest answer for anything under a point or two.
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
# CMA trusts its positives. The committed runs start it from three memories, after 900, 1,350 and 1,800 steps of AVID;
# each time, an AVID continues for the same 450 steps.

# %%
options = ["the earlier the better", "the later the better", "it makes no difference"]
lab.predict("06-4", "How does the gain of CMA over AVID in v-v P@10 depend on the start?", options)

# %%
begun = {
    "900": ("cross", "cma-early", "long"),
    "1,350": ("long", "cma", "avid"),
    "1,800": ("avid", "cma-late", "avid-late"),
}
points = {}  # by start: share of right positives there, and the gain, means over the seeds
for after, (origin, better, worse) in begun.items():
    gains = paired(better, worse, "v2v_precision_at_10")
    right = [100 * run["scores"]["positives_consensus"] for run in results["runs"] if run["variant"] == origin]
    if gains and right:
        points[after] = (sum(right) / len(right), gains)


@styled
def when():
    """Gain of CMA over AVID against the share of right positives at its start."""
    ax = add_axes(new_figure(8.2, 3.6))
    for after, (right, gains) in points.items():
        ax.plot([right] * len(gains), gains, "o", color=FAINT, markersize=7)
        ax.plot(right, sum(gains) / len(gains), "D", color=GOOD, markersize=9)
        at = right, min(gains)
        ax.annotate(f"after {after} steps", at, (0, -18), textcoords="offset points", ha="center", color=INK)
    ax.axhline(0, color=INK, linewidth=1)
    ax.margins(0.16, 0.25)
    ax.set(xlabel="right positives where CMA starts, %", ylabel="v-v P@10, CMA − AVID, points")
    text = ", ".join(f"{sum(g) / len(g):+.1f} after {after}" for after, (_, g) in points.items())
    ax.set_title(f"Gain over AVID: {text} steps")
    return ax


gains = [sum(g) / len(g) for _, g in points.values()]
spread = gains[-1] - gains[0]
if len(points) > 1:
    truth = options[2] if abs(spread) < 1 else options[1] if spread > 0 else options[0]
    lab.reveal("06-4", truth, f"from the first start to the last, the mean gain changes by {spread:+.1f} points")
else:
    print("Only one start is among the committed runs: nothing to compare.")
when()

# %% [markdown]
# Each dot is a seed, each diamond a mean. A method that trains on its own guesses amplifies what it starts from, in
# both directions. The paper also starts CMA from a fully trained AVID.
#
# ## Which choices matter?
#
# Notebook 05 counted right positives. Does the better rule also train the better network? And how many positives and
# within-modal negatives are best? Each of these committed runs changes one setting of the CMA above (consensus, 32
# positives, 64 negatives within) and starts from the same point. Grey shows the scale: one standard deviation of CMA
# minus AVID from seed to seed.

# %%
knobs = {
    "union": "cma-union",
    "video alone": "cma-video",
    "audio alone": "cma-audio",
    "8 positives": "cma-k8",
    "128 positives": "cma-k128",
    "16 negatives within": "cma-m16",
    "256 negatives within": "cma-m256",
}
knobs = {name: variant for name, variant in knobs.items() if paired(variant, "cma", asked[0])}  # those committed


@styled
def choices(scores=("v2v_precision_at_10", "a2a_precision_at_10")):
    """Each changed setting against the original CMA: one dot per seed."""
    page = new_figure(9.0, 1.3 + 0.32 * len(knobs))
    grid = page.add_gridspec(1, len(scores))
    for place, score in enumerate(scores):
        ax = add_axes(page, grid[place])
        wander = torch.tensor(paired("cma", "avid", score)).std().item()
        ax.axvspan(-wander, wander, color=FAINT, alpha=0.5, linewidth=0)
        changes = [paired(variant, "cma", score) for variant in knobs.values()]
        for row, values in enumerate(changes):
            ax.plot(values, [row] * len(values), "o", color=VIDEO, markersize=7)
        outside = sum(abs(sum(values) / len(values)) > wander for values in changes)
        ax.axvline(0, color=INK, linewidth=1)
        ax.set_yticks(range(len(knobs)), list(knobs) if place == 0 else [""] * len(knobs))
        ax.set(ylim=(len(knobs) - 0.5, -0.5), xlabel="changed minus CMA, points")
        ax.grid(axis="x")
        ax.set_title(f"{readable(score).replace('precision at ', 'P@')}: {outside} of {len(knobs)} beyond the grey")
    return page


print("seeds of each:", {name: len(paired(variant, "cma", asked[0])) for name, variant in knobs.items()})
choices()

# %% [markdown]
# A dot inside the grey says nothing, and a single dot outside says little. But you know the reason for two results:
# pictures *alone* choose the worst positives (notebook 05), and 128 positives are more than the 75 clips of a class, so
# they must include strangers.

# %% [markdown]
# ## Experiments
#
# 1. **One Z.** `go_on("shared", lambda avid: MyCMA.from_avid(avid, k=K, partition="shared"))`, then `judge` it. Predict the first loss from the table above.
# 2. **Fixed or updated?** The paper mines again every few passes. Add `trainer.objective.remine(step.epoch, every=1)`
#    to the loop in `go_on`. Do the positives get better while you train on them?
# 3. **Across modalities.** `MyCMA.from_avid(avid, k=K, positive_cross=1.0, positive_within=0.0)`: the detour instead of
#    the direct way.

# %%
lab.note("06-2", "Which experiment did you run, what did you expect, and what happened?")

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
# * CMA shapes similarity itself. A probe with labels does not need that; a search engine does.
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

# %% [markdown]
# # 05 · Cross-modal agreement: positives you can play
#
# After this notebook you can
#
# * count the *false negatives* of instance discrimination: how often AVID pushes a clip away from its own kind,
# * mine positives by **cross-modal agreement** in three lines, and explain what `min` does that `max` and an average do
#   not,
# * mine them in blocks, for sets whose table of all pairs does not fit into memory,
# * judge positives against the ground truth that only a rendered world has: by eye, by ear and by numbers, compared
#   with chance and over several seeds,
# * distinguish a query that no rule can help from one that another rule would help.
#
# **Needs:** notebook 03 (AVID and its memory); 04 helps. **Time:** 60 minutes to read, play and write. Nothing is trained
# here: computing takes less than a minute on one CPU core (GPU: not measured).

# %% [markdown]
# ## Before you start: four questions about earlier notebooks
#
# Answer each in your head, or on paper. Then unfold.
#
# 1. (02) Which negatives does the loss push hardest?
# 2. (03) What does the memory hold for every clip, and how old is it?
# 3. (03) Cross-AVID pulls a picture and its own sound together. Why does that bring two campfires closer, too?
# 4. (04) Similarities of pictures and of sounds need not mean the same. Which of the two is larger for random pairs?
#
# <details><summary>Answers</summary>
#
# 1. The most similar ones.
# 2. A running average of its embeddings, one for the picture, one for the sound. It is renewed when the clip is drawn,
#    about once a pass.
# 3. Their sounds are alike, and similar sounds attract similar pictures. That is the detour through the other sense.
# 4. It depends on the run. Nothing in the loss fixes it, so look before you compare.
#
# </details>

# %%
import math

import torch
import torch.nn.functional as F

import avid_lab as al
from avid_lab import plots, reference
from avid_lab.course import exercise, frames, lab
from avid_lab.interactive import gallery
from avid_lab.interactive.positives import PositiveBrowser
from avid_lab.metrics import mean_and_margin, precision_of_each

RULES = ("video", "audio", "consensus", "union")

stage = lab.stage("05")
clips, names, labels, memory = stage.clips, stage.names, stage.clips.labels, stage.memory
N = len(clips)
k = min(32, N - 2)  # positives of every clip, as in the paper

# %% [markdown]
# ## Where this leads
#
# One clip asks: who is of my kind? Every other clip is a dot: the more it *looks* like the query, the further right it
# is; the more it *sounds* like the query, the higher. The 32 ringed dots agree with the query in **both**. The network
# never saw any classes: the colours show the ground truth, for your eyes only.
#
# This query is not typical. Of all training clips, it is the one that agreement helps most.

# %%
mined = {rule: al.mine_positives(memory.video, memory.audio, k, rule) for rule in RULES}
right = {rule: precision_of_each(found, labels) for rule, found in mined.items()}  # (N,): share of right positives
query = int((right["consensus"] - torch.maximum(right["video"], right["audio"])).argmax())
share = {rule: f"{100 * values[query]:.0f} %" for rule, values in right.items()}
title = f"{names[query]}: both senses find {share['consensus']}, sight {share['video']}, hearing {share['audio']}"
plots.agreement_plane(memory, query, mined["consensus"], labels, classes=clips.classes, title=title)

# %% tags=["claim"]
if stage.trained:
    here = {rule: values[query].item() for rule, values in right.items()}
    claim(
        "for this query, both senses find more than either",
        here["consensus"] - max(here["video"], here["audio"]),
        above=0.1,
    )


# %% [markdown]
# ## The conflict inside AVID
#
# AVID separates every clip from *all* others. It draws negatives from the whole set and pushes them away, and it cannot
# know that some of them show the same thing. Such a negative is a **false negative**: two campfires get pushed apart,
# just because they are two clips.

# %%
draws = stage.profile.num_negatives
question = f"A clip draws {draws} negatives in every step. How many are of its own class?"
lab.predict("05-1", question, low=0, high=round(draws / 5), unit="negatives")

# %%
everyone = torch.arange(N)
negatives = al.objectives.draw_negatives(everyone[:, None], N, draws, torch.Generator().manual_seed(0))  # (N, draws)
false = (labels[negatives] == labels[:, None]).sum(1).double()  # (N,)
print(f"{len(clips.classes)} classes, {N:,} clips; {false.min():.0f} to {false.max():.0f} false negatives per draw")
lab.reveal("05-1", round(false.mean().item(), 1), "a uniform draw picks a class as often as it occurs.", close=0.2)

# %% [markdown]
# This happens at every step, for every clip. The more classes a dataset has, the rarer false negatives are (with 400
# classes of equal size, 2 or 3 of 1,024). But they never disappear, and they do the most harm: the most similar
# negatives are pushed hardest (notebook 02).
#
# Could the network find them by itself? Then it could stop pushing them, and even *pull* them. Without labels, all it
# has is its own memory $\bar{\mathbf v}_i, \bar{\mathbf a}_i$ of what every clip looked and sounded like. So take the
# nearest neighbours in memory. But nearest in *which* sense?
#
# ## Look-alikes and sound-alikes
#
# The world of this course was built around that question. Each scene belongs to one group of look-alikes and to one
# group of sound-alikes.

# %%
look, sound = (clips.manifest.column(name) for name in ("look_group", "sound_group"))


intact = [i for i, off in enumerate(clips.manifest.column("off_screen")) if off != "1"]  # they sound as they look
plots.scene_grid(*([column[i] for i in intact] for column in (names, look, sound)))

# %% [markdown]
# Each row holds scenes that the eye may confuse. Each column holds scenes that the ear may confuse. Now let three
# judges choose for the query of the first figure: the eye alone (first row), the ear alone (second row), and both
# together (third row). Play them. *Which mistakes come from the eye, which from the ear, and which remain with both?*
#
# <details><summary>An answer</summary>
#
# A wrong clip of the first row *looks* like the query: it comes from the same row of the map. A wrong clip of the second
# row *sounds* like it, and comes from the same column. In the third row a wrong clip would have to do both, and no two
# scenes of the map do. What remains there are clips whose own picture and sound do not fit, and plain errors of the
# network.
#
# </details>

# %%
judges = ("video", "audio", "consensus")
chosen = [(rule, i) for rule in judges for i in mined[rule].index[query, :3].tolist()]
gallery(
    clips.path(query),
    [clips.path(i) for _, i in chosen],
    [f"{rule}: {names[i].replace('_', ' ')}" for rule, i in chosen],
    correct=[labels[i] == labels[query] for _, i in chosen],
    query_caption=f"the query: {names[query].replace('_', ' ')}",
    title="First three positives by sight, by hearing, by both",
    columns=3,
    clip_bytes=26_000,
)

# %% [markdown] tags=["instructor"]
# **Teaching note (5 min).** Before you run the gallery, pick two clips from one look group. Half of the class closes
# their eyes, the other half mutes their machines. They will name different scenes. That disagreement *is* the method:
# the errors of the two senses are (nearly) independent, so what both accept is rarely wrong. Misconception: "consensus
# means that the picture and sound of *one* clip fit together." No: it compares picture with picture and sound with
# sound, between *two* clips.

# %% [markdown]
# ## Agreement: the smaller of two similarities
#
# A clip counts as a positive if it agrees in picture **and** in sound. The paper writes this "and" as a minimum:
#
# $$ \rho_{ij} = \min\big(\bar{\mathbf v}_i^\top \bar{\mathbf v}_j,\; \bar{\mathbf a}_i^\top \bar{\mathbf a}_j\big) \qquad \text{(consensus)} $$
#
# The alternatives are $\max$ (**union**: one sense is enough), **video** alone and **audio** alone. **Exercise ●○○.** Write consensus.


# %%
@exercise("consensus_scores")
def consensus_scores(video_query, audio_query, video, audio):
    """video_query, audio_query (Q, D); video, audio (N, D); unit rows -> (Q, N): the smaller of the two similarities."""
    ...


# %%
looks, sounds = memory.video @ memory.video.T, memory.audio @ memory.audio.T  # (N, N)
scores = {
    "consensus": consensus_scores(memory.video, memory.audio, memory.video, memory.audio),
    "union": torch.maximum(looks, sounds),
    "video": looks,
    "audio": sounds,
}
print(f"consensus by {lab.credit('consensus_scores')}")
for rule, table in scores.items():
    print(f"{rule:>10}: mean over all pairs {table.mean():+.2f}")

# %% [markdown]
# ## What `min` does that `max` does not
#
# Where is the agreement at least $t$? For $\min \ge t$, *both* similarities must reach $t$: this is the **corner** at
# the upper right, the intersection of two half planes. For $\max \ge t$, one is enough: this is an **L**, their union.
# A single sense gives a half plane and ignores the other sense. Here are all four rules, each with its own 32 best: for
# the query above, for one in the middle, and for the one that consensus serves worst. Move the slider.
#
# > **Before you run it:** in which of the four regions do you expect dots of another class far from the diagonal?
#
# <details><summary>An answer</summary>
#
# In the ends of the two half planes and in both arms of the L. There, one sense is sure and the other says no.
#
# </details>


# %%
order = (right["consensus"] - torch.maximum(right["video"], right["audio"])).argsort(descending=True)
asking = {f"gains most: {names[i]}": i for i in order[:1].tolist()}
asking |= {f"in the middle: {names[i]}": i for i in order[N // 2 : N // 2 + 1].tolist()}
asking |= {f"loses most: {names[i]}": i for i in order[-1:].tolist()}
frames(
    lambda who: plots.agreement_planes(memory, asking[who], mined, labels, title=who),
    list(asking),
    label="query",
    start=0,
    dpi=80,
    alt="the regions of four rules",
)

# %% [markdown]
# Blue dots are of the query's class; rings mark the chosen clips. The arms of the L and the far ends of the half planes
# hold clips on which the senses disagree: one sense is sure, the other says no. The corner leaves out both arms, wrong
# clips and right ones alike. For the last query that is fatal: what is wrong with it? (The answer comes below, in "When
# picture and sound do not belong together".)
#
# An average would draw a slanted line: a perfect picture can outvote a wrong sound. With the minimum, **neither sense
# can be outvoted**.

# %%
options = ["consensus", "union", "video", "audio"]
lab.predict("05-2", f"Each rule takes the {k} best. Whose last positive has the LOWEST score?", options)

# %%
last = {rule: found.score[:, -1].mean().item() for rule, found in mined.items()}
for rule, value in last.items():
    print(f"{rule:>10}: score of the last of {k} positives, mean over all queries {value:.3f}")
because = "min(x, y) is never above x or y, and they are never above max(x, y). The same holds for the k-th largest."
lab.reveal("05-2", min(last, key=last.get), because)

# %% [markdown]
# So a consensus of 0.5 is worth more than a union of 0.5, and you cannot compare thresholds of different rules. That is
# why the paper fixes the *number* k and not a threshold. Move the slider: as k grows, the corner slides down the
# diagonal and starts to include strangers. (Once k exceeds the size of the class, it has to.)


# %%
def corner(size):
    others = scores["consensus"][query].clone()
    others[query] = -torch.inf
    found = others.topk(size).indices  # of this query alone
    own = 100 * (labels[found] == labels[query]).double().mean()
    name = names[query].replace("_", " ")
    return plots.agreement_plane(memory, query, found, labels, title=f"k = {size}: {own:.0f} % are {name}")


frames(
    corner,
    [size for size in (4, 16, k, 64, 128, 512) if size < N - 1],
    label="k",
    dpi=64,
    alt="the corner of consensus",
)

# %% [markdown]
# ## From scores to positives
#
# The positives of clip $i$ are the k *other* clips with the highest score. The trap is "other": the released code drops
# whichever clip comes first. If the data contain an exact duplicate (every video site has some), that is not always the
# clip itself. Exclude the clip by its *index*. **Exercise ●●○.** Write it. The scores that you are given must stay as they
# are: the next cells use them.


# %%
@exercise("top_k_positives")
def top_k_positives(score, k):
    """score (N, N), row i is query i -> (N, k): the best others, best first, never i itself; lower index wins ties."""
    ...


# %%
ks = [size for size in (1, 2, 4, 8, 16, 32, 64, 128, 256) if size < N - 1]
ranked = {rule: top_k_positives(scores[rule], max(ks)) for rule in RULES}  # (N, most)
agree = (ranked["consensus"][:, :k].sort().values == mined["consensus"].index.sort().values).double().mean()
print(f"{lab.credit('top_k_positives')}: {100 * agree:.2f} % of the entries are those of al.mine_positives")

# %% [markdown]
# The two may differ in a few last places. `mine_positives` computes products exactly, so neither the machine nor the
# order of the sums can change a tie.
#
# ### Exercise ●●●: mine in blocks
#
# You made a table of all $N \times N$ scores. At $N = 1{,}638$ it takes 11 MB; at Kinetics' 230,000 clips it would take
# 210 GB. But a query only needs its k best. So take a few queries at a time, compare them with a few others at a time,
# and remember the best up to now. Then memory no longer depends on $N^2$, and the result must be *exactly* that of the
# whole table: the same clips, in the same order, ties included.


# %%
@exercise("mined_in_blocks")
def mined_in_blocks(video, audio, k, block):
    """video, audio (N, D): unit rows -> (N, k): the k best others by consensus, best first; the lower index wins ties.

    The same as from the whole (N, N) table, but no table of scores has more than `block` rows and `block + k` columns.
    """
    ...


# %%
block = 128
by_blocks = mined_in_blocks(memory.video, memory.audio, k, block)
same = (by_blocks.sort().values == mined["consensus"].index.sort().values).double().mean()
print(f"{lab.credit('mined_in_blocks')}: {same:.2%} of the positives are those of al.mine_positives")
for name, count in {"here": N, "Kinetics": 232_067, "AudioSet": 1_784_108}.items():
    whole, part = 4 * count**2, 4 * block * (block + k)
    print(f"{name:<9} a table of all pairs: {whole / 1e6:>14,.0f} MB, a block and the best: {part / 1e6:.2f} MB")

# %% [markdown]
# *Question.* Memory is solved. What about time, and what would you give up to save it?
#
# <details><summary>An answer</summary>
#
# All $N^2$ similarities are still computed: ten times as many clips take a hundred times as long. You can skip blocks
# whose best possible score is below the k-th best so far: that loses nothing, and `mine_positives` does it. Or you search
# only among clips that a coarse index calls near: that is much faster, and some positives are missed. Whether they
# matter is a question for an experiment: train with both.
#
# </details>
#
# ## How many are right?
#
# **Exercise ●○○.** Count them.


# %%
@exercise("precision_at_k")
def precision_at_k(positives, labels):
    """positives (N, k): instances; labels (N,) -> share of positives that are of their query's class."""
    ...


# %%
lab.predict("05-3", f"Which rule finds the largest share of right positives at k = {k}?", list(RULES))

# %%
precision = {rule: [float(precision_at_k(found[:, :size], labels)) for size in ks] for rule, found in ranked.items()}
class_size = labels.bincount()[labels]  # (N,)
ceiling = [((class_size - 1) / size).clamp(max=1).mean().item() for size in ks]  # a class has no more than its members
chance = ((class_size - 1) / (N - 1)).mean().item()


at = max(i for i, size in enumerate(ks) if size <= k)
best = max(precision, key=lambda rule: precision[rule][at])
title = f"At k = {ks[at]}, {best} finds most: {100 * precision[best][at]:.1f} % ({lab.credit()})"
levels = {"ceiling: nobody of the class is left": ceiling, "chance": chance}
shown = plots.curves(ks, precision, levels, log="x", percent=True, xlabel="k", ylabel="right positives", title=title)
lab.reveal("05-3", best, f"on {stage.label}. Surprised? Hold your explanation until the end of the next two sections.")
shown

# %% [markdown]
# One run is an anecdote, so look at the committed reference runs, which repeat the training with other seeds.

# %%
results = reference.results()
long_runs = [run["scores"] for run in results["runs"] if run["variant"] == "long"]  # where CMA starts, all seeds
seeds = {rule: [scores[f"positives_{rule}"] for scores in long_runs] for rule in RULES}
for rule in ("video", "audio", "union"):
    ahead = [100 * (a - b) for a, b in zip(seeds["consensus"], seeds[rule], strict=True)]  # same seed, same memory
    mean, half = mean_and_margin(ahead)
    print(f"consensus minus {rule:<6} {mean:+5.1f} points, 95 % interval [{mean - half:+.1f}, {mean + half:+.1f}]")
plots.accuracy_bars(seeds, results["chance"]["video_probe"], xlabel="right positives", title="Committed runs, k = 32")

# %% tags=["claim"]
mean_of = {rule: sum(values) / len(values) for rule, values in seeds.items()}
claim("sight alone finds the most", mean_of["video"] - max(mean_of.values()), above=-0.001)
claim("hearing alone finds the fewest", mean_of["audio"] - min(mean_of.values()), below=0.001)
claim("all rules find at least 85 % right positives", min(mean_of.values()), above=0.85)

# %% [markdown]
# A paired difference (same seed, same memory, two rules) is much more precise than the whiskers of two bars suggest.
# Still, it is an interval over a handful of seeds of one small world.
#
# So sight alone beats consensus here? The paper chose consensus. Two explanations are possible:
# the world differs, or consensus loses on a certain *kind* of clip. First look at the mistakes.
#
# ## Whose mistakes?
#
# A wrong positive can be a look-alike, a sound-alike, or neither.

# %%
options = ["look-alikes", "sound-alikes", "neither"]
lab.predict("05-4", "If sight alone chooses, what are most of the wrong positives?", options)


# %%
def numbered(groups):
    return torch.tensor([sorted(set(groups)).index(group) for group in groups])


look_of, sound_of = numbered(look), numbered(sound)
kinds = {}
for rule in RULES:
    index = ranked[rule][:, :k]
    hit = labels[index] == labels[:, None]
    alike = look_of[index] == look_of[:, None]
    heard = sound_of[index] == sound_of[:, None]
    parts = {
        "right": hit,
        "wrong: looks alike": alike & ~hit,
        "wrong: sounds alike": heard & ~hit,
        "wrong: neither": ~(hit | alike | heard),
    }
    kinds[rule] = {word: part.double().mean().item() for word, part in parts.items()}
wrong = dict(zip(options, list(kinds["video"].values())[1:], strict=True))
both = {rule: 100 * (row["wrong: looks alike"] + row["wrong: sounds alike"]) for rule, row in kinds.items()}
title = f"Look- and sound-alikes: {both['consensus']:.0f} % by both senses, {both['audio']:.0f} % by hearing, {both['video']:.0f} % by sight"
shown = plots.shares(kinds, xlabel=f"of {k} positives", title=title)
lab.reveal("05-4", max(wrong, key=wrong.get), "look-alikes are few classes, 'neither' covers nearly all others.")
shown

# %% tags=["claim"]
if stage.trained:
    claim("most of sight's mistakes are look-alikes", wrong["look-alikes"] - max(wrong.values()), above=-1e-9)
    heard_wrong = {word: share for word, share in kinds["audio"].items() if word != "right"}
    claim(
        "most of hearing's mistakes are sound-alikes",
        heard_wrong["wrong: sounds alike"] - max(heard_wrong.values()),
        above=-1e-9,
    )
    claim(
        "consensus has fewer look-alikes than sight",
        kinds["video"]["wrong: looks alike"] - kinds["consensus"]["wrong: looks alike"],
        above=0,
    )
    claim(
        "and fewer sound-alikes than hearing",
        kinds["audio"]["wrong: sounds alike"] - kinds["consensus"]["wrong: sounds alike"],
        above=0,
    )
    claim(
        "but more of the other mistakes than sight",
        kinds["consensus"]["wrong: neither"] - kinds["video"]["wrong: neither"],
        above=0,
    )

# %% [markdown]
# Each sense makes its own kind of mistake, and consensus makes fewer of both kinds. What it has more of are mistakes that
# neither look nor sound like the query. Keep that in mind.
#
# Now scene by scene: the blue dot is sight, the orange one hearing, the green one both. A long grey bar marks a scene in
# which one sense is much worse. Which end does the green dot stay close to?


# %%
rows = {}
for number, name in enumerate(clips.classes):
    mine = labels == number
    if mine.any():
        ways = {"sight": "video", "hearing": "audio", "both (consensus)": "consensus"}
        rows[name.replace("_", " ")] = {word: float(right[rule][mine].mean()) for word, rule in ways.items()}
rows = dict(sorted(rows.items(), key=lambda item: item[1]["sight"] - item[1]["hearing"]))
closer = sum(
    abs(row["both (consensus)"] - max(row["sight"], row["hearing"]))
    <= abs(row["both (consensus)"] - min(row["sight"], row["hearing"]))
    for row in rows.values()
)
title = f"Consensus is closer to the better sense in {closer} of {len(rows)} scenes"
plots.dumbbells(rows, xlabel=f"of {k} positives, right", title=title)

# %% [markdown]
# ## Play with it
#
# The panel below shows the whole idea. Choose a query, a rule and k; click a dot to play that clip; browse *many wrong
# positives* to see the hopeless cases. (A published notebook shows a still picture; run the cell to get the live
# panel.)

# %%
browser = PositiveBrowser(memory, clips)
browser.controls["query"].value = query
browser.draw(True)  # now, not when the kernel is idle: the picture below is taken at once
browser

# %%
lab.note(
    "05-1",
    "Find a query that sight gets wrong and hearing gets right, and one that hearing gets wrong. What is wrong with them?",
)

# %% [markdown]
# <details><summary>An answer</summary>
#
# Sight fails where two scenes share a look: compare the query with its wrong positives in the map above. The hopeless
# cases for hearing, and for consensus, are mostly clips with the sound of *another* scene (a diamond in the panel), and
# clips with noise. They are the next section.
#
# </details>

# %% [markdown] tags=["instructor"]
# **Teaching note (8 min).** Let pairs of students hunt for the worst query. Most hopeless cases are off-screen or noisy
# clips (the diamond); some are clips with a second sound. That leads to the next section. Discussion: what would the
# same panel show on AudioSet, where there is no ground truth to colour it? (Students would have to *listen*: see
# notebook 10.)

# %% [markdown]
# ## When picture and sound do not belong together
#
# A few clips of this world have the sound of *another* scene, as in a film when the source is **off-screen**. For AVID
# such a clip is a **faulty positive**: the loss pulls the picture of a fan and the sound of a bell together. Which
# clips should it agree with? The fans do not sound like it, and the bells do not look like it.

# %%
faulty = torch.tensor([value == "1" for value in clips.manifest.column("off_screen")])
print(f"{int(faulty.sum())} of {N} clips are off-screen ({100 * faulty.double().mean():.1f} %)")
print(f"{'right positives of':<20}{'all clips':>12}{'intact ones':>14}{'off-screen ones':>18}")
if faulty.any():
    for rule, values in right.items():
        every, whole, broken = (100 * values[which].mean().item() for which in (faulty | ~faulty, ~faulty, faulty))
        print(f"{rule:<20}{every:>11.1f}%{whole:>13.1f}%{broken:>17.1f}%")

# %% tags=["claim"]
if stage.trained:
    sound_ones = {rule: values[~faulty].mean().item() for rule, values in right.items()}
    claim("on intact clips consensus finds the most", sound_ones["consensus"] - max(sound_ones.values()), above=-1e-9)
    claim(
        "on off-screen clips it finds far fewer than sight",
        (right["video"] - right["consensus"])[faulty].mean(),
        above=0.2,
    )

# %% [markdown]
# **There is the explanation.** On intact clips, consensus finds more right positives than any other rule.
# On off-screen clips it fails. A clip's class here is what you *see*, so hearing alone must fail on these clips, and
# sight alone is not affected at all: its first place above came from them. Nobody knows in advance which clips these
# are, and with a real recording nobody says that the eye is right and the ear wrong.
#
# For such a clip the corner is empty, so consensus chooses strangers. But the low scores of its positives show this.
# Are they low enough to separate faulty clips from intact ones?
#
# The area under the curve (AUC) answers this: take a faulty and an intact clip; how often does the faulty one have the
# lower score? (0.5 means no better than guessing, 1 means always.) The second figure shows a simpler alarm: the
# similarity of a clip's own picture to its own sound.


# %%
def alarm_figure(name, alarm):
    """An alarm for intact and for faulty clips."""
    area = al.metrics.auc(-alarm[faulty].numpy(), -alarm[~faulty].numpy())
    groups = {"intact clips": alarm[~faulty], "off-screen": alarm[faulty]}
    return plots.histograms(groups, bins=30, xlabel=name, title=f"A faulty clip is lower with probability {area:.2f}")


own = (memory.video * memory.audio).sum(1)
depth = mined["consensus"].score.mean(1)
alarm_figure(f"mean consensus of the {k} positives", depth) if faulty.any() else print(
    "no off-screen clip in this small world"
)

# %%
alarm_figure("similarity of own picture and own sound", own) if faulty.any() else print("no off-screen clip")

# %% tags=["claim"]
if stage.trained:
    area = [al.metrics.auc(-x[faulty].numpy(), -x[~faulty].numpy()) for x in (depth, own)]
    claim("a low consensus gives most faulty clips away", area[0], above=0.9)
    claim("and better than the clip's own similarity", area[0] - area[1], above=0.05)

# %% [markdown]
# *Question.* Why is the simpler alarm worse?
#
# <details><summary>An answer</summary>
#
# Training pulled exactly this pair together, step after step: AVID has learned the faulty pairs by heart. Agreement asks
# *other* clips, and they were not pulled there.
#
# </details>
#
# The paper does not use agreement in this way: it asks *which* clips are my positives, but not *whether* I should have
# any. A later paper by the same authors weights every pair by such a score; notebook 09 does that.
#
# ## What happens to the false negatives?
#
# CMA does two things with the positives: it pulls them closer, and *never draws them as negatives*. How much of the
# conflict does the second part solve? That depends on k: a larger k removes more false negatives but lowers precision.

# %%
left = [al.metrics.false_negative_rate(labels, ranked["consensus"][:, :size]) * draws for size in ks]
log_k = [size.bit_length() - 1 for size in ks]  # log2
panels = {
    "right positives, %": {"consensus": (log_k, [100 * x for x in precision["consensus"]])},
    f"false negatives among {draws}": {"consensus": (log_k, left), "AVID": (log_k, [draws * chance] * len(ks))},
}
title = f"With k = {ks[at]}, false negatives fall from {draws * chance:.0f} to {left[at]:.0f}"
plots.tracks(panels, xlabel="log2 of k: 0 is one positive, 5 is 32", title=title)

# %% [markdown]
# The orange line is AVID, which excludes no clip. Even at k = 32 most of a class stays among the negatives: agreement
# *reduces* the conflict but does not end it.
#
# ## Agreement is only as good as its memory
#
# So far we mined from a trained memory. How much training does it need? Here are an untrained network (its embeddings
# of the same clips, computed now) and Cross-AVID after three lengths of training (committed runs, all seeds):

# %%
twin = al.evaluation.random_twin(stage.model, clips, stage.pipeline)
blank = al.evaluation.embed(twin, clips, stage.pipeline, windows=1)
rows = {"untrained network": [al.positive_precision(al.mine_positives(blank.video, blank.audio, k), labels)]}
length = results["made_with"]["profile"]["train"]["steps"]
for variant, steps in (
    ("cross", f"{length:,} steps"),
    ("long", f"{length * 3 // 2:,} steps"),
    ("avid", f"{2 * length:,} steps"),
):
    found = [run["scores"]["positives_consensus"] for run in results["runs"] if run["variant"] == variant]
    if found:
        rows[f"Cross-AVID, {steps}"] = found
first, final = (100 * sum(values) / len(values) for values in (rows["untrained network"], list(rows.values())[-1]))
title = f"From {first:.0f} % right positives, untrained, to {final:.0f} % after {list(rows)[-1].split(', ')[1]}"
plots.accuracy_bars(rows, chance=chance, xlabel="right positives", title=title)

# %% [markdown]
# Keep this figure in mind for notebook 06. CMA *trusts* its positives. If it starts while most of them are wrong, the
# network learns its own mistakes.
#
# ## Experiment: your own rule
#
# A rule is anything that turns two similarities into one number. Change `my_rule` and try to beat the minimum. Some
# ideas: the mean; the product (mind the signs!); a *soft* minimum, $-\tau\log(e^{-x/\tau} + e^{-y/\tau})$; the minimum
# of *ranks* instead of similarities, since the two senses do not use the same scale.


# %%
def my_rule(looks, sounds):
    return (looks + sounds) / 2


contest = {"minimum": torch.minimum(looks, sounds), "my rule": my_rule(looks, sounds)}
judged = {name: float(precision_at_k(top_k_positives(table, k), labels)) for name, table in contest.items()}
print({name: f"{100 * value:.1f} %" for name, value in judged.items()})
lab.note("05-2", "My rule against the minimum", **{name.replace(" ", "_"): round(v, 4) for name, v in judged.items()})

# %% tags=["claim"]
if stage.trained:
    claim("the average finds more right positives than the minimum", judged["my rule"] - judged["minimum"], above=0)

# %% [markdown]
# *Question.* The average beats the minimum here. Why, and what does it give up?
#
# <details><summary>An answer</summary>
#
# Two noisy measurements of the same thing are best *averaged* if both are trustworthy for every clip: the errors cancel,
# while the minimum keeps the larger error. On intact clips that is all there is to it. On off-screen clips, the perfect
# picture outvotes the wrong sound, and because we score by what one *sees*, this counts as right.
#
# What the average gives up is the promise. A high minimum says that *both* senses agree. A high average may be one sense
# that is very sure. If a positive is to be true in both senses, as CMA needs when it pulls pictures *and* sounds
# together, the minimum is the cautious choice. The paper chose it; this world says that the average is a serious rival.
#
# </details>
#
# ### Your rule in the library ●●●
#
# `al.mining` takes a rule as a name and a formula of two similarities. CONTRIBUTING.md ("An agreement") shows how to add
# one. Add yours, mine with it (`al.mine_positives(memory.video, memory.audio, k, "mean")`), and train CMA with it in
# notebook 06: `al.CMA.from_avid(avid, k=32, agreement="mean")`. The rule must never fall when either similarity rises.
# Why?
#
# <details><summary>An answer</summary>
#
# Otherwise a clip could lose its place among the positives by becoming *more* similar in one sense. The exact search also
# relies on it: it bounds the best score that a block of clips can reach from the largest similarities in it.
#
# </details>

# %% [markdown] tags=["instructor"]
# **Teaching note (10 min).** Ask for which *clips* the average wins before they unfold the answer. A good answer shows
# numbers for intact and for off-screen clips (`precision_of_each` on `faulty`).

# %% [markdown]
# ## If it went wrong
#
# * *My positives are the queries themselves:* the diagonal of the table is 1, the largest possible score. Exclude it
#   before you sort.
# * *All rules find 4.5 %:* that is chance. The label that `lab.stage` prints says whether the model is trained. In the
#   smoke profile it is not, and every number here is noise.
# * *`k must be between 1 and N - 1`:* you asked for more positives than there are other clips.
#
# ## Recap
#
# * Instance discrimination draws clips of the query's own class as negatives, as often as the class occurs. They are
#   *false negatives*.
# * Neighbours in one sense include the clips that this sense confuses. Consensus, the **minimum** of two similarities,
#   is a corner of the agreement plane: neither sense can be outvoted. Where picture and sound fit, it finds the most
#   right positives.
# * We fix the number of positives, not a threshold, because scores of different rules are not comparable.
# * If the picture and sound of a clip do not fit, its corner is empty, and its low score gives it away.
# * Agreement is only as good as the memory it is mined from. Next: train on it.
#
# ## Further reading
#
# * P. Morgado, N. Vasconcelos, I. Misra, *Audio-Visual Instance Discrimination with Cross-Modal Agreement*, CVPR 2021.
#   This notebook follows section 4.
# * P. Morgado, I. Misra, N. Vasconcelos, *Robust Audio-Visual Instance Discrimination*, CVPR 2021: faulty positives and false negatives, weighted.
# * T. Han, W. Xie, A. Zisserman, *Self-supervised Co-Training for Video Representation Learning*, NeurIPS 2020: positives mined in the other view of a video.
# * D. Dwibedi, Y. Aytar, J. Tompson, P. Sermanet, A. Zisserman, *With a Little Help from My Friends*, ICCV 2021: nearest neighbours as positives, in one modality.
# * C.-Y. Chuang, J. Robinson, Y.-C. Lin, A. Torralba, S. Jegelka, *Debiased Contrastive Learning*, NeurIPS 2020: false negatives, without finding them.

# %%
lab.progress("05")

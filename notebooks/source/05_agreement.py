# %% [markdown]
# # 05 · Cross-modal agreement: positives you can play
#
# After this notebook you can
#
# * count the *false negatives* of instance discrimination: how often AVID pushes a clip away from its own kind,
# * mine positives by **cross-modal agreement** in three lines, and explain what `min` does that `max` and an average do
#   not,
# * judge positives against the ground truth that only a rendered world has: by eye, by ear and by numbers, compared
#   with chance and over several seeds,
# * distinguish a query that no rule can help from one that another rule would help.
#
# **Needs:** notebook 03 (AVID and its memory); 04 helps. **Time:** 45 minutes to read and play. Nothing is trained
# here: computing took 23 s on one CPU core (GPU: not measured).

# %%
import math

import torch

import avid_lab as al
from avid_lab import plots, reference
from avid_lab.course import exercise, frames, lab
from avid_lab.interactive import gallery
from avid_lab.interactive.positives import PositiveBrowser
from avid_lab.metrics import mean_and_margin, precision_of_each
from avid_lab.plots.style import AUDIO, FAINT, GOOD, INK, MUTED, VIDEO, add_axes, new_figure, styled

RULES = {"consensus": GOOD, "union": "#b5478c", "video": VIDEO, "audio": AUDIO}  # and their colours

stage = lab.stage("05")
clips, names, labels, memory = stage.clips, stage.names, stage.clips.labels, stage.memory
N = len(clips)
K = min(32, N - 2)  # positives of every clip, as in the paper

# %% [markdown]
# ## Where this leads
#
# One clip asks: who is of my kind? Every other clip is a dot: the more it *looks* like the query, the further right it
# is; the more it *sounds* like the query, the higher. The 32 ringed dots agree with the query in **both**. The network
# never saw any classes: the colours show the ground truth, for your eyes only.
#
# This query is not typical. Of all training clips, it is the one that agreement helps most.

# %%
mined = {rule: al.mine_positives(memory.video, memory.audio, K, rule) for rule in RULES}
right = {rule: precision_of_each(found, labels) for rule, found in mined.items()}  # (N,): share of right positives
query = int((right["consensus"] - torch.maximum(right["video"], right["audio"])).argmax())
share = {rule: f"{100 * values[query]:.0f} %" for rule, values in right.items()}
title = f"{names[query]}: both senses find {share['consensus']}, sight {share['video']}, hearing {share['audio']}"
plots.agreement_plane(memory, query, mined["consensus"], labels, classes=clips.classes, title=title)

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


@styled
def world_map():
    """A map of the scenes: one row for each look, one column for each sound."""
    rows, columns = sorted(set(look)), sorted(set(sound))
    cells = {}
    truths = zip(names, look, sound, clips.manifest.column("off_screen"), strict=True)
    for scene, row, column in {truth[:3] for truth in truths if truth[3] != "1"}:  # those that sound as they look
        cells.setdefault((row, column), []).append(scene.replace("_", " "))
    ax = add_axes(new_figure(8.2, 0.9 + 0.34 * len(rows)))
    for (row, column), scenes in cells.items():
        at = columns.index(column), rows.index(row)
        ax.text(*at, " / ".join(scenes), ha="center", va="center", fontsize=9, color=INK)
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    ax.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5), xlabel="sounds alike", ylabel="looks alike")
    for line in range(len(rows)):
        ax.axhline(line + 0.5, color=FAINT, linewidth=0.6)
    most = max(map(len, cells.values()))
    ax.set_title(
        f"{len(rows)} looks, {len(columns)} sounds: no combination has more than {most} scene{'s' * (most > 1)}"
    )
    return ax


world_map()

# %% [markdown]
# Each row holds scenes that the eye may confuse. Each column holds scenes that the ear may confuse. Now let three
# judges choose for the query of the first figure: the eye alone (first row), the ear alone (second row), and both
# together (third row). Play them. *Which mistakes come from the eye, which from the ear, and which remain with both?*

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
# The alternatives are $\max$ (**union**: one sense is enough), **video** alone and **audio** alone. Write consensus.


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


# %%
@styled
def four_regions(query):
    """The 32 positives of one query under each rule, and the boundary of each rule."""
    page = new_figure(9.0, 9.2)
    grid = page.add_gridspec(2, 2)
    for place, rule in enumerate(RULES):
        ax = add_axes(page, grid[place])
        share = 100 * right[rule][query]
        plots.agreement_plane(
            memory,
            query,
            mined[rule],
            labels,
            agreement=rule,
            ax=ax,
            title=f"{rule}: {share:.0f} % of {K} are right",
        )
        ax.get_legend().remove()
    return page


order = (right["consensus"] - torch.maximum(right["video"], right["audio"])).argsort(descending=True)
asking = {f"gains most: {names[i]}": i for i in order[:1].tolist()}
asking |= {f"in the middle: {names[i]}": i for i in order[N // 2 : N // 2 + 1].tolist()}
asking |= {f"loses most: {names[i]}": i for i in order[-1:].tolist()}
frames(lambda who: four_regions(asking[who]), list(asking), label="query", start=0, dpi=64, alt="four regions")

# %% [markdown]
# Blue dots are of the query's class; rings mark the chosen clips. The arms of the L and the far ends of the half planes
# hold clips on which the senses disagree: one sense is sure, the other says no. The corner excludes both arms.
#
# An average would draw a slanted line: a perfect picture can outvote a wrong sound. With the minimum, **neither sense
# can be outvoted**.

# %%
options = ["consensus", "union", "video", "audio"]
lab.predict("05-2", f"Each rule takes the {K} best. Whose last positive has the LOWEST score?", options)

# %%
last = {rule: found.score[:, -1].mean().item() for rule, found in mined.items()}
for rule, value in last.items():
    print(f"{rule:>10}: score of the last of {K} positives, mean over all queries {value:.3f}")
because = "min(x, y) is never above x or y, and they are never above max(x, y). The same holds for the K-th largest."
lab.reveal("05-2", min(last, key=last.get), because)

# %% [markdown]
# So a consensus of 0.5 is worth more than a union of 0.5, and you cannot compare thresholds of different rules. That is
# why the paper fixes the *number* K and not a threshold. Move the slider: as K grows, the corner slides down the
# diagonal and starts to include strangers. (Once K exceeds the size of the class, it has to.)


# %%
def corner(k):
    others = scores["consensus"][query].clone()
    others[query] = -torch.inf
    found = others.topk(k).indices  # (k,): of this query alone
    own = 100 * (labels[found] == labels[query]).double().mean()
    name = names[query].replace("_", " ")
    return plots.agreement_plane(memory, query, found, labels, title=f"K = {k}: {own:.0f} % are {name}")


frames(corner, [k for k in (4, 16, K, 64, 128, 512) if k < N - 1], label="K", dpi=64, alt="the corner of consensus")

# %% [markdown]
# ## From scores to positives
#
# The positives of clip $i$ are the K *other* clips with the highest score. The trap is "other": the released code drops
# whichever clip comes first. If the data contain an exact duplicate (every video site has some), that is not always the
# clip itself. Exclude the clip by its *index*.


# %%
@exercise("top_k_positives")
def top_k_positives(score, k):
    """score (N, N), row i is query i -> (N, k): the best others, best first, never i itself; lower index wins ties."""
    ...


# %%
ks = [k for k in (1, 2, 4, 8, 16, 32, 64, 128, 256) if k < N - 1]
ranked = {rule: top_k_positives(table, max(ks)) for rule, table in scores.items()}  # (N, most)
agree = (ranked["consensus"][:, :K].sort().values == mined["consensus"].index.sort().values).double().mean()
print(f"{lab.credit('top_k_positives')}: {100 * agree:.2f} % of the entries are those of al.mine_positives")

# %% [markdown]
# The two may differ in a few last places. `mine_positives` computes products exactly, so neither the machine nor the
# order of the sums can change a tie. It also never holds the whole $N \times N$ table. At $N = 1{,}638$ a table takes
# 11 MB; at Kinetics' 230,000 clips it would take 210 GB.
#
# ## How many are right?


# %%
@exercise("precision_at_k")
def precision_at_k(positives, labels):
    """positives (N, k): instances; labels (N,) -> share of positives that are of their query's class."""
    ...


# %%
lab.predict("05-3", f"Which rule finds the largest share of right positives at K = {K}?", list(RULES))

# %%
precision = {rule: [float(precision_at_k(found[:, :k], labels)) for k in ks] for rule, found in ranked.items()}
class_size = labels.bincount()[labels]  # (N,)
ceiling = [((class_size - 1) / k).clamp(max=1).mean().item() for k in ks]  # a class has no more than its members
chance = ((class_size - 1) / (N - 1)).mean().item()


@styled
def precision_over_k(best):
    """Share of right positives by rule, between the ceiling and chance."""
    ax = add_axes(new_figure(8.2, 4.4))
    for rule, colour in RULES.items():
        values = [100 * x for x in precision[rule]]
        ax.plot(ks, values, "o-", color=colour, markersize=4, linewidth=2.6 if rule == best else 1.4, label=rule)
    ax.plot(ks, [100 * x for x in ceiling], color=MUTED, linestyle="--", label="ceiling: nobody of the class is left")
    ax.axhline(100 * chance, color=INK, linewidth=1.2, label=f"chance {100 * chance:.1f} %")
    ax.set_xscale("log", base=2)
    ax.set_xticks(ks, ks)
    ax.set(ylim=(0, 102), xlabel="K, positives of every clip", ylabel="of the query's class, %")
    ax.legend(loc="center left", bbox_to_anchor=(0.0, 0.27), ncols=2)
    ax.set_title(f"At K = {ks[at]}, {best} finds most: {100 * precision[best][at]:.1f} % ({lab.credit()})")
    return ax


at = max(i for i, k in enumerate(ks) if k <= K)
best = max(precision, key=lambda rule: precision[rule][at])
shown = precision_over_k(best)
lab.reveal("05-3", best, f"on {stage.label}. But look at how far ahead it is, and of which rule.")
shown

# %% [markdown]
# Look twice: *how far* ahead is it, and ahead of which rule? If one sense is much worse than the other, consensus
# suffers from it. One run is an anecdote, so look at the committed reference runs, which repeat the training with other
# seeds.

# %%
results = reference.results()
long_runs = [run["scores"] for run in results["runs"] if run["variant"] == "long"]  # where CMA starts, all seeds
seeds = {rule: [scores[f"positives_{rule}"] for scores in long_runs] for rule in RULES}
lead = {}
for rule in ("union", "video", "audio"):
    pairs = [100 * (a - b) for a, b in zip(seeds["consensus"], seeds[rule], strict=True)]  # same seed, same memory
    mean, half = mean_and_margin(pairs)
    lead[rule] = (mean, mean - half)
    print(f"consensus over {rule:<6} {mean:+5.1f} points, 95 % interval [{mean - half:+.1f}, {mean + half:+.1f}]")
sure = [rule for rule, (_, low) in lead.items() if low > 0]
title = (
    f"Clearly ahead of {', '.join(sure)}" if sure else "Consensus is not clearly ahead of any rule, with so few seeds"
)
title += f" (committed runs, {len(long_runs)} seeds, K = 32)"
plots.accuracy_bars(seeds, chance=results["chance"]["video_probe"], xlabel="right positives", title=title)

# %% [markdown]
# A paired difference (same seed, same memory, two rules) is much more precise than the whiskers of two bars suggest.
# Still, it is an interval over a handful of seeds of one small world.
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
    index = ranked[rule][:, :K]
    hit = labels[index] == labels[:, None]
    alike = look_of[index] == look_of[:, None]
    heard = sound_of[index] == sound_of[:, None]
    parts = (hit, alike & ~hit, heard & ~hit, ~(hit | alike | heard))
    kinds[rule] = [100 * part.double().mean().item() for part in parts]
wrong = dict(zip(options, kinds["video"][1:], strict=True))


@styled
def who_is_wrong():
    """What the positives of each rule are."""
    ax = add_axes(new_figure(8.2, 2.9))
    words = ("right", "wrong: looks alike", "wrong: sounds alike", "wrong: neither")
    for part, (word, colour) in enumerate(zip(words, (GOOD, VIDEO, AUDIO, FAINT), strict=True)):
        left = [sum(values[:part]) for values in kinds.values()]
        widths = [values[part] for values in kinds.values()]
        ax.barh(list(kinds), widths, left=left, color=colour, alpha=0.75, height=0.66, label=word)
        for row, (start, width) in enumerate(zip(left, widths, strict=True)):
            if width > 3.5:
                ax.text(start + width / 2, row, f"{width:.0f}", ha="center", va="center", fontsize=9, color=INK)
    ax.invert_yaxis()
    ax.set(xlim=(0, 100), xlabel=f"of {K} positives, %")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, columnspacing=1.2, handlelength=1.2)
    of_union, of_both = (kinds[rule][1] + kinds[rule][2] for rule in ("union", "consensus"))
    ax.set_title(f"Look- and sound-alikes: {of_both:.0f} % by consensus, {of_union:.0f} % by union", pad=30)
    return ax


shown = who_is_wrong()
lab.reveal(
    "05-4", max(wrong, key=wrong.get), "look-alikes are few classes, 'neither' covers nearly all others: count both."
)
shown

# %% [markdown]
# Now scene by scene: the blue dot is sight, the orange one hearing, the green one both. A long grey line marks a scene
# in which one sense fails. Which end does the green dot stay close to?


# %%
@styled
def by_scene():
    """Share of right positives for each scene, by sight, by hearing and by consensus."""
    rows = {}
    for number, name in enumerate(clips.classes):
        mine = labels == number
        if mine.any():
            values = [100 * float(right[rule][mine].mean()) for rule in ("video", "audio", "consensus")]
            rows[name.replace("_", " ")] = values
    ordered = sorted(rows, key=lambda name: rows[name][0] - rows[name][1])
    ax = add_axes(new_figure(8.2, 1.1 + 0.25 * len(rows)))
    for place, name in enumerate(ordered):
        ax.plot(rows[name][:2], [place, place], color=FAINT, linewidth=3, zorder=1)
    for part, (word, colour) in enumerate((("sight", VIDEO), ("hearing", AUDIO), ("both (consensus)", GOOD))):
        ax.plot([rows[name][part] for name in ordered], range(len(rows)), "o", color=colour, markersize=7, label=word)
    ax.set_yticks(range(len(rows)), ordered, fontsize=9)
    ax.set(xlim=(0, 102), ylim=(-0.6, len(rows) - 0.4), xlabel=f"of {K} positives, right, %")
    ax.grid(axis="x")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    above = sum(both >= max(one, other) for one, other, both in rows.values())
    ax.set_title(f"Consensus is no worse than the better sense in {above} of {len(rows)} scenes", pad=28)
    return ax


by_scene()

# %% [markdown]
# ## Play with it
#
# The panel below shows the whole idea. Choose a query, a rule and K; click a dot to play that clip; browse *many wrong
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
    "Find a query that sight gets wrong and hearing gets right, and one that every rule gets wrong. What is wrong with it?",
)

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
if faulty.any():
    for rule, values in right.items():
        pair = (100 * values[which].mean().item() for which in (~faulty, faulty))
        print(
            f"{rule:>10}: right positives {next(pair):5.1f} % of intact clips, {next(pair):5.1f} % of off-screen ones"
        )

# %% [markdown]
# A clip's class here is what you *see*. So hearing alone must fail on these clips, and sight alone is not affected.
# Consensus has no good answer, because the corner is empty. But the low scores of its positives show this. Are they low
# enough to separate faulty clips from intact ones?
#
# The area under the curve (AUC) answers this: take a faulty and an intact clip; how often does the faulty one have the
# lower score? (0.5 means no better than guessing, 1 means always.) The right figure shows a simpler alarm: the
# similarity of a clip's own picture to its own sound.


# %%
@styled
def alarms(values):
    """Histograms of two alarms for intact and for faulty clips."""
    page = new_figure(9.0, 3.2)
    grid = page.add_gridspec(1, 2)
    for place, (name, alarm) in enumerate(values.items()):
        ax = add_axes(page, grid[place])
        edges = torch.linspace(float(alarm.min()), float(alarm.max()), 30).numpy()
        for which, colour, word in ((~faulty, MUTED, "intact clips"), (faulty, AUDIO, "off-screen")):
            ax.hist(alarm[which].numpy(), edges, density=True, color=colour, alpha=0.5, label=word)
        area = al.metrics.auc(-alarm[faulty].numpy(), -alarm[~faulty].numpy())
        ax.set(xlabel=name, yticks=[])
        ax.set_title(f"AUC {area:.2f}")
        ax.legend(loc="upper left")
    return page


own = (memory.video * memory.audio).sum(1)
depth = mined["consensus"].score.mean(1)
values = {f"mean consensus of the {K} positives": depth, "own picture with own sound": own}
alarms(values) if faulty.any() else print("this small world has no off-screen clip")

# %% [markdown]
# The paper does not use agreement in this way: it asks *which* clips are my positives, but not *whether* I should have
# any. A later paper by the same authors weights every pair by such a score; notebook 09 does that.
#
# ## What happens to the false negatives?
#
# CMA does two things with the positives: it pulls them closer, and *never draws them as negatives*. How much of the
# conflict does the second part solve? That depends on K: a larger K removes more false negatives but lowers precision.

# %%
left = [al.metrics.false_negative_rate(labels, ranked["consensus"][:, :k]) * draws for k in ks]


@styled
def bargain():
    """Precision and remaining false negatives over K."""
    page = new_figure(8.2, 3.9)
    ax = add_axes(page)
    ax.plot(ks, [100 * x for x in precision["consensus"]], "o-", color=GOOD, markersize=4)
    ax.set_xscale("log", base=2)
    ax.set_xticks(ks, ks)
    ax.set(ylim=(0, 102), xlabel="K, positives of every clip")
    ax.set_ylabel("right positives, %", color=GOOD)
    other = ax.twinx()
    other.plot(ks, left, "s-", color=AUDIO, markersize=4)
    other.set_ylim(0, 1.15 * draws * chance)
    other.axhline(draws * chance, color=AUDIO, linestyle="--", linewidth=1)
    other.set_ylabel(f"false negatives among {draws}", color=AUDIO)
    other.spines["right"].set_visible(True)
    ax.set_title(f"With K = {ks[at]}, false negatives fall from {draws * chance:.0f} to {left[at]:.0f}")
    return ax


bargain()

# %% [markdown]
# The dashed line is AVID, which excludes no clip. Even at K = 32 most of a class stays among the negatives: agreement
# *reduces* the conflict but does not end it.
#
# ## Agreement is only as good as its memory
#
# So far we mined from a trained memory. How much training does it need? Here are an untrained network (its embeddings
# of the same clips, computed now) and Cross-AVID after up to 1,800 steps (committed runs, all seeds):

# %%
twin = al.evaluation.random_twin(stage.model, clips, stage.pipeline)
blank = al.evaluation.embed(twin, clips, stage.pipeline, windows=1)
rows = {"untrained network": [al.positive_precision(al.mine_positives(blank.video, blank.audio, K), labels)]}
for variant, steps in (("cross", "900 steps"), ("long", "1,350 steps"), ("avid", "1,800 steps")):
    found = [run["scores"]["positives_consensus"] for run in results["runs"] if run["variant"] == variant]
    if found:
        rows[f"Cross-AVID, {steps}"] = found
first, final = (100 * sum(values) / len(values) for values in (rows["untrained network"], list(rows.values())[-1]))
title = f"From {first:.0f} % right positives, untrained, to {final:.0f} % after {list(rows)[-1].split(', ')[1]}"
plots.accuracy_bars(rows, chance=chance, xlabel="right positives", title=title)

# %% [markdown]
# Keep this figure in mind for notebook 06. CMA *trusts* its positives. If it starts while half of them are wrong, the
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
judged = {name: float(precision_at_k(top_k_positives(table, K), labels)) for name, table in contest.items()}
print({name: f"{100 * value:.1f} %" for name, value in judged.items()})
lab.note("05-2", "My rule against the minimum", **{name.replace(" ", "_"): round(v, 4) for name, v in judged.items()})

# %% [markdown] tags=["instructor"]
# **Teaching note (10 min).** The average is a strong rival on this world: two noisy, comparable measurements are best
# *averaged* if both are trustworthy for every clip. The minimum is the cautious choice: neither sense can outvote the
# other's no. Ask: for which *clips* does the average win? (Intact ones.) For which does it lose? (Faulty ones: compare
# `precision_of_each` on `faulty`.) A good answer shows numbers for both groups.

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
#   is a corner of the agreement plane: neither sense can be outvoted.
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

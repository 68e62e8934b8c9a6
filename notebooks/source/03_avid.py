# %% [markdown]
# # 03 · AVID: learn to recognise by comparing across the senses
#
# After this notebook you can
#
# * write the whole of Cross-AVID, memory and all, in twenty lines, and see it learn,
# * say who is compared with whom in Cross-, Self- and Joint-AVID,
# * explain, with evidence, why comparing *across* the senses teaches more than comparing *within* one, and what the within-modal
#   game cheats with.
#
# **Needs:** notebooks 01 and 02, or the patience to take the loss on trust. **Time:** 45 minutes, of which about 2 are computing on a
# laptop's CPU (GPU: not measured).

# %%
import dataclasses

import torch
import torch.nn.functional as F

import avid_lab as al
from avid_lab import evaluation, foley, plots, reference
from avid_lab.course import exercise, lab
from avid_lab.interactive import LiveLoss

stage = lab.stage("03", "cross")
clips, test_clips, pipeline = stage.clips, stage.test_clips, stage.pipeline
N, T = len(clips), 0.07

# %% [markdown]
# **Where this leads.** Every held-out picture asks for the ten sounds that fit it best. A row is a kind of picture, a column a kind of sound, and the
# numbers say how the ten are shared out. Nobody told the network what a scene is. The diagonal stands out all the same, and where it does not, something
# looks or sounds alike. By the end of this notebook you will know why.

# %%
space = stage.test_embeddings
heard = test_clips.labels[(space.video @ space.audio.T).topk(10).indices]  # (N, 10): kinds of the ten nearest sounds
shared = torch.stack(
    [
        F.one_hot(heard[test_clips.labels == c], len(test_clips.classes)).sum((0, 1))
        for c in range(len(test_clips.classes))
    ]
)
right = (heard == test_clips.labels[:, None]).double().mean()
ax = plots.confusion(
    shared,
    [name.replace("_", " ") for name in test_clips.classes],
    title=f"{right:.0%} of the sounds are of the picture's kind, chance {1 / len(test_clips.classes):.0%} ({stage.label})",
)
ax.set(xlabel="kind of the ten nearest sounds, percent of the row", ylabel="kind of the picture")
ax

# %% [markdown]
# ## Who is compared with whom?
#
# A clip $i$ has a video embedding $\mathbf v_i$ and an audio embedding $\mathbf a_i$, both of length one, and a *note* of each in the memory, $\bar{\mathbf v}_i$ and
# $\bar{\mathbf a}_i$. Notebook 02 made the loss: from the score of the right note and the scores of $K$ wrong ones it computes $\text{NCE}(s_+; s_1 \dots s_K)$.
# What is left to choose is **whose notes an embedding is compared with**:
#
# | | picture is compared with | sound is compared with | terms |
# |---|---|---|---|
# | **Cross-AVID** | notes of *sounds* $\bar{\mathbf a}$ | notes of *pictures* $\bar{\mathbf v}$ | v2a, a2v |
# | **Self-AVID** | notes of *pictures* $\bar{\mathbf v}$ | notes of *sounds* $\bar{\mathbf a}$ | v2v, a2a |
# | **Joint-AVID** | both | both | all four |
#
# **Exercise.** Write the scores of Cross-AVID's two terms. A score is a similarity divided by the temperature. Left blank, the reference does it for you;
# wrong, the badge tells you what went wrong.


# %%
@exercise("cross_terms")
def cross_terms(video, audio, video_memory, audio_memory, index, negatives, temperature):
    """Scores of Cross-AVID's two terms.

    video, audio (B, D): embeddings; video_memory, audio_memory (N, D); index (B,), negatives (B, K): instances.
    -> {"v2a": (positive (B, 1), negative (B, K)), "a2v": (positive, negative)}
    """
    ...


# %% [markdown]
# ## AVID, whole
#
# Here is the method, with nothing left out: draw clips, embed them, score them against the notes, estimate $Z$ once, step, and move the notes. The scores are
# **yours** if the badge above is green.

# %%
lab.predict(
    "03-1",
    "Cross-AVID starts from random notes. What does its loss do in the first hundred steps?",
    ["falls at once", "waits, then falls", "stays"],
)


# %%
def train_by_hand(steps, batch_size=stage.profile.train.batch_size, K=stage.profile.num_negatives, seed=0):
    """Cross-AVID from nothing; returns the model and its losses."""
    generator = torch.Generator().manual_seed(seed)
    model = al.AudioVisualModel.preset(stage.profile.model, seed=seed).train()
    memory = al.MemoryBank(N, model.config.dim, momentum=0.5, generator=generator)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    pipeline.train()
    Z, losses = {}, []
    for _ in range(steps):
        index = torch.randperm(N, generator=generator)[:batch_size]
        video, audio = model(*pipeline(clips.batch(index, generator), generator=generator))  # (B, D) each
        negatives = al.objectives.draw_negatives(index[:, None], N, K, generator)  # (B, K), never the clip itself
        scores = cross_terms(video, audio, memory.video, memory.audio, index, negatives, T)
        for name, (_, negative) in scores.items():
            Z.setdefault(name, negative.detach().exp().mean())  # estimated from the first batch, then frozen
        loss = sum(al.nce_loss(right, wrong, Z[name]) for name, (right, wrong) in scores.items()) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        memory.update(index, video.detach(), audio.detach())
        losses.append(loss.item())
    pipeline.eval()
    return model.eval(), losses


steps = 240 if stage.trained else 6
by_hand, losses = train_by_hand(steps)
plots.loss_terms(
    {"loss": losses},
    title=f"Cross-AVID by hand, from {losses[0]:.1f} to {losses[-1]:.1f} in {steps} steps ({lab.credit('cross_terms')})",
)

# %%
quarter = max(1, steps // 4)
early, late = losses[0] - sum(losses[quarter - 1 : quarter + 1]) / 2, losses[0] - losses[-1]
lab.reveal(
    "03-1",
    "stays" if late < 0.3 else "falls at once" if early > late / 3 else "waits, then falls",
    f"notes begin as noise, but after {N // stage.profile.train.batch_size} steps as many clips were drawn as there are: most notes are by then the network's own",
)

# %% [markdown]
# ## The same in the library
#
# `AVID` is those lines with names: it holds the memory, draws the negatives, knows each term's $Z$; `Trainer` owns the step, you own the loop. The weights of the two
# kinds of term turn Cross into Self or Joint.

# %%
objective = al.AVID(
    N, 128, cross=1.0, within=0.0, num_negatives=stage.profile.num_negatives, generator=torch.Generator().manual_seed(0)
)
model = al.AudioVisualModel.preset(stage.profile.model, seed=0)
trainer = al.Trainer(
    model,
    objective,
    clips,
    dataclasses.replace(stage.profile.train, steps=60 if stage.trained else 4),
    pipeline=pipeline,
)
live = LiveLoss("Cross-AVID, the library's")
for step in trainer:
    live.show(step)

# %% [markdown]
# ## Which teaches most?
#
# Now the comparison that the paper's first table makes. Train Cross, Self and Joint for equally long, *freeze* the networks, and fit a linear classifier on the frozen video
# features: how well can the kind of scene be read off them? Labels are used for this examination only.

# %%
lab.predict("03-2", "Which gives the best pictures?", ["Cross", "Joint", "Self"])

# %% [markdown]
# Training all three takes ten minutes and one seed is an anecdote, so these runs were made in advance: three seeds each, by the command that the page beside them records.
# Every variant has the learning rate that suits it best, or the comparison would be rigged: at Cross-AVID's rate, Self-AVID's loss *grows*.

# %%
results = reference.results()
made = results["made_with"]
print(f"{made['command']}: {made['profile']['train']['steps']} steps, {made['hardware']}, torch {made['torch']}")


def seeds(variant, score):
    """The values of a score over the seeds of a variant."""
    return [run["scores"][score] for run in results["runs"] if run["variant"] == variant]


names = {"cross": "Cross-AVID", "joint": "Joint-AVID", "self": "Self-AVID"}
untrained = [scores["video_probe"] for scores in results["untrained"].values()]
probes = {name: seeds(variant, "video_probe") for variant, name in names.items()}
best = max(probes, key=lambda name: sum(probes[name]) / len(probes[name]))
plots.accuracy_bars(
    probes,
    chance=results["chance"]["video_probe"],
    baseline=sum(untrained) / len(untrained),
    xlabel="accuracy of a linear probe on frozen video features",
    title=f"{best} gives the best pictures (reference runs)",
)

# %%
lab.reveal(
    "03-2", best.removesuffix("-AVID"), "what two senses share is the event; what one shares with itself is everything"
)

# %% [markdown]
# In the paper, on Kinetics with a far larger network, the same probe of the last block reads 39.95 % for Cross, 33.04 % for Joint and 32.08 % for Self. Ours is a small rendered
# world, and its numbers mean nothing outside it; the *order* is what to compare.
#
# The paper probes every block, not the last alone. So do we.

# %%
for modality in ("video", "audio"):
    print(f"{modality:<12}" + "".join(f"block {n:<8}" for n in (1, 2, 3, 4)))
    for variant, name in names.items():
        blocks = [torch.tensor(seeds(variant, f"{modality}_block{n}")) * 100 for n in (1, 2, 3, 4)]
        print(f"{name:<12}" + "".join(f"{x.mean():4.1f} ± {x.std():<5.1f}  " for x in blocks))
    blocks = [[s[f"{modality}_block{n}"] for s in results["untrained"].values()] for n in (1, 2, 3, 4)]
    print(f"{'untrained':<12}" + "".join(f"{100 * sum(x) / len(x):4.1f}          " for x in blocks) + "\n")

# %% [markdown]
# Look at the first column, and at *untrained* in it. Here the table is **not** like the paper's, where later blocks are better. Early blocks keep a map of the picture, hundreds of numbers that say what
# is where, and our world is so tidy that a linear classifier reads the scene off such a map even when the network is random. Real video does not allow that. What learning adds shows where the map is gone: in block 4, and in the
# distance to *untrained*. A baseline is what makes a number mean something.
#
# ## Catch the cheat
#
# Self-AVID only has to tell a clip's picture from other clips' pictures. The wallpaper behind the scene does that job, whatever the scene is. Two ways to catch it.
#
# **First: ask for the wallpaper.** Fit a linear regression from frozen features to the *colour of the wallpaper*, which only the renderer knows, beside the probe for the scene.

# %%
lab.predict("03-3", "Whose video features say most about the wallpaper's colour?", ["untrained", "Self", "Cross"])


# %%
def wallpaper(clips):
    """(N, 3): the true colour of the wallpaper of every clip, red, green and blue in [0, 1]."""
    return torch.tensor(
        [[int(c[i : i + 2], 16) / 255 for i in (0, 2, 4)] for c in clips.manifest.column("background_rgb")]
    )


def explained(features, colours, test_features, test_colours):
    """Share of the colours' variance that a linear regression on the features explains (R²)."""
    x, x_test = (F.pad(features, (0, 1), value=1.0) for features in (features, test_features))
    weight = torch.linalg.solve(x.T @ x + 0.1 * torch.eye(x.shape[1]), x.T @ colours)
    wrong = (x_test @ weight - test_colours).square().sum()
    return max(0.0, 1 - (wrong / (test_colours - test_colours.mean(0)).square().sum()).item())


networks = {"untrained": evaluation.random_twin(stage.model, clips, pipeline)}
for variant in ("self", "cross"):
    networks[variant.capitalize()] = stage.other(variant).model() if stage.trained else stage.model
embedded = {
    name: [evaluation.embed(network, part, pipeline) for part in (clips, test_clips)]
    for name, network in networks.items()
}
scene = {
    f"scene, {name}": evaluation.linear_probe(
        ours.video_features, clips.labels, theirs.video_features, test_clips.labels
    )
    for name, (ours, theirs) in embedded.items()
}
colour = {
    f"wallpaper, {name}": explained(ours.video_features, wallpaper(clips), theirs.video_features, wallpaper(test_clips))
    for name, (ours, theirs) in embedded.items()
}
most = max(colour, key=colour.get).removeprefix("wallpaper, ")
plots.accuracy_bars(
    scene | colour,
    xlabel="scene: accuracy of a linear probe; wallpaper: variance of its colour explained",
    title=f"{most} knows most about the wallpaper (seed 0)",
)

# %%
lab.reveal(
    "03-3", most, "a picture that is compared with pictures gains by it; one that is compared with sounds does not"
)

# %% [markdown]
# **Second: take the wallpaper away.** The world is rendered, so we can film the very same scenes before a plain wall: the same objects, motion and sounds. How far does each clip's embedding *move*?

# %%
lab.predict("03-4", "Whose video embeddings move more when the wallpaper goes?", ["Self", "Cross"])

# %%
papered = dataclasses.replace(foley.PRESETS[stage.profile.world], clips=110 if stage.trained else 22)
plain = foley.load(dataclasses.replace(papered, background=0.0), progress=False)
papered = foley.load(papered, progress=False)
plots.contact_sheet(
    [part[i]["video"] for part in (papered, plain) for i in range(6)],
    [papered.classes[c] for c in papered.labels[:6]] + ["before a plain wall"] * 6,
    columns=6,
    title="The same scenes, with and without their wallpaper",
)


# %%
def stays(network):
    """Mean similarity of a clip's video embedding to that of the same clip without wallpaper, the average clip taken out."""
    centred = []
    for part in (papered, plain):
        video = evaluation.embed(network, part, pipeline, windows=1).video
        centred.append(F.normalize(video - video.mean(0), dim=1))
    return (centred[0] * centred[1]).sum(1).mean().item()


kept = {name: stays(network) for name, network in networks.items()}
plots.accuracy_bars(
    kept,
    xlabel="similarity of a clip to itself without wallpaper (100 %: nothing moved)",
    title=f"Without wallpaper a clip stays {kept['Self']:.2f} like itself for Self, {kept['Cross']:.2f} for Cross",
)

# %%
lab.reveal(
    "03-4",
    min(("Self", "Cross"), key=kept.get),
    "what a network uses for its game, it misses when it is gone; the untrained one never chose what to use",
)

# %% [markdown]
# The sound of a clip knows nothing of its wallpaper. So a picture that is compared with *sounds* gains nothing by remembering wallpaper, and must look at what
# makes the noise. That is the whole argument for Cross-AVID, and it says why Joint-AVID is no happy medium: its within-modal half lets the cheat back in.
#
# Be precise about what the figures show. Cross-AVID does not *forget* the wallpaper: nothing tells it to, and a trained network describes everything more sharply
# than an untrained one. It spends its features otherwise.

# %% [markdown] tags=["instructor"]
# **Teaching note (10 min).** The common misconception is that Cross-AVID removes the background from its features. Let the class argue from the two figures: the probe asks what *can be read*, the plain
# wall asks what is *used*. Then ask what would happen if every clip's wallpaper hummed at its own pitch: the nuisance would be shared by both senses, and Cross-AVID could cheat, too.

# %% [markdown]
# ## Ask it something
#
# A picture from the held-out clips, and the sounds that Cross-AVID finds closest. Play them; even the mistakes have their reasons.

# %%
lab.ask(space, test_clips, 0)

# %% [markdown]
# ## A word means two things
#
# Last, a crack in the building. The similarity of all pairs of training clips, those of one scene against those of two:

# %%
train_space = stage.embeddings
pairs = {"v-v": ("video", "video"), "a-a": ("audio", "audio"), "v-a": ("video", "audio")}
histograms = {}
for name, (x, y) in pairs.items():
    found = al.separation(getattr(train_space, x), getattr(train_space, y), clips.labels)
    histograms[name] = (found.same, found.different)
alike = (histograms["v-v"][1] >= 0.8).double().mean()
plots.similarity_histograms(
    histograms, title=f"{alike:.0%} of the pairs of pictures of two kinds are at least 0.8 similar"
)

# %% [markdown]
# Notice *where* the histograms lie, on one common axis. Across modalities, where the loss looked, unrelated clips sit in a narrow hill around zero. Within a
# modality, where nobody ever compared anything, the same word "0.8" means little: many pictures of *different* scenes are that similar. The similarity of two
# pictures is **not calibrated**. Notebook 04 measures that, and cross-modal agreement (05 and 06) repairs it.
#
# ## Experiments
#
# 1. **Joint by hand.** Give `train_by_hand` the two within-modal terms as well. Which of its four terms falls first, and why that one?
# 2. **Few negatives.** `train_by_hand(240, K=8)`. What happens to the loss's *starting* value? (Where does $K$ enter the equation?)
# 3. **A memory without memory.** Set `momentum=0.0`: a note is then simply the last embedding. And `0.95`? Note what you find:

# %%
lab.note("03-e", "Which of the three changed most, and what is your explanation?")

# %% [markdown]
# **If it went wrong.**
#
# * *The loss does not fall:* give it more steps before you give up; the first hundred are slow. Then try a smaller learning rate.
# * *"loss is nan":* the message names the step and the term. Did you divide by a temperature of 0?
# * *The badge is red:* read its diagnosis; the reference goes on in your place, so nothing else is broken.
#
# ## Recap
#
# * Cross-AVID tells an instance's picture from others by its *sound's* note, and the sound by the picture's.
# * The memory lets every step compare with all clips, at the price of slightly old notes.
# * What two senses share is the event. What one shares with itself is everything, wallpaper included: that is what Self-AVID cheats with.
# * A number means something beside chance, an untrained network and other seeds.
# * Similarity across the senses is trained; similarity within one is a by-product, and not calibrated.
#
# **Further reading.** P. Morgado, N. Vasconcelos, I. Misra, *Audio-Visual Instance Discrimination with Cross-Modal Agreement*, CVPR 2021, sections 3 and 4.
# Z. Wu, Y. Xiong, S. Yu, D. Lin, *Unsupervised Feature Learning via Non-Parametric Instance Discrimination*, CVPR 2018 (the memory).
# R. Arandjelović, A. Zisserman, *Look, Listen and Learn*, ICCV 2017 (the game across the senses).

# %%
lab.progress("03")

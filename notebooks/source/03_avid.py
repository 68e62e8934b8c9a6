# %% [markdown]
# # 03 · AVID: learn to recognise by comparing across the senses
#
# After this notebook you can
#
# * write the noise-contrastive loss in six lines and check it against the library's,
# * say what the memory, the negatives and the constant $Z$ are for,
# * explain, with evidence that you produced, why comparing *across* modalities (Cross-AVID) teaches more than comparing *within* one
#   (Self-AVID), and why doing both (Joint-AVID) is not the best of both.
#
# **Needs:** notebook 01. **Time:** 45 minutes, of which about 7 are training on a laptop's CPU.

# %%
import dataclasses
import json
from pathlib import Path

import torch

import avid_lab as al
from avid_lab import plots
from avid_lab.interactive import LiveLoss, gallery

profile = al.profile()
clips = al.foley.load(profile.world, split="train")
test_clips = al.foley.load(profile.world, split="test")
pipeline = al.InputPipeline(clips.video, clips.audio).fit(clips)
names = [clips.classes[c] for c in clips.labels]

# %% [markdown]
# ## Two points on a sphere
#
# A clip $i$ goes through two encoders, which give a video embedding $\mathbf v_i$ and an audio embedding $\mathbf a_i$, both of length one. Their inner
# product is their **similarity**, between −1 and 1.

# %%
model = al.AudioVisualModel.preset(profile.model, seed=0)
index = torch.arange(8)
with torch.no_grad():
    v, a = model.eval()(*pipeline.eval()(clips.batch(index)))
print("video", tuple(v.shape), "lengths", v.norm(dim=1))
print("similarity of each clip's picture to its own sound:", (v * a).sum(1))

# %% [markdown]
# ## A memory of everyone
#
# To say "this is clip 7 and none of the others" we must compare with the others, thousands of them. Embedding them all at each step is
# out of the question, so every clip leaves a note of how it looked and sounded when it was last seen. The notes $\bar{\mathbf v}_i, \bar{\mathbf a}_i$ move
# slowly:
#
# $$ \bar{\mathbf v}_i \leftarrow \frac{m\,\bar{\mathbf v}_i + (1-m)\,\mathbf v_i}{\lVert m\,\bar{\mathbf v}_i + (1-m)\,\mathbf v_i \rVert}, \qquad m = 0.5 $$

# %%
memory = al.MemoryBank(len(clips), dim=128, generator=torch.Generator().manual_seed(0))
before = (memory.video[index] * v).sum(1)
memory.update(index, v, a)
after = (memory.video[index] * v).sum(1)
print(f"similarity of a clip to its note: {before.mean():+.2f} at the start, {after.mean():+.2f} after one update")

# %% [markdown]
# > **Predict.** With $m = 0.5$ and a random start, what should the similarity be after one update? (Two unit vectors at a right angle, and the
# > point half-way between them.) The second number above is the answer; was it yours?
#
# ## The loss
#
# Is this pair *real*, or was the second half drawn at random? For a query with one positive of score $s_+$ and $K$ negatives of scores $s_k$, where a score is a
# similarity divided by a **temperature** of 0.07, noise-contrastive estimation asks $K+1$ yes-or-no questions:
#
# $$ \ell = -\log \frac{e^{s_+}}{e^{s_+} + KZ} - \sum_{k=1}^{K} \log \frac{KZ}{e^{s_k} + KZ} $$
#
# $Z$ is a constant. It makes $e^{s}/(NZ)$ a probability over the $N$ clips, and is estimated once, as the mean of $e^{s_k}$ in the first batch.
#
# **Write it yourself.** Here it is as the equation says. Can you say what would happen to `scores.exp()` in half precision, whose largest number is
# 65,504? (A score can be as large as 1/0.07.)


# %%
def nce_by_hand(positive, negative, Z):
    """positive (B, 1), negative (B, K): scores, already divided by the temperature."""
    K = negative.shape[1]
    yes = positive.exp() / (positive.exp() + K * Z)  # (B, 1): the model's belief that the real pair is real
    no = K * Z / (negative.exp() + K * Z)  # (B, K): its belief that each drawn pair is not
    return -(yes.log().sum(1) + no.log().sum(1)).mean()


generator = torch.Generator().manual_seed(0)
negatives = al.objectives.draw_negatives(index[:, None], len(clips), profile.num_negatives, generator)  # (B, K)
positive = (v * memory.audio[index]).sum(1, keepdim=True) / 0.07
negative = torch.einsum("bd,bkd->bk", v, memory.audio[negatives]) / 0.07
Z = negative.exp().mean()
print(
    f"by hand {nce_by_hand(positive, negative, Z):.6f}   library {al.nce_loss(positive, negative, Z):.6f}   Z = {Z:.3f}"
)

# %% [markdown]
# ## Across or within?
#
# Whose note should the video embedding be compared with? There are two choices, and a mixture:
#
# | | picture is compared with | sound is compared with | terms |
# |---|---|---|---|
# | **Cross-AVID** | notes of *sounds* | notes of *pictures* | v2a, a2v |
# | **Self-AVID** | notes of *pictures* | notes of *sounds* | v2v, a2a |
# | **Joint-AVID** | both | both | all four |
#
# > **Predict.** Train each for equally long, then freeze the video network and fit a linear classifier on its features, with labels. Which of the three gives the
# > best pictures? Put them in order. *Why?*
#
# First train Cross-AVID here, in front of you.


# %%
def train(name, learning_rate, seed=0, **weights):
    """Train a new model; returns the trainer, which holds everything."""
    model = al.AudioVisualModel.preset(profile.model, seed=seed)
    objective = al.AVID(
        len(clips),
        model.config.dim,
        num_negatives=profile.num_negatives,
        generator=torch.Generator().manual_seed(seed),
        **weights,
    )
    settings = dataclasses.replace(profile.train, learning_rate=learning_rate, seed=seed)
    trainer = al.Trainer(model, objective, clips, settings, pipeline=pipeline)
    live = LiveLoss(name)
    for step in trainer:
        live.show(step)
    return trainer


cross = train("Cross-AVID", learning_rate=2e-3, cross=1.0, within=0.0)

# %% [markdown]
# Now Self-AVID: the same network, the same batches, the same number of steps. Only the memory that each embedding is compared with is another. (And the
# learning rate: each variant gets the one that suits it best, or the comparison would be rigged. At the rate above, Self-AVID's loss *grows*.)

# %%
self_avid = train("Self-AVID", learning_rate=1e-3, cross=0.0, within=1.0)

# %% [markdown]
# > Look at the last losses. Self-AVID's is lower: its game is *easier*. Does an easier game teach more, or less?
#
# ## What did the pictures learn?
#
# Three questions to the frozen networks, asked of clips they never saw. Chance and the *untrained* network stand beside each: without them, no number means
# anything.

# %%
runs = {
    "untrained": al.evaluation.random_twin(cross.model, clips, pipeline),
    "self": self_avid.model,
    "cross": cross.model,
}
embedded = {
    name: [al.evaluation.embed(network, part, pipeline) for part in (clips, test_clips)]
    for name, network in runs.items()
}
scores = {name: al.evaluation.score(*pair) for name, pair in embedded.items()}
scores["chance"] = al.evaluation.chance_scores(*embedded["cross"])
print(al.evaluation.table(scores))

# %% [markdown]
# ## Catch the cheat
#
# Self-AVID only has to tell a clip's picture from other clips' pictures. The wallpaper behind the scene helps with that, whatever the scene is. If that is
# what it learned, then the *colour of the wallpaper* should be easy to read off its features. Let us try: a linear regression from frozen features to
# the true colour, which only the renderer knows, beside the linear probe for the scene.
#
# > **Predict.** For each of the three networks, which of its two bars is the longer one?


# %%
def wallpaper(clips):
    """(N, 3): the true colour of the wallpaper of every clip, red, green and blue in [0, 1]."""
    return torch.tensor(
        [[int(c[i : i + 2], 16) / 255 for i in (0, 2, 4)] for c in clips.manifest.column("background_rgb")]
    )


def readable(features, colours, test_features, test_colours):
    """Share of the colours' variance that a linear regression on the features explains (R²)."""
    ones = torch.ones(len(features), 1)
    x, x_test = torch.cat([features, ones], 1), torch.cat([test_features, ones[: len(test_features)]], 1)
    weight = torch.linalg.solve(x.T @ x + 0.1 * torch.eye(x.shape[1]), x.T @ colours)
    wrong = (x_test @ weight - test_colours).square().sum()
    return max(0.0, 1 - (wrong / (test_colours - test_colours.mean(0)).square().sum()).item())


shares = {}
for name, (ours, theirs) in embedded.items():
    shares[f"{name}: scene"] = scores[name].video_probe
    shares[f"{name}: wallpaper colour"] = readable(
        ours.video_features, wallpaper(clips), theirs.video_features, wallpaper(test_clips)
    )
plots.accuracy_bars(
    shares,
    xlabel="scene: accuracy of a linear probe; colour: variance explained",
    title="What can be read off the video features?",
)

# %% [markdown]
# The sound of a clip knows nothing of its wallpaper. So a picture that is compared with *sounds* gains nothing by remembering wallpaper, and must look at what
# makes the noise. That is the whole argument for Cross-AVID, and it says why Joint-AVID need be no compromise: its within-modal half lets the cheat back in.
#
# Be precise about what the figure shows. Cross-AVID does not *forget* the wallpaper: nothing tells it to, and a trained network describes everything more sharply
# than an untrained one. It spends its features otherwise: far more on the scene, less on the wallpaper. Self-AVID serves both masters alike.
#
# ## Is that luck?
#
# One run is an anecdote. These are three seeds of each variant, trained in advance with the command that the file records.

# %%
reference = json.loads(Path("../data/reference/avid.json").read_text())
made = reference["made_with"]
print(f"{made['command']}   ({made['hardware']}, torch {made['torch']})")
probe = {
    name: [run["trained"]["video_probe"] for run in reference["runs"] if run["variant"] == name]
    for name in ("cross", "joint", "self")
}
untrained = [run["random"]["video_probe"] for run in reference["runs"]]
plots.accuracy_bars(
    {f"{name.capitalize()}-AVID": values for name, values in probe.items()},
    chance=reference["runs"][0]["chance"]["video_probe"],
    baseline=sum(untrained) / len(untrained),
    xlabel="accuracy of a linear probe on frozen video features",
    title="Comparing across the senses teaches more (three seeds each)",
)

# %% [markdown]
# In the paper, on Kinetics with a far larger network, the same probe of the last block reads 39.95 % for Cross, 33.04 % for Joint and 32.08 % for Self. Ours is a rendered toy
# world and its numbers mean nothing outside it; the *order* is what to compare.
#
# ## Ask it something
#
# A picture from the held-out clips, and the sounds that Cross-AVID finds closest. Play them.

# %%
test_names = [test_clips.classes[c] for c in test_clips.labels]
space = embedded["cross"][1]


def ask(query, count=4):
    score, best = (space.audio @ space.video[query]).sort(descending=True)
    best = best[:count].tolist()
    return gallery(
        test_clips.path(query),
        [test_clips.path(i) for i in best],
        [test_names[i] for i in best],
        correct=[test_names[i] == test_names[query] for i in best],
        scores=score[:count].tolist(),
        query_caption=f"the question: {test_names[query]}",
        title="Which sounds fit this picture?",
    )


ask(0)

# %% [markdown]
# ## Two spaces, or one?
#
# The whole held-out set, pictures as discs and sounds as triangles, pressed flat by a principal component analysis. Cross-AVID never compared a picture with a
# picture. Do pictures of one class lie together all the same? And do pictures and sounds fill the *same* region of the sphere? (Look which way the discs are
# spread, and which way the triangles.)

# %%
plots.embedding_map(space.video, space.audio, test_clips.labels, test_clips.classes)

# %% [markdown]
# Now numbers instead of a map: the similarity of all pairs of training clips, those of one scene against those of two. (The training clips, because it is among
# them that positives will soon be sought.)

# %%
train_space = embedded["cross"][0]
same_and_different = {}
for name, (x, y) in {
    "v-v": (train_space.video, train_space.video),
    "a-a": (train_space.audio, train_space.audio),
    "v-a": (train_space.video, train_space.audio),
}.items():
    pairs = al.calibration(x, y, clips.labels)
    same_and_different[name] = (pairs.same, pairs.different)
plots.similarity_histograms(same_and_different)

# %% [markdown]
# Notice *where* the histograms lie, on one common axis. Across modalities, where the loss looked, unrelated clips sit in a narrow hill around zero. Within a
# modality, where nobody ever compared anything, the same word "0.8" means little: many pictures of *different* scenes are that similar. The similarity of two
# pictures is **not calibrated**. Repairing that is what cross-modal agreement (CMA) is for.
#
# ## Whom would you call positive?
#
# Which clips agree with a query in picture *and* in sound? The plane below has one dot for every other clip: how much it looks like the query against how much it
# sounds like it. `mine_positives` takes the dots furthest up *and* right: the minimum of both decides.

# %%
query = 7
positives = al.mine_positives(cross.objective.memory.video, cross.objective.memory.audio, k=min(32, len(clips) - 2))
plots.agreement_plane(
    cross.objective.memory, query=query, positives=positives, labels=clips.labels, classes=clips.classes
)

# %%
chosen = positives.index[query, :4].tolist()
gallery(
    clips.path(query),
    [clips.path(i) for i in chosen],
    [names[i] for i in chosen],
    correct=[names[i] == names[query] for i in chosen],
    scores=positives.score[query, :4].tolist(),
    query_caption=f"the query: {names[query]}",
    title="Its first positives by cross-modal agreement",
)

# %% [markdown]
# ## Experiments
#
# 1. **Joint.** `train("Joint-AVID", learning_rate=1e-3, cross=1.0, within=1.0)`. Predict its two bars in the figure above first.
# 2. **Few negatives.** Give `AVID` `num_negatives=8`. What happens to the loss's starting value, and why? (Look at the equation: how does $KZ$ enter?)
# 3. **Another loss.** Any function of the same arguments will do: add `loss=al.nce_softmax_loss` to `AVID(...)` in `train`. It needs no $Z$ at all.
#
# ## If it went wrong
#
# * *The loss does not fall:* the learning rate may be too high for your change; `TrainConfig(learning_rate=1e-3)` is the calm choice.
# * *"loss is nan":* the message names the step and the term. Did you divide by a temperature of 0?
#
# ## Recap
#
# * NCE asks one yes-or-no question for each pair; $Z$ sets how surprised it should be.
# * The memory lets every step compare with all clips at the price of slightly old notes.
# * What two modalities share is the event. What one modality shares with itself is everything, wallpaper included.
#
# **Further reading.** P. Morgado, N. Vasconcelos, I. Misra, *Audio-Visual Instance Discrimination with Cross-Modal Agreement*, CVPR 2021, sections 3 and 4.
# Z. Wu, Y. Xiong, S. Yu, D. Lin, *Unsupervised Feature Learning via Non-Parametric Instance Discrimination*, CVPR 2018 (the memory).
# M. Gutmann, A. Hyvärinen, *Noise-Contrastive Estimation*, AISTATS 2010 (the loss).

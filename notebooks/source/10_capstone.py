# %% [markdown]
# # 10 · Capstone: your own videos, and the road to Kinetics and AudioSet
#
# After this notebook you can
#
# * turn a folder of videos into a data set, and say of every file that was left out why it was,
# * check a data set for shortcuts *before* you train on it,
# * adapt a trained network to your videos, judge it on few clips without fooling yourself, and ask it with a clip of your own,
# * save, resume and load runs,
# * ask the paper's own network what it hears in your videos,
# * calculate what Kinetics-400 or AudioSet would cost you, before you spend it.
#
# **Needs:** notebooks 03 and 08. **Time:** 60 minutes and then as long as your project lasts; about 1 minute is computing on one core of a laptop's CPU (GPU: not measured).

# %%
import copy
import dataclasses
import time
from pathlib import Path

import torch

import avid_lab as al
from avid_lab import evaluation, foley, plots
from avid_lab.config import PRESETS, RECIPES, AudioSpec, VideoSpec, data_dir
from avid_lab.course import frames, lab
from avid_lab.datasets.prepare import prepare
from avid_lab.interactive import LiveLoss, gallery
from avid_lab.interactive.retrieval import RetrievalExplorer
from avid_lab.official.names import to_official
from avid_lab.plots.style import AUDIO, VIDEO, add_axes, new_figure, styled

MY_VIDEOS = None  # <- your own: "~/Videos/mine", a folder for each kind of video, or one folder for all
MY_CLIP = None  # <- your own: one video with sound that is not among them
WORKERS = 0  # processes that read; None for a large folder: all cores

stage = lab.stage("10")

# %% [markdown]
# **Where this leads.** The network that we adapt to your videos has learned from 1,638 rendered clips. Asked with a held-out picture, it finds the sounds of the right kind. By the end of the notebook it answers for videos that it has never been near.

# %%
untrained = evaluation.random_twin(stage.model, stage.clips, stage.pipeline)
space, blank = stage.test_embeddings, evaluation.embed(untrained, stage.test_clips, stage.pipeline)
labels = stage.test_clips.labels
found = {
    name: al.metrics.retrieval(x.video, x.audio, labels, labels, ks=(1, 5, 10))
    for name, x in (("trained", space), ("untrained", blank))
}
first, chance = (getattr(found["trained"], what)[1] for what in ("recall", "chance_recall"))
print(stage.label)
plots.recall_bars(found, title=f"First sound right: {first:.0%}, by chance {chance:.0%}")

# %% [markdown]
# ## A folder
#
# One folder for each kind of video, whatever the files are called: that is all. (No kinds? One folder will do: training never looks at them. Then each picture looks for its own sound, and the questions about kinds are left out.) **To use your own, set `MY_VIDEOS` in the first
# cell and run all.** Until you do, the cell writes a small folder as a student might bring it: six kinds of clips from a world that the network has not seen, and the odd files that lie about in every real folder.


# %%
def sample_folder(
    kinds=("drum", "songbird", "campfire", "typing", "ambulance", "clock"), each=15 if stage.trained else 5
):
    """Writes the folder once, below the course's data folder, and says where it is."""
    folder = data_dir() / f"my_videos_{each}"
    world = foley.FoleyConfig(clips=each * len(kinds), seed=2026, scenes=kinds)
    for i in range(world.clips):
        path = folder / kinds[i % len(kinds)] / f"video_{i // len(kinds):02d}.mp4"
        if not path.exists():
            pixels, sound, _ = foley.render(i, world)
            al.media.write_clip(path, foley.to_clip(pixels, sound, world))
    add_odd_files(folder / "odd", path)
    return folder


def add_odd_files(odd, good):
    """What goes wrong in real folders."""
    if odd.exists():
        return
    clip = al.media.read_clip(good, 0.0, VideoSpec(16, 16.0, None), AudioSpec(24_000, 1.0))
    al.media.write_clip(odd / "muted.mp4", dataclasses.replace(clip, audio=torch.zeros_like(clip.audio)))
    al.media.write_clip(odd / "no_microphone.mp4", dataclasses.replace(clip, audio=None))
    al.media.write_clip(
        odd / "blink.mp4", dataclasses.replace(clip, video=clip.video[:, :4], audio=clip.audio[:, :6000])
    )
    (odd / "download_failed.mp4").write_bytes(b"")
    (odd / "torn.mp4").write_bytes(good.read_bytes()[100:4000])
    (odd / "actually_a_page.mp4").write_text("<html>404: this video is no longer available</html>")
    (odd / "notes.txt").write_text("remember to film the kettle")


folder = Path(MY_VIDEOS).expanduser() if MY_VIDEOS else sample_folder()

# %% [markdown]
# ## Which files can be used?
#
# Every file is opened, decoded and listened to. Nothing is dropped in silence: the paper's own code catches every error and takes another clip instead, so nobody knows what such a run was trained on.

# %%
manifest = al.index_folder(folder, workers=WORKERS, progress=False)
print(manifest, "\n")
for item in manifest.unusable:
    print(f"{Path(item.path).name:<22} {item.reason:<14} {item.detail}")

# %% [markdown]
# | reason | what it means | what to do |
# |---|---|---|
# | unreadable | empty, torn, or no video at all | download or copy it again; `ffmpeg -i FILE` says more |
# | no sound, no picture | the stream is missing | nothing to learn from across the senses: leave it out |
# | silent | there is a sound track, and nothing on it | common in the public sets; leave it out, and *report how many* |
# | too short | less than half a second | join it, or leave it out |
# | no video file, hidden | notes, previews, `.DS_Store` | ignore |
#
# A codec that FFmpeg cannot decode is named, too; `ffmpeg -i IN -c:v libx264 -c:a aac OUT.mp4` fixes most such files. The command `avid-lab data index FOLDER` does the same as the cell, resumes after an interruption, and writes a list of the files left out next to the manifest.
#
# ## Small copies
#
# A phone films 1920 x 1080 pixels; the network sees 48 x 48. Training would wait for the decoder, so make small copies once:

# %%
copies = prepare(manifest, data_dir() / f"{folder.name}_copies", size=128, workers=WORKERS, progress=False)
mine = al.ClipDataset(
    copies, video=stage.model.config.video, audio=stage.model.config.audio, workers=WORKERS, progress=False
)
train, test = mine.select(split="train"), mine.select(split="test")
KINDS = mine.has_classes and len(test.labels.unique()) > 1  # else nothing can be asked about kinds
weight = [sum(m.path(i).stat().st_size for i in range(len(m))) for m in (manifest, copies)]
print(
    f"{len(train)} clips to learn from, {len(test)} held out, {len(mine.classes) if KINDS else 'no'} kinds; {weight[0] / 1e6:.1f} MB -> {weight[1] / 1e6:.1f} MB"
)
if len(test) < 20:
    print(
        f"Only {len(test)} held-out clips: one clip is {100 / len(test):.0f} points. Read the intervals, not the numbers."
    )
some = range(0, len(mine), max(1, len(mine) // 5))[:5]
gallery(
    None,
    [mine.path(i) for i in some],
    [mine.name(i) for i in some],
    windows=[mine.window_s(i, 2) for i in some],
    title="Yours",
)

# %% [markdown]
# A player shows what the network is shown of a clip, and says where in the file that lies if it is not all.
#
# **One in five clips of each kind is held out**, chosen by its name, the same on every machine. Pieces of *one recording* stay on one side, for they share room, camera and light, and the held-out one would be no test: the index knows them by their names (`holiday_000`, `holiday_040`) and finds copies by their content. What it cannot know is which clips were filmed on the same evening. Put those into folders
# `train/` and `test/` above the kinds, by recording; the index keeps your split.
#
# ## Before you train: what could be cheated with?
#
# Take four numbers of each clip that no one would call understanding: the mean red, green and blue of the picture, and the loudness. If the kind can be read off *them*, a network that reads the kind has proved nothing.

# %%
if KINDS:
    lab.predict(
        "10-1",
        "How many per cent of your held-out clips does a linear classifier get right from colour and loudness?",
        low=0,
        high=100,
        unit="%",
    )


# %%
def trivial(clips):
    """(N, 4): mean colour and loudness in decibels."""
    batch = clips.batch(torch.arange(len(clips)))
    colour = batch["video"].float().mean((2, 3, 4)) / 255
    loudness = 10 * batch["audio"].square().mean((1, 2)).clamp(min=1e-10).log10()
    return torch.cat([colour, loudness[:, None]], dim=1)


if KINDS:
    few, many = trivial(test), trivial(train)
    centre, spread = many.mean(0), many.std(0).clamp(min=1e-6)
    cheat = evaluation.linear_probe((many - centre) / spread, train.labels, (few - centre) / spread, test.labels)
    guessing = al.metrics.chance_accuracy(train.labels, test.labels)
    print(f"right by colour and loudness: {cheat:.0%}, by chance: {guessing:.0%} ({len(test)} held-out clips)")
    lab.reveal(
        "10-1",
        round(100.0 * cheat, 1),
        "whatever stands above chance here is a shortcut: say so when you report your numbers",
        close=0.25,
    )
else:
    guessing = 1 / len(test)  # a picture that guesses its own sound among all
    print("These clips have no kinds, so there is no kind to read off colour and loudness.")

# %% [markdown]
# Other shortcuts to look for in real footage: a channel's logo, a watermark, the camera's own hum, one singer for all "music". The learner looks for what picture and sound *share*; a shared nuisance is a perfect answer to its game.
#
# ## Four networks, one folder
#
# * **untrained**: random weights, the baseline;
# * **yours alone**: trained from nothing on your clips;
# * **reference**: the committed CMA run, as it is; it has never seen your clips;
# * **continued**: the reference, trained on with your clips, at a lower rate.

# %%
lab.predict(
    "10-2",
    "Which network does best on your held-out clips?",
    ["untrained", "yours alone", "reference", "continued", "several share the first place"],
)


# %%
def train_on(clips, model, pipeline, *, steps, learning_rate, title):
    """Cross-AVID on these clips; memories begin as what the model makes of them."""
    start = evaluation.embed(model, clips, pipeline)
    objective = al.AVID(len(clips), model.config.dim, num_negatives=64, generator=torch.Generator().manual_seed(0))
    objective.memory.momentum = 0.0  # for once: take the embeddings as they are
    objective.memory.update(torch.arange(len(clips)), start.video, start.audio)
    objective.memory.momentum = 0.5
    config = al.TrainConfig(steps=steps, batch_size=min(32, len(clips)), learning_rate=learning_rate)
    trainer = al.Trainer(copy.deepcopy(model), objective, clips, config, pipeline=copy.deepcopy(pipeline))
    live = LiveLoss(title)
    for step in trainer:
        live.show(step)
    return trainer


steps = 60 if stage.trained else 3
alone = train_on(train, untrained, stage.pipeline, steps=steps, learning_rate=2e-3, title="yours alone")
continued = train_on(train, stage.model, stage.pipeline, steps=steps, learning_rate=3e-4, title="continued")

# %%
networks = {"untrained": untrained, "yours alone": alone.model, "reference": stage.model, "continued": continued.model}
spaces = {
    name: [evaluation.embed(model, part, stage.pipeline) for part in (train, test)] for name, model in networks.items()
}


def right_or_wrong(ours, theirs):
    """(M,) of each held-out clip: do its 5 nearest training pictures say its kind? Without kinds: is its own sound the nearest?"""
    if KINDS:
        return (al.metrics.knn_predict(ours.video, train.labels, theirs.video, 5) == test.labels).double()
    return (al.metrics.retrieval(theirs.video, theirs.audio, ks=(1,)).first_rank == 1).double()


each = {name: right_or_wrong(*pair) for name, pair in spaces.items()}
right = {name: al.metrics.estimate(values, chance=guessing) for name, values in each.items()}
scores = {name: found.value for name, found in right.items()}
winners = [name for name in scores if scores[name] == max(scores.values())]
plots.estimate_rows(
    right,
    xlabel=f"{'right by 5 nearest training pictures' if KINDS else 'own sound is the nearest'}, with 95 % interval",
    title=f"Most right of {len(test)} held-out clips: {' and '.join(winners)}",
)

# %%
lab.reveal(
    "10-2",
    winners[0] if len(winners) == 1 else "several share the first place",
    "look at the intervals before you believe the order",
)

# %% [markdown]
# The sample folder comes from the program that rendered the reference run's world, with another seed: a network that knows that world is at home here. **Your own footage will not be so kind**; there, expect the order of the four to be a real question.
#
# ### How little do so few clips say?
#
# The intervals come from resampling your held-out clips (the bootstrap): what would the number have been, had other clips of the same sort been held out? With a dozen clips, one clip is many points. Two remedies cost nothing: *pair* the comparison, clip by clip, because the
# same clips are hard for both; and *ask more questions*, for example retrieval among all clips.

# %%
difference = al.metrics.estimate(each["continued"] - each["reference"], chance=0.0)
print(
    f"continued - reference: {100 * difference.value:+.0f} points, 95 % interval {100 * difference.low:+.0f} to {100 * difference.high:+.0f}"
)
won, lost = ((each["continued"] > each["reference"]).sum(), (each["continued"] < each["reference"]).sum())
print(f"clip by clip: {won} won, {lost} lost, {len(test) - won - lost} alike")

# %% [markdown] tags=["instructor"]
# **Teaching note (10 min).** Students report the third digit. Ask: how many clips is the difference? With fifteen held-out clips one is 6.7 points. The sample folder is rendered by the same program as the reference run's world (other seed), so *reference* starts with an advantage that real
# footage will not give: say so, and let them predict the order for a folder filmed with a telephone. On real video this small network is out of its depth; the released weights (below) are the honest starting point.

# %% [markdown]
# ## Ask it with a clip of your own
#
# In JupyterLab: press *your clip* and choose a file, or record one with the camera. The cell does the same from code, with `MY_CLIP` of the first cell or with a clip that was in neither part. Any length will do: the first eight seconds with picture and sound count. Below a clip that plays, *whole file*
# plays the rest.

# %%
kinds = ("campfire", "drum")
other = foley.FoleyConfig(clips=2, seed=77, scenes=kinds)
own_clip = Path(MY_CLIP).expanduser() if MY_CLIP else data_dir() / "my_clip.mp4"
if not own_clip.exists() and not MY_CLIP:
    al.media.write_clip(own_clip, foley.to_clip(*foley.render(0, other)[:2], other))

everything = evaluation.embed(continued.model, mine, continued.pipeline)
explorer = RetrievalExplorer(everything, mine, continued.model, continued.pipeline)
explorer.ask(own_clip, "my own clip")
explorer

# %%
lab.note(
    "10-a",
    "Ask with three clips of your own. Which failed, and is the cause in the picture, the sound, or the way they were filmed?",
)

# %% [markdown]
# ## Keep it
#
# A checkpoint holds all that the next step depends on: weights, memory, partition constants, optimiser, random numbers, the order of clips. A run that was stopped goes on as if it had not been.

# %%
saved = al.checkpoints.save(data_dir() / "my_run.pt", continued)
again, objective = (
    copy.deepcopy(stage.model),
    al.AVID(len(train), stage.model.config.dim, num_negatives=64, generator=torch.Generator().manual_seed(0)),
)
resumed = al.Trainer(again, objective, train, continued.config, pipeline=copy.deepcopy(stage.pipeline))
al.checkpoints.resume(saved, resumed)
print(f"{saved.stat().st_size / 1e6:.1f} MB, resumed at step {resumed.steps_done} of {len(resumed)}")
one, other_one = continued.step().loss, resumed.step().loss
print(f"next step: {one:.6f} and {other_one:.6f}, difference {abs(one - other_one):.1e}")
model, pipeline = al.checkpoints.load_model(saved)  # for use, without the training

# %% [markdown]
# ## What does the paper's network hear in your videos?
#
# The authors publish four networks: AVID and AVID+CMA, each trained on Kinetics-400 and on AudioSet (CC BY-NC 4.0: for research only). Nothing is downloaded here. In a terminal,
#
# ```sh
# avid-lab fetch avid-cma-audioset    # shows the licence and asks before it fetches
# ```
#
# puts one where the next cell finds it. Run the section again afterwards: without it, the committed network of the course takes its place, and the cell says so. The paper's network sees 8 frames of 224 x 224 pixels and hears 2 s as a spectrogram of 200 x 257; the cell reads them straight from your files.

# %%
lab.predict(
    "10-4",
    "The network hears a clip's sound. In how many per cent of your clips is the clip's own picture among the five that fit best?",
    low=0,
    high=100,
    unit="%",
)

# %%
RELEASED = "avid-cma-audioset"  # or avid-audioset, avid-cma-kinetics, avid-kinetics
# Clips at most: the paper's network takes half a second for each on one CPU core, and its untrained twin as long.
LISTENED = 60

try:
    theirs, ears = al.checkpoints.load_weights(RELEASED)
    whose = f"the authors' network {RELEASED}"
except FileNotFoundError as missing:
    theirs, ears, whose = stage.model, stage.pipeline, "the committed network"
    print(f"{missing} Until then, the committed network answers: it knows nothing but a rendered world.")
heard = al.ClipDataset(
    manifest, video=theirs.config.video, audio=theirs.config.audio, cache=False, workers=WORKERS, progress=False
)
heard = heard.subset(torch.linspace(0, len(heard) - 1, min(LISTENED, len(heard))).round().long())
if ears is None:  # the authors' spectrogram statistics are missing
    ears = al.InputPipeline(theirs.config.video, theirs.config.audio).fit(heard)
begun = time.perf_counter()
understood = evaluation.embed(theirs, heard, ears, windows=1)
print(f"{whose}: {len(heard)} of your clips in {time.perf_counter() - begun:.0f} s")

# %%
twin = evaluation.random_twin(theirs, heard, ears)
ignorant = evaluation.embed(twin, heard, ears, windows=1)
few = min(5, len(heard))
answers = {
    name: al.metrics.retrieval(x.audio, x.video, ks=sorted({1, few, min(10, len(heard))}))
    for name, x in ((whose, understood), ("untrained", ignorant))
}
own_picture = answers[whose].recall[few]
plots.recall_bars(answers, title=f"Own picture among the {few} best for a sound: {own_picture:.0%}")

# %%
lab.reveal(
    "10-4",
    round(100 * own_picture, 1),
    f"that is {whose} on {len(heard)} clips; by chance it is {answers[whose].chance_recall[few]:.0%}. Clips that sound alike share their pictures, so even a good ear misses some",
    close=0.25,
)

# %% [markdown]
# Which of your clips are alike *to its ear*? The pairs below never saw a label. Play both clips of a pair in the explorer before you decide what they share: the event, or only the room, the microphone, the music?

# %%
alike = understood.audio @ understood.audio.T
alike.fill_diagonal_(-1)
nearest = alike.max(1)
shown = set()
for i in nearest.values.argsort(descending=True).tolist():
    pair = tuple(sorted((i, int(nearest.indices[i]))))
    if pair not in shown and len(shown) < 8:
        shown.add(pair)
        one, two = (f"{heard.path(k).parent.name}/{heard.path(k).stem}" for k in pair)
        print(f"{nearest.values[i]:.2f}  {one:<32}{two}")
RetrievalExplorer(understood, heard, theirs, ears)

# %%
lab.note(
    "10-d",
    "Three pairs that the network hears as alike: what do they share, and would you have paired them with your eyes closed?",
)

# %% [markdown]
# From the command line, the same network evaluates, mines and trains on any manifest, at its own input size: `avid-lab evaluate --weights avid-cma-audioset --data MANIFEST.csv`, and so do `mine` and `train`.
#
# ### A file in the released format
#
# `al.checkpoints.load_official(PATH)` reads a released file, `load_official_memory(PATH)` the memories of its training clips, where it has them. To see that this works, here is a stand-in: the paper's network with *random* weights, written under the released file's names, and read back.

# %%
paper = al.AudioVisualModel.preset("paper" if stage.trained else "paper-small", seed=0).eval()
stand_in = data_dir() / "stand_in_checkpoint.pth.tar"
torch.save({"model": {f"module.{name}": x for name, x in to_official(paper).items()}, "epoch": 0}, stand_in)
loaded = al.checkpoints.load_official(stand_in)
same = all(torch.equal(x, y) for x, y in zip(loaded.state_dict().values(), paper.state_dict().values(), strict=True))
print(
    f"{sum(p.numel() for p in loaded.parameters()):,} parameters, {stand_in.stat().st_size / 1e6:.0f} MB, identical: {same}"
)
print("sees", loaded.config.video, "\nhears", loaded.config.audio)
stand_in.unlink()

# %% [markdown]
# ## The road to Kinetics and AudioSet
#
# First, how fast is *this* machine with the paper's network? One training step of two clips, random input:


# %%
def seconds_per_clip(model, batch=2):
    """Forward and backward of one batch, in seconds a clip."""
    video, sound = model.config.video, model.config.audio
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, 3, video.frames, video.size, video.size, generator=generator)
    y = torch.randn(batch, 1, sound.frames, sound.bins, generator=generator)
    begun = time.perf_counter()
    v, a = model.train()(x, y)
    al.losses.info_nce_loss(v, a).backward()
    return (time.perf_counter() - begun) / batch


here = seconds_per_clip(paper)
print(f"{here:.2f} s a clip on this machine, {torch.get_num_threads()} thread(s)")
lab.predict(
    "10-3",
    "Kinetics-400 has 232,067 training videos; AVID takes 10 windows of each, 30 times. How many years would this machine need?",
    low=0,
    high=20,
    unit="years",
)

# %%
KINETICS, AUDIOSET = 232_067, 1_784_108  # training videos in the authors' release


def windows(videos, recipe, stage="avid"):
    """Clips that a stage of the paper's schedule trains on."""
    passes = recipe.passes if stage == "avid" else recipe.cma_passes
    return videos * passes * recipe.clips_per_video


years = windows(KINETICS, RECIPES["paper"]) * here / (365.25 * 24 * 3600)
lab.reveal("10-3", round(years, 1), "the schedule is what costs: every video is seen 300 times", close=0.3)


# %% [markdown]
# Now the whole bill. Everything below follows from the assumptions in the first lines: change them to yours. 80 clips a second and GPU is what the authors' 38 hours on 32 GPUs for a stage on AudioSet amount to; today's GPUs do more, *if* the disk and the decoders keep up.

# %%
SECONDS, KBIT, SIDE, FPS, RATE = 10, 400, 258, 16, 24_000  # of a prepared copy
CLIPS_PER_GPU_S, GPUS, DIM, POSITIVES = 80, 8, 128, 32
WEIGHTS = 21_286_784


def size(count):
    """Bytes in words."""
    return f"{count / 1e12:,.2f} TB" if count >= 1e11 else f"{count / 1e9:,.2f} GB"


def bill(videos, recipe):
    """What a set needs: disk and memory, work in windows and hours."""
    bank, positives = 2 * videos * DIM * 4, videos * POSITIVES * 8
    stages = [windows(videos, recipe, stage) for stage in ("avid", "cma")]
    hours = [count / (CLIPS_PER_GPU_S * GPUS) / 3600 for count in stages]
    return {
        "videos": f"{videos:,}",
        f"mp4 copies at {KBIT} kbit/s": size(videos * SECONDS * KBIT * 125),
        "the same decoded": size(videos * SECONDS * (FPS * SIDE**2 * 3 + RATE * 2)),
        "memory bank, every process": size(bank),
        "positives, every process": size(positives),
        "checkpoint": size(bank + positives + 3 * WEIGHTS * 4),
        "one exact mining": f"{2 * 2 * DIM * videos**2:.1e} FLOP",
        "windows, AVID + CMA": f"{stages[0] / 1e6:,.1f} + {stages[1] / 1e6:,.1f} million",
        f"hours on {GPUS} GPUs, AVID + CMA": f"{hours[0]:,.1f} + {hours[1]:,.1f}",
    }


bills = {
    "1,000 of yours": bill(1000, RECIPES["paper"]),
    "Kinetics-400": bill(KINETICS, RECIPES["paper"]),
    "AudioSet": bill(AUDIOSET, RECIPES["paper-audioset"]),
}
print(f"{'':<30}" + "".join(f"{name:>22}" for name in bills))
for row in bills["AudioSet"]:
    print(f"{row:<30}" + "".join(f"{column[row]:>22}" for column in bills.values()))


# %%
@styled
def draw_days(clips_per_s):
    """Days of both stages against the number of GPUs."""
    gpus = torch.tensor([1, 2, 4, 8, 16, 32, 64])
    page = new_figure(8.2, 3.6)
    ax = add_axes(page)
    for name, videos, recipe, colour in (
        ("Kinetics-400", KINETICS, "paper", VIDEO),
        ("AudioSet", AUDIOSET, "paper-audioset", AUDIO),
    ):
        work = sum(windows(videos, RECIPES[recipe], stage) for stage in ("avid", "cma"))
        days = work / (clips_per_s * gpus) / 86400
        ax.plot(gpus, days, "o-", color=colour, linewidth=2, label=name)
        if name == "AudioSet":
            ax.set_title(f"At {clips_per_s} clips/s a GPU, AudioSet takes {days[3]:,.1f} days on 8 GPUs")
    ax.axhline(7, color="#66717e", linestyle="--", linewidth=1.2)
    ax.text(40, 7.8, "a week", color="#66717e")
    ax.set(xscale="log", yscale="log", xlabel="GPUs", ylabel="days, AVID and CMA", ylim=(0.1, 1000))
    ax.set_xticks(gpus.tolist(), [str(n) for n in gpus.tolist()])
    ax.minorticks_off()
    ax.legend(loc="upper right")
    return page


frames(draw_days, [20, 40, 80, 160, 320, 640], label="clips a second and GPU")

# %% [markdown]
# Three lessons of the bill:
#
# * **The memory bank is no problem.** A note of every clip of AudioSet fits into a GPU's memory many times over.
# * **Decoding is.** Nobody keeps AudioSet decoded; a GPU that can do hundreds of clips a second waits for processor cores that decode tens each. Measure your loader alone before you rent GPUs.
# * **Half the bill buys nothing while you debug.** Get everything right on one per cent of the data, with the loss, the curves and the evaluation that you will trust later.
#
# ## Several GPUs
#
# On a machine with eight GPUs, the recipe of the paper for prepared Kinetics copies is:
#
# ```sh
# avid-lab fetch kinetics400-val kinetics400-train --to KINETICS   # 407 GB
# avid-lab data index KINETICS --layout kinetics400        # counts what is missing, silent, broken
# avid-lab data prepare KINETICS/manifest.csv COPIES
# torchrun --nproc-per-node=8 -m avid_lab train --preset paper --data COPIES/manifest.csv --precision bfloat16
# ```
#
# Each process takes an eighth of every batch and holds model and memory whole; gradients are averaged, and the memories take the embeddings of all, or each would know only its own part. CMA goes on from the AVID run's checkpoint (`--objective cma --from CHECKPOINT`). The same command resumes after a crash. On several machines,
# `docs/machines.md` has the line.
#
# What a batch means when it is shared, you can try without any GPU: `al.TrainConfig(batch_size=64, accumulate=2)` computes what two processes would.

# %%
lab.note(
    "10-b",
    "Your data set in numbers: videos, hours, disk, windows, days on the machine that you have. Which number decides?",
)

# %% [markdown]
# ## When it will fail, and how you would know
#
# | | sign | test |
# |---|---|---|
# | silent or muted videos | the index counts them | compare with and without the borderline ones |
# | music laid over everything | sounds retrieve sounds of the same editor, not of the same event | 20 nearest sounds of 10 clips, by ear |
# | one place, one kind | high scores on a random split, low on a split by recording | split by recording |
# | things that are seen and never heard (paintings, clouds) | chance in both directions | retrieval by class, worst classes first |
# | too few clips | the loss falls, held-out scores do not | the curve over 25, 50, 100 % of the clips |
#
# ## The capstone
#
# One question, one page, one table, ten clips to play. Some that fit a week:
#
# 1. **Your street, your kitchen.** Film 200 short clips of five kinds. Which kinds does the network confuse, and does the ear or the eye confuse them? (Notebook 05's agreement plane shows it.)
# 2. **How much data?** Continue on 25, 50 and 100 % of your clips, three seeds each. Where is the knee?
# 3. **The shortcut.** Lay a quiet hum over one kind's clips in training only. How loud must it be to be learned? (The table above says what to look for.)
# 4. **CMA or not?** On your clips, from the same checkpoint, for the same number of steps: does agreement help retrieval within pictures, calibration, both, neither?
# 5. **Your loss** of notebook 07, on data that it was not made for.
#
# ### Rubric
#
# | | 0 | 1 | 2 |
# |---|---|---|---|
# | question | a wish | a question | a question that the numbers can answer no to |
# | data | a folder | counted, split before training, failures listed | and its nuisances named: what could be cheated with? |
# | comparison | one number | with chance and an untrained network | matched compute, several seeds, spread shown |
# | listening | none | examples of hits | examples of failures, sorted by cause |
# | claim | larger than the evidence | fits the evidence | and says what would overturn it |
#
# Seven of ten points is a pass.

# %%
lab.note(
    "10-c",
    "My question, in one sentence; the result that would make me say no; and the comparison that I owe the reader.",
)

# %% [markdown] tags=["instructor"]
# **Teaching note (20 min, before the projects).** Have each student read question and "the result that would make me say no" aloud; send back those without the second. Privacy: filming people needs their consent, and clips stay on the student's machine (nothing here uploads anything). For
# classes without cameras, hand out FoleyConfig worlds with knobs that only you know (`off_screen`, `sound_alike`), and let students find out what was turned.

# %% [markdown]
# **If it went wrong.**
#
# * *"no usable video":* the folder's files have endings that the index does not know, or all were left out: its message counts the reasons.
# * *"no clip is in split 'test'":* fewer than three clips of every kind. Add some, or make folders `train/` and `test/`.
# * *The disk is full:* decoded clips are kept in the course's data folder (`AVID_LAB_DATA`); it may be deleted at any time.
# * *CheckpointError: belongs to another run:* resume needs the same clips, model and settings; the message names what differs. To start a *new* run from old weights, use `load_model`.
# * *The explorer says nothing about your upload:* it must have picture and sound; the notice above the panel tells which is missing.
#
# ## Recap
#
# * A data set is a list of files *and* the list of those left out, with reasons.
# * Look for shortcuts before training: what four trivial numbers can do is no achievement of a network.
# * Few held-out clips give wide intervals; pair comparisons, and split by recording.
# * Checkpoints hold everything that the next step depends on; the authors' networks load by their names.
# * Calculate the bill first. Windows times seconds a window is the time; decoding, not memory, is the wall.
#
# **Further reading.** W. Kay et al., *The Kinetics Human Action Video Dataset*, arXiv 2017. J. F. Gemmeke et al., *Audio Set: An Ontology and Human-Labeled Dataset for Audio Events*, ICASSP 2017.
# P. Morgado, N. Vasconcelos, I. Misra, *Audio-Visual Instance Discrimination with Cross-Modal Agreement*, CVPR 2021. B. Efron, R. Tibshirani, *An Introduction to the Bootstrap*, Chapman & Hall 1993.
# P. Goyal et al., *Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour*, arXiv 2017 (what a batch means on many GPUs).

# %%
lab.progress("10")

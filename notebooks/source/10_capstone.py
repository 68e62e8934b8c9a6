# %% [markdown]
# # 10 · Capstone: your own videos, and the road to Kinetics and AudioSet
#
# After this notebook you can
#
# * turn a folder of videos into a data set, and say of every file that was left out why it was,
# * check a data set for shortcuts *before* you train on it,
# * split a data set so that nothing leaks from training into the test,
# * adapt a trained network to your videos, judge both senses on few clips without fooling yourself, and sort its failures,
# * save, resume and load runs,
# * ask the paper's own network what it hears in your videos,
# * plan the training on 20,000 videos with one GPU, and decide without labels when to start CMA,
# * calculate what Kinetics-400 or AudioSet would cost you, before you spend it,
# * write a report that a strict reader believes.
#
# **Needs:** notebooks 03 and 08. **Time:** 75 minutes and then as long as your project lasts; about 1 minute is computing on one core of a laptop's CPU (GPU: not measured).

# %%
import copy
import dataclasses
import itertools
import time
from pathlib import Path

import torch

import avid_lab as al
from avid_lab import evaluation, foley, plots
from avid_lab.config import PRESETS, RECIPES, AudioSpec, VideoSpec, data_dir, side_for
from avid_lab.course import exercise, frames, lab
from avid_lab.datasets.prepare import prepare
from avid_lab.interactive import LiveLoss, gallery
from avid_lab.interactive.retrieval import RetrievalExplorer
from avid_lab.official.names import to_official

MY_VIDEOS = None  # <- your own: "~/Videos/mine", a folder for each kind of video, or one folder for all
MY_CLIP = None  # <- your own: one video with sound that is not among them
WORKERS = 0  # processes that read; None for a large folder: all cores

stage = lab.stage("10")

# %% [markdown]
# ## What do you remember?
#
# **1.** *(01)* A clip's file has picture from 0 s and sound from 0.4 s. From where may training windows be taken?
#
# <details><summary>An answer</summary>
#
# Only from where the file has both. The index notes it for every file.
#
# </details>
#
# **2.** *(08)* Ten of ten held-out clips are right. Is the network perfect?
#
# <details><summary>An answer</summary>
#
# Ten of ten also happens to a network that is right three times in four, once in 18. Ask for the interval.
#
# </details>
#
# **3.** *(06)* CMA started too early can do harm. Why?
#
# <details><summary>An answer</summary>
#
# Its positives are mined from what the network believes. Wrong positives teach the wrong belief, and the next mining
# confirms it.
#
# </details>

# %% [markdown]
# **Where this leads.** The network that we adapt to your videos has learned from a rendered world alone. Asked with a held-out picture, it finds sounds of the right kind. By the end of the notebook it answers for videos that it has never been near.

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
    again = path.with_name("video_from_the_other_phone.mp4")
    if not again.exists():
        again.write_bytes(path.read_bytes())
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
twice = [record for record in manifest.records if record.extras.get("duplicate_of")]
for record in twice:
    print(f"{Path(record.path).name:<30} the same as {record.extras['duplicate_of']}: left out")
manifest = manifest.select([record not in twice for record in manifest.records])

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
# **The same video twice** is noticed by its content, not by its name: the column `duplicate_of` also finds an `mp4` and its `webm`, or a smaller copy. Why leave them out? If one copy is for training and the other is held out, the test asks for what was learned by heart. Further columns name files whose picture stands still, whose sound is silent, or that have gaps; the README lists all.
#
# ## Small copies
#
# A phone films 1920 x 1080 pixels; the network sees 48 x 48. Training would wait for the decoder, so make small copies once (`avid-lab data prepare MANIFEST.csv COPIES` on the command line):

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
# **One in five clips of each kind is held out**, chosen by its name, the same on every machine. Pieces of *one recording*
# stay on one side. They share room, camera and light, and a held-out piece would be no test: the index knows pieces by
# their names (`holiday_000`, `holiday_040`) and finds copies by their content. What it cannot know is which clips were
# filmed on the same evening. Put those into folders `train/` and `test/` above the kinds, by recording; the index keeps
# your split.
#
# ### Exercise ●●●: a split without leaks
#
# Write such a split yourself. A chain is what makes it hard: A and B are pieces of one recording, B has a copy C under
# another name, and C is a piece of a second recording. All of them must stay on one side.


# %%
@exercise("split_without_leaks")
def split_without_leaks(recordings, copies, share):
    """Choose the clips that are held out, so that nothing held out is known from training.

    recordings (N,): the number of each clip's recording; copies (P, 2): pairs of clips with the same content ->
    (N,) True for the held-out clips.

    Clips of one recording stay together, and so do copies, also through further clips: these are groups. Take the groups
    in the order of their first clips, and hold each one out that still fits: at most `share` of all N clips are held out.
    """
    ...


# %% [markdown]
# Does a leak matter? Cut every clip of yours into four pieces, forget which piece comes from which clip, and split the
# pieces: once at random, once with your function. The five nearest training pieces vote on the kind of each held-out
# piece, and *the network is untrained*.

# %%
if KINDS:
    lab.predict("10-6", "By how many points does the random split flatter the untrained network?", low=0, high=100)

# %%
if KINDS:
    order = torch.randperm(len(mine), generator=torch.Generator().manual_seed(0))
    pieces = evaluation.embed(untrained, mine.subset(order), stage.pipeline, windows=4).video_windows  # (N, 4, D)
    recordings = torch.arange(len(mine)).repeat_interleave(4)  # of each piece
    kind = mine.labels[order].repeat_interleave(4)
    no_copies = torch.zeros(0, 2, dtype=torch.long)
    chosen = torch.randperm(len(kind), generator=torch.Generator().manual_seed(0)) < len(kind) // 5
    by_split = {
        "pieces at random": chosen,
        f"by recording ({lab.credit('split_without_leaks')})": split_without_leaks(recordings, no_copies, 0.2),
    }
    points = pieces.flatten(0, 1)
    flattered = {
        name: (al.metrics.knn_predict(points[~held], kind[~held], points[held], 5) == kind[held]).double().mean().item()
        for name, held in by_split.items()
    }
    gap = 100 * (max(flattered.values()) - min(flattered.values()))
    shown = plots.accuracy_bars(
        flattered,
        chance=al.metrics.chance_accuracy(mine.labels, mine.labels),
        xlabel="right kind of held-out pieces, untrained network",
        title=f"The same network, {gap:.0f} points apart",
    )
    first_split, second_split = (100 * value for value in flattered.values())
    lab.reveal("10-6", round(first_split - second_split, 1), "it recognises the recording, not the kind", close=0.25)
else:
    shown = print("These clips have no kinds, so there is nothing to vote on.")
shown

# %% [markdown]
# *Question.* Your function looks only at recordings and copies. What else could go wrong with its split of a small folder?
#
# <details><summary>An answer</summary>
#
# A kind may end up on one side only: it takes groups as they come. That is why the cell above shuffles the clips first,
# and why the index splits each kind by itself. And a very long recording, larger than the share, can never be held out.
# Look at what was held out before you use it: how many clips of each kind, from how many recordings?
#
# </details>
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
    cheated = round(cheat * len(test))
    by_cheating = al.metrics.share(torch.arange(len(test)) < cheated, chance=guessing)
    print(f"right by colour and loudness: {by_cheating}, by chance: {guessing:.0%}")
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
# **Think.** Your trained network reads the kind of 70 % of the held-out clips, and these four numbers read 50 %. What may you claim?
#
# <details><summary>An answer</summary>
#
# That it reads more than colour and loudness, if the intervals allow it. Not that it understands 70 %: for half of the
# clips the easy way exists, and you do not know on which of them it was taken. A better test removes the shortcut:
# compare within clips of similar colour and loudness, or film each kind in several places.
#
# </details>
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
    objective.memory.video.copy_(start.video)
    objective.memory.audio.copy_(start.audio)
    config = al.TrainConfig(steps=steps, batch_size=min(32, len(clips)), learning_rate=learning_rate)
    trainer = al.Trainer(copy.deepcopy(model), objective, clips, config, pipeline=copy.deepcopy(pipeline))
    live = LiveLoss(title)
    for step in trainer:
        live.show(step)
    return trainer


BATCH = min(32, len(train))
passes = 30 if stage.trained else 1
steps = min(600, max(3, round(passes * len(train) / BATCH)))  # thirty looks at each clip; at most a few minutes
print(f"{steps} steps of {BATCH} clips")
alone = train_on(train, untrained, stage.pipeline, steps=steps, learning_rate=2e-3, title="yours alone")
continued = train_on(train, stage.model, stage.pipeline, steps=steps, learning_rate=3e-4, title="continued")

# %%
networks = {"untrained": untrained, "yours alone": alone.model, "reference": stage.model, "continued": continued.model}
spaces = {
    name: [evaluation.embed(model, part, stage.pipeline) for part in (train, test)] for name, model in networks.items()
}


def vote(known, asked):
    """(M,): do the 5 nearest training clips name the kind of each held-out clip?"""
    return al.metrics.knn_predict(known, train.labels, asked, min(5, len(train))) == test.labels


def first(asked, answers):
    """(M,): is the clip's own other half the nearest of all held-out ones?"""
    return al.metrics.retrieval(asked, answers, ks=(1,)).first_rank == 1


def examined(ours, theirs):
    """Right or wrong of each held-out clip, in several examinations."""
    if not KINDS:
        return {
            "picture → its own sound": first(theirs.video, theirs.audio),
            "sound → its own picture": first(theirs.audio, theirs.video),
        }
    return {
        "picture, by pictures": vote(ours.video, theirs.video),
        "sound, by sounds": vote(ours.audio, theirs.audio),
        "picture, by sounds": vote(ours.audio, theirs.video),
        "sound, by pictures": vote(ours.video, theirs.audio),
    }


each = {name: examined(*pair) for name, pair in spaces.items()}
right = {
    name: {question: al.metrics.share(hits, chance=guessing) for question, hits in found.items()}
    for name, found in each.items()
}
QUESTIONS = list(right["reference"])
rows = {question: {name: right[name][question] for name in networks} for question in QUESTIONS}
if KINDS:  # the cheat knows the kind of a clip, whatever is asked
    rows = {question: {**row, "colour and loudness": by_cheating} for question, row in rows.items()}
across = QUESTIONS[-2:]  # between the senses: the questions that the training is about
totals = {name: sum(right[name][question].value for question in across) for name in networks}
winners = [name for name, total in totals.items() if total > max(totals.values()) - 0.5 / len(test)]
plots.estimate_rows(
    rows,
    xlabel=f"right of {len(test)} held-out clips, with Wilson's 95 % interval",
    title=f"Between the senses, most are right with: {' and '.join(winners)}",
)

# %%
lab.reveal(
    "10-2",
    winners[0] if len(winners) == 1 else "several share the first place",
    "that is between the senses; look at the intervals before you believe the order",
)

# %% [markdown]
# *Picture, by sounds* means: the picture of a held-out clip asks, the five nearest training **sounds** vote on its kind. This crosses the senses, and it is what the training was for. *By pictures* and *by sounds* within a sense can be answered by a network that never learned what belongs together, and partly by colour and loudness alone: compare their row.
#
# Without kinds, each picture looks for its own sound among all held-out ones, and each sound for its picture.

# %% [markdown]
# The sample folder comes from the program that rendered the reference run's world, with another seed: a network that knows that world is at home here. **Your own footage will not be so kind**; there, expect the order of the four to be a real question.
#
# ### How little do so few clips say?
#
# The intervals are Wilson's: which true shares would make the number that you saw unsurprising? The bootstrap of notebook 08 fails here. If 18 of 18 clips are right, all its resamples are right, too, and the interval has no width, as if you were certain. Wilson's says: 82 to 100 %.
#
# With a dozen clips, one clip is many points. Two remedies cost nothing: *pair* the comparison, clip by clip, because the same clips are hard for both; and *ask several questions*, chosen before you see the numbers. For pairs, only the clips count that one network gets right and the other wrong. If the two were equally good, each of them would fall like a fair coin (the sign test).

# %%
print(f"{'continued against reference':<28}{'won':>5}{'lost':>6}   a fair coin is as one-sided in")
for question in QUESTIONS:
    ours, theirs = each["continued"][question], each["reference"][question]
    won, lost = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    print(f"{question:<28}{won:5d}{lost:6d}   {al.metrics.sign_test(won, lost):.0%} of all cases")
unseen = 1 - 0.05 ** (1 / len(test))
print(f"\nA mistake that happens to fewer than {unseen:.0%} of such clips may well not occur among {len(test)} at all.")

# %% [markdown]
# ### Failures
#
# A score says how often; only the clips say why. Here are the held-out clips that the continued network gets wrong, those with most wrong answers first. If there are none, you see the clips whose own sound has the worst rank.

# %%
spaces_now = spaces["continued"][1]
ranks = al.metrics.retrieval(spaces_now.video, spaces_now.audio, ks=(1,)).first_rank
misses = torch.stack([~hits for hits in each["continued"].values()])  # (questions, M)
order = sorted(range(len(test)), key=lambda i: (-int(misses[:, i].sum()), -int(ranks[i])))
failed = [i for i in order if misses[:, i].any()]
called = [f"{test.path(i).parent.name}/{test.path(i).stem}" for i in range(len(test))]
print(f"{len(failed)} of {len(test)} clips fail in at least one of {len(QUESTIONS)} examinations")
for i in failed[:10]:
    lost = ", ".join(question for question, hit in zip(QUESTIONS, misses[:, i], strict=True) if hit)
    print(f"  {called[i]:<34} own sound at rank {int(ranks[i])} of {len(test)};  wrong: {lost}")
worst = (failed or order)[:4]
confused = [int((spaces_now.video[i] @ spaces_now.audio.T).argmax()) for i in worst]
gallery(
    None,
    [test.path(i) for pair in zip(worst, confused, strict=True) for i in pair],
    [
        f"{n + 1} {word}: {called[i]}"
        for n, pair in enumerate(zip(worst, confused, strict=True))
        for word, i in zip(("asks", "its first sound"), pair, strict=True)
    ],
    windows=[test.window_s(i, 2) for pair in zip(worst, confused, strict=True) for i in pair],
    title="The picture that asks, and the clip whose sound it chose",
    columns=4,
    clip_bytes=22_000,
)

# %%
lab.note(
    "10-e",
    "Sort the failures by cause: the clip (silent, noisy, off-screen), the label, the way it was filmed, the network. How many of each?",
)

# %% [markdown]
# <details><summary>An answer</summary>
#
# A list such as "4 failures: 2 where the sound is a passing car and not the subject (clip), 1 that I would call both
# kinds (label), 1 that I cannot explain (network)" is worth more than the score above it. It tells you what to do: film
# again, define kinds more sharply, or train differently. Choose the causes *before* you look at clip after clip, or they
# will grow to fit.
#
# </details>

# %% [markdown] tags=["instructor"]
# **Teaching note (10 min).** Students report the third digit. Ask: how many clips is the difference? The sample folder is rendered by the same program as the reference run's world (other seed), so *reference* starts with an advantage that real
# footage will not give: say so, and let them predict the order for a folder filmed with a telephone. On real video this small network is out of its depth; the released weights (below) are the honest starting point.

# %% [markdown]
# ## Ask it with a clip of your own
#
# In JupyterLab: press *your clip* and choose a file, or record one with the camera. The cell does the same from code: with `MY_CLIP` of the first cell, else with a held-out clip of your videos (which finds itself first; look at the others), or for the sample folder with a clip that was in neither part. Any length will do: the first eight seconds with picture and sound count. Below a clip that plays, *whole file*
# plays the rest.

# %%
if MY_CLIP or MY_VIDEOS:
    own_clip = Path(MY_CLIP).expanduser() if MY_CLIP else test.path(0)
else:
    own_clip, other = data_dir() / "my_clip.mp4", foley.FoleyConfig(clips=2, seed=77, scenes=("campfire", "drum"))
    if not own_clip.exists():
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
# <details><summary>An answer</summary>
#
# Test the cause instead of guessing it: ask once more with the same event filmed from nearer, or with the microphone
# turned to it. If the answer becomes right, it was the way of filming. If the sound alone finds its kind and the picture
# does not, look at what else is in the picture. The network sees 48 × 48 pixels: what you cannot recognise at that size, it
# cannot either.
#
# </details>

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
# <details><summary>An answer</summary>
#
# Often it is not the event: two clips of one room share its echo, two clips of one phone its noise. Closed eyes are the
# right test, because your eyes pair by kind. If most pairs share a room, the same will hold for mined positives, and CMA
# would teach rooms.
#
# </details>

# %% [markdown]
# From the command line, the same network works on any manifest, at its own input size:
#
# ```sh
# avid-lab evaluate --weights avid-cma-audioset --data COPIES/manifest.csv   # scores with intervals, beside its untrained twin
# avid-lab mine --weights avid-cma-audioset --data COPIES/manifest.csv       # which clips agree: a table to listen to
# avid-lab train --weights avid-cma-audioset --data COPIES/manifest.csv      # go on training from it
# ```
#
# `evaluate` and `mine` also take the checkpoint of a run of yours (`avid-lab evaluate runs/train/checkpoint.pt --data ...`).
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
# ## 20,000 videos of your own, and one GPU
#
# Between this notebook and the public sets lies the size that one person can handle. The package has a recipe for it, `one-gpu`: the paper's small network and settings, for a quarter of the windows.
#
# ```sh
# avid-lab data index VIDEOS                                  # count, complain, divide
# avid-lab data prepare VIDEOS/manifest.csv COPIES            # once; takes longest
# avid-lab doctor --bench --preset one-gpu COPIES/manifest.csv   # predicts the hours here, before you spend them
# avid-lab train --preset one-gpu --data COPIES/manifest.csv  # AVID; the same command resumes
# avid-lab train --preset one-gpu --data COPIES/manifest.csv --objective cma --from runs/train/checkpoint.pt --out runs/cma/checkpoint.pt
# ```
#
# You need not choose the rest. *Batch:* 256, split into as many parts as the GPU's memory asks for; negatives and memories stay those of the whole batch. *Precision:* `auto` takes bfloat16 on NVIDIA GPUs since Ampere, float16 with scaled gradients on older ones. *Reading:* clips that fit on the disk are decoded once, others are streamed; `--decode once|stream` and `--workers N` choose. The log says what share of the time training waits for clips: if it is large, more cores help, a faster GPU does not. Nobody has run this recipe on a GPU for us yet, so we have no curve to show you that yours should match.
#
# ### When may CMA start, if you have no labels?
#
# Too early, and its positives are wrong. In the rendered world we can count the wrong ones; in yours you cannot. Two signs need no label:
#
# 1. *The own sound is found.* Every `--check-every` passes, `train` looks for held-out clips' own sounds. While that still rises quickly, wait.
# 2. *The positives stay.* Mine at two checkpoints: what share of the earlier positives is still there? Positives that change from one checkpoint to the next are guesses.
#
# Does the second sign deserve trust? Here we can check, because the committed runs have labels, which nobody used:

# %%
lab.predict(
    "10-5",
    "Cross-AVID goes on for another half of its steps, twice. What share of the 32 positives of a clip survives the second half?",
    low=0,
    high=100,
    unit="%",
)

# %%
names = ("cross", "long", "avid")  # each continues the one before
banks = {name: stage.other(name).memory if stage.trained else stage.memory for name in names}
some = min(32, len(stage.clips) - 1)
mined = {name: al.mine_positives(bank.video, bank.audio, k=some).index for name, bank in banks.items()}
kept = {
    f"{one} → {other}": (mined[other][:, :, None] == mined[one][:, None]).any(2).double().mean().item()
    for one, other in itertools.pairwise(names)
}
for name in names:
    print(
        f"{name:<6} {al.metrics.positive_precision(mined[name], stage.clips.labels):.0%} of the positives are of the clip's class (needs labels)"
    )
for change, part in kept.items():
    print(f"{change:<14} {part:.0%} of the positives stay (needs none)")
lab.reveal(
    "10-5", 100 * kept["long → avid"], "the right class is not the whole truth: within it, the 32 nearest keep changing"
)

# %% tags=["claim"]
right_class = [al.metrics.positive_precision(mined[name], stage.clips.labels) for name in names]
claim("positives of the right class", min(right_class), above=0.85)
claim("still change from checkpoint to checkpoint", kept["long → avid"], between=(0.45, 0.85))
claim("the share that stays still rises a little", kept["long → avid"] - kept["cross → long"], above=0.0)

# %% [markdown]
# Read both together. Positives can be of the right class and still change from checkpoint to checkpoint: a class has about twice as many members as a clip has positives, so even right ones are a choice. So what you watch is not the level but the *change*: when the share that stays no longer rises, waiting brings little more. And before you start, do what no number replaces: `avid-lab mine CHECKPOINT --data COPIES/manifest.csv` writes a table; play the first positives of twenty clips. If in more than a few of them you cannot say what they share, wait.
#
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
    """Windows that `avid-lab train` takes in a stage of a recipe: steps times batch."""
    config = recipe.config(videos, stage)
    return config.steps * config.batch_size


years = windows(KINETICS, RECIPES["paper"]) * here / (365.25 * 24 * 3600)
lab.reveal("10-3", round(years, 1), "the schedule is what costs: every video is seen 300 times", close=0.3)


# %% [markdown]
# Now the whole bill. The schedules are those that `avid-lab train` uses; the rest follows from the assumptions in the first lines: change them to yours. 6 TFLOP/s a GPU is what the authors' 38 hours on 32 GPUs for a stage on AudioSet amount to (80 clips a second and GPU, 76 GFLOP each); today's GPUs do far more, *if* the disk and the decoders keep up. Bytes and windows a second are those of prepared copies.

# %%
SECONDS, COPY_MB, FPS, RATE = 10, 0.25, 16, 24_000  # of a prepared copy
GPUS, TFLOPS, CORES, WINDOWS_A_CORE = 8, 6.0, 32, 120  # of your machine; windows that a core reads in a second
GFLOP = {"paper": 76.0, "paper-small": 12.4}  # a window, forward and backward
DIM, POSITIVES = 128, 32
WEIGHTS = {
    "paper": 21_286_784,
    "paper-small": sum(p.numel() for p in al.AudioVisualModel.preset("paper-small").parameters()),
}
SETS = {
    "1,000 of yours": (1000, "one-gpu"),
    "20,000 of yours": (20_000, "one-gpu"),
    "Kinetics-400": (KINETICS, "paper"),
    "AudioSet": (AUDIOSET, "paper-audioset"),
}


def size(count):
    """Bytes in words."""
    return f"{count / 1e12:,.2f} TB" if count >= 1e11 else f"{count / 1e9:,.2f} GB"


def bill(videos, preset):
    """What a set needs: disk and memory, work in windows and hours."""
    recipe = RECIPES[preset]
    model, side = recipe.model, side_for(PRESETS[recipe.model].video.size)
    bank, positives = 2 * videos * DIM * 4, videos * POSITIVES * 8
    stages = [windows(videos, recipe, stage) for stage in ("avid", "cma")]
    computing = [count * GFLOP[model] / (1000 * TFLOPS * GPUS) / 3600 for count in stages]
    reading = [count / (WINDOWS_A_CORE * CORES) / 3600 for count in stages]
    return {
        "recipe": preset,
        "mp4 copies": size(videos * COPY_MB * 1e6),
        "the same decoded": size(videos * SECONDS * (FPS * side**2 * 3 + RATE * 2)),
        "memory bank, every process": size(bank),
        "positives, every process": size(positives),
        "checkpoint": size(bank + positives + 3 * WEIGHTS[model] * 4),
        "one exact mining": f"{2 * 2 * DIM * videos**2:.1e} FLOP",
        "windows, AVID + CMA": " + ".join(f"{count / 1e6:,.1f}" for count in stages) + " M",
        f"hours of {GPUS} GPUs, AVID + CMA": " + ".join(f"{hours:,.1f}" for hours in computing),
        f"hours of {CORES} reading cores": " + ".join(f"{hours:,.1f}" for hours in reading),
    }


bills = {name: bill(*what) for name, what in SETS.items()}
print(f"{'':<30}" + "".join(f"{name:>20}" for name in bills))
for row in bills["AudioSet"]:
    print(f"{row:<30}" + "".join(f"{column[row]:>20}" for column in bills.values()))


# %%
def days(tflops):
    """Days of both stages over the number of GPUs."""
    gpus, lines = (1, 2, 4, 8, 16, 32, 64), {}
    for name, (videos, preset) in list(SETS.items())[1:]:
        recipe = RECIPES[preset]
        work = sum(windows(videos, recipe, stage) for stage in ("avid", "cma")) * GFLOP[recipe.model]
        lines[name] = [work / (1000 * tflops * n) / 86400 for n in gpus]
    title = f"At {tflops:g} TFLOP/s a GPU, AudioSet takes {lines['AudioSet'][3]:,.1f} days on 8 GPUs"
    return plots.curves(
        gpus,
        lines,
        levels={"a week": 7},
        log="xy",
        xlabel="GPUs",
        ylabel="days of computing, AVID and CMA",
        title=title,
    )


frames(days, [3, 6, 12, 25, 50, 100], label="TFLOP/s a GPU", alt="days of training over the number of GPUs")

# %% [markdown]
# Three lessons of the bill:
#
# * **The memory bank is no problem.** A note of every clip of AudioSet fits into a GPU's memory many times over.
# * **Reading may be.** Nobody keeps AudioSet decoded. Compare the last two rows: at 6 TFLOP/s the GPUs take longer than the cores that read, but set `TFLOPS` to the 100 or more of today's GPUs, and they wait for the cores. `avid-lab doctor --bench` measures both before you rent.
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
# torchrun --nproc-per-node=8 -m avid_lab train --preset paper --data COPIES/manifest.csv
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
# <details><summary>An answer</summary>
#
# For most people it is the *reading*: a machine with one GPU often has few cores. Then prepared copies come first, more
# cores second, a faster GPU last. Disk decides if you want clips decoded once. Memory decides only with many millions of
# clips. And if the number of windows decides, ask what half of them would cost you in score: on a tenth of the data you
# can measure it.
#
# </details>

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
#
# ### A report, and its points
#
# The next cell writes a short report on the folder above, with the numbers of this very run. Score it with the rubric before you unfold ours.

# %%
ours, theirs = each["continued"], each["reference"]
question = QUESTIONS[-2]
won, lost = int((ours[question] & ~theirs[question]).sum()), int((theirs[question] & ~ours[question]).sum())
p = al.metrics.sign_test(won, lost)
verdict = (
    "I claim that it helped, for clips like these."
    if p < 0.05 and won > lost
    else "The clips do not decide: I claim nothing."
)
shortcut = f"Colour and loudness alone name the kind of {by_cheating}." if KINDS else "My clips have no kinds."
print(
    f"""DO {len(train)} CLIPS OF MINE HELP A NETWORK THAT KNOWS ONLY A RENDERED WORLD?

Question. After training on with my clips, does "{question}" become right more often? I say no if
a fair coin would be as one-sided as the clips won and lost in more than 5 % of all cases.

Data. {len(manifest)} clips. Left out: {len(twice)} of the same content, and the unusable files listed above. {len(test)} were held out by
recording before any training. {shortcut}

Comparison. {steps} steps of {BATCH} clips at rate 3e-4, one seed, against the same network without them.
  untrained   {right["untrained"][question]}
  yours alone {right["yours alone"][question]}
  reference   {right["reference"][question]}
  continued   {right["continued"][question]}
  won {won}, lost {lost} (a fair coin is as one-sided in {p:.0%} of all cases)

Listening. {len(failed)} clips fail in some examination. The first: {called[worst[0]]}, own sound at rank {int(ranks[worst[0]])}.

Claim. {verdict} More seeds, or clips of another evening, could overturn this."""
)

# %% [markdown]
# <details><summary>Our points: 8 of 10</summary>
#
# | | points | why |
# |---|---|---|
# | question | 2 | one question, with the result that would mean *no* named beforehand |
# | data | 2 | counted, split before training, copies and failures listed; the shortcut is measured, not only suspected |
# | comparison | 1 | untrained network and pairs shown, but a single seed, and *continued* has had more training than *reference* |
# | listening | 1 | a failure is named, but none is sorted by cause |
# | claim | 2 | no larger than the evidence, and says what would overturn it |
#
# The cheapest missing point is *listening*: ten minutes and a list. The dearest is *comparison*: three seeds, and the same
# steps on clips that are not yours.
#
# </details>

# %%
lab.note(
    "10-c",
    "My question, in one sentence; the result that would make me say no; and the comparison that I owe the reader.",
)

# %% [markdown]
# <details><summary>An answer</summary>
#
# For example: "Does sound or picture confuse my kettle with my shower? I say *no difference* if the sign test over 60
# held-out clips stays above 5 %. I owe the reader an untrained network, colour and loudness, and three seeds." If you
# cannot name a result that makes you say no, the question is a wish.
#
# </details>

# %% [markdown] tags=["instructor"]
# **Scoring (10 min).** Let two students score the printed report independently, then compare. They differ most on *comparison*: insist on the words of the rubric ("matched compute, several seeds, spread shown"). A report that claims a gain from one seed loses the point for the claim, too, whatever its p. A report without any failure gets no point for listening, even if every clip was right: then the latest ranks are the failures.

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
# * A split without leaks keeps recordings and copies together. A leak flatters even an untrained network.
# * Few held-out clips give wide intervals, never none; pair comparisons, split by recording, and judge both senses and the way between them.
# * A list of failures by cause says more than a score.
# * Checkpoints hold everything that the next step depends on; the authors' networks load by their names.
# * Calculate the bill first. The number of windows, times the seconds for one, is the time. Reading is the limit, not memory.
# * Without labels, start CMA when its positives have stopped changing and sound right to you.
#
# **Further reading.** W. Kay et al., *The Kinetics Human Action Video Dataset*, arXiv 2017. J. F. Gemmeke et al., *Audio Set: An Ontology and Human-Labeled Dataset for Audio Events*, ICASSP 2017.
# P. Morgado, N. Vasconcelos, I. Misra, *Audio-Visual Instance Discrimination with Cross-Modal Agreement*, CVPR 2021. B. Efron, R. Tibshirani, *An Introduction to the Bootstrap*, Chapman & Hall 1993.
# P. Goyal et al., *Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour*, arXiv 2017 (what a batch means on many GPUs).

# %%
lab.progress("10")

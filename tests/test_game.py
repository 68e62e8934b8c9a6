"""The game: its questions, everyone's answers, its state, and its page without a kernel."""

from __future__ import annotations

import base64
import dataclasses
import io
import re

import av
import numpy as np
import pytest
import torch

from avid_lab.datasets import ClipDataset, Manifest
from avid_lab.interactive import Game, game_rounds
from avid_lab.interactive.players import excerpt
from avid_lab.interactive.ranking import faults


@pytest.fixture
def spaces(smoke_world):
    """A network that knows which sound belongs to which picture, and one that always takes another one."""
    rows = torch.eye(len(smoke_world))
    return {"right": (rows, rows), "wrong": (rows, -rows)}


def streams(mp4):
    with av.open(io.BytesIO(mp4)) as file:
        return {stream.type for stream in file.streams}


def test_questions_are_of_different_kinds_and_hold_no_faulty_clip(smoke_world):
    rounds = game_rounds(smoke_world, rounds=6, choices=4, seed=1)
    known, labels = faults(smoke_world.manifest), smoke_world.labels.tolist()
    assert len({one.query for one in rounds}) == 6
    for one in rounds:
        assert one.candidates[one.own] == one.query
        assert len({labels[i] for i in one.candidates}) == 4 and not any(known[i] for i in one.candidates)
    assert rounds == game_rounds(smoke_world, 6, 4, 1) != game_rounds(smoke_world, 6, 4, 2)
    assert len({one.own for one in game_rounds(smoke_world, 12, 4)}) > 1


def test_clips_without_classes_can_be_played_with(smoke_world):
    records = [dataclasses.replace(one, label=smoke_world.classes[0]) for one in smoke_world.manifest.records[:8]]
    manifest = Manifest(smoke_world.manifest.root, records)
    windows = {"video": smoke_world.video, "audio": smoke_world.audio}
    alike = ClipDataset(manifest, **windows, cache=False, progress=False)
    (one,) = game_rounds(alike, rounds=1, choices=3)
    assert len(set(one.candidates)) == 3


def test_you_and_networks_answer(smoke_world, spaces):
    game = Game(smoke_world, spaces, rounds=3, choices=4)
    own = [one.own for one in game.rounds]
    assert game.chosen("right") == own and game.score("right") == 1 and game.score("wrong") == 0
    assert game.score("you") is None and game.next.disabled
    assert {item.part for item in game.sounds.items} == {"sound"} and game.silent.items[0].part == "picture"
    assert not any(item.note or item.correct is not None for item in game.sounds.items)

    game.sounds.playing = own[0]  # heard last
    assert not game.next.disabled
    game.next.click()
    assert game.answers == [own[0], -1, -1] and game.score("you") == 1
    notes = [item.note for item in game.sounds.items]
    assert notes[own[0]] == "you, right" and game.sounds.items[own[0]].correct is True
    assert {item.part for item in game.sounds.items} == {"both"}  # now seen as well
    assert "<b>you</b> 1 of 1 · <b>right</b> 1 of 1 · <b>wrong</b> 0 of 1" in game.scores.value
    with pytest.raises(ValueError, match="of a question without one; got 0"):
        game.answer(0)

    game.next.click()
    assert game.place == 1 and {item.part for item in game.sounds.items} == {"sound"}
    wrong = (own[1] + 1) % 4
    game.answer(wrong)
    assert f"No: it is {'ABCD'[own[1]]}" in game.words.value and game.score("you") == 0.5
    assert game.sounds.items[wrong].correct is False

    game.add("yours", spaces["right"])
    assert game.score("yours") == 1 and "yours" in game.sounds.items[own[1]].note and game.answers[0] == own[0]
    game.next.click()
    game.answer(own[2])
    game.next.click()  # play again
    assert game.answers == [-1, -1, -1] and game.place == 0


def test_a_game_goes_on_from_its_state(smoke_world, spaces):
    game = Game(smoke_world, spaces, rounds=3, choices=4)
    game.answer(2)
    game.go_on()
    again = Game(smoke_world, spaces, rounds=3, choices=4, state=game.state)
    assert again.state == game.state == "round=1&answers=C--" and again.answers == [2, -1, -1]
    with pytest.raises(ValueError, match="answers must be 3 of the letters ABCD-; got 'CX-'"):
        Game(smoke_world, spaces, rounds=3, choices=4, state="answers=CX-")


def test_a_page_without_a_kernel_gives_nothing_away_and_folds_the_answer(smoke_world, spaces):
    game = Game(smoke_world, spaces, rounds=2, choices=4)
    page = game.snapshot()
    clips = [base64.b64decode(data) for data in re.findall(r"data:video/mp4;base64,([^\"]+)", page.html)]
    assert max(map(len, clips)) < 40_000
    kinds = [streams(data) for data in clips]
    assert kinds == [{"video"}, *[{"audio"}] * 4]
    own = game.rounds[0].own
    shown, folded = page.html.split("<details>")
    assert f"right: {'ABCD'[own]}" in folded and smoke_world.name(game.rounds[0].query) in folded
    words = re.sub(r"<style>.*?</style>|data:[^\"]+", "", shown, flags=re.DOTALL)
    assert not any(smoke_world.name(i) in words for i in game.rounds[0].candidates)
    assert page.png


def test_half_an_excerpt_holds_only_that_half(smoke_world):
    path = smoke_world.path(0)
    assert streams(excerpt(path, part="picture").data) == {"video"}
    sound = excerpt(path, part="sound")
    assert streams(sound.data) == {"audio"} and not sound.seen and sound.heard


@pytest.mark.parametrize(
    "options, message",
    [
        ({"rounds": 0}, "got 0 rounds and 6 choices"),
        ({"choices": 9}, "choices 2 to 8"),
        ({"rounds": 1000}, "the number of clips without a fault"),
    ],
)
def test_impossible_games_are_refused(smoke_world, options, message):
    with pytest.raises(ValueError, match=message):
        Game(smoke_world, {}, **options)


def test_players_must_know_the_clips(smoke_world):
    few, many = np.eye(3), np.eye(len(smoke_world))
    for bad, message in (
        ((few, few), r"embeddings of a: pictures and sounds must be \(\d+, D\), a row for each clip; got \(3, 3\)"),
        ((many, many[:, 1:]), "a row for each clip"),
        ((many, many * np.nan), "embeddings of a must be finite"),
        (None, "must have .video and .audio, or be a pair of them; got NoneType"),
        ((many,), "or be a pair"),
    ):
        with pytest.raises(ValueError, match=message):
            Game(smoke_world, {"a": bad})
    game = Game(smoke_world, {})
    with pytest.raises(ValueError, match="player must be you; got 'a'"):
        game.score("a")
    with pytest.raises(ValueError, match="must not be called 'you'"):
        game.add("you", (few, few))

"""The game: which of these sounds belongs to this silent clip? You and networks answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import Any, NamedTuple

import ipywidgets as widgets
import numpy as np

from avid_lab.datasets import ClipDataset
from avid_lab.interactive.panel import Panel, Snapshot
from avid_lab.interactive.players import gallery
from avid_lab.interactive.queries import FLOW
from avid_lab.interactive.ranking import faults, senses
from avid_lab.interactive.shelf import Shelf, ShelfItem, draw_stills
from avid_lab.plots.style import NotebookFigure, new_figure, styled

LETTERS = "ABCDEFGH"
YOU, OPEN = "you", "-"  # a player's name; a round without an answer
SNAPSHOT_BYTES = 40_000  # of each clip in a page without a kernel


class Round(NamedTuple):
    """A question.

    Attributes:
        query: The clip that is seen.
        candidates: The clips that are heard; the query is one of them.
    """

    query: int
    candidates: tuple[int, ...]

    @property
    def own(self) -> int:
        """Place of the right answer."""
        return self.candidates.index(self.query)


def game_rounds(clips: ClipDataset, rounds: int = 6, choices: int = 6, seed: int = 0) -> list[Round]:
    """Draw questions: a clip, and its sound among those of clips of other classes.

    Clips with a known fault are left out. The queries come from as many classes as possible. Where there are fewer
    classes than choices, a class may come twice.

    Args:
        clips: The clips.
        rounds: Number of questions.
        choices: Sounds to choose from, 2 to 8.
        seed: Of the draw.

    Raises:
        ValueError: The numbers are out of range, or the clips without a fault are too few.
    """
    sound = [i for i, fault in enumerate(faults(clips.manifest)) if not fault]
    if not (rounds >= 1 and 2 <= choices <= len(LETTERS) and max(rounds, choices) <= len(sound)):
        raise ValueError(
            f"rounds must be >= 1, choices 2 to {len(LETTERS)}, and neither above {len(sound)}, the number of clips "
            f"without a fault; got {rounds} rounds and {choices} choices"
        )
    random = np.random.default_rng(seed)
    labels = clips.labels.numpy() if clips.has_classes else np.arange(len(clips))
    drawn = []
    for query in _spread(random.permutation(sound), labels)[:rounds]:
        others = [i for i in random.permutation(sound) if labels[i] != labels[query]] or sound
        rest = [i for i in _spread(np.array(others), labels) if i != query]
        rest += [i for i in random.permutation(sound) if i != query and i not in rest]
        chosen = np.array([query, *rest[: choices - 1]])
        drawn.append(Round(int(query), tuple(int(i) for i in random.permutation(chosen))))
    return drawn


def _spread(order: np.ndarray, labels: np.ndarray) -> list[int]:
    """The same clips: first one of each class, then a second one, ..., otherwise in the given order."""
    seen: dict[int, int] = {}
    turns = []
    for i in order.tolist():
        turns.append(seen.get(int(labels[i]), 0))
        seen[int(labels[i])] = turns[-1] + 1
    return order[np.argsort(turns, kind="stable")].tolist()


class Game(Panel):
    """A silent clip and some sounds: you and networks say which one is its own.

    Click a sound, or press its letter, to hear it. The button (Enter) answers with the sound that was heard last; then
    the pictures appear, with everyone's choice.

    Args:
        clips: The clips.
        players: Networks by name: unit embeddings ``.video`` and ``.audio`` of every clip, (N, D); or the two as a
            tuple.
        rounds: Number of questions.
        choices: Sounds to choose from.
        seed: Of the draw.
        state: State of an earlier game.

    Attributes:
        rounds: The questions.

    Raises:
        ValueError: See `game_rounds`; a player's embeddings do not fit the clips (see `senses`), or it is called "you".

    Example:
        >>> game = Game(clips, {"untrained": before, "trained": after})  # doctest: +SKIP
        >>> game.add("yours", mine)  # doctest: +SKIP
    """

    def __init__(
        self,
        clips: ClipDataset,
        players: Mapping[str, Any],
        *,
        rounds: int = 6,
        choices: int = 6,
        seed: int = 0,
        state: str = "",
    ) -> None:
        self.rounds = game_rounds(clips, rounds, choices, seed)
        self._choices: dict[str, list[int]] = {}
        super().__init__("The game: which sound belongs to this clip?")
        self.clips = clips
        for name, embeddings in players.items():
            self._join(name, embeddings)
        self.add_control("round", widgets.BoundedIntText(0, 0, rounds - 1))
        self.add_control("answers", widgets.Text(OPEN * rounds))  # of yours: a letter, or a dash for none yet
        self.silent, self.sounds = Shelf("the silent clip", width=210), Shelf("sounds", width=150, letters=True)
        self.next = widgets.Button(button_style="primary", layout={"width": "150px"})
        self.next.add_class("avid-next")
        self.words, self.scores = widgets.HTML(), widgets.HTML()
        self.sounds.observe(lambda _: self.draw(False), "playing")
        self.next.on_click(lambda _: self.answer(self.sounds.playing) if self.answers[self.place] < 0 else self.go_on())
        left = widgets.VBox([self.silent], layout={"flex": "0 0 220px"})
        right = widgets.VBox([self.sounds], layout={"flex": "1 1 300px", "min_width": "0", "max_width": "500px"})
        self.body.children = [
            widgets.HBox([left, right], layout={"flex_flow": "row wrap", "grid_gap": "6px 18px"}),
            widgets.HBox([self.next, self.words], layout=FLOW),
            self.scores,
        ]
        self.restore(state)
        self.draw(False)

    # The game

    @property
    def place(self) -> int:
        """Which question is open, from 0."""
        return self.controls["round"].value

    @property
    def answers(self) -> list[int]:
        """Your answers, places among the sounds; -1 for none yet."""
        return [LETTERS.find(letter) for letter in self.controls["answers"].value]

    def answer(self, place: int) -> None:
        """Answer the open question.

        Raises:
            ValueError: There is no such sound, or the question has been answered.
        """
        count, answers = len(self.rounds[self.place].candidates), self.controls["answers"].value
        if not 0 <= place < count or self.answers[self.place] >= 0:
            raise ValueError(f"an answer must be a sound, 0 to {count - 1}, of a question without one; got {place}")
        self.controls["answers"].value = answers[: self.place] + LETTERS[place] + answers[self.place + 1 :]
        self.draw(False)
        self.sounds.playing = self.rounds[self.place].own  # now with its picture

    def go_on(self) -> None:
        """Go to the next question; after the last one, to the first without an answer, or to a new game."""
        still_open = [at for at, answer in enumerate(self.answers) if answer < 0]
        if not still_open:
            self.controls["answers"].value = OPEN * len(self.rounds)
        later = [at for at in still_open if at > self.place]
        self.controls["round"].value = (later or still_open or [0])[0]

    def add(self, name: str, embeddings: Any) -> None:
        """Let another network join, or replace the one of this name; the questions and your answers stay.

        Raises:
            ValueError: Its embeddings do not fit the clips (see `senses`), or it is called "you".
        """
        self._join(name, embeddings)
        self.draw(False)

    def chosen(self, name: str) -> list[int]:
        """A player's answers, places among the sounds; -1 for none yet."""
        return self.answers if name == YOU else self._choices[name]

    def score(self, name: str) -> float | None:
        """Share of the answered questions that a player got right; a network has answered all.

        Raises:
            ValueError: There is no such player.
        """
        if name != YOU and name not in self._choices:
            raise ValueError(f"player must be {', '.join([YOU, *self._choices])}; got {name!r}")
        given = [at for at, answer in enumerate(self.chosen(name)) if answer >= 0]
        return self._right(name, given) / len(given) if given else None

    def _right(self, name: str, places: Sequence[int]) -> int:
        chosen = self.chosen(name)
        return sum(chosen[at] == self.rounds[at].own for at in places)

    def _join(self, name: str, embeddings: Any) -> None:
        if name == YOU:
            raise ValueError(f"a network must not be called {YOU!r}")
        rows = senses(embeddings, len(self.clips), f"embeddings of {name}")
        video, audio = rows["video"], rows["audio"]
        self._choices[name] = [int((audio[list(r.candidates)] @ video[r.query]).argmax()) for r in self.rounds]

    def restore(self, state: str) -> None:
        """Set round and answers; see `Panel.restore`."""
        super().restore(state)
        answers, letters = self.controls["answers"].value, LETTERS[: len(self.rounds[0].candidates)] + OPEN
        if len(answers) != len(self.rounds) or set(answers) - set(letters):
            want = f"{len(self.rounds)} of the letters {letters}"
            self.controls["answers"].value = OPEN * len(self.rounds)
            raise ValueError(f"answers must be {want}; got {answers!r}")

    # What is shown

    def draw(self, quick: bool) -> None:
        """Clips, words and scores."""
        done = self.answers[self.place] >= 0
        self.silent.show([self._query()])
        self.sounds.show(self._sounds())
        heard = self.sounds.playing
        self.next.disabled = not done and heard < 0
        self.next.description = f"Answer: {LETTERS[heard]}" if not done and heard >= 0 else "Answer"
        if done:
            self.next.description = "Next clip" if OPEN in self.controls["answers"].value else "Play again"
        self.words.value = f'<span role="status">{self._words()}</span>'
        self.scores.value = f'<div style="margin-top:6px">{self._scores()}</div>'

    def _query(self) -> ShelfItem:
        i, done = self.rounds[self.place].query, self.answers[self.place] >= 0
        title = f"clip {self.place + 1} of {len(self.rounds)}"
        return ShelfItem(self.clips.path(i), title, self._name(i) if done else "", None, None, "", None, "picture")

    def _sounds(self) -> list[ShelfItem]:
        """The sounds; with pictures, verdicts and everyone's choice once the question is answered."""
        question, mine, items = self.rounds[self.place], self.answers[self.place], []
        for at, i in enumerate(question.candidates):
            item = ShelfItem(self.clips.path(i), LETTERS[at], part="sound")
            if mine >= 0:
                names = [name for name in (YOU, *self._choices) if self.chosen(name)[self.place] == at]
                right = True if at == question.own else False if names else None
                title = f"{LETTERS[at]} · {self._name(i)}"
                item = replace(item, title=title, note=", ".join(names), correct=right, part="both")
            items.append(item)
        return items

    def _name(self, i: int) -> str:
        return self.clips.name(i)

    def _words(self) -> str:
        mine, question = self.answers[self.place], self.rounds[self.place]
        if mine < 0:
            return "Play the sounds (click, or press the letters), then answer."
        verdict = "Right" if mine == question.own else f"No: it is {LETTERS[question.own]}"
        return f"<b>{verdict}.</b> {escape(self._told())}."

    def _told(self) -> str:
        """What each network chose."""
        return ", ".join(f"{name}: {LETTERS[chosen[self.place]]}" for name, chosen in self._choices.items())

    def _scores(self) -> str:
        given = [at for at, answer in enumerate(self.answers) if answer >= 0]
        if not given:
            return f'<span class="avid-soft">Guessing gets 1 in {len(self.rounds[0].candidates)}.</span>'
        parts = [f"<b>{escape(name)}</b> {self._right(name, given)} of {len(given)}" for name in (YOU, *self._choices)]
        guess = f'<span class="avid-soft">guessing 1 in {len(self.rounds[0].candidates)}</span>'
        return " · ".join([*parts, guess])

    # Without a kernel

    def table(self) -> Sequence[tuple[str, str]]:
        """Everyone's score."""
        rows = [(name, self.score(name)) for name in (YOU, *self._choices)]
        return [(name, "no answer yet" if share is None else f"{share:.0%} right") for name, share in rows] + [
            ("guessing", f"{1 / len(self.rounds[0].candidates):.0%}")
        ]

    @styled
    def figure(self) -> NotebookFigure:
        """The silent clip; beside it the other pictures, once the question is answered."""
        page = new_figure(9.6, 2.2)
        items = [self._query(), *(self._sounds() if self.answers[self.place] >= 0 else [])]
        grid = page.add_gridspec(1, 1 + len(self.rounds[0].candidates))
        draw_stills(page, [grid[0, column] for column in range(len(items))], items)
        return page

    def snapshot(self) -> Snapshot:
        """The open question to play, with the answers folded."""
        question = self.rounds[self.place]
        letters = [LETTERS[at] for at in range(len(question.candidates))]
        players = gallery(
            self.clips.path(question.query),
            [self.clips.path(i) for i in question.candidates],
            letters,
            query_part="picture",
            part="sound",
            query_caption="which sound is its own?",
            columns=3,
            poster=True,
            clip_bytes=SNAPSHOT_BYTES,
        )
        own = f"Its own sound is {LETTERS[question.own]}, {self._name(question.query)}."
        kinds = ", ".join(f"{letter} {self._name(i)}" for letter, i in zip(letters, question.candidates, strict=True))
        folded = f"<details><summary>The answer</summary>{escape(f'{own} {self._told()}. ({kinds})')}</details>"
        return replace(super().snapshot(), page=f"{players.data}{folded}")

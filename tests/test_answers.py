"""What students really write: right answers are accepted, wrong ones are caught, and the mistake is named."""

import functools
import re
import threading
import time

import answers_of_a_class
import numpy as np
import pytest
import torch
from answers import RIGHT, WRONG, source_of, written
from answers_of_a_class import ANSWERS

from avid_lab import limits
from avid_lab.course import checks, mutants, publish, student, wrapping
from avid_lab.course.checks import conform, judge
from avid_lab.course.exercises import EXERCISES

COMPARED = [exercise for exercise in EXERCISES.values() if exercise.compared]


@functools.cache
def judged(name):
    """Verdicts on the wrong answers of an exercise, each with whether it names the mistake."""
    patch = pytest.MonkeyPatch()
    patch.setattr(checks, "LIMIT_S", 1.0)  # one answer never ends
    verdicts = [(judge(EXERCISES[name], written(name, body)), words) for body, words in WRONG[name].items()]
    patch.undo()
    return [
        (said, bool(re.search(words, f"{said.title}. {said.explanation}", re.IGNORECASE))) for said, words in verdicts
    ]


@pytest.mark.parametrize("name", EXERCISES)
def test_right_answers_are_accepted_however_they_are_written(name):
    assert len(RIGHT[name]) >= 6
    for body in RIGHT[name]:
        verdict = judge(EXERCISES[name], written(name, body))
        assert verdict.status == "right", (body, verdict)


@pytest.mark.parametrize("name", EXERCISES)
def test_wrong_answers_are_caught_and_most_are_named(name):
    verdicts = judged(name)
    assert len(verdicts) >= 10 and {said.status for said, _ in verdicts} == {"wrong"}
    assert sum(named for _, named in verdicts) >= 0.65 * len(verdicts)


@pytest.mark.parametrize("name", sorted({answer["exercise"] for answer in ANSWERS}))
def test_a_class_is_judged_as_a_teacher_would(name):
    for answer in ANSWERS:
        if answer["exercise"] == name and answer["kind"] != "open":
            verdict = judge(EXERCISES[name], answers_of_a_class.written(answer))
            assert verdict.status == answer["kind"], (answer["words"], verdict)


def test_four_of_five_mistakes_are_named():
    every = [named for name in EXERCISES for _, named in judged(name)]
    assert sum(every) >= 0.8 * len(every)


@pytest.mark.parametrize("name", EXERCISES)
def test_results_of_right_answers_have_the_references_form(name, monkeypatch, tmp_path):
    monkeypatch.setenv("AVID_LAB_STUDENT", str(tmp_path))
    monkeypatch.setattr(wrapping, "display", lambda *_, **__: None)
    exercise = EXERCISES[name]
    wanted = exercise.reference(*exercise.probes[0]())
    for body in RIGHT[name]:
        answer = wrapping.exercise(name)(written(name, body))
        made = answer(*exercise.probes[0]())
        assert answer.credit == "your code" and form(made) == form(wanted), body


def form(value):
    """Containers and dtypes of a result."""
    if isinstance(value, dict):
        return {key: form(part) for key, part in value.items()}
    return tuple(map(form, value)) if type(value) is tuple else (type(value), value.shape, value.dtype)


def test_numbers_stand_for_tensors(monkeypatch, tmp_path):
    """A notebook passes Z as a float; ``torch.log`` needs a tensor."""
    monkeypatch.setenv("AVID_LAB_STUDENT", str(tmp_path))
    monkeypatch.setattr(wrapping, "display", lambda *_, **__: None)
    (body,) = [body for body in RIGHT["nce_loss"] if "torch.log(negative.size(1) * Z)" in body]
    mine = wrapping.exercise("nce_loss")(written("nce_loss", body))
    scores = torch.zeros(2, 1), torch.ones(2, 3)
    torch.testing.assert_close(mine(*scores, 1.65), EXERCISES["nce_loss"].reference(*scores, 1.65))
    assert mine.credit == "your code"


@pytest.mark.parametrize(
    ("value", "like"),
    [
        (2.0, torch.tensor(1.0)),
        (np.ones(3), torch.ones(3)),
        ([torch.ones(2), torch.zeros(2)], torch.ones(2, 2)),
        ([[1, 2], [3, 4]], torch.ones(2, 2, dtype=torch.long)),
        (np.ones((2, 3)), (torch.ones(3), torch.ones(3))),
        ({"a": [1.0]}, {"a": torch.ones(1)}),
    ],
)
def test_a_value_takes_the_form_of_another(value, like):
    assert form(conform(value, like)) == form(like)


def test_higher_precision_is_kept():
    assert conform(torch.ones(2, dtype=torch.double), torch.ones(2)).dtype == torch.double


# --- hints ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXERCISES)
def test_no_hint_is_the_answer(name):
    """The code in a hint is a part of an answer, never the whole."""
    for hint in EXERCISES[name].hints:
        for code in re.findall(r"`([^`]+)`", hint):
            try:
                compile(source_of(name, code), name, "exec")
            except SyntaxError:
                continue
            assert judge(EXERCISES[name], written(name, code)).status != "right", code


# --- time -------------------------------------------------------------------------------------------------------------


def test_an_answer_that_never_ends_is_stopped_in_any_thread(monkeypatch):
    monkeypatch.setattr(checks, "LIMIT_S", 0.3)
    endless = written(
        "nce_loss", "while True:\n  try:\n    while True: positive = positive + 1\n  except Exception: pass\nreturn 0"
    )
    verdicts = []
    thread = threading.Thread(target=lambda: verdicts.append(judge(EXERCISES["nce_loss"], endless)))
    thread.start()
    thread.join(60)
    verdicts.append(judge(EXERCISES["nce_loss"], endless))
    assert [verdict.title for verdict in verdicts] == ["it does not end"] * 2


def test_a_block_that_swallows_the_end_of_its_time_is_still_reported():
    with pytest.raises(limits.OutOfTime), limits.at_most(0.05):
        try:
            while True:
                pass
        except BaseException:
            pass
    time.sleep(0.3)  # nothing arrives later


def test_right_loops_get_a_remark_and_whole_tensors_none():
    loops = next(body for body in RIGHT["nce_loss"] if "for k in range(K)" in body)
    assert "loops over rows" in judge(EXERCISES["nce_loss"], written("nce_loss", loops)).explanation
    assert not judge(EXERCISES["nce_loss"], EXERCISES["nce_loss"].reference).explanation


# --- sentences that would be false ------------------------------------------------------------------------------------


def said(name, body):
    verdict = judge(EXERCISES[name], written(name, body))
    assert verdict.status == "wrong"
    return f"{verdict.title}. {verdict.explanation}"


def test_a_factor_is_claimed_only_if_many_numbers_have_it():
    assert "times" not in said("partition_constant", "negative.detach().exp().mean() * 0.162")  # two numbers
    assert "3.2 times" in said("consensus_scores", "3.2 * torch.minimum(video_query @ video.T, audio_query @ audio.T)")
    assert "times" not in said("precision_at_k", "(labels[positives] == labels[:, None]).double().mean() + 1e-3")


def test_an_error_is_an_error_and_no_verdict_on_negatives():
    words = said(
        "sample_negatives",
        "torch.randint(N, (len(index), K), generator=generator)[:, :K] if len(index) < 9 else index @ 1",
    )
    assert "it stops with an error" in words and "among its own negatives" not in words
    assert "line 2 of the cell" in words


def test_line_numbers_are_those_of_the_students_cell():
    assert "line 4 of the cell" in said(
        "recall_at_k", "\nx = score\ny = x.sum()\nF.normalize(y, dim=5)".strip("\n") + "\n"
    )


def test_what_is_excluded_too_much_is_said():
    words = said(
        "sample_negatives",
        "w = torch.ones(len(index), N); w[:, index.unique()[:N - 2]] = 0\n"
        "torch.multinomial(w, K, True, generator=generator)",
    )
    assert "other queries are never drawn" in words


def test_half_normal_draws_are_not_called_a_fixed_stand_in():
    words = said(
        "sample_negatives",
        "r = (torch.randn(len(index), K, generator=generator).abs() * N / 4).long().clamp(max=N - 2)\n"
        "r + (r >= index[:, None])",
    )
    assert "not all instances are equally likely" in words and "stand in" not in words


def test_a_dict_or_a_named_tuple_is_called_what_it_is():
    words = said("info_nce", "{'loss': (video * audio).sum(), 'x': video}")
    assert "wrong type" in words and "should be a tensor" in words


def test_the_size_of_the_batch_matters_but_does_not_double():
    words = said("my_loss", "negative.flatten().logsumexp(0) - positive.mean()")
    assert "size of the batch" in words and "instead of summing" not in words


# --- mutants ----------------------------------------------------------------------------------------------------------


def test_the_table_of_mutants_is_that_of_the_exercises():
    """`python -m avid_lab.course --mistakes` makes it anew."""
    assert all(mutants.is_current(exercise, checks.behaviour(exercise, exercise.reference)) for exercise in COMPARED)


def test_two_mistakes_at_once_are_both_named():
    words = said(
        "robust_weights",
        "s = similarity.detach(); z = (s - s.mean()) / s.var(correction=0)\nfloor + torch.special.ndtr(z)",
    )
    assert "two mistakes" in words and "variance" in words


def test_an_exercise_that_is_not_in_the_table_is_still_mutated(monkeypatch):
    monkeypatch.setattr(mutants, "_table", dict)
    words = said("consensus_scores", "video_query @ video.T + audio_query @ audio.T")
    assert "the sum instead of the smaller" in words


# --- what was learned -------------------------------------------------------------------------------------------------


def test_mistakes_on_the_way_are_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("AVID_LAB_STUDENT", str(tmp_path))
    monkeypatch.setattr(wrapping, "display", lambda *_, **__: None)
    for body in (
        "video_query @ video.T",
        "torch.maximum(video_query @ video.T, audio_query @ audio.T)",
        *RIGHT["consensus_scores"][:1],
    ):
        wrapping.exercise("consensus_scores")(written("consensus_scores", body))
    entry = student.record()["exercises"]["consensus_scores"]
    assert entry["mistakes"] == ["only the picture counts", "the maximum instead of the minimum"] and entry["solved"]


def test_a_syntax_error_is_one_message(monkeypatch, tmp_path):
    monkeypatch.setenv("AVID_LAB_STUDENT", str(tmp_path))
    shown = []
    monkeypatch.setattr(wrapping, "display", shown.append)
    cell = '@exercise("precision_at_k")\ndef mine(positives, labels):\n    return (labels[positives] == labels\n'
    space = {}
    exec("".join(wrapping._readable(cell.splitlines(keepends=True))), space)
    assert float(space["mine"](torch.tensor([[0]]), torch.tensor([3]))) == 1.0  # the reference goes on
    assert len(shown) == 1 and "Line 3" in repr(shown[0]) and space["mine"].credit == "reference"
    other = ["x = (1\n"]
    assert wrapping._readable(other) == other  # Python itself complains about other cells


@pytest.mark.slow
def test_a_notebook_goes_on_after_a_syntax_error(monkeypatch, tmp_path):
    monkeypatch.setenv("AVID_LAB_STUDENT", str(tmp_path))
    source = tmp_path / "02_broken.py"
    broken = '@exercise("precision_at_k")\ndef mine(positives, labels):\n    return (labels[positives'
    use = "import torch\nprint(float(mine(torch.tensor([[0]]), torch.tensor([3]))))"
    source.write_text(f"# %%\nfrom avid_lab.course import exercise\n\n# %%\nx = 1\n\n# %%\n{use}\n")
    notebook = publish.read_source(source)
    notebook.cells[2].source = broken
    publish.run(notebook, tmp_path, name="02_broken", timeout_s=120)
    outputs = [output for cell in notebook.cells for output in cell.outputs]
    assert [output.output_type for output in outputs] == ["display_data", "stream"]
    assert "Python cannot read this cell" in outputs[0].data["text/html"] and outputs[1].text == "1.0\n"

"""Exercises: every checker accepts right answers, also unusual ones, and names every known mistake."""

import contextlib
import json
import os
import subprocess
import sys
import time

import pytest
import torch

from avid_lab.course import badge, filling, frames, lab, student, wrapping
from avid_lab.course.checks import judge
from avid_lab.course.exercises import EXERCISES, NOTEBOOKS

WRONG = [(name, title) for name, exercise in EXERCISES.items() for title in exercise.mistakes]


@pytest.fixture(autouse=True)
def somebody(tmp_path, monkeypatch):
    """A student who has done nothing yet."""
    monkeypatch.setenv("AVID_LAB_STUDENT", str(tmp_path / "student"))
    monkeypatch.setattr(wrapping, "VERDICTS", {})
    monkeypatch.setattr(student, "_UNSAVED", {})
    monkeypatch.setattr(student, "WAITS_S", (0.001,) * 3)
    monkeypatch.setattr(lab, "_ASKED", {})


@pytest.fixture
def shown(monkeypatch):
    """What was displayed."""
    things = []
    for module in (wrapping, lab):
        monkeypatch.setattr(module, "display", lambda thing, **_: things.append(thing))
    return things


def nce_as_written(positive, negative, Z):
    K = negative.shape[1]
    yes = positive.exp() / (positive.exp() + K * Z)
    no = K * Z / (negative.exp() + K * Z)
    return -(yes.log().sum(1) + no.log().sum(1)).mean()


@pytest.mark.parametrize("name", EXERCISES)
def test_the_reference_and_its_other_forms_pass(name):
    exercise = EXERCISES[name]
    for answer in (exercise.reference, *exercise.forms):
        verdict = judge(exercise, answer)
        assert verdict.status == "right", verdict


@pytest.mark.parametrize(("name", "title"), WRONG)
def test_every_known_mistake_is_called_by_its_name(name, title):
    exercise = EXERCISES[name]
    verdict = judge(exercise, exercise.mistakes[title][0])
    assert (verdict.status, verdict.title) == ("wrong", title)
    assert verdict.explanation


@pytest.mark.parametrize("name", EXERCISES)
def test_every_exercise_is_taught_in_full(name):
    exercise = EXERCISES[name]
    assert len(exercise.mistakes) == len(exercise.wrong) >= 5
    assert all(title and text for title, (_, text) in exercise.mistakes.items())
    assert len(exercise.hints) == 3 and all(exercise.hints) and exercise.task.strip()[-1] in ".?!"
    assert exercise.notebook in NOTEBOOKS
    blank = filling.blank_cell(exercise)
    assert filling.exercises_in(blank) == [name]
    compile(filling.fill(blank, {name: exercise.reference}), name, "exec")
    for wrong in exercise.wrong:
        compile(filling.fill(blank, {name: wrong}), name, "exec")


# --- what students really write --------------------------------------------------------------------------------------


def blank_dots(positive, negative, Z): ...


def blank_pass(positive, negative, Z):
    """A docstring."""
    pass


def blank_error(positive, negative, Z):
    raise NotImplementedError


def half_filled(positive, negative, Z):
    yes = ...
    return -yes.log().mean()


def dots_returned(positive, negative, Z):
    loss = ...
    return loss


@pytest.mark.parametrize("function", [blank_dots, blank_pass, blank_error, half_filled, dots_returned])
def test_an_answer_not_yet_written_is_blank_not_wrong(function):
    assert judge(EXERCISES["nce_loss"], function).status == "blank"


def forgets_return(positive, negative, Z):
    nce_as_written(positive, negative, Z)


def double(positive, negative, Z):
    return 2 * nce_as_written(positive, negative, Z)


def thrice(positive, negative, Z):
    return 3.2 * nce_as_written(positive, negative, Z)


def no_gradient(positive, negative, Z):
    return torch.tensor(nce_as_written(positive, negative, Z).item())


def keeps_axis(positive, negative, Z):
    return nce_as_written(positive, negative, Z)[None]


def undefined(positive, negative, Z):
    return positive + nothing_of_this_name


def two_parameters(positive, negative):
    return positive


def words(positive, negative, Z):
    return "a loss"


@pytest.mark.parametrize(
    ("function", "title", "evidence"),
    [
        (forgets_return, "nothing is returned", "return"),
        (double, "twice what it should be", "with this one change"),
        (thrice, "3.2 times what it should be", "On all inputs"),
        (no_gradient, "no gradient flows", "with this one change"),
        (keeps_axis, "the shape is wrong", "axis of length one"),
        (undefined, "a name is not known", "nothing_of_this_name"),
        (two_parameters, "the parameters", "positive, negative, Z"),
        (words, "wrong type", "a str"),
    ],
)
def test_mistakes_nobody_foresaw_are_described(function, title, evidence):
    verdict = judge(EXERCISES["nce_loss"], function)
    assert verdict.status == "wrong"
    assert title in verdict.title and evidence in verdict.explanation


def test_checking_leaves_the_global_random_numbers_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    judge(EXERCISES["sample_negatives"], EXERCISES["sample_negatives"].mistakes["the generator is not used"][0])
    assert torch.equal(torch.get_rng_state(), before)


# --- the decorator ---------------------------------------------------------------------------------------------------

SCORES = torch.ones(2, 1), torch.zeros(2, 3), torch.tensor(1.0)


def test_blank_and_wrong_answers_leave_the_reference_at_work(shown):
    for function in (blank_dots, double):
        answer = wrapping.exercise("nce_loss")(function)
        assert answer.credit == lab.credit("nce_loss") == "reference"
        torch.testing.assert_close(answer(*SCORES), EXERCISES["nce_loss"].reference(*SCORES))
    assert [box.kind for box in shown] == ["blank", "wrong"]
    assert all(text in repr(shown[0]) for text in ("not written yet", "Hint 1", "Hint 3"))


def test_a_right_answer_drives_under_any_name_and_again_when_the_cell_is_copied(shown):
    calls = []

    @wrapping.exercise("nce_loss")
    def mine(a, b, c):
        calls.append(1)
        return nce_as_written(a, b, c)

    calls.clear()
    mine(*SCORES)
    assert calls == [1] and mine.__name__ == "mine" and lab.credit() == "your code"
    assert wrapping.exercise("nce_loss")(mine).credit == "your code"


def test_an_answer_that_fails_later_is_shown_and_the_notebook_goes_on(shown):
    @wrapping.exercise("nce_loss")
    def fragile(positive, negative, Z):
        if len(positive) == 2:
            raise RuntimeError("not two")
        return nce_as_written(positive, negative, Z)

    torch.testing.assert_close(fragile(*SCORES), EXERCISES["nce_loss"].reference(*SCORES))
    assert "not two" in repr(shown[-1]) and lab.credit("nce_loss") == "reference"


def test_an_unknown_exercise_names_its_neighbour(unchecked):
    with pytest.raises(ValueError, match="Did you mean 'nce_loss'"):
        wrapping.exercise("nce_los")


def test_progress_is_kept_counts_attempts_and_survives_damage(shown, capsys):
    for function in (blank_dots, double, double, nce_as_written, blank_dots):
        wrapping.exercise("nce_loss")(function)
    entry = json.loads((student.folder() / "progress.json").read_text())["exercises"]["nce_loss"]
    assert (entry["attempts"], entry["solved"], entry["status"]) == (2, True, "blank")
    lab.progress()
    assert f"1 of {len(EXERCISES)} exercises solved" in repr(shown[-1])
    lab.progress("00")
    assert "This notebook has no exercises" in repr(shown[-1])
    (student.folder() / "progress.json").write_text("{")
    assert student.record()["exercises"] == {}
    assert (student.folder() / "progress.damaged.json").exists()
    assert "damaged" in capsys.readouterr().out


def saved_notes():
    return json.loads((student.folder() / "progress.json").read_text(encoding="utf-8"))["notes"]


def test_a_file_that_is_held_for_a_moment_costs_nothing(shown, monkeypatch):
    lab.note("07-1", text="a")
    replace, failures = os.replace, [PermissionError(13, "in use")] * 2

    def busy(*paths):
        if failures:
            raise failures.pop()
        replace(*paths)

    monkeypatch.setattr(os, "replace", busy)
    lab.note("07-2", text="b")
    assert not failures and list(saved_notes()) == ["07-1", "07-2"]
    assert all("Noted." in repr(box) for box in shown)


def test_what_cannot_be_saved_is_said_each_time_and_saved_when_it_can_be(shown, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AVID_LAB_STUDENT", str(tmp_path / "file" / "student"))
    (tmp_path / "file").touch()  # no folder can be made below a file
    for key in ("07-1", "07-2"):
        lab.note(key, text=key)
        assert "Noted." not in repr(shown[-1]) and "Not saved" in repr(shown[-1])
        assert "Your progress is not saved" in capsys.readouterr().out
        assert key in student.record()["notes"]
    (tmp_path / "file").unlink()
    capsys.readouterr()
    lab.note("07-3", text="c")
    assert "Noted." in repr(shown[-1]) and not capsys.readouterr().out
    assert list(saved_notes()) == ["07-1", "07-2", "07-3"]


def test_a_note_that_no_file_can_hold_does_not_spoil_the_others(shown):
    with pytest.raises(TypeError):
        lab.note("07-1", thing=object())
    lab.note("07-2", text="b")
    assert list(saved_notes()) == ["07-2"]


def test_two_processes_lose_nothing(tmp_path):
    write_many = (  # the module alone, without the rest of the course, to start soon
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('student', {student.__file__!r})\n"
        "student = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(student)\n"
        "for i in range(40):\n"
        "    assert student.write('notes', f'{sys.argv[1]}-{i}', text='x')\n"
        "    assert student.write('notes', 'both', **{sys.argv[1]: i})\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", write_many, name]) for name in ("a", "b")]
    assert [process.wait(60) for process in running] == [0, 0]
    notes = saved_notes()
    assert len(notes) == 81 and (notes["both"]["a"], notes["both"]["b"]) == (39, 39)


def test_a_write_that_waited_for_another_kernel_is_the_newer_one(monkeypatch):
    student.write("notes", "both", a=38)
    locked = student._locked

    @contextlib.contextmanager
    def after_another():
        with locked():
            time.sleep(0.002)  # the other's time is later than that of the call that waits
            notes = {"both": {"a": 38, "b": 39, "when": student._now()}}
            (student.folder() / "progress.json").write_text(json.dumps({"notes": notes}))
            yield

    monkeypatch.setattr(student, "_locked", after_another)
    student.write("notes", "both", a=39)
    assert (saved_notes()["both"]["a"], saved_notes()["both"]["b"]) == (39, 39)


def test_the_newer_of_two_answers_wins(monkeypatch):
    monkeypatch.setattr(student, "_UNSAVED", {("notes", "07-1"): {"text": "old", "more": 1, "when": "2020-01-01"}})
    path = student.folder() / "progress.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"notes": {"07-1": {"text": "new", "when": "2021-01-01"}}}))
    student.write("notes", "07-2", text="b")
    assert saved_notes()["07-1"] == {"text": "new", "more": 1, "when": "2021-01-01"}


@pytest.mark.parametrize("damage", ["[]", '{"notes": 3}', '{"notes": {"a": 3}}', "\x00"])
def test_every_damaged_record_is_kept(damage, capsys):
    for name in ("progress.damaged.json", "progress.damaged-2.json"):
        student.write("notes", "07-1", text="a")
        (student.folder() / "progress.json").write_text(damage)
        assert student.write("notes", "07-2", text="b") and list(saved_notes()) == ["07-2"]
        assert (student.folder() / name).read_text() == damage and name in capsys.readouterr().out


def test_hints_come_one_after_the_other_and_the_solution_on_request(shown, unchecked):
    for _ in range(4):
        lab.hint("nce_loss")
    assert [f"Hint {n} of 3" in repr(box) for n, box in zip((1, 2, 3, 3), shown, strict=True)] == [True] * 4
    lab.solution("nce_loss")
    assert "softplus" in repr(shown[-1])
    assert student.record()["exercises"]["nce_loss"]["solution_seen"]
    with pytest.raises(ValueError, match="level must be 1, 2 or 3"):
        lab.hint("nce_loss", 4)


# --- predictions, notes, frames --------------------------------------------------------------------------------------


def test_a_prediction_waits_for_nobody_and_is_compared_when_made(shown, unchecked):
    lab.predict("03-1", "Which is best?", ["cross", "self"])
    assert "cross" in shown[-1]["text/html"] and "application/vnd.jupyter.widget-view+json" in shown[-1]
    lab.reveal("03-1", "cross")
    assert "no guess" in repr(shown[-1])
    student.write("predictions", "03-1", guess="cross")
    lab.reveal("03-1", "cross", "because")
    assert "It is cross. Because.\nYou said cross. Well predicted." in repr(shown[-1])
    assert student.record()["predictions"]["03-1"]["hit"]
    student.write("predictions", "03-2", guess=0.5)
    lab.reveal("03-2", 0.71)
    assert "0.21 away" in repr(shown[-1])
    with pytest.raises(ValueError, match="must be one of cross, self"):
        lab.reveal("03-1", "joint")
    with pytest.raises(ValueError, match="two or more"):
        lab.predict("03-3", "?", ["one"])


def test_notes_keep_values_and_words(shown):
    lab.note("07-1", loss=torch.tensor(0.5), name="hinge")
    assert student.record()["notes"]["07-1"]["values"] == {"loss": 0.5, "name": "hinge"}
    lab.note("07-2", "What broke?")
    assert "What broke?" in shown[-1]["text/plain"]


def test_frames_are_one_piece_of_html_with_a_picture_for_every_value(unchecked):
    from matplotlib.figure import Figure

    def draw(value):
        axes = Figure(figsize=(3, 2)).subplots()
        axes.plot([0, value])
        return axes

    made = frames(draw, [0.1, 0.2, 0.3], label="temperature")
    text = made._repr_html_()
    assert text.count("<img") == 3 and text.count("display:block;max") == 1 and 'max="2"' in text
    assert 'src="http' not in text and len(text) < 40_000
    with pytest.raises(ValueError, match="two or more"):
        frames(draw, [1.0], label="x")


def test_what_students_print_is_escaped():
    assert badge.prose("a < b and `x`") == "a &lt; b and <code>x</code>"


def test_words_in_stars_are_italic_and_stars_in_code_are_not():
    assert badge.prose("*both* `f(*a, *b)`, *v*ideo, 2 * 3 * 4") == (
        "<i>both</i> <code>f(*a, *b)</code>, <i>v</i>ideo, 2 * 3 * 4"
    )


def test_the_stage_of_the_smoke_profile_is_labelled_untrained(smoke_world, monkeypatch, capsys, unchecked):
    monkeypatch.setenv("AVID_LAB_PROFILE", "smoke")
    stage = lab.stage("05")
    assert "UNTRAINED" in capsys.readouterr().out and not stage.trained and stage.snapshots == []
    assert len(stage.memory) == len(stage.clips) == len(stage.names)
    torch.testing.assert_close(stage.memory.video, stage.embeddings.video)
    answers = lab.ask(stage.embeddings, stage.clips, 0, count=2).data
    assert f"the question: {stage.names[0]}" in answers and answers.count("<video") == 3
    with pytest.raises(ValueError, match="query must be in"):
        lab.ask(stage.embeddings, stage.clips, -1)
    with pytest.raises(ValueError, match="smoke"):
        _ = stage.run
    with pytest.raises(ValueError, match="notebook must be one of 04"):
        lab.stage("00")

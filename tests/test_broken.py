"""Each planted fault shows in the evidence that the notebook gives, and repairing the part cures it."""

from types import SimpleNamespace

import pytest
import torch

from avid_lab.course import broken


def clips(count, seed):
    """Features of clips: their class shows in picture and sound, next to noise of each."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 8
    kinds = torch.randn(2, 8, 24, generator=torch.Generator().manual_seed(0))
    rows = [kind[labels] + 0.7 * torch.randn(count, 24, generator=generator) for kind in kinds]
    return SimpleNamespace(video_features=rows[0], audio_features=rows[1] * 3, labels=labels)


@pytest.fixture(scope="module")
def trained():
    many, few = clips(240, 1), clips(96, 2)
    return {name: broken.train(many, few, name, steps=100) for name in (broken.HEALTHY, *broken.PATIENTS)}


def end(values):
    return sum(values[-10:]) / len(values[-10:])


SHOWS = {
    "pairs": lambda patient: end(patient.partner),
    "negatives": lambda patient: min(patient.ties),
    "Z": lambda patient: patient.loss[0],
    "memory": lambda patient: max(patient.moved),
    "evaluation": lambda patient: abs(patient.length[-1] - 1),
}


def test_there_is_a_patient_for_every_part():
    assert sorted(map(broken.diagnosis, broken.PATIENTS)) == sorted(broken.PARTS) == sorted(SHOWS)


@pytest.mark.parametrize("name", broken.PATIENTS)
def test_the_fault_shows_where_the_healthy_run_and_the_others_are_normal(trained, name):
    part = broken.diagnosis(name)
    seen = {other: SHOWS[part](patient) for other, patient in trained.items()}
    sick, healthy = seen.pop(name), seen[broken.HEALTHY]
    apart = abs(sick - healthy)
    assert apart > 0.1
    if part != "pairs":  # a memory that is never renewed also keeps pictures from their sounds
        assert all(abs(value - healthy) < 0.5 * apart for value in seen.values()), seen


def test_the_healthy_run_learns_and_most_faults_cost_it_that(trained):
    healthy = trained[broken.HEALTHY].found
    assert max(healthy) > 0.7
    for name in broken.PATIENTS:
        if broken.diagnosis(name) in ("pairs", "memory"):
            assert trained[name].found[-1] < healthy[-1] - 0.2


@pytest.mark.parametrize("name", broken.PATIENTS)
def test_the_right_repair_gives_the_healthy_run_and_another_does_not(trained, name):
    many, few = clips(240, 1), clips(96, 2)
    part = broken.diagnosis(name)
    assert broken.train(many, few, name, repair=part, steps=100) == trained[broken.HEALTHY]
    wrong = next(other for other in broken.PARTS if other != part)
    assert broken.train(many, few, name, repair=wrong, steps=20) == broken.train(many, few, name, steps=20)


def test_charts_have_a_curve_for_every_patient(trained):
    panels = broken.charts(trained)
    assert len(panels) == 6 and all(list(curves) == list(trained) for curves in panels.values())
    assert all(len(x) == len(y) for curves in panels.values() for x, y in curves.values())


def test_what_does_not_exist_is_named():
    with pytest.raises(ValueError, match="one of A, B, C, D, E; got 'F'"):
        broken.diagnosis("F")
    with pytest.raises(ValueError, match="one of pairs, negatives, Z, memory, evaluation; got 'loss'"):
        broken.train(clips(80, 0), clips(20, 1), "A", repair="loss")
    with pytest.raises(ValueError, match="at least 16 clips; got 10"):
        broken.train(clips(10, 0), clips(20, 1))

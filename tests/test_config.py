"""Configurations from plain values: JSON round trips, and arbitrary user input."""

import json
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avid_lab import foley
from avid_lab.config import (
    PRESETS,
    PROFILES,
    RECIPES,
    ModelConfig,
    TrainConfig,
    course_profile,
    from_plain,
    profile,
    typed_fields,
)

CONFIGS = [*PRESETS.values(), *(recipe.train for recipe in RECIPES.values())]
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=8,
)


@pytest.mark.parametrize("config", CONFIGS)
def test_every_preset_survives_json(config):
    assert from_plain(type(config), json.loads(json.dumps(asdict(config))), "there") == config


def test_numbers_and_lists_become_what_the_field_holds():
    made = from_plain(TrainConfig, {"schedule": "step", "milestones": [0.5], "learning_rate": 1, "ema": None}, "x")
    assert made.milestones == (0.5,) and isinstance(made.learning_rate, float) and made.ema is None
    assert typed_fields(TrainConfig, {"clip_norm": 2}, "x") == {"clip_norm": 2.0}


@pytest.mark.parametrize(
    "kind, values, message",
    [
        (TrainConfig, {"step": 3}, "run.json: has no step; it has steps, batch_size"),
        (TrainConfig, [1], r"run.json: must be an object with steps, .*; got \[1\]"),
        (TrainConfig, {"steps": 2.5}, "run.json: steps must be a whole number; got 2.5"),
        (TrainConfig, {"steps": True}, "steps must be a whole number; got True"),
        (TrainConfig, {"compile": 2.5}, "compile must be true or false; got 2.5"),
        (TrainConfig, {"learning_rate": "fast"}, "learning_rate must be a number; got 'fast'"),
        (TrainConfig, {"ema": "x"}, r"ema \(if not null\) must be a number; got 'x'"),
        (TrainConfig, {"optimizer": "sgd"}, "optimizer must be one of 'adamw', 'adam'; got 'sgd'"),
        (TrainConfig, {"milestones": 0.5}, "milestones must be a list; got 0.5"),
        (TrainConfig, {"steps": 0}, "TrainConfig.steps must be >= 1; got 0"),
        (ModelConfig, {"video_widths": [1, 2]}, r"video_widths must be a list of 5; got \[1, 2\]"),
        (ModelConfig, {"video": {"size": "big"}}, r"video: size \(if not null\) must be a whole number; got 'big'"),
    ],
)
def test_the_error_names_place_field_and_rule(kind, values, message):
    with pytest.raises(ValueError, match=message):
        from_plain(kind, values, "run.json")


@settings(deadline=None)
@given(st.sampled_from([TrainConfig, ModelConfig]), st.data())
def test_whatever_the_values_there_is_a_configuration_or_a_value_error(kind, data):
    names = st.sampled_from([*kind.__dataclass_fields__, "nonsense"])
    try:
        made = from_plain(kind, data.draw(st.dictionaries(names, ANY, max_size=3)), "there")
    except ValueError as error:
        assert str(error)
    else:
        assert from_plain(kind, json.loads(json.dumps(asdict(made))), "there") == made


def test_the_gpu_profile_waits_for_the_full_world_and_leaves_the_reference_runs_small(tmp_path, monkeypatch):
    monkeypatch.setenv("AVID_LAB_DATA", str(tmp_path))
    monkeypatch.setenv("AVID_LAB_PROFILE", "gpu")
    assert (profile().world, profile().model) == ("pocket", "paper-small")
    world = tmp_path / "foley" / foley.folder_of("full").name
    world.mkdir(parents=True)
    assert profile().world == "pocket"  # it is being rendered
    (world / "manifest.csv").write_text("")
    assert profile().world == "full" and profile() == PROFILES["gpu"]
    small = course_profile()
    assert (small.name, small.world, small.model) == ("gpu", "pocket", "pocket")
    for name in ("cpu", "smoke"):
        monkeypatch.setenv("AVID_LAB_PROFILE", name)
        assert course_profile() == profile() == PROFILES[name]

"""Measuring the world: a regression that explains what is there, ceilings with labels, and their tables."""

from __future__ import annotations

import pytest
import torch

from avid_lab.evaluation import FineTuneConfig
from avid_lab.reference import world


def test_a_linear_trace_is_explained_and_noise_is_not():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(400, 8, generator=generator)
    colours = features[:, :3] @ torch.randn(3, 3, generator=generator) + 0.5
    assert world.explained(features[:300], colours[:300], features[300:], colours[300:]) > 0.99
    noise = torch.randn(400, 3, generator=generator)
    assert world.explained(features[:300], noise[:300], features[300:], noise[300:]) < 0.05


def test_the_wallpapers_colour_is_read_from_the_manifest(smoke_world):
    colours = world.wallpaper(smoke_world)
    assert colours.shape == (64, 3) and colours.min() >= 0 and colours.max() <= 1
    code = smoke_world.manifest.column("background_rgb")[5]
    assert bytes((colours[5] * 255).round().to(torch.uint8).tolist()).hex() == code


def test_labels_teach_what_can_be_seen_and_heard(smoke_world):
    found = world.ceiling(smoke_world, smoke_world, FineTuneConfig(epochs=2, batch_size=16, windows=1))
    assert set(found) == {"picture", "sound", "both"} and all(0 <= value <= 1 for value in found.values())


def test_tables_give_mean_and_spread():
    found = {
        "chance": 0.045,
        "ceiling": {f"labels-{s}": {"picture": 0.9, "sound": 0.8 + s / 10, "both": 0.95} for s in (0, 1)},
        "shortcut": {"self-0": {"scene": 0.5, "wallpaper": 0.55}, "untrained-0": {"scene": 0.2, "wallpaper": 0.25}},
    }
    page = world.tables(found)
    assert "| accuracy, % | 90.0 ± 0.0 | 85.0 ± 7.1 | 95.0 ± 0.0 | 4.5 |" in page
    assert "| Self-AVID | 50.0 | 55.0 |" in page and "| untrained | 20.0 | 25.0 |" in page
    assert "Cross" not in page


def test_help_says_what_it_does(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["world", "--help"])
    with pytest.raises(SystemExit):
        world.main()
    assert "Measure the pocket world" in capsys.readouterr().out

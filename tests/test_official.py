"""Released weights: a file in the released layout, with keys from the description, is read completely."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from avid_lab import checkpoints
from avid_lab.encoders import AudioVisualModel
from avid_lab.objectives import AVID
from avid_lab.official import (
    CheckpointError,
    from_official,
    load_official,
    load_official_criterion,
    load_official_memory,
    to_official,
)

PAPER = (64, 64, 128, 256, 512)
SMALL = (4, 4, 6, 8, 10)


def released_shapes(widths=SMALL, depth=18, head=12, dim=16):
    """Every key of a released model and its shape, in the authors' names."""
    shapes: dict[str, tuple[int, ...]] = {}

    def norm(name, channels):
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{part}"] = (channels,)
        shapes[f"{name}.num_batches_tracked"] = ()

    stem, *stages = widths
    shapes["video_model.conv1.0.weight"] = (stem, 3, 3, 7, 7)
    norm("video_model.conv1.1", stem)
    before = stem
    for stage, channels in zip(("conv2x", "conv3x", "conv4x", "conv5x"), stages, strict=True):
        for block in [""] if depth == 10 else ["0.", "1."]:
            name = f"video_model.{stage}.{block}"
            shapes[f"{name}spt_conv1.weight"] = (channels, before, 1, 3, 3)
            norm(f"{name}spt_bn1", channels)
            shapes[f"{name}tmp_conv1.weight"] = (channels, channels, 3, 1, 1)
            norm(f"{name}tmp_bn1", channels)
            shapes[f"{name}spt_conv2.weight"] = (channels, channels, 1, 3, 3)
            norm(f"{name}spt_bn2", channels)
            shapes[f"{name}tmp_conv2.weight"] = (channels, channels, 3, 1, 1)
            norm(f"{name}out_bn", channels)
            if stage != "conv2x" and block in ("", "0."):
                shapes[f"{name}res_conv.weight"] = (channels, before, 1, 1, 1)
            before = channels
    shapes["audio_model.conv1.0.weight"] = (stem, 1, 7, 7)
    norm("audio_model.conv1.1", stem)
    before = stem
    for block, channels in enumerate(stages, start=1):
        shapes[f"audio_model.block{block}.conv1.weight"] = (channels, before, 3, 3)
        norm(f"audio_model.block{block}.bn1", channels)
        shapes[f"audio_model.block{block}.conv2.weight"] = (channels, channels, 3, 3)
        norm(f"audio_model.block{block}.bn2", channels)
        before = channels
    for modality in ("video", "audio"):
        for layer, (out, into) in {"0": (head, before), "2": (head, head), "4": (dim, head)}.items():
            shapes[f"{modality}_proj.projection.{layer}.weight"] = (out, into)
            shapes[f"{modality}_proj.projection.{layer}.bias"] = (out,)
    return shapes


def released_state(seed=0, **layout):
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in released_shapes(**layout).items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(7)
        elif "running_var" in name or (len(shape) == 1 and name.endswith("weight")):
            state[name] = 0.5 + torch.rand(shape, generator=generator)
        else:
            fan = max(1, torch.Size(shape[1:]).numel())
            state[name] = torch.randn(shape, generator=generator) * (2 / fan) ** 0.5
    return state


def criterion_state(n=9, dim=16, positives=True, z=2.2):
    generator = torch.Generator().manual_seed(3)
    unit = lambda: F.normalize(torch.randn(n, dim, generator=generator), dim=1)  # noqa: E731
    state = {
        "nce_average.view1_mem": unit(),
        "nce_average.view2_mem": unit(),
        "criterion.avg_exp_score": torch.tensor(z),
    }
    if positives:
        state["nce_average.positive_set"] = torch.randint(n, (n, 4), generator=generator)
    return state


def write(path, state, criterion=None, prefix="module."):
    content = {"model": {prefix + name: x for name, x in state.items()}}
    if criterion is not None:
        optimizer = {"state": {0: {"step": 3}}, "param_groups": [{"lr": 2e-4, "params": [0]}]}
        content |= {"train_criterion": criterion, "epoch": 30, "optimizer": optimizer}
    torch.save(content, path)
    return path


def released_forward(state, video, audio):
    """The released network in plain functions of its tensors."""

    def norm(x, name):
        p = [state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *p, training=False, eps=1e-5)

    x = F.conv3d(video, state["video_model.conv1.0.weight"], None, (1, 2, 2), (1, 3, 3))
    x = F.max_pool3d(F.relu(norm(x, "video_model.conv1.1")), (1, 3, 3), (1, 2, 2), (0, 1, 1))
    blocks = ["0.", "1."] if "video_model.conv2x.0.spt_conv1.weight" in state else [""]
    for stage in ("conv2x", "conv3x", "conv4x", "conv5x"):
        for block in blocks:
            name = f"video_model.{stage}.{block}"
            s = 2 if stage != "conv2x" and block in ("", "0.") else 1
            y = F.conv3d(x, state[f"{name}spt_conv1.weight"], None, (1, s, s), (0, 1, 1))
            y = F.conv3d(
                F.relu(norm(y, f"{name}spt_bn1")), state[f"{name}tmp_conv1.weight"], None, (s, 1, 1), (1, 0, 0)
            )
            y = F.conv3d(F.relu(norm(y, f"{name}tmp_bn1")), state[f"{name}spt_conv2.weight"], None, 1, (0, 1, 1))
            y = F.conv3d(F.relu(norm(y, f"{name}spt_bn2")), state[f"{name}tmp_conv2.weight"], None, 1, (1, 0, 0))
            if f"{name}res_conv.weight" in state:
                x = F.conv3d(x, state[f"{name}res_conv.weight"], None, s)
            x = F.relu(norm(x + y, f"{name}out_bn"))
    y = F.relu(norm(F.conv2d(audio, state["audio_model.conv1.0.weight"], None, 2, 3), "audio_model.conv1.1"))
    for block, s in (("block1", 2), ("block2", 2), ("block3", 2), ("block4", 1)):
        name = f"audio_model.{block}"
        y = F.relu(norm(F.conv2d(y, state[f"{name}.conv1.weight"], None, s, 1), f"{name}.bn1"))
        y = F.relu(norm(F.conv2d(y, state[f"{name}.conv2.weight"], None, 1, 1), f"{name}.bn2"))
    embeddings = []
    for modality, features in (("video", x.amax((2, 3, 4))), ("audio", y.amax((2, 3)))):
        name = f"{modality}_proj.projection"
        h = F.relu(F.linear(features, state[f"{name}.0.weight"], state[f"{name}.0.bias"]))
        h = F.relu(F.linear(h, state[f"{name}.2.weight"], state[f"{name}.2.bias"]))
        embeddings.append(F.normalize(F.linear(h, state[f"{name}.4.weight"], state[f"{name}.4.bias"]), dim=1))
    return tuple(embeddings)


def clips(frames=8, size=32):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, frames, size, size, generator=generator), torch.randn(2, 1, 40, 33, generator=generator)


@pytest.mark.parametrize("prefix", ["module.", ""])
@pytest.mark.parametrize("depth", [10, 18])
def test_a_loaded_model_embeds_like_the_released_network(tmp_path, prefix, depth):
    state = released_state(depth=depth)
    model = load_official(write(tmp_path / "avid_checkpoint.pth.tar", state, prefix=prefix))
    assert not model.training
    with torch.no_grad():
        made = model(*clips())
        features = model.video_encoder(clips()[0]), model.audio_encoder(clips()[1])
    assert all((x > 0).any(1).all() and not torch.equal(x[0], x[1]) for x in features)  # alive, and they see the clip
    torch.testing.assert_close(made, released_forward(state, *clips()), atol=1e-5, rtol=1e-4)


def test_files_of_the_torch_of_2020_are_read(tmp_path):
    state = released_state()
    torch.save({"model": state}, tmp_path / "a.pth.tar", _use_new_zipfile_serialization=False)
    torch.testing.assert_close(load_official(tmp_path / "a.pth.tar")(*clips()), released_forward(state, *clips()))


def test_the_released_layout_is_the_paper_preset(tmp_path):
    state = released_state(widths=PAPER, head=512, dim=128)
    parameters = [x for name, x in state.items() if name.rsplit(".", 1)[1] in ("weight", "bias")]
    assert sum(x.numel() for x in parameters) == 21_286_784
    model = load_official(write(tmp_path / "avid_checkpoint.pth.tar", state))
    assert model.config == AudioVisualModel.preset("paper", seed=0).config
    assert (model.config.video.duration_s, model.config.audio.bins, model.config.audio.frames) == (0.5, 257, 200)
    with torch.no_grad():
        made = model(*clips(8, 64))
    torch.testing.assert_close(made, released_forward(state, *clips(8, 64)), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("depth", [10, 18])
def test_names_translate_both_ways(depth):
    state = released_state(depth=depth)
    ours = from_official(state)
    assert not [name for name in ours if "_model." in name or "_proj." in name]
    assert from_official({f"module.{name}": x for name, x in state.items()}).keys() == ours.keys()
    assert len(ours) == len(state)


@pytest.mark.parametrize("depth", [10, 18])
def test_a_round_trip_gives_back_every_tensor(tmp_path, depth):
    state = released_state(depth=depth)
    back = to_official(load_official(write(tmp_path / "a.pth.tar", state)))
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], x) for name, x in state.items())


# AVID and AVID-CMA, each as a training file; and both prefixes in the criterion.
@pytest.mark.parametrize("prefix", ["module.", ""])
@pytest.mark.parametrize("positives", [False, True])
def test_memories_partition_and_positives_are_read(tmp_path, positives, prefix):
    criterion = criterion_state(positives=positives)
    path = write(tmp_path / "a.pth.tar", released_state(), {prefix + name: x for name, x in criterion.items()})
    memory = load_official_memory(path)
    torch.testing.assert_close(memory.video, criterion["nce_average.view1_mem"])
    torch.testing.assert_close(memory.audio, criterion["nce_average.view2_mem"])
    found = load_official_criterion(path)
    assert found.partition == pytest.approx(2.2)
    if positives:
        assert found.positives is not None and torch.equal(found.positives, criterion["nce_average.positive_set"])
    else:
        assert found.positives is None
    assert load_official(path).config.dim == 16


def test_training_goes_on_from_a_released_file(tmp_path):
    path = write(tmp_path / "a.pth.tar", released_state(), criterion_state())
    found, model = load_official_criterion(path), load_official(path)
    objective = AVID(len(found.memory), 16, partition="shared", num_negatives=4)
    objective.memory.load_state_dict(found.memory.state_dict())
    objective.partition.fill_(found.partition)
    objective(*model(*clips()), torch.tensor([0, 1])).loss.backward()
    assert objective.partition.tolist() == pytest.approx([2.2, 2.2])
    assert all(p.grad is not None for p in model.parameters())


def test_a_partition_never_estimated_is_none(tmp_path):
    path = write(tmp_path / "a.pth.tar", released_state(), criterion_state(z=-1.0))
    assert load_official_criterion(path).partition is None


def test_checkpoints_offers_the_loaders():
    assert checkpoints.load_official is load_official and checkpoints.load_official_memory is load_official_memory


def test_a_file_with_code_in_it_is_refused_and_the_code_does_not_run(tmp_path):
    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"model": Payload()}, tmp_path / "bad.pth.tar")
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        load_official(tmp_path / "bad.pth.tar")
    assert not (tmp_path / "ran").exists()


def test_wrong_files_say_what_is_wrong(tmp_path):
    state, path = released_state(), tmp_path / "a.pth.tar"
    with pytest.raises(CheckpointError, match="a.pth.tar: no such file"):
        load_official(path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        load_official(path)
    write(path, released_state(), criterion_state())
    path.write_bytes(path.read_bytes()[:5000])  # truncated
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        load_official(path)
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="must contain a dict with 'model'; got list"):
        load_official(path)
    torch.save({"epoch": 3}, path)
    with pytest.raises(CheckpointError, match="has no 'model'; it has epoch"):
        load_official(path)
    with pytest.raises(CheckpointError, match="not a released AVID model.*It has 1 tensors: resnet.fc"):
        load_official(write(path, {"resnet.fc": torch.zeros(1)}))
    missing = {name: x for name, x in state.items() if "conv4x.1.tmp_bn1" not in name}
    with pytest.raises(
        CheckpointError, match=r"5 missing: video_encoder.stages.block3.1.temporal1_norm.weight, .* 2 more"
    ):
        load_official(write(path, missing))
    with pytest.raises(CheckpointError, match="1 unexpected: text_model.weight"):
        load_official(write(path, state | {"text_model.weight": torch.zeros(2)}))
    with pytest.raises(CheckpointError, match="1 of another shape: audio_encoder.stages.block2.norm1.bias"):
        load_official(write(path, state | {"audio_model.block2.bn1.bias": torch.zeros(3)}))
    with pytest.raises(CheckpointError, match="has no 'train_criterion'"):
        load_official_memory(write(path, state))
    with pytest.raises(CheckpointError, match=r"has no memory.audio\. Use a training file"):
        load_official_memory(write(path, state, {"nce_average.view1_mem": torch.zeros(2, 3)}))
    uneven = {"nce_average.view1_mem": torch.zeros(2, 3), "nce_average.view2_mem": torch.zeros(3, 3)}
    with pytest.raises(CheckpointError, match="memories must both be"):
        load_official_memory(write(path, state, uneven))

"""The networks match the paper: parameters, shapes, cost, an independent forward pass; and they run in all modes."""

from __future__ import annotations

import copy
import dataclasses
import re
import subprocess
import sys
import textwrap

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from avid_lab.config import PRESETS, ModelConfig
from avid_lab.encoders import AudioVisualModel, FactoredConv3d, TorchvisionVideoEncoder, VideoEncoder

TINY = dataclasses.replace(
    PRESETS["pocket"], video_widths=(4, 4, 6, 8, 10), audio_widths=(4, 4, 6, 8, 10), head=(12,), dim=16
)


def clips(batch=3, frames=8, size=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, frames, size, size, generator=generator), torch.randn(
        batch, 1, 40, 33, generator=generator
    )


def on_meta(config: ModelConfig) -> AudioVisualModel:
    with torch.device("meta"):
        return AudioVisualModel(config)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_paper_model_has_the_papers_parameters_shapes_and_cost():
    model = on_meta(PRESETS["paper"])
    assert count(model) == 21_286_784
    assert (count(model.video_encoder), count(model.audio_encoder)) == (15_379_136, 4_725_696)  # 15.38 M and 4.73 M
    video, audio = torch.empty(1, 3, 8, 224, 224, device="meta"), torch.empty(1, 1, 200, 257, device="meta")
    model.eval()
    shapes = {
        "video": [tuple(x.shape[1:]) for x in model.video_encoder.block_maps(video).values()],
        "audio": [tuple(x.shape[1:]) for x in model.audio_encoder.block_maps(audio).values()],
    }
    assert shapes == {
        "video": [(64, 8, 56, 56), (64, 8, 56, 56), (128, 4, 28, 28), (256, 2, 14, 14), (512, 1, 7, 7)],
        "audio": [(64, 100, 129), (64, 50, 65), (128, 25, 33), (256, 13, 17), (512, 13, 17)],
    }
    for encoder, x, giga in ((model.video_encoder, video, 24.3), (model.audio_encoder, audio, 2.9)):
        with FlopCounterMode(display=False) as counter:
            encoder(x)
        assert counter.get_total_flops() / 1e9 == pytest.approx(giga, abs=0.06)
    parameters = {
        "video": [28_352, 197_632, 722_944, 2_887_680, 11_542_528],
        "audio": [3_264, 73_984, 221_696, 885_760, 3_540_992],
    }
    assert [count(stage) for stage in model.video_encoder.stages.values()] == parameters["video"]
    assert [count(stage) for stage in model.audio_encoder.stages.values()] == parameters["audio"]
    assert count(model.video_head) == count(model.audio_head) == 512 * 512 * 2 + 512 * 128 + 512 * 2 + 128


@pytest.mark.parametrize(("blocks", "depth"), [((1, 1, 1, 1), 10), ((2, 2, 2, 2), 18), ((3, 4, 6, 3), 34)])
def test_depth_counts_the_stem_two_convolutions_a_block_and_the_classifier(blocks, depth):
    network = on_meta(dataclasses.replace(PRESETS["paper"], video_blocks=blocks)).video_encoder
    spatial = [m for m in network.modules() if isinstance(m, nn.Conv3d) and m.kernel_size == (1, 3, 3)]
    temporal = [m for m in network.modules() if isinstance(m, nn.Conv3d) and m.kernel_size == (3, 1, 1)]
    assert len(spatial) == len(temporal) == depth - 2
    assert all(m.bias is None for m in network.modules() if isinstance(m, nn.Conv3d))


def video_forward(network: VideoEncoder, x: torch.Tensor) -> torch.Tensor:
    """The paper's video network in plain functions, written from its description."""
    state = dict(network.named_parameters()) | dict(network.named_buffers())

    def norm(x, name):
        mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return F.batch_norm(x, mean, variance, state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-5)

    x = F.conv3d(x, state["stages.stem.0.weight"], stride=(1, 2, 2), padding=(1, 3, 3))
    x = F.max_pool3d(F.relu(norm(x, "stages.stem.1")), (1, 3, 3), (1, 2, 2), (0, 1, 1))
    for stage in range(1, 5):
        for block in range(2):
            name = f"stages.block{stage}.{block}."
            s = 2 if stage > 1 and block == 0 else 1
            y = F.conv3d(x, state[name + "spatial1.weight"], stride=(1, s, s), padding=(0, 1, 1))
            y = F.relu(norm(y, name + "spatial1_norm"))
            y = F.conv3d(y, state[name + "temporal1.weight"], stride=(s, 1, 1), padding=(1, 0, 0))
            y = F.relu(norm(y, name + "temporal1_norm"))
            y = F.relu(norm(F.conv3d(y, state[name + "spatial2.weight"], padding=(0, 1, 1)), name + "spatial2_norm"))
            y = F.conv3d(y, state[name + "temporal2.weight"], padding=(1, 0, 0))
            if s == 2:
                x = F.conv3d(x, state[name + "shortcut.weight"], stride=2)
            x = F.relu(norm(x + y, name + "out_norm"))
    return x.amax((2, 3, 4))


def test_the_video_network_is_an_independently_written_forward():
    torch.manual_seed(0)
    network = VideoEncoder((4, 4, 6, 8, 10)).double()
    x = clips()[0].double()
    for _ in range(40):
        network(x)  # the running statistics become those of real activations, so that not all units are dead
    made = network.eval()(x)
    assert (made > 0).any(1).all()
    torch.testing.assert_close(made, video_forward(network, x))


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [
        ((1, 3, 3), (1, 2, 2), (0, 1, 1)),
        ((1, 3, 3), 1, (0, 1, 1)),
        ((2, 3, 3), (2, 2, 2), (0, 1, 1)),
        ((3, 2, 2), (3, 1, 1), (0, 0, 0)),
        ((3, 1, 1), (2, 1, 1), (1, 0, 0)),
        ((3, 1, 1), 1, (1, 0, 0)),
        ((3, 7, 7), (1, 2, 2), (1, 3, 3)),
        ((1, 1, 1), 2, 0),
    ],
)
def test_a_factored_convolution_is_the_convolution_and_so_is_its_gradient(kernel, stride, padding):
    torch.manual_seed(0)
    fast = FactoredConv3d(3, 5, kernel, stride, padding=padding).double()
    plain = nn.Conv3d(3, 5, kernel, stride, padding=padding).double()
    plain.load_state_dict(fast.state_dict())
    results = []
    for layer in (fast, plain):
        x = torch.randn(2, 3, 4, 9, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
        y = layer(x)
        y.square().sum().backward()
        results.append((y, x.grad, layer.weight.grad, layer.bias.grad))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("pooled", [1, 3, 4])
def test_embeddings_are_unit_vectors_and_features_are_the_maxima_of_the_last_blocks(pooled):
    model, (video, audio) = AudioVisualModel(dataclasses.replace(TINY, pooled_blocks=pooled), seed=0), clips()
    v, a = model(video, audio)
    assert v.shape == a.shape == (3, 16)
    torch.testing.assert_close(torch.stack([v.norm(dim=1), a.norm(dim=1)]), torch.ones(2, 3))
    model.eval()
    for encoder, x in ((model.video_encoder, video), (model.audio_encoder, audio)):
        maps = encoder.block_maps(x)
        assert list(maps) == ["stem", "block1", "block2", "block3", "block4"]
        expected = torch.cat([blocks.flatten(2).amax(2) for blocks in list(maps.values())[-pooled:]], 1)
        torch.testing.assert_close(encoder(x), expected)
        assert encoder.features == expected.shape[1] == sum((4, 6, 8, 10)[-pooled:])
    assert model.double()(video.double(), audio.double())[0].dtype == torch.float64


def test_the_pocket_stem_joins_two_frames():
    model, (video, _) = AudioVisualModel(TINY, seed=0).eval(), clips()
    assert model.video_encoder.block_maps(video)["stem"].shape == (3, 4, 4, 8, 8)
    other = video.clone()
    other[:, :, 2:4] += 1.0  # the second pair of frames
    stem = model.video_encoder.stages["stem"]
    changed = (stem(video) != stem(other)).flatten(3).any(3).any(1)  # (B, T)
    assert changed.tolist() == [[False, True, False, False]] * 3


def test_a_seed_decides_the_weights_and_leaves_the_global_state_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, two, other = (AudioVisualModel(TINY, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    weights = [model.video_head[0].weight for model in (one, two, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("backbone", ["avid", "r2plus1d_18"])
def test_channels_last_gives_the_same_embeddings_and_gradients(backbone):
    model = AudioVisualModel(dataclasses.replace(TINY, video_backbone=backbone), seed=0).double()
    turned = copy.deepcopy(model)
    turned.video_encoder.to(memory_format=torch.channels_last_3d)
    turned.audio_encoder.to(memory_format=torch.channels_last)
    video, audio = (x.double() for x in clips(2, 4, 16))
    outputs = [model(video, audio), turned(video.contiguous(memory_format=torch.channels_last_3d), audio)]
    torch.testing.assert_close(outputs[0], outputs[1])
    for output in outputs:
        (output[0] @ output[1].T).square().sum().backward()
    for one, other in zip(model.parameters(), turned.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-8, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_gives_single_precision_unit_embeddings(dtype):
    model, (video, audio) = AudioVisualModel(TINY, seed=0).eval(), clips()
    exact = model(video, audio)
    with torch.autocast("cpu", dtype):
        made = model(video, audio)
    for one, other in zip(made, exact, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one.norm(dim=1), torch.ones(3))
        assert (one * other).sum(1).min() > 0.98


COMPILE = """
    import copy, dataclasses, torch
    from avid_lab import AudioVisualModel
    from avid_lab.config import PRESETS

    small = {"video_widths": (4, 4, 6, 8, 10), "audio_widths": (4, 4, 6, 8, 10), "head": (12,), "dim": 16}
    model = AudioVisualModel(dataclasses.replace(PRESETS["pocket"], **small), seed=0)
    torch.manual_seed(0)
    clips = torch.randn(8, 3, 8, 32, 32), torch.randn(8, 1, 40, 33)
    made = torch.compile(copy.deepcopy(model), backend="aot_eager", fullgraph=True)(*clips)
    torch.testing.assert_close(made, model(*clips), atol=1e-4, rtol=0)
    (made[0] @ made[1].T).sum().backward()
"""


@pytest.mark.slow
def test_the_model_compiles_as_one_graph(tmp_path):
    # In a process of its own: the run-time checks of these tests would break the graph.
    (tmp_path / "compile_it.py").write_text(textwrap.dedent(COMPILE))
    done = subprocess.run([sys.executable, "compile_it.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_torchvisions_network_fits_the_same_place():
    model = AudioVisualModel(dataclasses.replace(TINY, video_backbone="r2plus1d_18"), seed=0).eval()
    assert isinstance(model.video_encoder, TorchvisionVideoEncoder)
    assert count(model.video_encoder) == 31_300_125  # torchvision's, without its classifier
    video, audio = clips(1)
    v, _ = model(video, audio)
    assert v.shape == (1, 16) and list(model.video_encoder.block_maps(video))[-1] == "block4"


@pytest.mark.parametrize("preset", PRESETS)
def test_the_table_of_shapes_shows_stages_outputs_and_parameters(preset):
    model = on_meta(PRESETS[preset])
    lines = model.shapes().splitlines()
    rows = [line for line in lines if re.match(r"(video|audio) ", line)]
    assert len(rows) == 16
    assert sum(int(row.split()[-1].replace(",", "")) for row in rows) == count(model)
    assert lines[-1].split() == ["total", f"{count(model):,}"]


def test_the_table_changes_nothing():
    model = AudioVisualModel(TINY, seed=0).train()
    model.video_encoder.stages["stem"].eval()  # frozen by the user
    modes = [module.training for module in model.modules()]
    before = copy.deepcopy(model.state_dict())
    assert "video block4" in model.shapes()
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_bad_input_is_refused_by_name(unchecked):
    model, (video, audio) = AudioVisualModel(TINY, seed=0), clips()
    with pytest.raises(ValueError, match=r"video must have shape \(B, 3, T, H, W\); got \(3, 8, 3, 32, 32\)"):
        model(video.transpose(1, 2), audio)
    with pytest.raises(ValueError, match=r"audio must have shape \(B, 1, frames, bins\); got \(3, 40, 33\)"):
        model(video, audio[:, 0])
    with pytest.raises(ValueError, match="audio must be on the model's device, cpu; got meta"):
        model(video, audio.to("meta"))
    with pytest.raises(ValueError, match="one of pocket, paper-small, paper; got 'huge'"):
        AudioVisualModel.preset("huge")
    with pytest.raises(ValueError, match="video_backbone must be one of"):
        ModelConfig(video_backbone="resnet")

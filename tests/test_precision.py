"""No double-precision tensor ever lies on a device that has none: Apple's GPU (MPS), played here by a tensor class.

`OnMps` says that it lies on MPS and computes on the CPU. Like the real device it refuses double precision, and it does
not mix with tensors of the CPU.
"""

import pytest
import torch
from torch.utils._pytree import tree_flatten, tree_map

from avid_lab import metrics
from avid_lab.config import AudioSpec
from avid_lab.mining import mine_positives
from avid_lab.objectives import AVID, CMA
from avid_lab.precision import doubled
from avid_lab.transforms.sound import LogSpectrogram

MPS = torch.device("mps", 0)


class OnMps(torch.Tensor):
    @staticmethod
    def __new__(cls, data):
        assert data.device.type == "cpu"
        if data.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")
        made = torch.Tensor._make_wrapper_subclass(
            cls, data.shape, strides=data.stride(), dtype=data.dtype, device=MPS, requires_grad=False
        )
        made.data_on_cpu = data
        return made

    @classmethod
    def __torch_dispatch__(cls, op, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        wanted = kwargs.get("device")
        for x in tree_flatten((args, kwargs))[0]:
            if (
                isinstance(x, torch.Tensor)
                and not isinstance(x, OnMps)
                and x.ndim
                and op.overloadpacket.__name__ != "copy_"
            ):
                raise RuntimeError(f"{op}: tensors on mps:0 and cpu")
        if wanted is not None:
            kwargs["device"] = torch.device("cpu")
        cpu_args, cpu_kwargs = tree_map(lambda x: x.data_on_cpu if isinstance(x, OnMps) else x, (args, kwargs))
        found = op(*cpu_args, **cpu_kwargs)
        if op.overloadpacket.__name__.endswith("_") and isinstance(args[0], OnMps):
            return args[0]
        if wanted is not None and torch.device(wanted).type == "cpu":
            return found
        return tree_map(lambda x: OnMps(x) if isinstance(x, torch.Tensor) else x, found)


def rows(seed, n=12, dim=6):
    return torch.nn.functional.normalize(torch.randn(n, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_the_stand_in_refuses_what_the_device_refuses():
    x = OnMps(torch.ones(3))
    assert (x + x).device.type == "mps" and (x + x).cpu().tolist() == [2, 2, 2]
    with pytest.raises(TypeError, match="float64"):
        x.double()
    with pytest.raises(RuntimeError, match="mps:0 and cpu"):
        x + torch.ones(3)


def test_doubled_goes_to_the_cpu_first():
    assert doubled(OnMps(torch.ones(3))).device.type == "cpu" and doubled(torch.ones(3)).dtype == torch.float64


def test_metrics_take_embeddings_of_the_device(unchecked):
    video, audio, labels = rows(0), rows(1), torch.arange(12) % 3
    there = [OnMps(x) for x in (video, audio, labels)]
    ours, theirs = (metrics.retrieval(v, a, y, y) for v, a, y in ((video, audio, labels), there))
    assert ours.recall == theirs.recall and ours.median_rank == theirs.median_rank
    assert metrics.effective_rank(there[0]).item() == pytest.approx(metrics.effective_rank(video).item())
    found = mine_positives(video, audio, k=3)
    assert metrics.positive_precision(OnMps(found.index), there[2]) == metrics.positive_precision(found, labels)
    assert metrics.false_negative_rate(there[2], OnMps(found.index)) == metrics.false_negative_rate(labels, found)
    assert metrics.knn_accuracy(video, labels, video, labels, 3) == metrics.knn_accuracy(
        there[0], there[2], there[0], there[2], 3
    )


def test_positives_are_mined_on_the_cpu_and_come_back(unchecked):
    video, audio = rows(0), rows(1)
    ours, theirs = mine_positives(video, audio, k=3), mine_positives(OnMps(video), OnMps(audio), k=3)
    assert theirs.index.device.type == theirs.score.device.type == "mps"
    assert torch.equal(ours.index, theirs.index.cpu()) and torch.equal(ours.score, theirs.score.cpu())


def test_spectrogram_statistics_are_those_of_the_cpu(unchecked):
    sound = torch.randn(4, 1, 1600, generator=torch.Generator().manual_seed(0))
    here, there = (LogSpectrogram(AudioSpec(8000, 0.2, 10, 32)) for _ in range(2))
    here.fit(sound)
    for name, buffer in list(there.named_buffers()):
        setattr(there, name, OnMps(buffer))
    there.fit(OnMps(sound))
    torch.testing.assert_close(there.mean.cpu(), here.mean, atol=1e-3, rtol=1e-4)


def test_no_objective_and_no_pipeline_keeps_doubles():
    """`module.to("mps")` moves buffers as they are."""
    for module in (AVID(8, 4), CMA(8, 4, k=2), LogSpectrogram(AudioSpec())):
        assert all(x.dtype != torch.float64 for x in module.state_dict().values())

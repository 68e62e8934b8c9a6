"""No double-precision tensor ever lies on a device that has none: Apple's GPU (MPS), played here by a tensor class.

`OnMps` says that it lies on MPS and computes on the CPU. Like the real device it refuses double precision, and it does
not mix with tensors of the CPU. Indexing by brackets is beyond it: PyTorch looks for the real device there.
"""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
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
        raise RuntimeError("only inside Mps()")


class Mps(TorchDispatchMode):
    """The device: every operation on an `OnMps`, or that makes a tensor on MPS, ends as an `OnMps`."""

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        kwargs, name = dict(kwargs or {}), op.overloadpacket.__name__
        tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.Tensor)]
        there = any(isinstance(x, OnMps) for x in tensors)
        wanted = kwargs.get("device")
        there_after = there if wanted is None else torch.device(wanted).type == "mps"
        if there and name not in ("copy_", "_to_copy"):
            strangers = [x for x in tensors if not isinstance(x, OnMps) and x.ndim]
            if strangers:
                raise RuntimeError(f"{op}: tensors on mps:0 and cpu")
        if wanted is not None:
            kwargs["device"] = torch.device("cpu")
        plain, options = tree_map(lambda x: x.data_on_cpu if isinstance(x, OnMps) else x, (args, kwargs))
        # Strides are those of the tensor on the CPU, which may differ.
        found = torch.reshape(*plain) if op is torch.ops.aten.view.default else op(*plain, **options)
        if name.endswith("_") and isinstance(args[0], torch.Tensor):
            return args[0]
        wrap = there_after and name != "_local_scalar_dense"
        return tree_map(lambda x: OnMps(x) if wrap and isinstance(x, torch.Tensor) else x, found)


@pytest.fixture(autouse=True)
def mps():
    with Mps():
        yield


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


def test_positives_are_mined_on_the_cpu_and_come_back(unchecked):
    video, audio = rows(0), rows(1)
    ours, theirs = mine_positives(video, audio, k=3), mine_positives(OnMps(video), OnMps(audio), k=3)
    assert theirs.index.device.type == theirs.score.device.type == "mps"
    assert torch.equal(ours.index, theirs.index.cpu()) and torch.equal(ours.score, theirs.score.cpu())


def test_no_objective_and_no_pipeline_keeps_doubles():
    """`module.to("mps")` moves buffers as they are."""
    for module in (AVID(8, 4), CMA(8, 4, k=2), LogSpectrogram(AudioSpec())):
        assert all(x.dtype != torch.float64 for x in [*module.buffers(), *module.parameters()])

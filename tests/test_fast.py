"""Fast paths against the plain ones that they replace: the same numbers and gradients, within the stated memory."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from avid_lab.kernels import kernel_or_plain
from avid_lab.losses import nce_loss, nce_softmax_loss
from avid_lab.objectives import AVID
from avid_lab.objectives.gather import gathered_scores, score_instances


def plain_scores(query, bank, picked):
    return torch.einsum("bd,bmd->bm", query, bank[picked])


def queries(rows, picks, n=200, dim=16, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    bank, query = (F.normalize(torch.randn(size, dim, generator=generator, dtype=dtype), dim=1) for size in (n, rows))
    return query.requires_grad_(), bank, torch.randint(n, (rows, picks), generator=generator)


@given(st.integers(1, 9), st.integers(1, 40), st.integers(1, 20), st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_gathered_scores_and_their_gradient_are_the_plain_ones(rows, picks, dim, seed):
    query, bank, picked = queries(rows, picks, 50, dim, seed)
    weight = torch.randn(rows, picks, generator=torch.Generator().manual_seed(seed))
    fast, plain = gathered_scores(query, bank, picked), plain_scores(query, bank, picked)
    torch.testing.assert_close(fast, plain, atol=1e-6, rtol=1e-6)
    ours, theirs = (torch.autograd.grad((scores * weight).sum(), query)[0] for scores in (fast, plain))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_gathered_scores_pass_the_gradient_check_in_double_precision():
    query, bank, picked = queries(3, 7, 20, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda q: gathered_scores(q, bank, picked), query)


@pytest.mark.parametrize("loss", [nce_loss, nce_softmax_loss])
def test_an_objective_on_a_large_memory_has_the_loss_and_gradient_of_the_plain_path(loss, monkeypatch):
    made = {}
    for name in ("fast", "plain"):
        objective = AVID(3000, 32, num_negatives=64, loss=loss, generator=torch.Generator().manual_seed(0))
        if name == "plain":
            monkeypatch.setattr("avid_lab.objectives.base.score_instances", plain_scores)
        generator = torch.Generator().manual_seed(1)
        video, audio = (F.normalize(torch.randn(8, 32, generator=generator), dim=1).requires_grad_() for _ in range(2))
        output = objective(video, audio, torch.arange(8))
        made[name] = (output.loss, *torch.autograd.grad(output.loss, (video, audio)))
    for fast, plain in zip(made["fast"], made["plain"], strict=True):
        torch.testing.assert_close(fast, plain, atol=1e-6, rtol=1e-6)


def test_the_fast_path_is_only_taken_where_it_fits():
    query, bank, picked = queries(4, 6)
    assert "GatheredScores" in type(score_instances(query, bank, picked).grad_fn).__name__
    for other in (bank.bfloat16(), bank.clone().requires_grad_()):
        scores = score_instances(query, other, picked)
        assert "GatheredScores" not in type(scores.grad_fn).__name__
        torch.testing.assert_close(scores, plain_scores(query, other.to(query.dtype), picked))


EXTRA = """
    import resource, torch
    from avid_lab.objectives.gather import score_instances

    torch.set_num_threads(1)
    peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MiB
    bank = torch.randn(60_000, 128)
    picked = torch.randint(60_000, (256, 1025))
    query = torch.randn(256, 128, requires_grad=True)
    score_instances(query[:1], bank, picked[:1]).sum().backward()
    before = peak()
    score_instances(query, bank, picked).sum().backward()
    print(peak() - before)
"""


def test_scoring_256_queries_takes_few_megabytes_in_addition_to_the_scores(tmp_path):
    (tmp_path / "extra.py").write_text(textwrap.dedent(EXTRA))
    done = subprocess.run(
        [sys.executable, "extra.py"], cwd=tmp_path, capture_output=True, text=True, env={**os.environ}, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 5  # scores and their gradient are 2 MiB; a plain gather is 134 MB


# ---- kernels of a GPU, beside the plain path

BESIDE_PLAIN = Path(__file__).parent / "kernels_beside_plain.py"


class OnGpu(torch.Tensor):
    device = torch.device("cuda")


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_kernels_compute_what_the_plain_path_does(device):
    """In a separate process: the interpreter is chosen on import, and checked annotations would hide kernels."""
    pytest.importorskip("triton")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    environment = {**os.environ, "TRITON_INTERPRET": str(int(device == "cpu"))}
    command = [sys.executable, str(BESIDE_PLAIN), device]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0 and "kernels agree" in done.stdout, done.stderr


@pytest.mark.slow
def test_kernels_fit_gpus_that_are_not_here(tmp_path):
    """Without launching them: Triton and the assembler compile for any GPU."""
    pytest.importorskip("triton")
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, str(BESIDE_PLAIN.with_name("kernels_for_gpus.py"))]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0 and "kernels fit" in done.stdout, done.stderr


def test_a_full_gpu_says_so_and_keeps_its_kernels(monkeypatch):
    monkeypatch.setattr("avid_lab.kernels._failed", [])

    def fills_it():
        raise torch.OutOfMemoryError("CUDA out of memory")

    tensor = torch.zeros(2).as_subclass(OnGpu)
    with pytest.raises(torch.OutOfMemoryError):
        kernel_or_plain(tensor, fills_it, lambda: "plain")
    assert kernel_or_plain(tensor, lambda: "kernel", lambda: "plain") == "kernel"


def test_products_on_an_old_gpu_are_left_to_pytorch(monkeypatch):
    """Triton multiplies on tensor cores from Ampere on; before, it spills registers instead."""
    monkeypatch.setattr("avid_lab.kernels._failed", [])
    tensor = torch.zeros(2).as_subclass(OnGpu)
    for capability, taken in (((7, 5), "plain"), ((8, 0), "kernel"), ((9, 0), "kernel")):
        monkeypatch.setattr("torch.cuda.get_device_capability", lambda _, capability=capability: capability)
        assert kernel_or_plain(tensor, lambda: "kernel", lambda: "plain", tensor_cores=True) == taken
        assert kernel_or_plain(tensor, lambda: "kernel", lambda: "plain") == "kernel"


def test_a_kernel_that_fails_is_said_once_and_the_plain_path_taken(monkeypatch):
    monkeypatch.setattr("avid_lab.kernels._failed", [])

    def fails():
        raise RuntimeError("no compiler\nlong trace")

    tensor = torch.zeros(2).as_subclass(OnGpu)
    with pytest.warns(UserWarning, match=r"do not run here \(RuntimeError: no compiler\); plain PyTorch"):
        assert kernel_or_plain(tensor, fails, lambda: "plain") == "plain"
    assert kernel_or_plain(tensor, fails, lambda: "plain") == "plain"  # warnings are errors: nothing is said again
    assert kernel_or_plain(torch.zeros(2), fails, lambda: "plain") == "plain"  # never tried on a CPU


def test_the_gpu_benchmark_runs_as_far_as_a_cpu_can(smoke_world):
    from avid_lab.config import PRESETS
    from benchmarks import gpu

    device = torch.device("cpu")
    assert all(value > 0 for value in gpu.ceilings(device, 64).values())
    assert gpu.mining(device, 300)["AudioSet, s (by N^2)"] > 0
    assert [row.candidate for row in gpu.nce(device, 500, 4, 16)] == ["gather + bmm", "ours"]
    trained = gpu.training(device, PRESETS["pocket"], 2, 0.1)
    assert trained["clips/s"] > 0 and 0 < trained["utilisation"] < 10
    streamed = gpu.end_to_end(device, PRESETS["pocket"], smoke_world.manifest, 0.1, batch=4, steps=4)
    assert streamed["clips/s"] > 0 and 0 < streamed["waiting for data"] < 1 and streamed["utilisation"] > 0

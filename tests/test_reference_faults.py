"""The faults of the paper's reference implementation, none of which this library may have.

The seventh (broken videos are silently replaced, instances depend on the order of a folder) concerns data: see
test_datasets.py and test_media.py.
"""

from __future__ import annotations

import inspect
import math
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from avid_lab import evaluation
from avid_lab.encoders import AudioVisualModel
from avid_lab.losses import nce_loss
from avid_lab.memory import MemoryBank
from avid_lab.mining import AGREEMENTS, mine_positives
from avid_lab.objectives import AVID, CMA, draw_negatives
from avid_lab.transforms import InputPipeline


def units(rows, dim=8, seed=0):
    return F.normalize(torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def in_a_new_process(tmp_path, code: str) -> str:
    (tmp_path / "it.py").write_text(textwrap.dedent(code))
    done = subprocess.run([sys.executable, "it.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_fault_1_within_modal_instance_terms_of_cma_are_truly_computed():
    objective = CMA(30, 8, k=3, instance_within=1.0, generator=torch.Generator().manual_seed(0))
    objective.mine()
    video, audio, index = units(4, seed=1), units(4, seed=2), torch.tensor([3, 8, 20, 29])
    negatives = (index[:, None] + torch.arange(10, 16)) % 30
    terms = objective(video, audio, index, negatives).terms
    for name, query, bank in (
        ("instance_v2v", video, objective.memory.video),
        ("instance_a2a", audio, objective.memory.audio),
    ):
        z = objective.partition[objective.term_names().index(name)]
        right = (query * bank[index]).sum(1, keepdim=True) / 0.07
        wrong = torch.einsum("bd,bkd->bk", query, bank[negatives]) / 0.07
        torch.testing.assert_close(terms[name], nce_loss(right, wrong, z))
    assert not math.isclose(terms["instance_v2v"].item(), terms["instance_v2a"].item(), rel_tol=1e-3)
    # And it is a function of the pictures alone.
    changed = objective(video, -audio, index, negatives).terms
    assert torch.equal(changed["instance_v2v"], terms["instance_v2v"])
    assert not torch.equal(changed["instance_a2a"], terms["instance_a2a"])


def test_fault_2_no_negative_of_cma_is_the_query_or_one_of_its_positives():
    seen = []

    def spy(positive_scores, negative_scores, partition):
        seen.append((positive_scores, negative_scores))
        return (negative_scores.sum() + positive_scores.sum()) * 0

    # Memories are the axes, so a score names the instance: query i scores 1 with i only.
    n = 40
    objective = CMA(n, n, k=4, num_negatives=400, positive_within=0.0, positive_cross=1.0, loss=spy)
    objective.memory.video.copy_(torch.eye(n))
    objective.memory.audio.copy_(torch.eye(n))
    objective.positives = (torch.arange(n)[:, None] + torch.arange(1, 5)) % n
    index = torch.arange(n)
    positives_of = F.one_hot(objective.positives, n).sum(1).float()  # (N, N)
    queries = F.normalize(torch.eye(n) + positives_of, dim=1)  # scores with the query itself and its positives only
    objective.partition.fill_(1.0)
    objective(queries, queries, index)
    assert len(seen) == 4
    for positive_scores, negative_scores in seen:
        assert (negative_scores == 0).all()
        assert (positive_scores > 0).all()


@pytest.mark.parametrize("agreement", AGREEMENTS)
def test_fault_3_a_query_with_an_exact_duplicate_never_is_its_own_positive(agreement):
    video, audio = units(20, seed=1), units(20, seed=2)
    for copy, original in ((3, 17), (4, 17), (11, 0)):
        video[copy], audio[copy] = video[original], audio[original]
    made = mine_positives(video, audio, 5, agreement).index
    assert not (made == torch.arange(20)[:, None]).any()
    assert set(made[17, :2].tolist()) == {3, 4} and made[0, 0] == 11 and made[11, 0] == 0
    assert all(len(set(row)) == 5 for row in made.tolist())


def test_fault_4_every_term_has_its_own_partition_and_the_temperature_is_a_setting():
    index, video = torch.arange(8), units(8, seed=1)
    objective = AVID(50, 8, within=1.0, generator=torch.Generator().manual_seed(0))
    objective.memory.video.copy_(
        F.normalize(units(50) + 3 * video.mean(0), dim=1)
    )  # pictures are all alike, sounds not
    objective(video, units(8, seed=2), index)
    z = dict(zip(objective.term_names(), objective.partition.tolist(), strict=True))
    assert len(set(z.values())) == 4 and z["v2v"] != z["v2a"]
    warm = AVID(50, 8, temperature=1.0)
    warm(video, video, index)
    assert (warm.partition < math.e).all()


def test_fault_4_defaults_agree_between_the_classes():
    settings = [inspect.signature(kind).parameters for kind in (AVID, CMA)]
    shared = settings[0].keys() & settings[1].keys()
    assert {"num_negatives", "temperature", "momentum", "partition", "weighting", "loss"} <= shared
    assert all(settings[0][name].default == settings[1][name].default for name in shared)
    assert inspect.signature(MemoryBank).parameters["momentum"].default == settings[0]["momentum"].default == 0.5


def test_fault_5_drawing_negatives_costs_milliseconds_at_the_size_of_kinetics():
    excluded = torch.randint(232_067, (256, 1))
    begun = time.process_time()
    draw_negatives(excluded, 232_067, 1024)
    assert time.process_time() - begun < 0.5  # the alias table took 3.4 s to build


def test_fault_6_two_clips_of_one_instance_move_its_memory_the_same_in_any_order():
    index, video, audio = torch.tensor([5, 2, 5]), units(3, seed=1), units(3, seed=2)
    made = []
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        memory = MemoryBank(8, 8, generator=torch.Generator().manual_seed(0))
        memory.update(index[order], video[order], audio[order])
        made.append(memory.video.clone())
    torch.testing.assert_close(made[0], made[1])
    torch.testing.assert_close(made[0], made[2])
    start = MemoryBank(8, 8, generator=torch.Generator().manual_seed(0)).video[5]
    torch.testing.assert_close(made[0][5], F.normalize(start + (video[0] + video[2]) / 2, dim=0))


def test_fault_8_importing_has_no_side_effects(tmp_path):
    shown = in_a_new_process(
        tmp_path,
        """
        import multiprocessing, random, sys
        import numpy as np, torch

        before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate(), torch.get_num_threads()
        import avid_lab
        for name in ("config", "encoders", "losses", "memory", "metrics", "mining", "objectives", "official"):
            getattr(avid_lab, name) if name != "official" else __import__("avid_lab.official")
        assert multiprocessing.get_start_method(allow_none=True) is None
        assert torch.equal(torch.get_rng_state(), before[0])
        assert np.random.get_state()[1].tolist() == before[1] and random.getstate() == before[2]
        assert torch.get_num_threads() == before[3]
        assert not torch.cuda.is_initialized()
        assert not {"matplotlib", "ipywidgets", "av", "torchvision"} & set(sys.modules)
        print("clean")
        """,
    )
    assert shown.strip() == "clean"


def test_fault_8_constructors_need_no_cuda(tmp_path):
    shown = in_a_new_process(
        tmp_path,
        """
        import torch

        def refuse(*_):
            raise AssertionError("a constructor asked for CUDA")

        torch.cuda._lazy_init = refuse
        import avid_lab as al
        from avid_lab.memory import MemoryQueue
        from avid_lab.objectives import InBatch, QueueAVID

        model = al.AudioVisualModel.preset("pocket", seed=0)
        objectives = [al.AVID(20, 8), al.CMA(20, 8, k=4), QueueAVID(20, 8, queue_size=4), InBatch(20, 8)]
        MemoryQueue(20, 8, 4)
        assert not torch.cuda.is_initialized()
        devices = {x.device.type for m in (model, *objectives) for x in (*m.parameters(), *m.buffers())}
        print(devices)
        """,
    )
    assert shown.strip() == "{'cpu'}"


def test_fault_8_evaluation_leaves_batch_norm_statistics_alone(smoke_world):
    model = AudioVisualModel.preset("pocket", seed=0).train()
    before = {name: x.clone() for name, x in model.state_dict().items()}
    pipeline = InputPipeline(smoke_world.video, smoke_world.audio).fit(smoke_world)
    evaluation.embed(model, smoke_world.subset(torch.arange(6)), pipeline, windows=1)
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())
    assert model.training


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_fault_8_a_perfect_match_at_temperature_007_does_not_overflow_half_precision(dtype):
    score = torch.full((2, 1), 1 / 0.07, dtype=dtype)
    assert score.exp().isinf().all() == (dtype == torch.float16)
    with torch.autocast("cpu", dtype):
        made = nce_loss(score, score.expand(2, 8), 2.2)
    assert made.isfinite() and made.dtype == torch.float32


def test_fault_9_one_seed_decides_weights_memories_and_negatives_whatever_numpy_does():
    def everything():
        generator = torch.Generator().manual_seed(4)
        objective = AVID(30, 8, generator=generator)
        negatives = draw_negatives(torch.arange(5)[:, None], 30, 6, generator)
        return AudioVisualModel.preset("pocket", seed=4).video_head[0].weight, objective.memory.video, negatives

    np.random.seed(1)
    torch.manual_seed(1)
    one = everything()
    np.random.seed(2)
    torch.manual_seed(2)
    assert all(torch.equal(a, b) for a, b in zip(one, everything(), strict=True))

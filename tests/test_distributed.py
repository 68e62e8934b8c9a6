"""Two processes over gloo: equal memories and one partition constant, as in a single process."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest
import torch
import torch.nn.functional as F

from avid_lab.memory import MemoryQueue
from avid_lab.mining import mine_positives
from avid_lab.objectives import AVID

PROCESS = """
    import sys, torch, torch.distributed as dist
    from avid_lab.memory import MemoryQueue
    from avid_lab.processes import share
    from avid_lab.objectives import AVID

    rank, folder = int(sys.argv[1]), sys.argv[2]
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    given = torch.load(f"{folder}/given.pt")
    own = slice(0, 5) if rank == 0 else slice(5, 8)  # unequal shares, and instance 2 is in both

    memory = MemoryQueue(10, 4, size=6, generator=torch.Generator().manual_seed(rank))
    share(list(memory.buffers()))
    objective = AVID(10, 4, num_negatives=3, generator=torch.Generator().manual_seed(rank))
    objective.memory = memory
    objective(given["video"][own], given["audio"][own], given["index"][own], given["negatives"][own])
    for _ in range(3):
        memory.update(given["index"][own], given["video"][own], given["audio"][own])
    torch.save({"memory": memory.state_dict(), "partition": objective.partition}, f"{folder}/made{rank}.pt")
    dist.destroy_process_group()
"""

MINE = """
    import sys, torch, torch.distributed as dist
    from avid_lab.mining import mine_positives

    rank, folder = int(sys.argv[1]), sys.argv[2]
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    made = []
    for given in torch.load(f"{folder}/given.pt"):
        for agreement in ("consensus", "union", "audio"):
            found = mine_positives(given["video"], given["audio"], 7, agreement)
            made.append((found.index, found.score))
    torch.save(made, f"{folder}/made{rank}.pt")
    dist.destroy_process_group()
"""


def in_two_processes(folder, code):
    """Run code in two processes; return what each saved."""
    (folder / "process.py").write_text(textwrap.dedent(code))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    processes = [
        subprocess.Popen(
            [sys.executable, "process.py", str(rank), str(folder)],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    for process in processes:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
    return [torch.load(folder / f"made{rank}.pt") for rank in range(2)]


@pytest.mark.slow
def test_two_processes_mine_half_of_the_clips_each_and_find_the_same_to_the_bit(tmp_path):
    """Few clips, and enough for tiles; an odd number, with exact duplicates, so that ties are settled the same way."""
    given = []
    for count in (101, 2501):
        generator = torch.Generator().manual_seed(count)
        pair = {name: F.normalize(torch.randn(count, 16, generator=generator), dim=1) for name in ("video", "audio")}
        for rows in pair.values():
            rows[count // 2 : count // 2 + 10] = rows[3]
        given.append(pair)
    torch.save(given, tmp_path / "given.pt")
    made = in_two_processes(tmp_path, MINE)
    rules = [(pair, rule) for pair in given for rule in ("consensus", "union", "audio")]
    alone = [mine_positives(pair["video"], pair["audio"], 7, rule) for pair, rule in rules]
    for one in made:
        for (index, score), expected in zip(one, alone, strict=True):
            assert torch.equal(index, expected.index) and torch.equal(score, expected.score)


@pytest.mark.slow
def test_two_processes_keep_equal_memories_and_one_partition(tmp_path):
    generator = torch.Generator().manual_seed(0)
    given = {
        "index": torch.tensor([0, 2, 3, 5, 9, 2, 7, 8]),
        "video": F.normalize(torch.randn(8, 4, generator=generator), dim=1),
        "audio": F.normalize(torch.randn(8, 4, generator=generator), dim=1),
        "negatives": torch.randint(10, (8, 3), generator=generator),
    }
    torch.save(given, tmp_path / "given.pt")
    made = in_two_processes(tmp_path, PROCESS)

    alone = MemoryQueue(10, 4, size=6, generator=torch.Generator().manual_seed(0))
    objective = AVID(10, 4, num_negatives=3)
    objective.memory = alone
    objective(given["video"], given["audio"], given["index"], given["negatives"])
    for _ in range(3):
        alone.update(given["index"], given["video"], given["audio"])
    for name, expected in alone.state_dict().items():
        assert torch.equal(made[0]["memory"][name], made[1]["memory"][name])
        torch.testing.assert_close(made[0]["memory"][name], expected)
    assert torch.equal(made[0]["partition"], made[1]["partition"])
    torch.testing.assert_close(made[0]["partition"], objective.partition)


STOP = """
    import sys, torch, torch.distributed as dist
    from avid_lab.media import MediaError
    from avid_lab.processes import raise_together

    rank, folder = int(sys.argv[1]), sys.argv[2]
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    raise_together(None)
    try:
        raise_together(MediaError("a.mp4", "is gone", "Copy it again.") if rank == 1 else None)
    except MediaError as error:
        torch.save(str(error), f"{folder}/made{rank}.pt")
    dist.destroy_process_group()
"""


@pytest.mark.slow
def test_an_error_in_one_process_stops_all(tmp_path):
    assert in_two_processes(tmp_path, STOP) == ["a.mp4: is gone. Copy it again."] * 2


TRAIN = """
    import sys, torch
    from pathlib import Path
    from avid_lab import checkpoints, foley
    from avid_lab.config import PRESETS, TrainConfig
    from avid_lab.encoders import AudioVisualModel
    from avid_lab.objectives import AVID, CMA
    from avid_lab.training import Trainer, process_group, processes, rank
    import dataclasses

    folder, accumulate = Path(sys.argv[1]), int(sys.argv[2])
    small = dataclasses.replace(
        PRESETS["pocket"], video_widths=(4, 4, 4, 8, 8), audio_widths=(4, 4, 4, 8, 8), head=(8,), dim=16
    )
    with process_group():
        name = f"{processes()}of{accumulate}"
        clips = foley.load("smoke", progress=False)

        def begin(steps, objective, **more):  # weights and memories start differently: process 0's count
            torch.manual_seed(rank())
            config = TrainConfig(steps=steps, batch_size=16, accumulate=accumulate, seed=1, learning_rate=1e-4, **more)
            return Trainer(AudioVisualModel(small, seed=2 + rank()), objective, clips, config)

        def avid():
            generator = torch.Generator().manual_seed(rank())
            return AVID(len(clips), 16, within=0.5, num_negatives=16, generator=generator)

        first = begin(6, avid(), clip_norm=5.0)
        for step in first:
            if step.index == 3:
                checkpoints.save(folder / f"{name}.pt", first)
                if processes() > 1:
                    torch.distributed.barrier()
        second = begin(6, avid(), clip_norm=5.0)
        checkpoints.resume(folder / f"{name}.pt", second)
        memory = {n: x.clone() for n, x in first.objective.memory.state_dict().items()}
        weights = {n: p.detach().clone() for n, p in first.model.named_parameters()}
        losses = [step.loss for step in second.history]
        resumed = losses + [step.loss for step in second]

        cma = CMA.from_avid(first.objective, k=4, num_within_negatives=8)
        third = Trainer(first.model, cma, clips, dataclasses.replace(first.config, remine_every=0.5))
        mined = [step.loss for step in third]
        torch.save(
            {
                "losses": [step.loss for step in first.history],
                "terms": [step.terms for step in first.history],
                "resumed": resumed,
                "mined": mined,
                "positives": cma.positives,
                "partition": first.objective.partition,
                "memory": memory,
                "weights": weights,
                "final": third.model.state_dict() | cma.memory.state_dict(),
            },
            folder / f"{name}-{rank()}.pth",
        )
"""


def train_in(folder, processes, accumulate):
    launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--standalone"] if processes > 1 else []
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    shown = subprocess.run(
        [sys.executable, *launcher, "train.py", str(folder), str(accumulate)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert shown.returncode == 0, shown.stderr
    return [torch.load(folder / f"{processes}of{accumulate}-{rank}.pth") for rank in range(processes)]


@pytest.mark.slow
def test_torchrun_with_two_processes_is_one_process_on_the_same_global_batches(smoke_world, tmp_path):
    (tmp_path / "train.py").write_text(textwrap.dedent(TRAIN))
    alone = train_in(tmp_path, 1, accumulate=2)[0]
    two = train_in(tmp_path, 2, accumulate=1)
    for made in two:
        for name in ("losses", "mined", "terms", "partition", "memory"):
            torch.testing.assert_close(made[name], alone[name], atol=1e-5, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
        # Adam divides a gradient that is only rounding by its own size: such weights wander, by less than the rate.
        torch.testing.assert_close(made["weights"], alone["weights"], atol=1e-4, rtol=1e-5)
        assert torch.equal(made["positives"], alone["positives"])
        assert made["resumed"] == made["losses"]
    assert two[0]["losses"] == two[1]["losses"] and two[0]["mined"] == two[1]["mined"]
    for name, value in two[0]["final"].items():  # each takes process 0's running averages before its next step
        assert "running" in name or torch.equal(value, two[1]["final"][name]), name
    assert alone["resumed"] == alone["losses"]
    assert sorted(path.name for path in tmp_path.glob("*.pt")) == ["1of2.pt", "2of1.pt"]

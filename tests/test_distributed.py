"""Two processes over gloo: one training run, two equal memories, one partition constant."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import torch
import torch.nn.functional as F

from avid_lab.memory import MemoryQueue
from avid_lab.objectives import AVID

PROCESS = """
    import sys, torch, torch.distributed as dist
    from avid_lab.memory import MemoryQueue
    from avid_lab.objectives import AVID

    rank, folder = int(sys.argv[1]), sys.argv[2]
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    given = torch.load(f"{folder}/given.pt")
    own = slice(0, 5) if rank == 0 else slice(5, 8)  # unequal shares, and instance 2 is in both

    memory = MemoryQueue(10, 4, size=6, generator=torch.Generator().manual_seed(rank))
    memory.synchronise()
    objective = AVID(10, 4, num_negatives=3, generator=torch.Generator().manual_seed(rank))
    objective.memory = memory
    objective(given["video"][own], given["audio"][own], given["index"][own], given["negatives"][own])
    for _ in range(3):
        memory.update(given["index"][own], given["video"][own], given["audio"][own])
    torch.save({"memory": memory.state_dict(), "partition": objective.partition}, f"{folder}/made{rank}.pt")
    dist.destroy_process_group()
"""


def test_two_processes_keep_equal_memories_and_one_partition(tmp_path):
    generator = torch.Generator().manual_seed(0)
    given = {
        "index": torch.tensor([0, 2, 3, 5, 9, 2, 7, 8]),
        "video": F.normalize(torch.randn(8, 4, generator=generator), dim=1),
        "audio": F.normalize(torch.randn(8, 4, generator=generator), dim=1),
        "negatives": torch.randint(10, (8, 3), generator=generator),
    }
    torch.save(given, tmp_path / "given.pt")
    (tmp_path / "process.py").write_text(textwrap.dedent(PROCESS))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    processes = [
        subprocess.Popen(
            [sys.executable, "process.py", str(rank), str(tmp_path)],
            cwd=tmp_path,
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
    made = [torch.load(tmp_path / f"made{rank}.pt") for rank in range(2)]

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

"""Mining positives: symmetric tiles against whole rows, the published algorithm and FAISS."""

from __future__ import annotations

import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from avid_lab.mining import AGREEMENTS
from avid_lab.mining.approximate import mine_approximately
from avid_lab.mining.fast.exact import Memories
from avid_lab.mining.fast.rows import best_by_rows
from avid_lab.mining.fast.tiles import best_by_tiles
from benchmarks.harness import as_json, compare, limits

K, DIM = 32, 128


def memories(n: int, kind: str, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Unit rows: random directions, or 200 clusters of unequal tightness."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    centre = torch.randint(200, (n,), generator=generator)
    for _ in range(2):
        x = torch.randn(n, DIM, generator=generator)
        if kind == "clustered":
            x = F.normalize(torch.randn(200, DIM, generator=generator), dim=1)[centre] + 0.05 * x
        made.append(F.normalize(x, dim=1))
    return made[0], made[1]


def published(video: Tensor, audio: Tensor, begin: int, queries: int = 64) -> Tensor:
    """The released algorithm, from its description: batches of 64 queries, all instances a column, both stacked."""
    asked = slice(begin, begin + queries)
    both = torch.stack([video @ video[asked].T, audio @ audio[asked].T])  # (2, N, 64)
    order = both.min(dim=0).values.topk(K + 1, dim=0).indices  # (K + 1, 64)
    return order[1:].T.sort(dim=1).values


def faiss_twice(video: Tensor, audio: Tensor, queries: int) -> Any:
    """Two flat searches, one per modality: the obvious choice, although it does not solve ``min``."""
    import faiss

    indexes = []
    for x in (video, audio):
        index = faiss.IndexFlatIP(x.shape[1])
        index.add(x.numpy())
        indexes.append((index, x[:queries].numpy()))
    return lambda: [index.search(asked, K + 1) for index, asked in indexes]


def least_s(n: int, rate: float) -> float:
    """Seconds of the products alone at this rate in FLOP/s: two of 2 N^2 D, each halved by symmetry."""
    return 2 * n * n * DIM / rate


def run(quick: bool) -> dict[str, Any]:
    """Ratios at 10 k and 50 k instances, and the cost curve."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    top = limits()
    rate = 1e9 * top["sgemm, GFLOP/s"]
    rows, curve, skipped = [], {}, []
    cases = [(10_000, "random", 3.0), (10_000, "clustered", None)]
    cases += [] if quick else [(50_000, "random", 5.0), (50_000, "clustered", 4.3)]
    for n, kind, required in cases:
        video, audio = memories(n, kind)
        ready = Memories(video, audio, AGREEMENTS["consensus"])
        some = min(n, 1280)  # queries of the slower ways: their cost a query is the same for all
        candidates = {
            "published algorithm": lambda v=video, a=audio, s=some: [published(v, a, q) for q in range(0, s, 64)],
            "symmetric tiles": lambda r=ready, n=n: best_by_tiles(r, K, range(n)),
            "whole rows": lambda r=ready, s=some: best_by_rows(r, K, range(s)),
        }
        amount = {"published algorithm": some, "symmetric tiles": n, "whole rows": some}
        try:
            candidates["FAISS flat, two searches"] = faiss_twice(video, audio, some)
            amount["FAISS flat, two searches"] = some
            import faiss

            faiss.omp_set_num_threads(1)
        except ModuleNotFoundError:
            skipped.append("faiss")
        name = f"mining, N = {n:,}, {kind}"
        turns = 9 if n < 20_000 else 3
        needed = {"symmetric tiles": required} if required else {}
        least = dict.fromkeys(candidates, 4 * some * n * DIM / rate) | {"symmetric tiles": least_s(n, rate)}
        made = compare(
            name, candidates, turns=turns, required=needed, amount=amount, unit="query", warm=n < 20_000, least_s=least
        )
        rows += made
        if kind == "random":
            curve[n] = {"seconds": made[1].median_s * n, "share of sgemm": made[1].share}
    for n in (5_000, 20_000) if quick else (5_000, 20_000, 100_000, 200_000):
        ready = Memories(*memories(n, "random"), AGREEMENTS["consensus"])
        begun = time.perf_counter()
        best_by_tiles(ready, K, range(n))
        seconds = time.perf_counter() - begun
        curve[n] = {"seconds": seconds, "share of sgemm": least_s(n, rate) / seconds}
    approximate = {}
    if "faiss" not in skipped:
        for n in (5_000,) if quick else (5_000, 50_000):
            for kind in ("clustered", "random"):
                begun = time.perf_counter()
                found = mine_approximately(*memories(n, kind), K)
                approximate[f"{n}, {kind}"] = {"seconds": time.perf_counter() - begun, "recall": found.recall}
                print(f"  approximate, {n:,} {kind}: {approximate[f'{n}, {kind}']}", flush=True)
    largest = max(curve)
    computed = {n: curve[largest]["seconds"] * (n / largest) ** 2 for n in (232_067, 1_784_108, 100_000_000)}
    torch.set_num_threads(threads)
    for n, row in sorted(curve.items()):
        print(f"  cost of {n:>11,}: {row['seconds']:12.1f} s measured, {row['share of sgemm']:.0%} of sgemm")
    for n, seconds in computed.items():
        print(f"  cost of {n:>11,}: {seconds:12.0f} s computed from {largest:,} by N^2")
    return {
        "rows": as_json(rows),
        "limits, 1 thread": top,
        "curve": {str(n): row for n, row in sorted(curve.items())},
        "computed seconds": {str(n): seconds for n, seconds in computed.items()},
        "approximate (FAISS, 32 cells)": approximate,
        "skipped": sorted(set(skipped)),
    }

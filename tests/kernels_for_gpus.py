"""Compiles every kernel for GPUs without needing one: does it fit their shared memory, registers and tensor cores?"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from avid_lab.kernels import gather, peaks

SHARED_MEMORY = {80: 99 * 1024, 90: 227 * 1024}  # that a program can have; for 80, on the smallest of its family
PTXAS = Path(triton.__file__).parent / "backends/nvidia/bin/ptxas"


def compiled(kernel: Any, types: str, constants: dict[str, int], capability: int, **launch: int) -> tuple[str, int]:
    """Assembly for a GPU, and the number of bytes spilled from registers."""
    signature = dict(zip(kernel.arg_names, [*types.split(), *["constexpr"] * len(constants)], strict=True))
    aligned = {(i,): [["tt.divisibility", 16]] for i, kind in enumerate(signature.values()) if kind.startswith("*")}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=launch)
    assert made.metadata.shared <= SHARED_MEMORY[capability], (kernel, capability, made.metadata.shared)
    with tempfile.TemporaryDirectory() as folder:
        assembly = Path(folder) / "kernel.ptx"
        assembly.write_text(made.asm["ptx"])
        target = re.search(r"\.target (sm_\w+)", made.asm["ptx"])
        assert target
        command = [PTXAS, "-v", f"--gpu-name={target[1]}", assembly, "-o", assembly.with_suffix(".o")]
        said = subprocess.run(command, capture_output=True, text=True, check=True)
    (spilled,) = re.findall(r"(\d+) bytes spill stores", said.stdout + said.stderr)
    return made.asm["ptx"], int(spilled)


for capability in SHARED_MEMORY:
    for bank in ("*fp32", "*bf16"):
        for dim in (128, 512):
            blocks = {"BLOCK": gather.PICKS, "DIM": dim}
            types = f"*fp32 {bank} *i64 *fp32 i32 i32"
            assert compiled(gather._dots, types, blocks, capability)[1] == 0
            assert compiled(gather._weighted_sums, types, {"SHARES": gather.PARTS, **blocks}, capability)[1] == 0
    for rule in (0, 1, 2, 3):
        sizes = {"RULE": rule, "DIM": 128, "STEP": peaks.STEP, "ROWS": peaks.ROWS, "GROUP": 128}
        types = "*fp16 *fp16 *fp32 i32 i32 i32 i32 i32"
        assembly, spilled = compiled(peaks._group_peaks, types, sizes, capability, **peaks.LAUNCH)
        assert "mma" in assembly, "no tensor cores"
        assert spilled <= 256, (rule, capability, spilled)  # bytes a thread
print("kernels fit")

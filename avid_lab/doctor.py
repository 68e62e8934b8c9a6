"""``avid-lab doctor``: is this machine ready for the course, and if not, what fixes it?

Each check is a small function from facts to a `Check`; `examine` gathers the facts and runs them all.
"""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from packaging.version import Version

from avid_lab import PASSIVE_OPENMP
from avid_lab.config import data_dirs, profile

# Widget messages must be handled between cells, not in a second thread while a cell runs: matplotlib is not
# thread-safe.
SETTING = ("@jupyterlab/apputils-extension:kernels-settings", "commsOverSubshells", "disabled")

REINSTALL = "Run `make lab` again, or `pip install -e .` in the project's folder."


@dataclass(frozen=True)
class Check:
    """The outcome of one check.

    Args:
        name: What was checked.
        status: ``"ok"``, ``"warn"`` (the course runs, with limits) or ``"fail"`` (it does not run).
        detail: What was found.
        fix: What to do about it; empty if the check passed.
    """

    name: str
    status: Literal["ok", "warn", "fail"]
    detail: str
    fix: str = ""


def check_python(version: tuple[int, int]) -> Check:
    """Python is new enough."""
    detail = ".".join(map(str, version))
    if version < (3, 11):
        return Check("Python", "fail", detail, "Install Python 3.11 or newer and make a new environment with it.")
    return Check("Python", "ok", f"{detail} at {sys.prefix}")


def check_packages(requirements: Iterable[str], installed: Mapping[str, str]) -> Check:
    """Every package that pyproject.toml requires is installed, in a version that it allows.

    Args:
        requirements: Requirement strings, as in pyproject.toml.
        installed: Version by package name.
    """
    wanted = [requirement for requirement in map(Requirement, requirements) if requirement.marker is None]
    wrong = []
    for requirement in wanted:
        version = installed.get(requirement.name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement} (found {version or 'none'})")
    if wrong:
        return Check("Packages", "fail", "needs " + ", ".join(wrong), REINSTALL)
    return Check("Packages", "ok", f"{len(wanted)} found, all in compatible versions")


def check_torch(versions: Mapping[str, str], import_error: str | None) -> Check:
    """Torch, torchvision and torchaudio are compatible and can be imported.

    Each torchvision 0.x is built for one torch 2.y, with x = y + 15. The last torchaudio, 2.11, works with torch 2.11
    to 2.14; torch 2.15 is built for another CUDA version, so ``import torchaudio`` raises.

    Args:
        versions: Versions of the three, by name.
        import_error: What importing them raised, if anything.
    """
    names = ("torch", "torchvision", "torchaudio")
    detail = ", ".join(f"{name} {versions.get(name, 'missing')}" for name in names)
    fix = 'pip install "torch>=2.14,<2.15" torchvision torchaudio'
    if missing := [name for name in names if name not in versions]:
        return Check("PyTorch", "fail", detail, f"Install {' and '.join(missing)}: {fix}")
    torch, vision = Version(versions["torch"]), Version(versions["torchvision"])
    if torch >= Version("2.15.dev0"):
        problem = "torch 2.15 and later use another CUDA version than torchaudio, so `import torchaudio` raises"
        return Check("PyTorch", "fail", f"{detail}: {problem}", fix)
    if vision.minor != torch.minor + 15:
        problem = f"torch {torch.major}.{torch.minor} needs torchvision 0.{torch.minor + 15}"
        return Check("PyTorch", "fail", f"{detail}: {problem}", fix)
    if import_error:
        return Check("PyTorch", "fail", f"{detail}: {import_error}", fix)
    return Check("PyTorch", "ok", detail)


def check_codecs(folder: Path) -> Check:
    """A clip written as H.264 + AAC reads back unchanged."""
    import torch

    from avid_lab import media
    from avid_lab.config import AudioSpec, VideoSpec

    fix = 'The installed PyAV lacks the codecs; the official wheel has them: pip install --force-reinstall "av>=18,<20"'
    video, audio = VideoSpec(frames=8, fps=8.0, size=64), AudioSpec(rate=16_000, duration_s=1.0, frames=32, n_fft=128)
    greys = torch.linspace(40, 200, 8)  # a different grey per frame shows errors of order and of range
    frames = greys.to(torch.uint8)[None, :, None, None].expand(3, 8, 64, 64).contiguous()
    tone = 0.5 * torch.sin(2 * torch.pi * 440 * torch.arange(16_000) / 16_000)[None]
    try:
        path = media.write_clip(folder / "codecs.mp4", media.Clip(frames, tone, video.fps, audio.rate))
        back = media.read_clip(path, 0.0, video, audio)
    except (media.MediaError, OSError) as error:
        return Check("Codecs", "fail", str(error), fix)
    assert back.video is not None and back.audio is not None  # both were asked for
    off = float((back.video.float().mean(dim=(0, 2, 3)) - greys).abs().max())
    loudness = float(back.audio.std() / tone.std())
    if off > 8 or not 0.7 < loudness < 1.3:
        detail = f"a clip reads back changed: grey off by {off:.0f} of 255, loudness x{loudness:.2f}"
        return Check("Codecs", "fail", detail, fix)
    return Check("Codecs", "ok", "H.264 and AAC written and read back")


def check_settings(in_force: object, layer: str) -> Check:
    """The kernel receives JupyterLab's widget messages between cells, not during them.

    Args:
        in_force: The value that JupyterLab will use.
        layer: Where that value comes from: ``"default"``, ``"override"`` or ``"user"``.
    """
    plugin, key, wanted = SETTING
    if in_force == wanted:
        return Check("JupyterLab settings", "ok", f"{key} is {wanted!r} ({layer})")
    fix = f"In JupyterLab: Settings > Kernels > Kernel Comms over subshells > Disabled. Or: {REINSTALL}"
    return Check("JupyterLab settings", "fail", f"{plugin} {key} is {in_force!r} ({layer}); widgets may crash", fix)


def check_kernel(kernel_python: Path | None, here: Path) -> Check:
    """Notebooks run in this environment's Python.

    Args:
        kernel_python: The interpreter that the kernel ``python3`` starts; None if there is no such kernel.
        here: The current interpreter.
    """
    if kernel_python is None:
        return Check("Kernel", "fail", "no kernel named python3", "python -m ipykernel install --sys-prefix")
    if kernel_python != here:
        fix = "With this environment's Python: python -m ipykernel install --sys-prefix"
        return Check("Kernel", "fail", f"notebooks would run {kernel_python}, not {here}", fix)
    return Check("Kernel", "ok", "notebooks run in this environment")


def check_openmp(environ: Mapping[str, str]) -> Check:
    """Idle threads sleep instead of competing with other programs."""
    wrong = [name for name, value in PASSIVE_OPENMP.items() if environ.get(name, "").lower() != value]
    if wrong:
        wanted = " ".join(f"{name}={value}" for name, value in PASSIVE_OPENMP.items())
        detail = f"{' and '.join(wrong)} not set: training can be many times slower on a busy machine"
        fix = f"Import avid_lab before torch, or set {wanted} before Python starts."
        return Check("OpenMP", "warn", detail, fix)
    return Check("OpenMP", "ok", "idle threads sleep")


def check_disk(folder: Path, free_bytes: int, needed_bytes: int) -> Check:
    """There is room for the clips and their decoded frames."""
    detail = f"{free_bytes / 1e9:.1f} GB free for {folder}"
    if free_bytes < needed_bytes:
        fix = f"Free {(needed_bytes - free_bytes) / 1e9:.1f} GB, or set AVID_LAB_DATA to a folder on a larger disk."
        return Check("Disk", "fail", detail, fix)
    return Check("Disk", "ok", detail)


def check_writable(folder: Path, shared: Path | None = None) -> Check:
    """The cache folder exists or can be created, and is writable.

    Args:
        folder: What is not rendered or decoded yet goes there.
        shared: A folder that is read first, and cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        fix = "Give yourself write permission there, or set AVID_LAB_DATA to a folder that you own."
        return Check("Cache folder", "fail", f"{folder}: {error.strerror or error}", fix)
    read = f"{shared} is read-only; " if shared else ""
    return Check("Cache folder", "ok", f"{read}{folder} is writable")


def check_world(world: str, present: bool) -> Check:
    """The clips that the notebooks load are rendered."""
    if present:
        return Check("Clips", "ok", f"the {world} world is rendered")
    return Check("Clips", "warn", f"the {world} world is not rendered yet", f"avid-lab data build {world}")


def check_machine(cores: int, memory_bytes: int | None, gpu: str | None) -> Check:
    """There are enough cores and memory; a GPU is optional."""
    memory = "memory unknown" if memory_bytes is None else f"{memory_bytes / 2**30:.0f} GiB memory"
    cores_text = f"{cores} core" + "s" * (cores != 1)
    kind = f"{platform.system()} {platform.machine()}"
    detail = f"{kind}, {cores_text}, {memory}, GPU: {gpu or 'none, so the CPU profile'}"
    if memory_bytes is not None and memory_bytes < 3.5 * 2**30:
        return Check("Machine", "warn", detail, "Under 4 GiB: close other programs before you train.")
    return Check("Machine", "ok", detail)


def examine() -> list[Check]:
    """Look at this machine and run every check."""
    checks = [check_python(sys.version_info[:2])]
    try:
        requirements = metadata.requires("avid-lab") or []
    except metadata.PackageNotFoundError:
        checks.append(Check("Packages", "fail", "avid-lab itself is not installed", REINSTALL))
    else:
        checks.append(check_packages(requirements, _installed(Requirement(r).name for r in requirements)))
    error = _import_error("torch", "torchvision", "torchaudio")
    checks.append(check_torch(_installed(("torch", "torchvision", "torchaudio")), error))
    if error is None:  # these checks import torch: without it they would only repeat the failure
        with tempfile.TemporaryDirectory() as folder:
            checks.append(check_codecs(Path(folder)))
        from avid_lab.foley import folder_of

        world = profile().world
        checks.append(check_world(world, (folder_of(world) / "manifest.csv").exists()))
    checks.append(check_settings(*_setting_in_force()))
    checks.append(check_kernel(_kernel_python(), Path(sys.executable)))
    checks.append(check_openmp(os.environ))
    *shared, folder = data_dirs()
    checks.append(check_writable(folder, shared[0] if shared else None))
    # Next to a shared folder only what that lacks is kept.
    needed_bytes = 2 * 10**8 if shared else 2 * 10**9
    checks.append(check_disk(folder, shutil.disk_usage(_existing(folder)).free, needed_bytes))
    checks.append(check_machine(_cores(), _memory_bytes(), _gpu() if error is None else None))
    return checks


def table(checks: Iterable[Check]) -> str:
    """The checks as lines for a terminal, each problem followed by its fix."""
    marks = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}
    lines = []
    for check in checks:
        lines.append(f"{marks[check.status]}  {check.name:<21}{check.detail}")
        if check.fix:
            lines.append(f"{'':27}fix: {check.fix}")
    return "\n".join(lines)


# The facts


def _installed(names: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _import_error(*modules: str) -> str | None:
    for module in modules:
        try:
            importlib.import_module(module)
        except (ImportError, OSError, RuntimeError) as error:  # raised by a package built for another torch or CUDA
            return f"import {module}: {' '.join(str(error).split())}"
    return None


def _setting_in_force() -> tuple[object, str]:
    """The value of `SETTING` that JupyterLab will use, and the layer that decides it."""
    from jupyterlab.commands import get_app_dir, get_user_settings_dir
    from jupyterlab_server.settings_utils import get_settings
    from tornado.web import HTTPError

    plugin, key, _ = SETTING
    folder = Path(get_app_dir())
    try:
        found, _ = get_settings(str(folder / "settings"), str(folder / "schemas"), get_user_settings_dir(), plugin)
        plain, _ = get_settings(str(folder / "settings"), str(folder / "schemas"), get_user_settings_dir(), plugin, {})
    except HTTPError:
        return None, "this JupyterLab has no such setting"
    default, overridden = (schema["schema"]["properties"].get(key, {}).get("default") for schema in (plain, found))
    if key in found["settings"]:
        return found["settings"][key], "user"
    return overridden, "default" if overridden == default else "override"


def _kernel_python() -> Path | None:
    """The interpreter of the kernel that the notebooks use."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        command = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except NoSuchKernel:
        return None
    # If a kernel gives no path, jupyter_client runs its own interpreter.
    return Path(sys.executable) if Path(command).name == command else Path(command)


def _existing(folder: Path) -> Path:
    return next(parent for parent in (folder, *folder.parents) if parent.exists())


def _cores() -> int:
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _memory_bytes() -> int | None:
    names: Mapping[str, int] = getattr(os, "sysconf_names", {})  # not on Windows
    if "SC_PHYS_PAGES" not in names:
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _gpu() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None

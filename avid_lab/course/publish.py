"""Notebooks are written as Python (``notebooks/source/NN_name.py``, cells marked ``# %%``) and built from there.

`build` reads a source, executes it, and cleans the result: the same source gives the same small notebook, without the
machine's paths and clock, and without widgets that no longer have a kernel. Cells tagged ``claim`` hold sentences to
numbers: they run with the others, all that do not hold are named, and the notebook does not contain them. `drift` says
where a notebook and its source differ.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import jupytext
import nbclient.exceptions
import nbformat
import numpy as np
from nbformat import NotebookNode
from PIL import Image

from avid_lab.atomic import replacing
from avid_lab.config import data_dir

# What `pip install` needs to find the course. Owners who publish it elsewhere name the place here, such as
# "avid-lab @ https://example.org/avid_lab-0.2.0-py3-none-any.whl", and build the notebooks again.
REQUIREMENT = "avid-lab>=0.2,<1"
SETUP = f"""\
# Installs the course where it is missing, as in a hosted notebook.
import importlib.util

if importlib.util.find_spec("avid_lab") is None:
    %pip install --quiet "{REQUIREMENT}"
    importlib.invalidate_caches()
    if importlib.util.find_spec("avid_lab") is None:
        raise ImportError("avid-lab was not installed: pip says why above. Install it, restart the kernel, run all.")
import avid_lab  # before torch: its idle threads then sleep"""

MAX_BYTES = 2_000_000
INSTRUCTOR = "instructor"  # the tag of cells that only teachers get
CLAIM = "claim"  # the tag of cells that only run to check what the text says
CLAIMS = "from avid_lab.course.claims import claim\n"
GOES_ON = "raises-exception"  # nbclient's tag: an error here does not end the run
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
WIDGET = "application/vnd.jupyter.widget-view+json"
PICTURES = ("image/png", "image/jpeg", "image/svg+xml", "text/html")  # possible snapshots of a widget
LIVE, STILL = 'class="avid-snapshot avid-behind"', 'class="avid-snapshot"'  # of a panel whose kernel is gone
SNAPSHOT = re.compile(r'(class="avid-snapshot[^"]*").*?<p><b>(.*?)</b>', re.DOTALL)
PROGRESS = re.compile(r"\d+%\||\d+it \[")  # tqdm's bars
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
PNG = re.compile(r"(?<=data:image/png;base64,)[A-Za-z0-9+/=]+")
SOFT = 0.001  # share of half-transparent pixels that a palette may lose: those of round corners
LEVELS = 20  # of 255: a palette may change single pixels by this much, which is not seen
ADDRESS = re.compile(r"\b0x[0-9a-f]{6,16}\b")


class PublishError(ValueError):
    """A notebook that cannot be published: which one, which cell, why."""


def sources(folder: Path, names: Sequence[str] = ()) -> list[Path]:
    """The notebook sources in ``folder``: all, or those whose names start with one of ``names`` ("03", "03_avid").

    Raises:
        ValueError: A name matches no source, or the folder has none.
    """
    found = sorted(folder.glob("[0-9][0-9]_*.py"))
    if not found:
        fix = "Run it in the project's folder."
        raise ValueError(f"{folder} must contain notebook sources, NN_name.py; found none. {fix}")
    for name in names:
        if not any(path.name.startswith(name) for path in found):
            raise ValueError(f"notebook must be one of {', '.join(path.stem for path in found)}; got {name!r}")
    return [path for path in found if not names or path.name.startswith(tuple(names))]


def build(source: Path, out: Path, *, execute: bool = True, keep_outputs: bool = False, timeout_s: int = 1800) -> Path:
    """Build one notebook from its source.

    Args:
        source: A Python file with cells marked ``# %%`` and ``# %% [markdown]``.
        out: The folder of notebooks; cells run there.
        execute: Run the cells; otherwise the notebook has no outputs.
        keep_outputs: Do not run the cells; keep the outputs of the existing notebook: for changes of prose.
        timeout_s: Time limit per cell, in seconds.

    Returns:
        The notebook's path; the file is only replaced if everything worked.

    Raises:
        PublishError: A cell failed, claims do not hold, the notebook is larger than ``MAX_BYTES``, or its code differs,
            so its outputs cannot be kept.
    """
    notebook = read_source(source, claims=execute and not keep_outputs)
    if keep_outputs:
        _take_outputs(notebook, out / f"{source.stem}.ipynb")
    elif execute:
        run(notebook, out, name=source.stem, timeout_s=timeout_s)
    clean(notebook)
    nbformat.validate(notebook)
    text = nbformat.writes(notebook) + "\n"
    if len(text.encode()) > MAX_BYTES:
        raise PublishError(_too_large(notebook, source.stem, len(text.encode())))
    return write_text(out / f"{source.stem}.ipynb", text)


def read_source(source: Path, *, instructor: bool = False, claims: bool = False) -> NotebookNode:
    """The notebook that a source describes, not executed; the ids of its cells depend only on their text.

    Its first code cell is `SETUP`, which no source has.

    Args:
        source: A Python file with cells marked ``# %%``.
        instructor: Whether to keep the cells tagged ``instructor``.
        claims: Whether to keep the cells tagged ``claim``; `run` checks them.
    """
    notebook = jupytext.reads(source.read_text(encoding="utf-8"), fmt="py:percent")
    left_out = {tag for tag, kept in ((INSTRUCTOR, instructor), (CLAIM, claims)) if not kept}
    notebook.cells = [cell for cell in notebook.cells if left_out.isdisjoint(_tags(cell))]
    first = next((at for at, cell in enumerate(notebook.cells) if cell.cell_type == "code"), None)
    if first is not None:
        notebook.cells.insert(first, nbformat.v4.new_code_cell(SETUP, metadata={"tags": ["hide-input"]}))
    notebook.metadata = NotebookNode(kernelspec=NotebookNode(KERNEL), language_info=NotebookNode(name="python"))
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    seen: Counter[str] = Counter()
    for cell in notebook.cells:
        seen[cell.source] += 1  # the same text twice needs two ids
        cell.id = hashlib.sha1(f"{seen[cell.source]} {cell.cell_type} {cell.source}".encode()).hexdigest()[:12]
    return notebook


def run(notebook: NotebookNode, folder: Path, *, name: str, timeout_s: int = 1800) -> None:
    """Execute the notebook's cells in ``folder``, in place, until the end or the first error, and remove its claims.

    Raises:
        PublishError: A cell failed; the message names it and shows its traceback. Or claims do not hold; all are named.
    """
    for cell in notebook.cells:
        if CLAIM in _tags(cell):  # runs to the end, so that one message names all that do not hold
            cell.source, cell.metadata.tags = CLAIMS + cell.source, [CLAIM, GOES_ON]
    folder.mkdir(parents=True, exist_ok=True)
    client = nbclient.NotebookClient(
        notebook,
        timeout=timeout_s,
        kernel_name=KERNEL["name"],
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        extra_arguments=["--IPKernelApp.log_level=ERROR"],  # nothing but the cells' own output
    )
    try:
        with tempfile.TemporaryDirectory() as nobody:  # a student who has done nothing yet
            client.execute(env={"AVID_LAB_STUDENT": nobody, **os.environ})
    except nbclient.exceptions.CellExecutionError as error:
        raise PublishError(f"{name}: {_failed_cell(notebook) or error}") from None
    except nbclient.exceptions.CellTimeoutError:
        raise PublishError(f"{name}: a cell ran longer than {timeout_s} s. Raise the limit with --timeout.") from None
    if failed := _failed_claims(notebook):
        raise PublishError(f"{name}: {failed}")
    notebook.cells = [cell for cell in notebook.cells if CLAIM not in _tags(cell)]
    for count, cell in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), 1):
        cell.execution_count = count
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count


def _take_outputs(notebook: NotebookNode, published: Path) -> None:
    """Copy the outputs of the published notebook to the same code cells."""
    again = f"Run `avid-lab publish {published.stem}`."
    if not published.exists():
        raise PublishError(f"{published}: not there, so there are no outputs to keep. {again}")
    theirs = [cell for cell in nbformat.read(published, as_version=4).cells if cell.cell_type == "code"]
    ours = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if [_text(cell) for cell in ours] != [_text(cell) for cell in theirs]:
        raise PublishError(f"{published}: its code differs from the source, so its outputs cannot be kept. {again}")
    for cell, source in zip(ours, theirs, strict=True):
        cell.outputs, cell.execution_count = source.outputs, source.execution_count


def clean(notebook: NotebookNode) -> None:
    """Remove, in place, whatever depends on the machine, the clock or a kernel that is gone."""
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata = NotebookNode({key: cell.metadata[key] for key in ("tags", "jupyter") if key in cell.metadata})
        if cell.cell_type == "code":
            cell.outputs = [output for output in _newest(_joined(cell.outputs)) if _keep(output)]


def _newest(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Without the snapshots behind a panel that the same cell shows again later."""
    titles = [SNAPSHOT.search(output.get("data", {}).get("text/html", "")) for output in outputs]
    later = [{found[2] for found in titles[at + 1 :] if found} for at in range(len(titles))]
    return [one for one, found, after in zip(outputs, titles, later, strict=True)
            if not (found and found[1] == LIVE and found[2] in after)]  # fmt: skip


def drift(source: Path, notebook: Path) -> list[str]:
    """Where a notebook differs from its source; empty if nowhere.

    Nothing runs: this compares the text of cells and looks for errors and leftovers in the outputs.
    """
    again = f"Run `avid-lab publish {source.stem}`."
    if not notebook.exists():
        return [f"{notebook}: missing. {again}"]
    wanted, found = read_source(source), nbformat.read(notebook, as_version=4)
    troubles = []
    pairs = zip(wanted.cells, found.cells, strict=False)
    if changed := [number for number, (ours, theirs) in enumerate(pairs, 1) if _text(ours) != _text(theirs)]:
        troubles.append(f"{notebook}: cell {changed[0]} differs from {source}. {again}")
    elif len(wanted.cells) != len(found.cells):
        troubles.append(f"{notebook}: has {len(found.cells)} cells, {source} has {len(wanted.cells)}. {again}")
    if any(output.output_type == "error" for cell in found.cells for output in cell.get("outputs", [])):
        troubles.append(f"{notebook}: contains an error. {again}")
    if "widgets" in found.metadata:
        troubles.append(f"{notebook}: contains widget state, which goes stale. {again}")
    if notebook.stat().st_size > MAX_BYTES:
        troubles.append(_too_large(found, notebook.stem, notebook.stat().st_size))
    return troubles


def _text(cell: NotebookNode) -> tuple[str, str]:
    return cell.cell_type, cell.source.strip()


def _tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def _errors(notebook: NotebookNode, *, claims: bool) -> list[tuple[int, NotebookNode, NotebookNode]]:
    """Number, cell and error of each cell that failed, of the claims or of all others."""
    return [
        (number, cell, output)
        for number, cell in enumerate(notebook.cells, 1)
        for output in cell.get("outputs", [])
        if output.output_type == "error" and (CLAIM in _tags(cell)) == claims
    ]


def _failed_cell(notebook: NotebookNode) -> str:
    for number, cell, error in _errors(notebook, claims=False):
        trace = COLOUR.sub("", "\n".join(error.traceback) or f"{error.ename}: {error.evalue}")
        return f"cell {number} failed:\n{cell.source}\n\n{trace}"
    return ""


def _failed_claims(notebook: NotebookNode) -> str:
    """The claims that do not hold, and those that cannot be checked."""
    lines = []
    for _, cell, error in _errors(notebook, claims=True):
        broken = error.ename == "ClaimError"
        lines.append(error.evalue if broken else f"{error.ename}: {error.evalue}, in\n{cell.source}")
    return "\n".join(["claims do not hold. Change the text, or find out what changed:", *lines]) if lines else ""


def _joined(outputs: Sequence[NotebookNode]) -> list[NotebookNode]:
    """The outputs, with printed text joined: how it was split depends on the clock."""
    joined: list[NotebookNode] = []
    for output in outputs:
        is_stream = output.output_type == "stream"
        if is_stream and joined and joined[-1].output_type == "stream" and joined[-1].name == output.name:
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def _keep(output: NotebookNode) -> bool:
    """Clean one output in place; False if nothing of it should stay."""
    if output.output_type == "stream":
        output.text = _plain(output.text)
        if output.name == "stderr":
            output.text = "".join(line for line in output.text.splitlines(True) if not PROGRESS.search(line))
            if text := output.text.strip():
                print(f"left out of the notebook, from stderr: {text}", file=sys.stderr)
            return False
        return bool(output.text.strip())
    if output.output_type not in ("display_data", "execute_result"):
        return True
    output.metadata = NotebookNode()
    if output.data.pop(WIDGET, None) is not None and not any(kind in output.data for kind in PICTURES):
        return False  # a live widget that left no picture of itself, such as a progress bar
    for kind, content in output.data.items():
        if kind == "image/png":
            output.data[kind] = small_png(content)
        elif kind.startswith("text/") and isinstance(content, str):
            content = content.replace(LIVE, STILL, 1)
            output.data[kind] = _plain(PNG.sub(lambda found: small_png(found[0]), content))
    return True


def small_png(text: str) -> str:
    """A PNG in base64 with a palette of 256 colours, a third of its size; unchanged if that would be visible.

    Of the colours, one is transparent: for round corners, but not for pictures that are partly transparent.
    """
    image = Image.open(BytesIO(base64.b64decode(text)))
    if image.mode not in ("RGB", "RGBA"):
        return text
    plain, alpha = image.convert("RGB"), np.asarray(image.convert("RGBA"))[..., 3]
    small = plain.quantize(255, method=Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE)
    changed = np.abs(np.asarray(plain, np.int16) - np.asarray(small.convert("RGB"))).max()
    if changed > LEVELS or ((alpha > 0) & (alpha < 255)).mean() > SOFT:
        return text
    clear: dict[str, int] = {"transparency": 255} if alpha.min() < 128 else {}
    small.putpalette([*(small.getpalette() or ())[: 3 * 255], 255, 255, 255])
    small.paste(255, mask=Image.fromarray(255 * (alpha < 128).astype(np.uint8)))
    with BytesIO() as buffer:
        small.save(buffer, "png", optimize=True, **clear)
        shorter = base64.b64encode(buffer.getvalue()).decode()
    return shorter if len(shorter) < len(text) else text


def _plain(text: str) -> str:
    """Text as a terminal would finally show it, without this machine's folders and addresses."""
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    text = ADDRESS.sub("0x...", "\n".join(lines))
    folders = {str(data_dir()): "~/.cache/avid_lab", sys.prefix: ".venv", str(Path.cwd()): ".", str(Path.home()): "~"}
    folders[tempfile.gettempdir() + os.sep] = "<temporary>/"
    for folder in sorted(folders, key=len, reverse=True):
        text = text.replace(folder, folders[folder])
    return text


def _too_large(notebook: NotebookNode, name: str, size: int) -> str:
    sizes = {number: len(json.dumps(cell)) for number, cell in enumerate(notebook.cells, 1)}
    largest = ", ".join(f"cell {n} ({sizes[n] / 1e6:.2f} MB)" for n in sorted(sizes, key=sizes.__getitem__)[-3:][::-1])
    return f"{name}: {size / 1e6:.2f} MB, and notebooks must stay under {MAX_BYTES / 1e6:g} MB. Largest: {largest}."


def write_text(path: Path, text: str) -> Path:
    """Write a whole file or nothing; creates its folder."""
    with replacing(path, durable=False) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path

"""The course as web pages, which open from disk: without a network, a server or a kernel. Sphinx builds them."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import nbformat

from avid_lab.shipped import shipped

MAX_BYTES = 4_000_000  # of one page
NEEDED = ("sphinx", "myst_nb", "furo", "sphinx_copybutton", "latex2mathml")
LONG = 12  # lines of code that a page shows unfolded


def require_sphinx() -> None:
    """Check that the site can be built.

    Raises:
        ValueError: A package is missing.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        fix = 'Install them: `pip install "avid-lab[docs]"`.'
        raise ValueError(f"the site is built by packages that are not installed: {', '.join(missing)}. {fix}")


def build_site(notebooks: Sequence[Path], out: Path, *, strict: bool = False) -> Path:
    """Build the pages: the course, what it found, how to use the library, and the Python reference.

    Args:
        notebooks: Notebooks with their outputs, in the order of the course.
        out: The output folder; pages in it are replaced.
        strict: Whether a warning is an error; otherwise warnings are printed.

    Returns:
        The first page.

    Raises:
        ValueError: There are no notebooks, Sphinx is missing or fails, or a page is larger than ``MAX_BYTES``.
    """
    if not notebooks:
        raise ValueError("the site needs notebooks; got none. Run `avid-lab publish` first.")
    require_sphinx()
    from sphinx.cmd.build import build_main

    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        _gather(notebooks, tree)
        log = Path(folder) / "warnings.txt"
        options = ["-q", "-E", "-d", f"{folder}/pages", "-w", str(log), "-c", str(shipped("docs"))]
        with warnings.catch_warnings():  # of Sphinx about its own extensions
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", PendingDeprecationWarning)
            failed = build_main([*options, str(tree), str(out)])
        warned = log.read_text(encoding="utf-8").replace(str(tree) + "/", "").strip()
    if failed or (strict and warned):
        raise ValueError(f"Sphinx could not build the site: {warned}")
    for page in sorted(out.rglob("*.html")):
        if (size := page.stat().st_size) > MAX_BYTES:
            raise ValueError(f"{page.name} must stay under {MAX_BYTES / 1e6:g} MB; got {size / 1e6:.1f} MB")
    return out / "index.html"


def _gather(notebooks: Sequence[Path], tree: Path) -> None:
    """Lay out what Sphinx reads like the checkout, so that links between files hold in both."""
    shutil.copytree(shipped("docs"), tree / "docs")
    shutil.copy(shipped("docs", "index.md"), tree / "index.md")
    for page in shipped("data").rglob("*.md"):
        copy = tree / "data" / page.relative_to(shipped("data"))
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(page, copy)
    shutil.copytree(shipped("data", "preview"), tree / "data" / "preview")
    (tree / "notebooks").mkdir()
    shutil.copy(shipped("notebooks", "README.md"), tree / "notebooks")
    for path in notebooks:
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type != "code":
                continue
            lines, tags = cell.source.count("\n") + 1, cell.metadata.setdefault("tags", [])
            if lines > LONG and "hide-input" not in tags:
                tags.append("hide-input")
            if "hide-input" in tags:
                cell.metadata["mystnb"] = {"code_prompt_show": f"Show {lines} lines of code"}
        nbformat.write(notebook, tree / "notebooks" / path.name)

"""The executed notebooks as web pages: self-contained, readable without a network, a server or a kernel."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import nbformat
from latex2mathml.converter import convert as to_mathml
from nbconvert import HTMLExporter
from nbconvert.filters import markdown2html
from nbformat import NotebookNode
from pygments.formatters import HtmlFormatter

from avid_lab.course.publish import write_text

MAX_BYTES = 4_000_000  # of one page
TITLE = "See, hear, contrast"
STYLE = (Path(__file__).parent / "site.css").read_text(encoding="utf-8")
MATH = re.compile(r"\$\$(?P<block>.+?)\$\$|(?<![\\$\w])\$(?P<inline>(?:[^$\n]|\n(?!\n))+?)\$(?![\w$])", re.DOTALL)
BOLD = re.compile(r'<mi mathvariant="bold">([A-Za-z])</mi>')
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)


def build_site(notebooks: Sequence[Path], out: Path) -> list[Path]:
    """Write a page for every notebook, and ``index.html`` with the contents.

    Args:
        notebooks: Executed notebooks, in the order of the course.
        out: The output folder; pages in it are replaced.

    Returns:
        The pages, contents first.

    Raises:
        ValueError: There are no notebooks, or a page is larger than ``MAX_BYTES``.
    """
    if not notebooks:
        raise ValueError("the site needs notebooks; got none. Run `avid-lab publish` first.")
    read = {path: nbformat.read(path, as_version=4) for path in notebooks}
    titles = {path: _title(notebook, path.stem) for path, notebook in read.items()}
    pages = []
    for number, (path, notebook) in enumerate(read.items()):
        before = notebooks[number - 1] if number else None
        after = notebooks[number + 1] if number + 1 < len(notebooks) else None
        link = _link(before, titles, "← {}"), '<a href="index.html">Contents</a>', _link(after, titles, "{} →")
        bar = f"<nav>{''.join(f'<span>{one}</span>' for one in link)}</nav>"
        text = _page(titles[path], f"{bar}<main>{_body(notebook)}</main>{bar}")
        if len(text.encode()) > MAX_BYTES:
            size = f"{len(text.encode()) / 1e6:.1f} MB"
            raise ValueError(f"{path.stem}: its page must stay under {MAX_BYTES / 1e6:g} MB; got {size}")
        pages.append(write_text(out / f"{path.stem}.html", text))
    rows = [
        f'<li><a href="{path.stem}.html">{html.escape(titles[path])}</a>{_goals(notebook)}</li>'
        for path, notebook in read.items()
    ]
    head = (
        f"<h1>{TITLE}</h1><p>A course on audio-visual self-supervised learning: its executed notebooks. Clips play and "
        "sliders move here; to change code and train, open the notebooks with <code>avid-lab lab</code>.</p>"
    )
    index = _page(TITLE, f'<main>{head}<ol class="contents">{"".join(rows)}</ol></main>')
    return [write_text(out / "index.html", index), *pages]


def _body(notebook: NotebookNode) -> str:
    copy = deepcopy(notebook)
    for cell in copy.cells:
        if cell.cell_type == "markdown":
            cell.source = mathml(cell.source)
    exporter = HTMLExporter(template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True)
    return exporter.from_notebook_node(copy)[0]


def mathml(markdown: str) -> str:
    """Markdown with its formulas converted to MathML, which browsers draw by themselves; code does not change."""
    done, end = [], 0
    for code in CODE.finditer(markdown):
        done += [MATH.sub(_formula, markdown[end : code.start()]), code.group()]
        end = code.end()
    return "".join(done) + MATH.sub(_formula, markdown[end:])


def _formula(found: re.Match[str]) -> str:
    block = found["block"]
    text = to_mathml((block or found["inline"]).strip(), display="block" if block else "inline")
    return BOLD.sub(_bold, " ".join(text.split()))  # an empty line would end the formula


def _bold(found: re.Match[str]) -> str:
    """Browsers ignore ``mathvariant="bold"``, but Unicode has its own bold letters."""
    letter = found[1]
    return f"<mi>{chr((0x1D400 - ord('A') if letter.isupper() else 0x1D41A - ord('a')) + ord(letter))}</mi>"


def _title(notebook: NotebookNode, name: str) -> str:
    found = re.search(r"^# (.+)$", notebook.cells[0].source if notebook.cells else "", re.MULTILINE)
    return found[1] if found else name


def _goals(notebook: NotebookNode) -> str:
    """The list of goals at the start of a notebook, for the contents."""
    opening = notebook.cells[0].source if notebook.cells else ""
    goals = re.findall(r"^\* (.+?)(?=\n\*|\n\n|\Z)", opening, re.MULTILINE | re.DOTALL)
    items = "".join(f"<li>{_inline(goal.rstrip(',.'))}</li>" for goal in goals)
    return f"<ul>{items}</ul>" if items else ""


def _inline(markdown: str) -> str:
    """One line of Markdown without its paragraph."""
    return re.sub(r"^<p>|</p>$", "", str(markdown2html(mathml(" ".join(markdown.split())))).strip())


def _link(path: Path | None, titles: dict[Path, str], form: str) -> str:
    """A link to a neighbouring page; a long title ends at its colon or question mark."""
    if path is None:
        return ""
    short = re.split(r"(?<=\?) |: ", titles[path])[0]
    return f'<a href="{path.stem}.html">{form.format(html.escape(short))}</a>'


def _page(title: str, body: str) -> str:
    light = HtmlFormatter(style="friendly").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<style>{light}\n@media (prefers-color-scheme: dark) {{ {dark} }}\n{STYLE}</style></head>"
        f"<body>{body}</body></html>"
    )

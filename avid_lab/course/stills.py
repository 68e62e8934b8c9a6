"""A slider that needs no kernel: all its pictures are drawn in advance."""

from __future__ import annotations

import base64
import html
import io
import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = 64  # in the palette: flat figures need few, and photographs still look right
_NUMBERS = itertools.count(1)


class Frames:
    """Pictures and a slider, as one piece of HTML."""

    def __init__(self, markup: str, label: str, count: int) -> None:
        self.markup, self.label, self.count = markup, label, count

    def _repr_html_(self) -> str:
        return self.markup

    def __repr__(self) -> str:
        return f"Frames({self.label!r}, {self.count} pictures)"


def frames(
    draw: Callable[..., Figure | Axes],
    values: Sequence[float | str],
    *,
    label: str,
    start: int | None = None,
    dpi: int = 80,
    alt: str = "",
) -> Frames:
    """Draw a figure for each value of a slider, and join them.

    Args:
        draw: Takes a value, returns a matplotlib Figure or Axes.
        values: The slider's values, two or more; a dozen is plenty.
        label: The slider's label, "temperature".
        start: Index of the first value shown (default: the middle one).
        dpi: Dots per inch of the pictures.
        alt: Alternative text: what the pictures show.

    Raises:
        ValueError: Fewer than two values, or ``start`` is out of range.
    """
    if len(values) < 2:
        raise ValueError(f"values must be two or more; got {len(values)}")
    start = len(values) // 2 if start is None else start
    if not 0 <= start < len(values):
        raise ValueError(f"start must be in [0, {len(values)}); got {start}")
    name = f"avid-frames-{next(_NUMBERS)}"
    texts = [value if isinstance(value, str) else f"{value:g}" for value in values]
    images = []
    for number, (value, text) in enumerate(zip(values, texts, strict=True)):
        shown = "block" if number == start else "none"
        what = html.escape(f"{alt or label} at {text}", quote=True)
        images.append(f'<img src="{_png(draw(value), dpi)}" alt="{what}" style="display:{shown};max-width:100%">')
    steps = html.escape("|".join(texts), quote=True)
    turn = (
        "var f=this.closest('figure'),n=+this.value;f.querySelectorAll('img').forEach((x,i)=>{"
        "x.style.display=i==n?'block':'none'});f.querySelector('output').value=f.dataset.steps.split('|')[n]"
    )
    return Frames(
        f'<figure class="avid-frames" id="{name}" data-steps="{steps}" style="margin:.5em 0">{"".join(images)}'
        f'<figcaption><label>{html.escape(label)} <input type="range" min="0" max="{len(values) - 1}" value="{start}" '
        f'style="width:20em;vertical-align:middle" oninput="{turn}"></label> <output>{texts[start]}</output>'
        "</figcaption></figure>",
        label,
        len(values),
    )


def _png(picture: Figure | Axes, dpi: int) -> str:
    """A figure as a data URL: PNG with a palette."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    figure = picture if isinstance(picture, Figure) else picture.get_figure(root=True)
    if figure is None:
        raise ValueError("draw must return axes that belong to a figure; got axes without one")
    raw, small = io.BytesIO(), io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(raw, format="png", dpi=dpi, metadata={"Software": None})
    Image.open(raw).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(small, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(small.getvalue()).decode()

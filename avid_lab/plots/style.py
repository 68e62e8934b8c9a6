"""The style of all figures: colours, fonts, and a figure that notebooks show without any backend setting."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from io import BytesIO
from typing import Any, ParamSpec, TypeVar, cast

import matplotlib as mpl
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox
from PIL import Image, ImageDraw
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")

PAPER = "#ffffff"  # a figure is a card: on a dark page dark text stays on white, within round corners
INK = "#1d2733"
MUTED = "#66717e"
FAINT = "#c3cad2"
GRID = "#e8ebef"


@dataclass(frozen=True)
class Theme:
    """Colours by their role."""

    paper: str = PAPER
    ink: str = INK
    muted: str = MUTED
    faint: str = FAINT
    grid: str = GRID


LIGHT, DARK = Theme(), Theme("#111418", "#e8ebef", "#a3adb8", "#5a636e", "#2c333b")
_theme: ContextVar[Theme] = ContextVar("theme", default=LIGHT)


@contextmanager
def dark() -> Iterator[None]:
    """Draw figures with a dark theme: ``with plots.dark(): ...``."""
    before = _theme.set(DARK)
    try:
        yield
    finally:
        _theme.reset(before)


def paint(colour: str) -> str:
    """The colour for a role of the theme, or a colour itself; the dark theme lightens dark colours until they show."""
    theme = _theme.get()
    if colour in Theme.__dataclass_fields__:
        return getattr(theme, colour)
    rgb = np.array(to_rgb(colour))
    while theme is DARK and rgb @ (0.2126, 0.7152, 0.0722) < 0.42:
        rgb += 0.12 * (1 - rgb)
    return to_hex(tuple(rgb.tolist()))


MARGIN = 7 / 96  # inches around a figure
SHEET_WIDTH = 9.0  # inches: a figure that fills the width of a notebook

VIDEO = "#0072b2"
AUDIO = "#d95f0e"
GOOD = "#00845c"
BAD = "#c8470a"

# Two dozen colours that differ in lightness and hue. Colour-blind readers can tell the first eight apart by colour,
# the others with the help of their marker or label.
COLOURS = (
    "#0072b2", "#e06a1b", "#009e73", "#b5478c", "#56b4e9", "#d9a400", "#4b3190", "#8c2d04", "#7f8c1a", "#606a76",
    "#e377a8", "#00a6b4", "#c2272d", "#1b3a6b", "#a6c832", "#b59a7a", "#9b8ae0", "#1f5c3a", "#f29e8e", "#2b2b2b",
    "#6f97a8", "#7a1f5c", "#45cfa6", "#ffb86b",
)  # fmt: skip
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")


def halo() -> tuple[patheffects.AbstractPathEffect, ...]:
    """An outline in the colour of the paper, which keeps text readable on top of marks."""
    return (patheffects.withStroke(linewidth=3, foreground=_theme.get().paper),)


def _style() -> dict[str, Any]:
    theme = _theme.get()
    return STYLE | {name: getattr(theme, role) for name, role in ROLES.items()}


ROLES = {"text.color": "ink", "axes.titlecolor": "ink", "axes.labelcolor": "muted", "axes.edgecolor": "faint",
         "grid.color": "grid", "xtick.color": "muted", "ytick.color": "muted", "figure.facecolor": "paper",
         "axes.facecolor": "paper", "savefig.facecolor": "paper"}  # fmt: skip
STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.parse_math": False,  # names of classes and files are plain text, even with dollar signs
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlepad": 10,
    "axes.labelsize": 10,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.linewidth": 0.8,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "legend.frameon": False,
    "legend.fontsize": 9,
}


class NotebookFigure(Figure):
    """A matplotlib `Figure` that a notebook displays by itself, sharp on high-density screens, without pyplot."""

    # Stills and spectrograms are four times smaller as JPEG; lines and text are smaller and cleaner as PNG.
    photographic = False

    def _shown(self, wanted: str) -> tuple[bytes, dict[str, int]] | None:
        if (wanted == "image/jpeg") != self.photographic:
            return None
        width, height = (round(96 * (inches + 2 * MARGIN)) for inches in self.get_size_inches())
        return encode(self)[1], {"width": width, "height": height}

    def _repr_png_(self) -> tuple[bytes, dict[str, int]] | None:
        return self._shown("image/png")

    def _repr_jpeg_(self) -> tuple[bytes, dict[str, int]] | None:
        return self._shown("image/jpeg")


class NotebookAxes(Axes):
    """`Axes` that a notebook shows when they are the last expression of a cell; the title is at the left."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]] | None:
        figure = self.get_figure(root=True)
        return figure._repr_png_() if isinstance(figure, NotebookFigure) else None

    def set_title(self, label: str, *args: Any, **options: Any) -> Any:
        """Set the title, as in matplotlib; at the left by default."""
        return super().set_title(label, *args, **({} if len(args) > 1 else {"loc": "left"}) | options)

    def set_xscale(self, value: Any, **options: Any) -> None:
        """Set the scale of the x axis: matplotlib's own method; powers of ten are written as such."""
        super().set_xscale(value, **options)
        _write_powers(self.xaxis)

    def set_yscale(self, value: Any, **options: Any) -> None:
        """Set the scale of the y axis: matplotlib's own method; powers of ten are written as such."""
        super().set_yscale(value, **options)
        _write_powers(self.yaxis)


def _write_powers(axis: Axis) -> None:
    for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
        for label in (tick.label1, tick.label2):
            label.set_parse_math(True)


def encode(figure: Figure) -> tuple[str, bytes]:
    """MIME type and bytes of a figure, at 1.5 pixels per screen pixel: a card with a margin, its corners round."""
    sharp = 1.5 * 96
    width, height = figure.get_size_inches()
    card = Bbox([[-MARGIN, -MARGIN], [width + MARGIN, height + MARGIN]])
    with BytesIO() as drawn, BytesIO() as buffer:
        figure.savefig(drawn, format="png", dpi=sharp, facecolor=figure.get_facecolor(), bbox_inches=card)
        picture = Image.open(drawn)
        if getattr(figure, "photographic", False):
            picture.convert("RGB").save(buffer, "jpeg", quality=88, subsampling=0, optimize=True)
            return "image/jpeg", buffer.getvalue()
        corners = Image.new("L", picture.size)
        ImageDraw.Draw(corners).rounded_rectangle((0, 0, picture.width - 1, picture.height - 1), MARGIN * sharp, 255)
        picture.putalpha(corners)
        picture.save(buffer, "png")
        return "image/png", buffer.getvalue()


def styled(function: Callable[P, R]) -> Callable[P, R]:
    """Run a plotting function with the package's style; the caller's settings do not change."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context(cast(Any, _style())):
            return function(*args, **kwargs)

    return wrapper


def new_figure(width: float | int, height: float | int, *, photographic: bool = False) -> NotebookFigure:
    """An empty figure; width and height in inches, at 96 screen pixels per inch."""
    figure = NotebookFigure(figsize=(width, height), dpi=96, layout="constrained", facecolor=_theme.get().paper)
    figure.photographic = photographic
    return figure


def add_axes(figure: NotebookFigure, cell: Any = 111, **options: Any) -> NotebookAxes:
    """Add axes to a figure, in a cell of its grid."""
    return cast(NotebookAxes, figure.add_subplot(cell, axes_class=NotebookAxes, **options))


def axes_grid(
    count: int, columns: int, row_height: float | int, title: str | None, *, margin: float | int = 0.05
) -> tuple[NotebookFigure, list[NotebookAxes]]:
    """A figure of photographs with a title above them.

    Args:
        count: Number of axes.
        columns: Axes in a row.
        row_height: Height of a row in inches.
        title: Title; none if empty.
        margin: Inches for the labels of the last row.
    """
    rows = -(-count // columns)
    figure = new_figure(SHEET_WIDTH, row_height * rows + margin + 0.3 * bool(title), photographic=True)
    cells = figure.add_gridspec(rows, columns)
    set_heading(figure, title)
    return figure, [add_axes(figure, cells[divmod(place, columns)]) for place in range(count)]


def set_heading(figure: Figure, title: str | None) -> None:
    """Write the title of a whole figure, if there is one, at the left above its axes."""
    if title:
        figure.suptitle(title, x=0.01, ha="left", weight="bold", fontsize=11.5)


def axes_or_new(ax: Axes | None, width: float | int, height: float | int) -> Axes:
    """The caller's axes, or axes in a new figure of this size in inches."""
    return add_axes(new_figure(width, height)) if ax is None else ax


def note(ax: Axes, text: str, at: Any, shift: tuple[float | int, float | int] = (0, 0), **style: Any) -> Annotation:
    """Write text at a position in the data, shifted by points; it may lie outside the axes."""
    style = {"fontsize": 9.5, "va": "center", "color": paint("ink"), "annotation_clip": False} | style
    return ax.annotate(text, at, shift, textcoords="offset points", **style)


def legend_above(ax: Axes, title: str | None = None) -> None:
    """Put the legend above the axes, at the right, and the title, if any, above the legend."""
    columns = 4
    ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=columns, handlelength=1.4, borderaxespad=0.2)
    if title:
        lines = -(-len(ax.get_legend_handles_labels()[1]) // columns)
        ax.set_title(title, loc="left", pad=8 + 15 * lines)


def class_colour(index: int) -> str:
    """Colour of a class; colours repeat after 24."""
    return COLOURS[index % len(COLOURS)]


def class_marker(index: int) -> str:
    """Marker of a class; pairs of colour and marker repeat after 192 classes."""
    return MARKERS[(index + index // len(COLOURS)) % len(MARKERS)]


def in_words(name: str) -> str:
    """The name of a class as text: its underscores become spaces."""
    return name.replace("_", " ")


def require_some(values: Sized, name: str, what: str) -> None:
    """Check that there is something to draw.

    Args:
        values: The argument.
        name: Its name.
        what: What it must have one of, such as "name with its values".

    Raises:
        ValueError: It is empty.
    """
    if len(values) == 0:
        raise ValueError(f"{name} must have at least one {what}; got none")


def array(values: Any, name: str, *shape: int | None) -> np.ndarray:
    """``values`` as a numpy array of a required shape.

    Args:
        values: A tensor (of any device), an array or nested lists of numbers.
        name: Name in the error message.
        *shape: The required size of each dimension; ``None`` accepts any size.

    Raises:
        ValueError: The number of dimensions or a size differs.
    """
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.is_floating_point() else values).numpy()
    found = np.asarray(values)
    if found.ndim != len(shape) or any(want not in (None, got) for want, got in zip(shape, found.shape, strict=True)):
        sizes = ", ".join("*" if size is None else str(size) for size in shape)
        wanted = f"({sizes},)" if len(shape) == 1 else f"({sizes})"
        raise ValueError(f"{name} must have shape {wanted}, * being any size; got {found.shape}")
    return found


def frames_of(video: Any, name: str = "video") -> np.ndarray:
    """Convert a clip ``(3, T, H, W)``, uint8 or floats in [0, 1], to frames ``(T, H, W, 3)`` in uint8.

    Raises:
        ValueError: The layout differs, or floats are outside [0, 1], as in normalised inputs of a network.
    """
    frames = array(video, name, None, None, None, None)
    if frames.shape[0] != 3:
        raise ValueError(
            f"{name} must be (3, T, H, W), colours first; got {frames.shape}. "
            "For (T, H, W, 3) pass np.moveaxis(video, -1, 0)."
        )
    return np.moveaxis(_bytes(frames, name), 0, -1)


def image_of(frame: Any, name: str = "frame") -> np.ndarray:
    """Convert an image ``(3, H, W)`` or ``(H, W, 3)``, uint8 or floats in [0, 1], to ``(H, W, 3)`` in uint8.

    Raises:
        ValueError: The shape differs, or floats are outside [0, 1].
    """
    image = array(frame, name, None, None, None)
    if image.shape[-1] != 3 and image.shape[0] == 3:
        image = np.moveaxis(image, 0, -1)
    if image.shape[-1] != 3:
        raise ValueError(f"{name} must be (3, H, W) or (H, W, 3); got {image.shape}")
    return _bytes(image, name)


def _bytes(pixels: np.ndarray, name: str) -> np.ndarray:
    if pixels.dtype == np.uint8:
        return pixels
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= -1e-3 and high <= 1 + 1e-3 and np.issubdtype(pixels.dtype, np.floating)):
        raise ValueError(
            f"{name} must be uint8, or floats in [0, 1]; got {pixels.dtype} in [{low:.3g}, {high:.3g}]. "
            "Draw the clip as it was read, before it is normalised."
        )
    return np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8)

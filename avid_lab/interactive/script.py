"""Widgets with their own script in the page, loaded once per page rather than once per widget."""

from __future__ import annotations

from pathlib import Path

import anywidget
import traitlets

HERE = Path(__file__).parent

# A browser keeps every imported module, about 0.1 MB for each of ours, and anywidget imports again for every widget. So
# it imports this small module; the script itself is sent as a trait, and widgets of one kind share one import.
LOADER = """
const scripts = globalThis.avidLabScripts ??= new Map()

async function render(context) {
    const text = context.model.get("_script")
    if (!scripts.has(text)) {
        const address = URL.createObjectURL(new Blob([text], {type: "text/javascript"}))
        scripts.set(text, import(address).finally(() => URL.revokeObjectURL(address)))
    }
    const stop = (await scripts.get(text)).default.render(context)
    return () => {
        stop?.()
        context.el.replaceChildren()  // JupyterLab keeps the view of a closed widget: then at least an empty one
    }
}

export default {render}
"""


class Scripted(anywidget.AnyWidget):
    """A widget that is drawn in the page. A subclass gives ``_script = script("its.js")``, ``_css = text("its.css")``.

    Texts, not paths: the class of a path listens to the file for each widget, and so keeps them all when closed.
    """

    _esm = LOADER
    _script = traitlets.Unicode().tag(sync=True)


def text(*names: str) -> str:
    """Files of this folder, one after the other."""
    return "\n".join((HERE / name).read_text(encoding="utf-8") for name in names)


def script(*names: str) -> traitlets.Unicode:
    """The same as the trait that a script travels in."""
    return traitlets.Unicode(text(*names)).tag(sync=True)

"""Functions for notebooks: predictions, notes, hints, progress, and everything a notebook needs to work alone.

    lab.predict("03-1", "Which gives the best pictures?", ["cross", "self", "joint"])
    lab.reveal("03-1", "cross", "two modalities share only the event")

Every box is also plain HTML, so a published notebook shows it without a kernel.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import ipywidgets
from IPython.display import display

from avid_lab.course import student
from avid_lab.course.badge import SIGNS, Box, prose
from avid_lab.course.stage import Stage, stage
from avid_lab.course.wrapping import credit, hint, solution
from avid_lab.interactive import ask

__all__ = ["Stage", "ask", "credit", "hint", "note", "predict", "progress", "reveal", "solution", "stage"]

NOT_SAVED = "✗ Not saved: it is lost when the kernel stops."

_ASKED: dict[str, tuple[str, ...]] = {}  # options of the predictions in this kernel


def predict(
    key: str,
    question: str,
    options: Sequence[str] | None = None,
    *,
    low: float | None = None,
    high: float | None = None,
    unit: str = "",
) -> None:
    """Ask for a guess before the result is shown. Nothing waits for an answer.

    Args:
        key: The prediction's key, "03-1": the first of notebook 03.
        question: What to predict.
        options: The choices; None asks for a number.
        low: Smallest number on the slider; needs ``high``. Without both, the student types any number.
        high: Largest number on the slider.
        unit: Shown after the number.

    Raises:
        ValueError: Fewer than two options, or only one end of the slider.
    """
    if options is not None and len(set(options)) < 2:
        raise ValueError(f"options must be two or more different ones, or None for a number; got {list(options)}")
    if (low is None) != (high is None):
        raise ValueError(f"low and high go together; got {low} and {high}")
    _ASKED[key] = tuple(options or ())
    before = student.record()["predictions"].get(key, {}).get("guess")
    control, still = _choice(options, before) if options else _number(low, high, unit, before)
    said = ipywidgets.HTML("" if before is None else "<i>your guess so far</i>")

    def keep(change: dict[str, Any]) -> None:
        if change["new"] is not None:
            saved = student.write("predictions", key, question=question, guess=change["new"])
            said.value = "✓ <i>kept; read on to see</i>" if saved else NOT_SAVED

    control.observe(keep, names="value")
    row = [control, said]
    if not options:  # its value may be the guess as it stands, which no change would report
        sure = ipywidgets.Button(description="this is my guess", tooltip="Keep the number as it is")
        sure.on_click(lambda _: keep({"new": control.value}))
        row.insert(1, sure)
    head = f"<b>Predict first.</b> {prose(question)}"
    panel = ipywidgets.VBox([ipywidgets.HTML(str(Box("plain", head)._repr_html_())), ipywidgets.HBox(row)])
    _show(panel, Box("plain", f"{head}<br>{still}"))


def reveal(key: str, truth: str | float, because: str = "", *, close: float = 0.1) -> None:
    """Compare the guess with the result.

    Args:
        key: The prediction's key.
        truth: The right option or number.
        because: One sentence of explanation, starting with a lower-case letter, without a full stop.
        close: A guessed number counts as right if it differs from the truth by at most this share of the truth.

    Raises:
        ValueError: The truth is not one of the options.
    """
    if (options := _ASKED.get(key)) and str(truth) not in options:
        raise ValueError(f"truth of prediction {key!r} must be one of {', '.join(options)}; got {truth!r}")
    shown = f"{truth:.3g}" if isinstance(truth, float) else str(truth)
    entry = student.record()["predictions"].get(key, {})
    guess = entry.get("guess")
    answer = f"It is <b>{html.escape(shown)}</b>.{_sentence(because)}"
    if guess is None:
        display(Box("plain", f"{answer} (You made no guess.)"))
        return
    hit = guess == truth
    if isinstance(guess, (int, float)) and not isinstance(truth, str):
        hit = abs(guess - truth) <= close * max(abs(truth), 1e-9)
        said = f"You said {guess:g}, {abs(guess - truth):.3g} away."
    else:
        said = f"You said <i>{html.escape(str(guess))}</i>."
    student.write("predictions", key, truth=truth, hit=hit)
    verdict = "Well predicted." if hit else "A surprise teaches more than a lucky guess: what did you not think of?"
    display(Box("right" if hit else "blank", f"{answer}<br>{said} {verdict}"))


def note(key: str, prompt: str = "", text: str | None = None, **values: Any) -> None:
    """Keep the result of an experiment: show a text box, or save the given text and values.

    Args:
        key: The note's key, "07-1".
        prompt: What to write down.
        text: Text to save. Without text and values, a text box appears.
        values: Settings and results to save: numbers, words, lists of them.
    """
    if text is not None or values:
        plain = {name: value.item() if hasattr(value, "item") else value for name, value in values.items()}
        saved = student.write("notes", key, prompt=prompt, **({} if text is None else {"text": text}), values=plain)
        said = " ".join(filter(None, [text, ", ".join(f"{name} = {value}" for name, value in plain.items())]))
        display(Box("plain", f"<b>{'Noted.' if saved else NOT_SAVED}</b> {html.escape(said)}"))
        return
    before = student.record()["notes"].get(key, {}).get("text", "")
    box = ipywidgets.Textarea(before, placeholder="what you saw, in a sentence or two", rows=3, continuous_update=False)
    box.layout.width = "44em"
    kept = ipywidgets.HTML()

    def keep(change: dict[str, Any]) -> None:
        saved = student.write("notes", key, prompt=prompt, text=change["new"])
        kept.value = "✓ <i>kept</i>" if saved else NOT_SAVED

    box.observe(keep, names="value")
    head = f"<b>Write down.</b> {prose(prompt)}"
    _show(
        ipywidgets.VBox([ipywidgets.HTML(str(Box("plain", head)._repr_html_())), box, kept]),
        Box("plain", f'{head}<br><textarea rows="3" style="width:95%">{html.escape(before)}</textarea>'),
    )


def progress(notebook: str | None = None) -> None:
    """Show which exercises are solved, which mistakes were made on the way, and how many predictions came true.

    Args:
        notebook: Only this one, "02"; None shows all.
    """
    from avid_lab.course.exercises import EXERCISES

    known = student.record()
    rows, learned = [], []
    for name in sorted({exercise.notebook for exercise in EXERCISES.values()}):
        if notebook is not None and name != notebook:
            continue
        cells = []
        for exercise in EXERCISES.values():
            if exercise.notebook == name:
                entry = known["exercises"].get(exercise.name, {})
                status = "right" if entry.get("solved") else entry.get("status", "blank")
                helped = " (solution seen)" if entry.get("solution_seen") else ""
                cells.append(f"{SIGNS[status]} <code>{exercise.name}</code>{helped}")
                learned += [f"<code>{exercise.name}</code>: {prose(title)}" for title in entry.get("mistakes", [])]
        guessed = [p for key, p in known["predictions"].items() if key.startswith(f"{name}-") and "hit" in p]
        came_true = f"{sum(p['hit'] for p in guessed)} of {len(guessed)} predictions came true" if guessed else ""
        rows.append(f"<tr><td><b>{name}</b></td><td>{' &nbsp; '.join(cells)}</td><td>{came_true}</td></tr>")
    solved = sum(bool(known["exercises"].get(name, {}).get("solved")) for name in EXERCISES)
    head = f"<b>{solved} of {len(EXERCISES)} exercises solved in the whole course.</b>"
    if not rows:
        display(Box("plain", f"{head} This notebook has no exercises that check themselves."))
        return
    head += " ✓ right &nbsp; ✗ not yet &nbsp; ○ not started"
    table = f'{head}<table style="margin:.4em 0;text-align:left">{"".join(rows)}</table>'
    if learned := list(dict.fromkeys(learned)):
        items = "".join(f"<li>{line}</li>" for line in learned)
        table += f"<details><summary>Mistakes on the way ({len(learned)})</summary><ul>{items}</ul></details>"
    display(Box("plain", table))


def _sentence(text: str) -> str:
    """A sentence after a full stop: " Softmax ranks." from "softmax ranks"."""
    end = "" if not text or text[-1] in ".?!" else "."
    return f" {prose(text[:1].upper() + text[1:] + end)}" if text else ""


def _choice(options: Sequence[str], before: Any) -> tuple[Any, str]:
    value = before if before in options else None
    control = ipywidgets.RadioButtons(options=list(options), value=value, layout={"width": "max-content"})
    marks = [
        f'<label style="margin-right:1.2em"><input type="radio" name="x"> {html.escape(o)}</label>' for o in options
    ]
    return control, f"<form>{''.join(marks)}</form>"


def _number(low: float | None, high: float | None, unit: str, before: Any) -> tuple[Any, str]:
    value = before if isinstance(before, (int, float)) else None
    if low is None or high is None:
        control = ipywidgets.FloatText(value=value or 0.0, description=unit, continuous_update=False)
        return control, f'<input type="number" step="any"> {html.escape(unit)}'
    middle = (low + high) / 2 if value is None else min(max(value, low), high)
    control = ipywidgets.FloatSlider(
        value=middle, min=low, max=high, step=(high - low) / 100, description=unit, continuous_update=False
    )
    still = (
        f'<input type="range" min="{low}" max="{high}" step="{(high - low) / 100}" '
        'oninput="this.nextElementSibling.value=this.value">'
    )
    return control, f"{low:g} {still} <output></output> {html.escape(unit)} (to {high:g})"


def _show(panel: Any, still: Box) -> None:
    """Show the widget if there is a kernel, and its HTML picture if there is none."""
    bundle = panel._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    display({**(data or {}), "text/html": still._repr_html_(), "text/plain": repr(still)}, raw=True)

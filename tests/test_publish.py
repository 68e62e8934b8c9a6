"""Building notebooks: what is kept, what is removed, and what stops the build."""

import base64
import json
from io import BytesIO
from pathlib import Path

import nbformat
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from avid_lab.course import editions, publish, site
from avid_lab.course.claims import ClaimError, claim
from avid_lab.plots.style import add_axes, encode, new_figure

LESSON = """\
# %% [markdown]
# # A lesson
# with two lines

# %% tags=["reveal"]
import os, sys, tempfile, warnings
from pathlib import Path
from tqdm import tqdm
from tqdm.auto import tqdm as tqdm_widget

for _ in tqdm_widget(tqdm(range(3))):
    pass
print("almost\\rdone", os.environ["OMP_WAIT_POLICY"])
print(Path.home() / "clips", sys.prefix, Path(tempfile.gettempdir()) / "x")
object()

# %%
import ipywidgets
from IPython.display import HTML, display

display(ipywidgets.IntSlider())
panel = {"text/plain": "panel", "text/html": "<b>its picture</b>", "application/vnd.jupyter.widget-view+json": {}}
display(panel, raw=True)
2 + 2

# %%
2 + 2
"""


def write_source(folder: Path, text: str, name: str = "03_lesson") -> Path:
    source = folder / "source" / f"{name}.py"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_text(text)
    return source


@pytest.fixture(scope="module")
def lesson(tmp_path_factory):
    """A source and the notebook built from it."""
    folder = tmp_path_factory.mktemp("lesson")
    source = write_source(folder, LESSON)
    return source, publish.build(source, folder)


def test_the_notebook_keeps_what_a_reader_wants_and_nothing_else(lesson):
    _, path = lesson
    notebook = nbformat.read(path, as_version=4)
    assert [cell.cell_type for cell in notebook.cells] == ["markdown", "code", "code", "code", "code"]
    assert notebook.cells[0].source == "# A lesson\nwith two lines"
    assert notebook.cells[1].source == publish.SETUP and notebook.cells[1].outputs == []
    printed, result = notebook.cells[2].outputs  # neither of the two progress bars
    assert printed.text == "done passive\n~/clips .venv <temporary>/x\n"
    assert result.data["text/plain"] == "<object at 0x...>"
    panel, four = notebook.cells[3].outputs  # the slider left no picture, so nothing of it stays
    assert panel.data == {"text/plain": "panel", "text/html": "<b>its picture</b>"}
    assert four.data["text/plain"] == "4"
    assert notebook.cells[2].metadata == {"tags": ["reveal"]}
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert str(Path.home()) not in path.read_text()


def test_building_again_gives_the_same_bytes(lesson, tmp_path):
    source, path = lesson
    assert publish.build(source, tmp_path).read_bytes() == path.read_bytes()


def test_new_prose_keeps_the_outputs_of_the_same_code(lesson, tmp_path):
    _, path = lesson
    out = tmp_path / "out"
    out.mkdir()
    (out / path.name).write_bytes(path.read_bytes())
    reworded = write_source(tmp_path, LESSON.replace("with two lines", "with three lines"))
    made = nbformat.read(publish.build(reworded, out, keep_outputs=True), as_version=4)
    before = nbformat.read(path, as_version=4)
    assert made.cells[0].source == "# A lesson\nwith three lines"
    assert [cell.outputs for cell in made.cells[1:]] == [cell.outputs for cell in before.cells[1:]]
    assert publish.drift(reworded, out / path.name) == []

    recoded = write_source(tmp_path, LESSON.replace("2 + 2", "2 + 3"))
    with pytest.raises(publish.PublishError, match="its code differs from the source"):
        publish.build(recoded, out, keep_outputs=True)
    with pytest.raises(publish.PublishError, match="not there"):
        publish.build(reworded, tmp_path / "empty", keep_outputs=True)


def test_a_fresh_notebook_has_not_drifted(lesson):
    assert publish.drift(*lesson) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [("2 + 2", "2 + 3"), ("with two lines", "with other lines"), ("# %%\n2 + 2\n", "# %%\n2 + 2\n\n# %%\n5\n")],
)
def test_drift_names_the_file_and_the_fix(lesson, tmp_path, before, after):
    _, path = lesson
    assert before in LESSON
    (trouble,) = publish.drift(write_source(tmp_path, LESSON.replace(before, after)), path)
    assert path.name in trouble
    assert "avid-lab publish 03_lesson" in trouble


def test_leftovers_in_a_notebook_are_drift(lesson, tmp_path):
    source, path = lesson
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata["widgets"] = {}
    notebook.cells[1].outputs.append(nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=[]))
    nbformat.write(notebook, tmp_path / path.name)
    troubles = publish.drift(source, tmp_path / path.name)
    assert len(troubles) == 2
    assert "error" in troubles[0] and "widget" in troubles[1]
    assert "missing" in publish.drift(source, tmp_path / "nowhere.ipynb")[0]


def test_the_first_error_stops_the_press_and_keeps_the_old_notebook(tmp_path):
    old = tmp_path / "04_broken.ipynb"
    old.write_text("the old one")
    source = write_source(tmp_path, "# %%\na = 1\n\n# %%\na / 0\n\n# %%\nopen('never', 'w')\n", "04_broken")
    with pytest.raises(publish.PublishError, match=r"(?s)04_broken: cell 3 failed:\na / 0\n.*ZeroDivisionError"):
        publish.build(source, tmp_path)
    assert old.read_text() == "the old one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["04_broken.ipynb", "source"]


def test_a_notebook_too_large_names_its_largest_cells(tmp_path):
    source = write_source(tmp_path, "# %%\n1\n\n# %%\nprint('x' * 2_100_000)\n", "05_large")
    with pytest.raises(
        publish.PublishError, match=r"05_large: 2\.10 MB, .*under 2 MB\. Largest: cell 3 \(2\.10 MB\), cell 1"
    ):
        publish.build(source, tmp_path)
    assert not (tmp_path / "05_large.ipynb").exists()


def test_without_execution_there_are_no_outputs(tmp_path):
    path = publish.build(write_source(tmp_path, LESSON), tmp_path, execute=False)
    assert not any(cell.get("outputs") for cell in json.loads(path.read_text())["cells"])


def test_sources_are_chosen_by_the_start_of_their_names(tmp_path, unchecked):
    for name in ("00_start", "01_see", "10_end"):
        write_source(tmp_path, "1\n", name)
    folder = tmp_path / "source"
    assert [path.stem for path in publish.sources(folder)] == ["00_start", "01_see", "10_end"]
    assert [path.stem for path in publish.sources(folder, ["01", "10_end"])] == ["01_see", "10_end"]
    with pytest.raises(ValueError, match="must be one of 00_start, 01_see, 10_end; got '7'"):
        publish.sources(folder, ["7"])
    with pytest.raises(ValueError, match="found none"):
        publish.sources(tmp_path)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a = 1", "b = 2", "c = 3"]), max_size=6), st.integers(0, 6))
def test_ids_are_unique_and_survive_a_cell_put_in(tmp_path_factory, cells, place):
    folder = tmp_path_factory.mktemp("ids")
    before = publish.read_source(write_source(folder, "\n\n".join(f"# %%\n{cell}" for cell in cells)))
    grown = [*cells[:place], "new = 0", *cells[place:]]
    after = publish.read_source(write_source(folder, "\n\n".join(f"# %%\n{cell}" for cell in grown)))
    ids = [cell.id for cell in after.cells]
    assert len(set(ids)) == len(ids)
    assert [cell.id for cell in after.cells if cell.source != "new = 0"] == [
        cell.id for cell in before.cells or after.cells[:1]
    ]


def as_png(image) -> str:
    with BytesIO() as buffer:
        Image.fromarray(image).save(buffer, "png")
        return base64.b64encode(buffer.getvalue()).decode()


def test_charts_get_a_palette_and_photographs_stay_as_they_are():
    figure = new_figure(6, 4)
    add_axes(figure).plot(np.random.default_rng(0).normal(size=(30, 5)).cumsum(0))
    chart = np.asarray(Image.open(BytesIO(encode(figure)[1])))
    text = as_png(chart)
    small = publish.small_png(text)
    shown = np.asarray(Image.open(BytesIO(base64.b64decode(small))).convert("RGBA"), np.int16)
    clear, seen = chart[..., 3] < 128, chart[..., 3] == 255
    assert clear[0, 0] and (shown[clear, 3] == 0).all() and (shown[~clear, 3] == 255).all()  # the round corners
    assert len(small) < len(text) / 2 and np.abs(shown - chart)[seen].max() <= publish.LEVELS
    assert publish.small_png(small) == small
    chart = chart.copy()
    chart[100:150, :, 3] = 100
    assert publish.small_png(as_png(chart)) == as_png(chart)  # partly transparent
    noise = as_png(np.random.default_rng(0).integers(0, 255, (50, 50, 3), dtype=np.uint8))
    assert publish.small_png(noise) == noise


CLAIMS = """\
# %%
import os

lifted = 0.25
value = 41 + 1

# %% tags=["claim"]
claim("agreement lifts precision", lifted, above=0.2)
claim("by a quarter", lifted, between=(0.2, 0.3))

# %% tags=["claim"]
claim("by a half", lifted, above=0.5)
claim("never reached", 1)

# %%
value

# %% tags=["claim"]
claim("the order is that of the paper", all([True, False]))

# %% tags=["claim"]
claim("the name is right", lift, below=1)
"""


def test_claims_run_and_no_reader_sees_them(tmp_path, monkeypatch):
    monkeypatch.setenv("AVID_LAB_PROFILE", "cpu")
    kept = CLAIMS[: CLAIMS.index('# %% tags=["claim"]\nclaim("by a half"')] + "# %%\nvalue\n"
    source = write_source(tmp_path, kept)
    notebook = nbformat.read(publish.build(source, tmp_path), as_version=4)
    assert [cell.execution_count for cell in notebook.cells] == [1, 2, 3]
    assert notebook.cells[2].outputs[0].execution_count == 3 and notebook.cells[2].outputs[0].data["text/plain"] == "42"
    assert publish.drift(source, tmp_path / "03_lesson.ipynb") == []
    publish.build(source, tmp_path, keep_outputs=True)
    (edition,) = editions.student(source.parent, tmp_path / "student")
    (teachers,) = editions.instructor(source.parent, tmp_path / "teachers")
    site.build_site([tmp_path / "03_lesson.ipynb"], tmp_path / "site")
    page = tmp_path / "site" / "notebooks" / "03_lesson.html"
    assert not any("claim" in path.read_text() for path in (tmp_path / "03_lesson.ipynb", edition, teachers))
    assert "lifts precision" not in page.read_text()


def test_one_message_names_all_claims_that_do_not_hold(tmp_path, monkeypatch):
    monkeypatch.setenv("AVID_LAB_PROFILE", "cpu")
    source = write_source(tmp_path, CLAIMS)
    with pytest.raises(publish.PublishError) as caught:
        publish.build(source, tmp_path)
    _, *lines = str(caught.value).split("\n")
    assert lines[0] == '"by a half": must be above 0.5; got 0.25'
    assert lines[1] == '"the order is that of the paper": must be true; got 0'
    assert lines[2].startswith("NameError: name 'lift' is not defined") and "the name is right" in lines[-1]
    assert not (tmp_path / "03_lesson.ipynb").exists()


def test_where_nothing_is_trained_claims_run_and_are_not_judged(tmp_path, monkeypatch):
    monkeypatch.setenv("AVID_LAB_PROFILE", "smoke")
    with pytest.raises(publish.PublishError, match=r"hold\.[^\n]*\nNameError: name 'lift' is not defined, in\n.*claim"):
        publish.build(write_source(tmp_path, CLAIMS), tmp_path)


@pytest.mark.parametrize("value", [0.1, 0.5, float("nan"), np.float32(0.6)])
def test_a_claim_names_the_sentence_the_number_and_the_bound(value, monkeypatch):
    monkeypatch.setenv("AVID_LAB_PROFILE", "cpu")
    claim("in the range", np.array([0.3]), above=0.2, below=0.4)
    with pytest.raises(ClaimError, match=r'"a third": must be between 0\.2 and 0\.4; got'):
        claim("a third", value, between=(0.2, 0.4))
    with pytest.raises(ClaimError, match=r"must be above 0\.7 and below 0\.1; got"):
        claim("both", value * 0 + 0.5, above=0.7, below=0.1)
    with pytest.raises(ValueError, match=r"\(low, high\)"):
        claim("empty", value, between=(1.0, 0.0))


def test_a_panel_is_published_as_its_snapshot_alone():
    behind = nbformat.v4.new_output(
        "display_data", {"text/html": '<div class="avid-snapshot avid-behind">picture</div>'}
    )
    view = nbformat.v4.new_output("display_data", {publish.WIDGET: {"model_id": "1"}, "text/plain": "Lines()"})
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("panel", outputs=[behind, view])])
    publish.clean(notebook)
    (output,) = notebook.cells[0].outputs
    assert output.data == {"text/html": '<div class="avid-snapshot">picture</div>'}


def test_of_a_panel_shown_again_the_later_picture_is_published():
    def shown(kind, title, picture):
        page = f'<div class="{kind}"><p class="avid-soft">As it was.</p><p><b>{title}</b></p>{picture}</div>'
        return nbformat.v4.new_output("display_data", {"text/html": page})

    early, other = (shown("avid-snapshot avid-behind", title, "step 0") for title in ("Run", "Another run"))
    late = shown("avid-snapshot", "Run", "step 40")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("panel", outputs=[early, other, late])])
    publish.clean(notebook)
    pages = [output.data["text/html"] for output in notebook.cells[0].outputs]
    assert ["step 0" in page for page in pages] == [True, False] and "Another run" in pages[0]

"""The project's rules: one list of dependencies, existing commands, layers of imports, cheap imports."""

import ast
import re
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def tool(*command):
    """Run a tool of this environment in the project's folder."""
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def test_environment_yml_leaves_the_list_to_pyproject():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, pins = environment["dependencies"]
    assert environment["name"] == "avid_lab"
    assert python == f"python{PROJECT['requires-python']}"
    assert (pip, pins) == ("pip", {"pip": ["-e ."]})


def targets():
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


PAGES = [ROOT / "README.md", ROOT / "notebooks" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_commands_of_the_pages_exist():
    text = "\n".join(page.read_text() for page in PAGES)
    assert set(re.findall(r"\bmake ([a-z]+)", text)) - {"this"} <= targets()
    assert {"lab", "test", "demo", "site"} <= targets()
    shown = tool("avid_lab", "--help").stdout
    commands = set(re.findall(r"\bavid-lab ([a-z]+)", text))
    assert commands
    assert all(re.search(rf"^ +{command}\b", shown, re.MULTILINE) for command in commands)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_the_pages_lead_to_files(page):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    here = [link for link in links if not link.startswith(("https://", "#"))]
    missing = [link for link in here if not (ROOT / link[1:] if link[0] == "/" else page.parent / link).exists()]
    assert not missing


def test_the_readme_stays_two_screens():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_make_says_what_it_can_do():
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert {line.split()[1] for line in shown.splitlines()} == targets()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["PYTHON="], "needs Python 3.11 or newer"), (["PYTHON=false"], "needs Python 3.11 or newer; false is")],
)
def test_make_without_a_python_says_what_is_missing(tmp_path, arguments, told):
    command = ["make", "-f", str(ROOT / "Makefile"), "lab", f"VENV={tmp_path / 'venv'}", *arguments]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert shown.returncode != 0
    assert told in shown.stdout
    assert not (tmp_path / "venv").exists()


def test_ruff():
    for command in (["check"], ["format", "--check"]):
        shown = tool("ruff", *command)
        assert shown.returncode == 0, shown.stdout + shown.stderr


def test_imports_go_down_only():
    shown = subprocess.run([Path(sys.executable).parent / "lint-imports"], cwd=ROOT, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stdout


@pytest.mark.slow
def test_pyright():
    shown = tool("pyright")
    assert shown.returncode == 0, shown.stdout


def test_the_library_loads_neither_plots_nor_widgets_nor_decoders():
    code = (
        "import sys; import avid_lab as al; al.AVID; al.AudioVisualModel; al.nce_loss; al.mine_positives\n"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"matplotlib", "ipywidgets", "av", "IPython", "sklearn"}
    assert "torch" in shown and not heavy & set(shown)


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["data", "index", "--help"]])
def test_help_loads_nothing_heavy(arguments):
    code = f"""
import sys
from avid_lab import cli
try:
    cli.main({arguments!r})
except SystemExit:
    print("heavy:", *({{"torch", "matplotlib", "ipywidgets", "av", "IPython", "sklearn"}} & set(sys.modules)))
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.startswith("usage:") and shown.splitlines()[-1] == "heavy:"


# What may be missing is looked for where it is needed; the kernel is not imported, Jupyter starts it.
OPTIONAL, NOT_IMPORTED = {"faiss-cpu", "sphinx", "triton", "umap-learn", "webdataset"}, {"ipykernel"}


def test_every_package_that_is_imported_is_a_dependency_and_no_other():
    names = {"faiss": {"faiss-cpu"}, "umap": {"umap-learn"}}
    for name, distributions in packages_distributions().items():
        names.setdefault(name, {distribution.lower().replace("_", "-") for distribution in distributions})
    imported = set()
    for path in (ROOT / "avid_lab").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                imported.add(node.module.split(".")[0])
    imported -= {*sys.stdlib_module_names, "avid_lab"}
    listed = {re.split(r"[<>=\[]", line)[0].lower().replace("_", "-") for line in PROJECT["dependencies"]}
    missing = [name for name in sorted(imported) if not names.get(name, {name}) & (listed | OPTIONAL)]
    needed = {distribution for name in imported for distribution in names.get(name, {name})}
    assert not missing
    assert listed - needed - NOT_IMPORTED == set()


def test_an_index_is_made_without_torch():
    code = "import sys; from avid_lab.datasets.probe_file import probe_file; print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "False"  # it takes a third of a gigabyte in every process


def test_no_file_imports_another_in_a_circle():
    """Including imports in functions, without those for type checkers only."""
    files = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in (ROOT / "avid_lab").rglob("*.py")}
    files = {name.removesuffix(".__init__"): path for name, path in files.items()}
    graph = {}
    for name, path in files.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        checked = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
            for inner in ast.walk(node)
        }
        imported = set()
        for node in ast.walk(tree):
            if id(node) in checked:
                continue
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                imported |= (inner & files.keys()) or {node.module}
        graph[name] = imported & files.keys() - {name}
    assert len(list(TopologicalSorter(graph).static_order())) == len(files)


def test_ci_runs_the_command_of_the_readme():
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    assert "make test" in (ROOT / "README.md").read_text()

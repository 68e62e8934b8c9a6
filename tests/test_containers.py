"""The files that build containers agree with the project. No image is built here."""

import json
import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def instructions():
    """Each instruction of the Dockerfile with its arguments."""
    lines = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE)).splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line.strip()]


def pins():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if not line.startswith("#")]
    return {canonicalize_name(pin.name): next(iter(pin.specifier)) for pin in found}


def test_every_dependency_is_pinned_to_one_version_that_it_allows():
    assert all(pin.operator == "==" for pin in pins().values())
    for requirement in map(Requirement, PROJECT["dependencies"]):
        assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)].version), requirement


def test_the_dockerfile_installs_with_the_pins_and_starts_the_lab_as_a_user():
    found = instructions()
    known = {"FROM", "ARG", "RUN", "WORKDIR", "COPY", "USER", "EXPOSE", "CMD"}
    assert {name for name, _ in found} <= known and found[0][0] == "FROM"
    names = [name for name, _ in found]
    assert ("USER", "student") in found and names.index("USER") > max(at for at, n in enumerate(names) if n == "RUN")
    assert any("--constraint constraints.txt ." in rest for name, rest in found if name == "RUN")
    program, command, *options = json.loads(found[-1][1])
    assert (program, command) == ("avid-lab", "lab") and "--ip=0.0.0.0" in options
    assert dict(found)["EXPOSE"] == next(option for option in options if "port" in option).removeprefix("--port=")
    assert {".git", ".venv"} <= set((ROOT / ".dockerignore").read_text().split())


def test_all_images_have_the_same_python():
    image = re.fullmatch(r"python:(\d+\.\d+)-slim-\w+", dict(instructions())["FROM"])[1]
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(image)
    assert (ROOT / ".binder" / "runtime.txt").read_text() == f"python-{image}\n"
    assert f"Python {image}" in (ROOT / "constraints.txt").read_text()


def test_the_development_container_builds_from_the_dockerfile():
    described = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    folder = ROOT / ".devcontainer"
    assert (folder / described["build"]["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert (folder / described["build"]["context"]).resolve() == ROOT
    assert ("USER", described["remoteUser"]) in instructions()
    assert str(described["forwardPorts"][0]) == dict(instructions())["EXPOSE"]


def test_binder_installs_the_project_with_the_pins():
    folder = ROOT / ".binder"
    option, place = (folder / "requirements.txt").read_text().split("\n")[:2]
    assert (folder / option.removeprefix("--constraint ")).resolve() == ROOT / "constraints.txt" and place == "."
    assert (folder / "postBuild").stat().st_mode & 0o111

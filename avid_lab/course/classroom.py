"""Everything that a class needs, in one folder: decoded clips, notebooks, the instructor's course, a hub's settings."""

from __future__ import annotations

from pathlib import Path

from avid_lab import foley
from avid_lab.config import PRESETS, course_profile, data_dir, profile
from avid_lab.course import editions, publish

HUB = '''"""Settings of a JupyterHub whose students share these clips. In the hub's own file:
load_subconfig({place!r})
"""

c = get_config()  # noqa: F821
c.Spawner.environment.update(
    {{
        "AVID_LAB_DATA": {data!r},  # students read it; what it lacks goes to their own ~/.cache/avid_lab
        "OMP_NUM_THREADS": "2",  # of each kernel; PyTorch would take all cores of the server
    }}
)
'''


def prepare(out: Path, source: Path, *, progress: bool = True) -> list[str]:
    """Write ``data``, ``notebooks``, ``instructor`` and ``jupyterhub_config.py`` below a folder.

    The clips are rendered and decoded into `data_dir`, for the profile of this machine. If interrupted, the next call
    continues. Everyone may read everything except ``instructor``, which has the solutions.

    Args:
        out: The class's folder, which must be at the same path on every machine that uses it.
        source: The folder of notebook sources.
        progress: Whether to show progress bars.

    Returns:
        A line for everything that was made.

    Raises:
        ValueError: There are no notebook sources.
        OSError: Too little disk space.
    """
    publish.sources(source)  # fails before two minutes of rendering
    out.mkdir(parents=True, exist_ok=True)
    instructor = out / "instructor"
    instructor.mkdir(exist_ok=True)
    instructor.chmod(0o700)
    made = []
    for world, model in {(chosen.world, chosen.model) for chosen in (profile(), course_profile())}:
        size = PRESETS[model]
        clips = foley.load(world, video=size.video, audio=size.audio, cache=True, progress=progress)
        made.append(f"{data_dir()}: {len(clips)} clips of the {world} world, decoded for the model {model}")
    notebooks = editions.student(source, out / "notebooks")
    made.append(f"{out / 'notebooks'}: {len(notebooks)} notebooks for students to copy")
    editions.instructor(source, instructor)
    made.append(f"{instructor}: the nbgrader course, with solutions; only you can read it")
    place = out / "jupyterhub_config.py"
    publish.write_text(place, HUB.format(place=str(place), data=str(data_dir())))
    made.append(f"{place}: settings for JupyterHub. Elsewhere, set AVID_LAB_DATA={data_dir()}")
    shared = [path for folder in (data_dir(), out / "notebooks") for path in (folder, *folder.rglob("*"))]
    for path in (out, place, *shared):
        path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
    return made

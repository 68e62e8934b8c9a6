"""Puts the course's notebooks, reference runs and pages into the wheel: see avid_lab/shipped.py."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CourseFiles(BuildHookInterface):
    """An editable install uses the files of its checkout."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name the folders, and where they go."""
        if version == "standard":
            build_data["force_include"] |= {
                name: f"avid_lab/course_files/{name}" for name in ("notebooks", "data", "docs")
            }

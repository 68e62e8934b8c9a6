"""To be written."""

from __future__ import annotations

from avid_lab.course.checks import Exercise

EXERCISES: tuple[Exercise, ...] = ()

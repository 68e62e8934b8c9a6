"""The course around the library: how its notebooks are built."""

"""Shared fixtures. Shapes and types in avid_lab's signatures are checked at run time in every test."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch: spinning threads slow shared cores tenfold
os.environ.setdefault("GOMP_SPINCOUNT", "0")

from jaxtyping import config as jaxtyping_config
from jaxtyping import install_import_hook

install_import_hook("avid_lab", "beartype.beartype")

import pytest


@pytest.fixture
def unchecked():
    """Turn the run-time shape checks off, so that the library's own errors are seen."""
    jaxtyping_config.update("jaxtyping_disable", True)
    yield
    jaxtyping_config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def smoke_world(tmp_path_factory):
    """The 64-clip world, rendered once per session into a temporary folder."""
    from avid_lab import foley

    folder = tmp_path_factory.mktemp("avid_lab_data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVID_LAB_DATA", str(folder))
        yield foley.load("smoke", progress=False)

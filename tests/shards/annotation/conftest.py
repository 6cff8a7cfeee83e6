"""Denormal numbers count: libraries that other tests load switch them off, and the reference results change."""

import sys

import pytest


@pytest.fixture(autouse=True, scope="package")
def denormals():
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)

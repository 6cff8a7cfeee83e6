"""How two processes share the tests out (`make test`): a file's tests stay together, and so do all that use a SLURM."""

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        uses_slurm = any(name.startswith("slurm") for name in getattr(item, "fixturenames", ()))
        item.add_marker(pytest.mark.xdist_group("slurm" if uses_slurm else item.nodeid.split("::")[0]))

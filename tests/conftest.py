"""One S3 server for all tests, and how two processes share the tests out (`make test`).

A file's tests stay together, and so do all that use a SLURM.
"""

from collections.abc import Iterator

import pytest

from mlseg_core.logs import log_as_command


@pytest.fixture(autouse=True)
def _logs_as_a_command() -> None:
    """Whatever the test before set."""
    log_as_command()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        uses_slurm = any(name.startswith("slurm") for name in getattr(item, "fixturenames", ()))
        item.add_marker(pytest.mark.xdist_group("slurm" if uses_slurm else item.nodeid.split("::")[0]))


def pytest_configure(config: pytest.Config) -> None:
    """Groups that nobody heeds would start a SLURM in each process: pytest 9.2 took away what pytest-xdist 3.8 marks them by."""
    if config.getoption("dist", "no") == "loadgroup" and not hasattr(pytest.Item, "_nodeid"):
        raise pytest.UsageError(
            "this pytest and this pytest-xdist do not keep groups of tests together: use pytest<9.2"
        )


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """A real S3 protocol on this machine; credentials and address in the environment, where child processes find them."""
    server_module = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    import boto3

    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "somebody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        boto3.client("s3").create_bucket(Bucket="bucket")
        yield "s3://bucket"
    server.stop()

"""One S3 server for all tests, how two processes share the tests out (`make test`), and which files took how long.

A file's tests stay together, and so do all that use a SLURM.
"""

from collections import Counter
from collections.abc import Iterator

import pytest

from mlseg_core.logs import log_as_command

MOST_FILES = 60
"""Files whose seconds are shown."""


@pytest.fixture(autouse=True)
def _logs_as_a_command() -> None:
    """Whatever the test before set."""
    log_as_command()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        uses_slurm = any(name.startswith("slurm") for name in getattr(item, "fixturenames", ()))
        item.add_marker(pytest.mark.xdist_group("slurm" if uses_slurm else item.nodeid.split("::")[0]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say where the time went: seconds of each file's tests and fixtures, the slowest first."""
    seconds: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[report.nodeid.split("::")[0]] += report.duration
    slowest = [f"{name.removeprefix('tests/')} {took:.0f}" for name, took in seconds.most_common(MOST_FILES)]
    if len(seconds) > MOST_FILES:
        terminalreporter.write_line(f"seconds by file, of {sum(seconds.values()):.0f} in all: {', '.join(slowest)}")


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

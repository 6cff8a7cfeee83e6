"""What a message looks like in a command and in a job, here and in processes that are started."""

import io
import logging
import re
import sys

import pytest

from mlseg_core.exactly_once.processes import run_workers
from mlseg_core.logs import PACKAGES, log_as_command, log_as_job

_log = logging.getLogger("shards.somewhere")
STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


def say() -> None:
    _log.debug("never shown")
    _log.info("12/500 slides at 100 %")
    _log.warning("%s cannot be read", "a.tif")


def test_a_command_speaks_to_people(capfd):
    log_as_command()
    say()
    _log.error("no such file")
    said = capfd.readouterr()
    assert said.out == "12/500 slides at 100 %\n"
    assert said.err == "mlseg: warning: a.tif cannot be read\nmlseg: error: no such file\n"


def test_a_job_says_when_who_and_how_bad(capfd):
    log_as_job(3)
    say()
    said = capfd.readouterr()
    assert re.fullmatch(rf"{STAMP} rank 3 INFO 12/500 slides at 100 %\n", said.out)
    assert re.fullmatch(rf"{STAMP} rank 3 WARNING a.tif cannot be read\n", said.err)


def test_setting_it_again_says_nothing_twice(capfd):
    log_as_command()
    log_as_job(0)
    log_as_command()
    say()
    assert capfd.readouterr().out.count("slides") == 1


def test_the_streams_of_the_time_are_used(monkeypatch):
    log_as_command()
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    say()
    assert sys.stdout.getvalue() == "12/500 slides at 100 %\n"  # type: ignore[attr-defined]


def warn(*, stop) -> None:
    _log.warning("from a process")


def test_processes_log_as_the_one_that_started_them(capfd):
    log_as_job(5)
    run_workers(warn, 2, lambda number, life: (), lambda number, life: None, lambda: None)
    assert len(re.findall(rf"{STAMP} rank 5 WARNING from a process\n", capfd.readouterr().err)) == 2


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_is_shown(capfd, package):
    logging.getLogger(f"{package}.module").warning("seen")
    assert capfd.readouterr().err == "mlseg: warning: seen\n"


def test_libraries_keep_their_ways(capfd):
    log_as_command()
    logging.getLogger("somebody.else").info("chatter")
    assert capfd.readouterr() == ("", "")

"""final-unseen is opened once, whatever happens to the run folder; a first opening that was killed may go on."""

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mlseg_core.errors import UserError
from mlseg_dist.evaluation import ledger

CORPUS = "c" * 64
TEACHERS = {"base": "1" * 64}


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "runs" / "demo"
    folder.mkdir(parents=True)
    return folder


def opened(run, inputs="a", **more):
    return ledger.open_split(run, CORPUS, inputs, TEACHERS, "mlseg evaluate", **more)


def test_a_second_opening_says_who_was_first_and_how_to_go_on(run):
    ledger.finish(run, opened(run))
    with pytest.raises(UserError, match=r"opened before: 20\d\d-.* by .*, mlseg evaluate.*--again") as refused:
        opened(run)
    assert str(run) in str(refused.value)
    again = opened(run, again="  reviewer 2 asked ")
    ledger.finish(run, again)
    first, second = ledger.read(run, CORPUS)
    assert (first.reason, second.reason) == ("", "reviewer 2 asked") and first.finished and second.finished
    assert second.teachers == TEACHERS and second.run == str(run)
    with pytest.raises(UserError, match="and 1 more times"):
        opened(run)


def test_a_copy_or_a_new_name_does_not_open_it_anew(run, tmp_path, monkeypatch):
    before = tmp_path / "before"
    shutil.copytree(run, before)
    ledger.finish(run, opened(run))
    after = tmp_path / "elsewhere" / "renamed"
    shutil.copytree(run, after)
    for copy in (before, after):
        with pytest.raises(UserError, match="opened before"):
            opened(copy)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another-user"))
    with pytest.raises(UserError, match="opened before"):
        opened(after)
    assert ledger.open_split(after, "d" * 64, "a", TEACHERS, "mlseg evaluate").corpus == "d" * 64, "another corpus"


def test_what_was_killed_goes_on_with_the_same_inputs_alone(run, home):
    first = opened(run)
    assert opened(run) == first
    with pytest.raises(UserError, match="opened before"):
        opened(run, inputs="b")
    own = run / ledger.FILE
    text = own.read_bytes()
    own.write_bytes(text[:-40])  # a power cut while the line was written: the user's copy still has it
    assert opened(run) == first
    shutil.rmtree(home / "mlseg")
    assert ledger.read(run, CORPUS) == []
    assert opened(run).id == first.id and own.read_bytes().count(b"\n") == 1
    ledger.finish(run, first)
    assert [one.finished for one in ledger.read(run, CORPUS)] == [True]


def test_a_campaign_may_make_the_same_figures_again_and_no_others(run):
    ledger.finish(run, opened(run, repeats=True))
    assert opened(run, repeats=True).finished
    with pytest.raises(UserError, match="opened before"):
        opened(run, inputs="b", repeats=True)


def test_workers_that_begin_at_the_same_time_make_one_opening(run):
    line = (run / ledger.FILE, opened(run))
    text = line[0].read_text()
    line[0].write_text(text * 3)
    assert ledger.read(run, CORPUS) == [line[1]]


def test_a_damaged_ledger_unlocks_nothing(run):
    opened(run)
    path = run / ledger.FILE
    path.write_text("{}\n" + path.read_text())
    with pytest.raises(UserError, match="line 1 is damaged"):
        opened(run)


def test_a_home_that_cannot_be_written_to_is_told_and_the_run_still_knows(run, monkeypatch, capsys):
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null")
    ledger.finish(run, opened(run))
    assert "is recorded in the run alone" in capsys.readouterr().err
    with pytest.raises(UserError, match="opened before"):
        opened(run)
    assert {json.loads(line)["event"] for line in (run / ledger.FILE).read_text().splitlines()} == {
        "opened",
        "finished",
    }


def test_of_many_that_ask_at_once_one_opens_it(run):
    ready = threading.Barrier(8)

    def ask(number: int) -> bool:
        ready.wait()
        try:
            opened(run, inputs=f"{number}")
        except UserError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(ask, range(8))) == 1
    assert len(ledger.read(run, CORPUS)) == 1


def test_a_user_without_a_home_and_a_damaged_line_are_told_in_words(run, monkeypatch, capsys):
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.delenv("HOME", raising=False)

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", unknown)
    ledger.finish(run, opened(run))
    assert "in the run alone" in capsys.readouterr().err
    with pytest.raises(UserError, match="opened before"):
        opened(run, inputs="b")
    with open(run / ledger.FILE, "a") as file:
        file.write('{"event": "opened", "id": "1"}\n')
    with pytest.raises(UserError, match="line 3 is damaged"):
        opened(run, inputs="b")

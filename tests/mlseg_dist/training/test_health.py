"""Real gloo ranks, stopped, killed, asleep, holding the interpreter: who is named, and how the job ends. Judgement by hand."""

import os
import signal
import time
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlseg_dist.training.health import Busy, Pulse, Stragglers, process
from mlseg_dist.training.health.beats import Beat, Seen
from mlseg_dist.training.health.verdict import judge, sentence
from tests.mlseg_dist.health_ranks import GIVEN_UP, Job

HEALTH = {"beat_s": 0.2, "name_after_s": 1.8, "end_after_s": 4.0}
FOREVER = 100_000


def plan(**changes):
    return {"steps": FOREVER, "health": HEALTH, "hosts": ["n0", "n1", "n1", "n1"], **changes}


# ---- on real processes ---------------------------------------------------------------------------------------------


def test_ranks_that_stand_still_are_named_come_back_and_at_last_end_the_job(tmp_path):
    at = {"20": [1, "read", 3], "40": [2, "hold", 3]}
    with Job(tmp_path, 3, plan(at=at)) as job:
        job.wait_for(lambda: job.reached(60))
        asleep, holds = job.events("stuck")
        assert (asleep["rank"], asleep["node"], asleep["stage"], asleep["step"]) == (1, "n1", "read", 20)
        assert asleep["why"] == "still" and asleep["teller"] == 1 and asleep["pid"] == job.ranks[1].pid
        assert "in `read` of step 20; process state S (sleeping)" in asleep["text"], asleep["text"]
        assert "health_ranks.py:" in asleep["text"] and asleep["level"] == "error"
        assert (holds["rank"], holds["why"], holds["teller"]) == (2, "silent", 1)
        assert 20 < holds["step"] <= 40  # that of its last heartbeat
        job.wait_for(lambda: len(job.events("unstuck")) == 2)
        assert [e["rank"] for e in job.events("unstuck")] == [1, 2]

        stopped_at = time.monotonic()
        os.kill(job.ranks[2].pid, signal.SIGSTOP)
        named = job.wait_for(lambda: job.events("stuck")[2:])[0]
        assert HEALTH["name_after_s"] - 0.3 < time.monotonic() - stopped_at
        assert (named["rank"], named["node"], named["pid"]) == (2, "n1", job.ranks[2].pid)
        assert "process state T (stopped)" in named["text"] and named["teller"] == 1
        assert job.codes([0, 1]) == [GIVEN_UP, GIVEN_UP], job.logs()
        assert time.monotonic() - stopped_at < HEALTH["end_after_s"] + 6
        assert len(job.events("stuck")) == 3
    for rank in (0, 1):
        text = (tmp_path / "stacks" / f"rank-{rank}.txt").read_text()
        assert "all_reduce" in text and "health_ranks.py" in text and "rank 2 on n1" in text
        log = (tmp_path / f"rank{rank}.log").read_text()
        assert "gives up: the job ends: rank 2 on n1" in log and f"stacks/rank-{rank}.txt" in log
    assert not (tmp_path / "stacks" / "rank-2.txt").exists()


@pytest.mark.parametrize(
    "hosts, state", [(["n0", "n1", "n0"], "T (stopped)"), (["n0", "n1", "n2"], "unknown: no living")]
)
def test_rank_0_which_keeps_the_store_is_named_by_the_others(tmp_path, hosts, state):
    with Job(tmp_path, 3, plan(hosts=hosts)) as job:
        job.wait_for(lambda: job.reached(20))
        os.kill(job.ranks[0].pid, signal.SIGSTOP)
        named = job.wait_for(lambda: job.events("stuck"))[0]
        assert (named["rank"], named["node"], named["teller"]) == (0, "n0", 2 if hosts[2] == "n0" else 1)
        assert f"process state {state}" in named["text"] and "no heartbeat" in named["text"]
        if hosts[2] == "n0":
            os.kill(job.ranks[0].pid, signal.SIGCONT)
            assert job.wait_for(lambda: job.events("unstuck"))[0]["rank"] == 0
            steps = len(list(tmp_path.glob("rank1.step*")))
            job.wait_for(lambda: job.reached(steps + 20))
            assert len(job.events("stuck")) == 1
            return
        assert job.codes([1, 2]) == [GIVEN_UP, GIVEN_UP], job.logs()
        assert [e["rank"] for e in job.events("stuck")] == [0]  # ranks 1 and 2 saw it; one told
        assert all("all_reduce" in (tmp_path / "stacks" / f"rank-{r}.txt").read_text() for r in (1, 2))


def test_a_healthy_job_says_nothing_but_its_straggler_and_ends_when_each_rank_is_done(tmp_path):
    late = {"1": 1.2, "2": 0.5}
    with Job(tmp_path, 3, plan(steps=40, slow={"2": 0.03}, late=late), fresh=True) as job:
        assert job.codes() == [0, 0, 0], job.logs()
        assert [(e["rank"], e["slow"]) for e in job.events("straggler")] == [(2, True)]
        assert "rank 2 on n1 holds the others up" in job.events("straggler")[0]["text"]
        assert not job.events("stuck") and not job.events("unstuck") and not (tmp_path / "stacks").exists()
        assert all("ended" in (tmp_path / f"rank{r}.log").read_text() for r in range(3))


@pytest.mark.parametrize("victim", [0, 1])
def test_when_a_rank_is_killed_the_others_end_and_nobody_else_is_named(tmp_path, victim):
    with Job(tmp_path, 3, plan()) as job:
        job.wait_for(lambda: job.reached(20))
        job.ranks[victim].kill()
        others = job.codes({0, 1, 2} - {victim})
        assert all(code == 1 for code in others), job.logs()
        assert {e["rank"] for e in job.events("stuck")} <= {victim}


def test_a_collective_that_all_wait_in_ends_the_job_and_blames_nobody(tmp_path):
    with Job(tmp_path, 2, plan(at={"20": [-1, "recv", 0]})) as job:
        assert job.codes() == [GIVEN_UP, GIVEN_UP], job.logs()
        (event,) = job.events("stuck")
        assert event["why"] == "all-wait" and event["rank"] is None and event["ranks"] == [0, 1]
        assert "recv" in (tmp_path / "stacks" / "rank-1.txt").read_text()


def test_when_rank_0_has_left_a_rank_that_stands_still_ends_by_itself(tmp_path):
    with Job(tmp_path, 3, plan(steps=20, late={"1": 60})) as job:
        assert job.codes() == [0, GIVEN_UP, 0], job.logs()
        assert [(e["rank"], e["stage"], e["why"]) for e in job.events("stuck")] == [(1, "late", "still")]


# ---- judgement -----------------------------------------------------------------------------------------------------


def seen(rank, stage="reduce", step=7, stages=3, still=0.0, silent=0.0, left=False):
    return Seen(rank, Beat(1, f"n{rank}", 100 + rank, 1, stage, step, stages, still, left), silent)


def ranks_of(verdict):
    return (verdict.kind, [s.rank for s in verdict.ranks]) if verdict else None


@pytest.mark.parametrize(
    "ranks, expected",
    [
        ([seen(0), seen(1)], None),
        ([seen(0, still=50), seen(1, "read", still=50, stages=1)], ("still", [1])),
        ([seen(0, still=50), seen(1, "read", still=30, stages=1)], None),
        ([seen(0, still=50), seen(1, silent=45)], ("silent", [1])),
        ([seen(0, "read", still=50), seen(1, silent=20)], None),
        ([seen(0, "backward", still=50), seen(1, "read", stages=1, still=50)], ("still", [1])),
        ([seen(0, "backward", still=50), seen(1, "validate", step=6, still=2)], None),
        ([seen(0, "read", still=50), seen(1, "read", still=45), seen(2, still=50)], ("still", [0, 1])),
        ([seen(0, still=50), seen(1, "compile", still=500)], None),
        ([seen(0, still=50), seen(1, still=50)], ("all-wait", [0, 1])),
        ([seen(0, still=50), seen(1, still=39)], None),
        ([seen(0, still=50), seen(1, step=6, still=50)], ("behind", [1])),
        ([seen(0, still=50), seen(1, "forward", left=True, silent=300)], ("left", [1])),
        ([seen(0, left=True, silent=99), seen(1, left=True, silent=99)], None),
        ([], None),
    ],
)
def test_judge(ranks, expected):
    verdict = judge(ranks, after_s=40, trust_s=15)
    assert ranks_of(verdict) == expected
    if verdict:
        assert all(word in sentence(verdict, "T (stopped)") for word in ("step", "since"))


SECONDS = st.floats(0, 100, allow_subnormal=False)


@given(
    st.lists(
        st.tuples(st.sampled_from(["read", "forward", "reduce"]), st.integers(3, 4), SECONDS, SECONDS),
        min_size=1,
        max_size=6,
    )
)
def test_nobody_is_named_before_its_time_and_waiting_ranks_never_beside_one_that_moves(found):
    ranks = [seen(r, stage, step, 1, still, silent) for r, (stage, step, still, silent) in enumerate(found)]
    verdict = judge(ranks, 40, 15)
    if verdict is None:
        return
    assert verdict.for_s >= 40
    if verdict.kind == "silent":
        assert all(s.silent_s >= 40 for s in verdict.ranks)
    else:
        assert all(s.beat.still_s >= 40 and s.silent_s < 15 for s in verdict.ranks)
    if verdict.kind in ("behind", "all-wait"):
        assert all(s.beat.stage == "reduce" and s.beat.still_s >= 40 for s in ranks)


def test_many_ranks_make_one_short_sentence():
    ranks = [seen(r, "read", still=50 + r) for r in range(64)]
    text = sentence(judge(ranks, 40, 15), "D (waits for a disk or the network)")
    assert text.startswith("rank 0 on n0 (pid 100), ") and " and 60 more stand still since 50 s in `read`" in text


# ---- parts ---------------------------------------------------------------------------------------------------------


def test_pulse_counts_stages_within_a_step():
    pulse = Pulse()
    for stage, step in (("read", 0), ("forward", 0), ("read", 1)):
        pulse.at(stage, step)
    assert pulse.place[:3] == ("read", 1, 0)
    pulse.at("read", 1)
    assert pulse.place.stages == 1 and time.monotonic() - pulse.place.since < 1


def test_process_state_of_this_one_and_of_none():
    me = os.getpid()
    assert process.state(me, process.born(me)).startswith("R (running)")
    assert process.state(me, process.born(me) + 1) == "gone"
    assert process.born(2**22 + 1) == 0
    assert b"test_process_state" in process.stacks()


def test_a_straggler_is_named_once_after_three_windows_and_again_when_it_recovers():
    stragglers = Stragglers(1.5)
    told = [stragglers.judge([1, 1.1, slow, 0.9], list("abcd")) for slow in (2, 1, 2, 2, 2, 2, 2, 1, 2, 1, 1, 1, 1)]
    assert [[(p.rank, p.host, p.slow) for p in paces] for paces in told if paces] == [
        [(2, "c", True)],
        [(2, "c", False)],
    ]
    assert told[4] and told[11]
    assert "1.9 times the median" in told[4][0].text and "keeps up again" in told[11][0].text


@pytest.mark.parametrize(
    "busy, named", [([1.0], []), ([1, 2], [1]), ([1, 1.4], []), ([1, 1, 1.6], [2]), ([0, 0, 0], []), ([3, 1, 1, 3], [])]
)
def test_stragglers_of_few_ranks(busy, named):
    stragglers = Stragglers(1.5, windows=1)
    assert [p.rank for p in stragglers.judge(busy, ["n"] * len(busy))] == named


@pytest.mark.parametrize("every", [1, 4, 10, 25])
def test_windows_of_lines_hold_ten_steps_at_least(every):
    """Rank 1 is slow in every single line: named after three windows, however many steps a line covers."""
    stragglers = Stragglers(1.5)
    steps = range(every, 200, every)
    named = next(step for step in steps if stragglers.judge_lines(step, [1, 2, 1], ["n"] * 3))
    window = -(-10 // every) * every
    assert named == 3 * window


def test_one_slow_line_makes_no_window_slow():
    stragglers = Stragglers(1.5, windows=1)
    busy = [[1, 2 if step == 5 else 1, 1] for step in range(1, 21)]
    assert not any(stragglers.judge_lines(step, line, ["n"] * 3) for step, line in enumerate(busy, start=1))


def test_busy_is_what_was_added_and_what_the_block_took():
    busy = Busy(torch.device("cpu"))
    busy.add(0.5)
    with busy:
        time.sleep(0.02)
    assert 0.52 <= busy.take() < 1
    assert busy.take() == 0


def test_a_beat_survives_its_json():
    from dataclasses import asdict
    from json import dumps, loads

    beat = replace(seen(3).beat, ending="why `x`", dumped=True)
    assert Beat(**loads(dumps(asdict(beat)))) == beat

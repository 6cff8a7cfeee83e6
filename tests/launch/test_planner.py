from launch.completion import Completion
from launch.config import CampaignConfig
from launch.graph import build_graph
from launch.planner import last_words, missing_phases
from launch.run_folder import RunFolder
from launch.slurm.job_plans import JobPlan, publish_plan, read_plans, retries_in_a_row
from launch.slurm.queue import QueuedJob

PLAN = JobPlan(
    1,
    "person",
    {
        "slides": {"work": "10", "merge": "11"},
        "shards": {"work": "12", "merge": "13"},
        "base": {"work": "14"},
        "label-1": {"work": "15", "merge": "16"},
        "master-1": {"work": "17"},
        "evaluate": {"work": "18", "merge": "19"},
        "report": {"work": "20"},
    },
)


def job(number: int, state: str = "PENDING", reason: str = "Dependency") -> QueuedJob:
    return QueuedJob(str(number), str(number), "mlseg-tiny-job", state, reason, "")


def completions(config: CampaignConfig, done: int) -> list[Completion]:
    return [
        Completion(phase, "done" if phase.number < done else "missing", "", {"outputs": {"sha256": ""}})
        for phase in build_graph(config)
    ]


def missing(config: CampaignConfig, done: int, queue: list[QueuedJob], statuses=None, plans=(PLAN,)):
    found = missing_phases(completions(config, done), list(plans), queue, statuses or {})
    return {item.phase.name: item.reason for item in found}


def test_everything_is_new_at_first(config: CampaignConfig) -> None:
    assert set(missing(config, 0, [], plans=()).values()) == {"new"}


def test_nothing_is_missing_while_jobs_wait(config: CampaignConfig) -> None:
    assert missing(config, 2, [job(i) for i in range(14, 21)]) == {}


def test_a_failed_phase_and_its_dependents_are_planned_again(config: CampaignConfig) -> None:
    queue = [job(14, "FAILED", "NonZeroExitCode"), *(job(i, reason="DependencyNeverSatisfied") for i in range(15, 21))]
    again = missing(config, 2, queue, {"base": "failed"})
    assert again == {"base": "failed", **dict.fromkeys(["label-1", "master-1", "evaluate", "report"], "new")}


def test_a_job_that_vanished_is_lost_and_one_that_was_stopped_is_interrupted(config: CampaignConfig) -> None:
    after = dict.fromkeys(["label-1", "master-1", "evaluate", "report"], "new")
    assert missing(config, 2, [], {"base": "running"}) == {"base": "lost", **after}
    assert missing(config, 2, [], {"base": "interrupted"}) == {"base": "interrupted", **after}


def test_jobs_that_wait_for_a_lost_one_are_planned_again_before_slurm_drops_them(config: CampaignConfig) -> None:
    waiting = [job(i) for i in range(15, 21)]
    after = dict.fromkeys(["label-1", "master-1", "evaluate", "report"], "new")
    assert missing(config, 2, waiting, {"base": "running"}) == {"base": "lost", **after}
    running = [job(15), job(16), job(17, "RUNNING", "None"), job(18), job(19), job(20)]
    assert "master-1" not in missing(config, 2, running), "what runs is left to run"


def test_what_an_older_job_said_excuses_no_job_after_it() -> None:
    """A job that was interrupted, planned again, and now dies before it can say anything is lost, and that counts."""
    again = JobPlan(
        2, "replan", {"base": {"work": "24"}, "label-1": {"work": "25", "merge": "26"}}, {"base": "interrupted"}
    )
    assert last_words({"status": "interrupted", "job": "14"}, [PLAN], "base") == "interrupted"
    assert last_words({"status": "interrupted", "job": "14"}, [PLAN, again], "base") == ""
    assert last_words({"status": "failed", "job": "24"}, [PLAN, again], "base") == "failed"
    assert last_words({"status": "failed", "job": "25_0"}, [PLAN, again], "label-1") == "failed"
    assert last_words({"status": "failed", "job": "17"}, [PLAN, again], "master-1") == "failed"
    assert last_words({}, [PLAN], "base") == last_words({"status": "failed", "job": "1"}, [], "base") == ""


def test_retries_count_failures_since_a_person_planned() -> None:
    def again(number: int, reason) -> JobPlan:
        return JobPlan(number, "replan", {"base": {"work": "1"}}, {"base": reason})

    plans = [PLAN, again(2, "failed"), again(3, "interrupted"), again(4, "lost")]
    assert retries_in_a_row(plans, "base") == 2
    assert retries_in_a_row([*plans, JobPlan(5, "person")], "base") == 0


def test_of_two_plans_with_one_number_the_first_counts(tmp_path) -> None:
    run = RunFolder(tmp_path)
    assert publish_plan(run, PLAN)
    assert not publish_plan(run, JobPlan(1, "cancel"))
    assert read_plans(run) == [PLAN]

"""What happens to a campaign on a cluster. A fault waits for its moment in a phase, does its harm, and returns what it did; but for
the phases that fail for good, nobody helps the campaign afterwards."""

import json
import os
import random
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.cluster.campaign import MAPPED, STEPS, TRAINED, Campaign, by_hand, is_alive, job_processes, open_files
from tests.cluster.commands import mlseg, said_by, sbatch, status
from tests.cluster.slurm_host import CONTROLLER, NODES

Fault = Callable[[Campaign, str, random.Random], str]


def reach(campaign: Campaign, phase: str, chance: random.Random) -> str:
    """Wait for a moment within the phase: while its job starts, or in the midst of its work. Returns when that was."""
    campaign.until(lambda: campaign.is_running(phase) or campaign.is_done(phase), every_s=0.2)
    if chance.random() < 0.25:
        after = chance.random() * 5
        time.sleep(after)
        return f"{phase} {after:.1f} s after its start"
    if phase in TRAINED:
        step = chance.randrange(1, STEPS * 2 // 3)
        campaign.until(lambda: campaign.step(phase) >= step or campaign.is_done(phase), every_s=0.005)
        return f"{phase} at step {campaign.step(phase)}"
    if phase not in MAPPED:
        after = chance.random() * 3
        campaign.until(lambda: campaign.processes(phase) or campaign.is_done(phase))
        time.sleep(after)
        return f"{phase} after {after:.1f} s of its work"
    units = chance.randrange(0, 4)
    campaign.until(lambda: (campaign.processes(phase) and campaign.recorded(phase) >= units) or campaign.is_done(phase))
    return f"{phase} after {campaign.recorded(phase)} units"


def begun(campaign: Campaign, phase: str) -> None:
    """Wait until the phase's job is in the midst of its work."""
    if phase in TRAINED:
        campaign.until(lambda: campaign.step(phase) >= 1, every_s=0.005)
    else:
        campaign.until(lambda: campaign.processes(phase) or campaign.is_done(phase))


def preempt(campaign: Campaign, phase: str, chance: random.Random) -> str:
    """A job of the higher partition takes all nodes for a while."""
    when = reach(campaign, phase, chance)
    slurm, length = campaign.slurm, chance.randrange(1, 6)
    done = campaign.is_done(phase)
    command = ["sbatch", "--parsable", "-p", "high", "-N", str(len(NODES)), "--exclusive", "-o", "/dev/null"]
    job = slurm.run(*command, "--wrap", f"sleep {length}").strip()
    assert job, "the higher job was refused"
    campaign.until(lambda: slurm.jobs().get(job) == "COMPLETED", every_s=0.3)
    if not done and not campaign.restarts(phase):
        return f"{when}: it ended before the preemption took hold"
    return f"{when}: preempted for {length} s, {campaign.restarts(phase)} restarts"


def node_down(campaign: Campaign, phase: str, chance: random.Random) -> str:
    """A node of the job is set DOWN and comes back."""
    when = reach(campaign, phase, chance)
    node = _node_of(campaign, phase, chance)
    with _down(campaign, node):
        time.sleep(chance.random() * 4)
    return f"{when}: {node} down, {campaign.restarts(phase)} restarts"


def node_lost(campaign: Campaign, phase: str, chance: random.Random) -> str:
    """slurmd dies and the node is given up; the processes on it go on beside those of the next attempt, until it comes back."""
    when = reach(campaign, phase, chance)
    node = _node_of(campaign, phase, chance)
    campaign.slurm.kill(node)
    try:
        with _down(campaign, node):
            time.sleep(chance.random() * 8)
    finally:
        campaign.slurm.start(node)
    return f"{when}: {node} lost with what ran on it, {campaign.restarts(phase)} restarts"


def _node_of(campaign: Campaign, phase: str, chance: random.Random) -> str:
    job = campaign.job(phase)
    lists = campaign.slurm.run("squeue", "-h", "-t", "RUNNING", "-j", job, "-o", "%N").split()
    nodes = [node for each in lists for node in campaign.slurm.run("scontrol", "show", "hostnames", each).split()]
    return chance.choice(nodes or NODES)


@contextmanager
def _down(campaign: Campaign, node: str) -> Iterator[None]:
    slurm = campaign.slurm
    slurm.run("scontrol", "update", f"nodename={node}", "state=down", "reason=chaos")
    try:
        yield
    finally:

        def resumed() -> bool:
            slurm.run("scontrol", "update", f"nodename={node}", "state=resume")
            return "down" not in slurm.run("sinfo", "-h", "-n", node, "-o", "%T")

        slurm.wait_for(resumed, 60)


def signal_job(number: str) -> Fault:
    def fault(campaign: Campaign, phase: str, chance: random.Random) -> str:
        when = reach(campaign, phase, chance)
        target = campaign.job(phase)
        if phase in MAPPED and chance.random() < 0.5:
            target += f"_{chance.randrange(2)}"
        campaign.slurm.run("scancel", f"--signal={number}", target)
        return f"{when}: {number} to job {target}"

    return fault


def requeue(campaign: Campaign, phase: str, chance: random.Random) -> str:
    when = reach(campaign, phase, chance)
    campaign.slurm.run("scontrol", "requeue", campaign.job(phase))
    return f"{when}: requeued, {campaign.restarts(phase)} restarts"


def kill_controller(campaign: Campaign, phase: str, chance: random.Random) -> str:
    """slurmctld dies by -9 and is started again; jobs end and signals are sent while it is away."""
    when = reach(campaign, phase, chance)
    away = chance.random() * 15
    campaign.slurm.kill(CONTROLLER)
    after = _controller_away(campaign, away)
    return f"{when}: no slurmctld for {away:.0f} s{after}"


def kill_controller_at_replan(campaign: Campaign, phase: str, chance: random.Random) -> str:
    """All ranks or workers are killed, and slurmctld dies while the job that plans again has just begun."""
    begun(campaign, phase)
    for pid in campaign.processes(phase).values():
        _send(pid, signal.SIGKILL)
    replan = campaign.plans[-1]["replan"]
    campaign.until(lambda: job_processes(replan) or campaign.is_done(phase), every_s=0.05)
    planning = job_processes(replan)
    for pid in planning:
        _send(pid, signal.SIGSTOP)
    stood, away = chance.random() * 8, 5 + chance.random() * 20
    time.sleep(stood)  # slurmctld writes down what it knows every few seconds
    campaign.slurm.kill(CONTROLLER)
    for pid in planning:
        _send(pid, signal.SIGCONT)
    after = _controller_away(campaign, away)
    what = "planning again" if planning else "the phase's end, as others did the work"
    return f"{phase}: slurmctld away for {away:.0f} s from {stood:.1f} s into {what}{after}"


def forgotten_start(campaign: Campaign, phase: str, chance: random.Random) -> str:
    """slurmctld is killed and knows nothing of the job's start when it comes back: the job starts again, with as many restarts."""
    slurm, before, known = campaign.slurm, campaign.slurm.folder / "state-before", False
    while slurm.jobs().get(campaign.job(phase), "") == "PENDING":
        if slurm.saved() > campaign.plans[-1]["made"]:
            slurm.copy_state(before)
            known = True
        time.sleep(0.3)
    begun(campaign, phase)
    time.sleep(chance.random())
    slurm.kill(CONTROLLER)
    if known:
        slurm.restore_state(before)
    after = _controller_away(campaign, chance.random() * 3)
    starts = f", {len(campaign.told(phase, 'started'))} starts" if phase in TRAINED else ""
    what = "its start forgotten" if known else "slurmctld killed"
    return f"{phase}: {what}, {campaign.restarts(phase)} restarts{starts}{after}"


def _controller_away(campaign: Campaign, away_s: float) -> str:
    """Killed within seconds of the submission it has forgotten the whole campaign: then a person goes on with it."""
    slurm = campaign.slurm
    time.sleep(away_s)
    slurm.start(CONTROLLER)
    slurm.wait_for(lambda: slurm.jobs(), 60)
    # its memory is some seconds old: nodes say at once which jobs they have, else they do so within minutes
    slurm.run("scontrol", "reconfigure")
    if campaign.plans[-1]["replan"] in slurm.jobs():
        return ""
    answer = mlseg(slurm, "resume", campaign.run)
    assert answer.returncode == 0, answer.stderr + answer.stdout
    return "; it had forgotten the campaign, which a person resumed"


def kill_process(campaign: Campaign, phase: str, chance: random.Random) -> str:
    begun(campaign, phase)
    when = reach(campaign, phase, chance)
    return f"{when}: {_kill_one(campaign, phase, chance)}"


def _kill_one(campaign: Campaign, phase: str, chance: random.Random) -> str:
    processes = campaign.processes(phase)
    if not processes:
        return "too late to kill anything"
    index = chance.choice(sorted(processes))
    _send(processes[index], signal.SIGKILL)
    return f"process {index} killed"


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def kill_before_publish(campaign: Campaign, phase: str, chance: random.Random) -> str:
    """A worker dies with its tar written in part, under a temporary name."""
    assert phase == "label-1"
    campaign.until(lambda: campaign.processes(phase))
    least = chance.randrange(0, 4)
    killed: list[str] = []

    def kill_writer() -> bool:
        if campaign.is_done(phase):
            raise AssertionError("no worker was seen writing")
        if campaign.recorded(phase) < least:
            return False
        for pid in campaign.processes(phase).values():
            written = [Path(name).name for name in open_files(pid) if Path(name).name.startswith(".tmp-")]
            tars = [name for name in written if name.endswith(".tar")]
            if tars:
                time.sleep(chance.random() * 0.05)
                _send(pid, signal.SIGKILL)
                killed.extend(tars)
                return True
        return False

    campaign.until(kill_writer, every_s=0.001)
    left = "left in part" if (campaign.labels / killed[0]).exists() else "gone just before"
    return f"a worker killed writing {killed[0]}, {left}"


def kill_before_record(campaign: Campaign, phase: str, chance: random.Random) -> str:
    """All workers die when a tar is published and nothing says so yet."""
    assert phase == "label-1"
    campaign.until(lambda: campaign.processes(phase))
    least = chance.randrange(0, 3)

    def unrecorded() -> set[str]:
        published = {path.stem for path in campaign.labels.glob("[!.]*.tar")}
        recorded = {
            Path(name).stem
            for path in (campaign.labels / "done").glob("[!.]*.json")
            for name in json.loads(path.read_text())["files"]
        }
        return published - recorded

    def kill_all() -> bool:
        if campaign.is_done(phase):
            raise AssertionError("no tar was seen without its record")
        if campaign.recorded(phase) < least or not unrecorded():
            return False
        for pid in processes:
            _send(pid, signal.SIGKILL)
        return bool(unrecorded())

    processes = list(campaign.processes(phase).values())
    campaign.until(kill_all, every_s=0.001)
    return f"workers killed with {len(unrecorded())} tars published and not recorded"


def second_worker(campaign: Campaign, phase: str, chance: random.Random) -> str:
    """A worker that no plan knows does all shards too; it stands still while it writes one, and goes on when others did that."""
    assert phase == "label-1"
    campaign.until(lambda: campaign.is_running("base") or campaign.is_done("base"), every_s=0.2)
    worker = by_hand(campaign, phase, after="base")
    written: list[str] = []

    def writes() -> bool:
        assert worker.poll() is None, (campaign.phase(phase) / "logs" / "by-hand.out").read_text()
        names = [Path(name).name for name in open_files(worker.pid)]
        written.extend(name for name in names if name.startswith(".tmp-") and name.endswith(".tar"))
        return bool(written)

    try:
        campaign.until(writes, every_s=0.001)
        worker.send_signal(signal.SIGSTOP)
        target = "-".join(written[0].removeprefix(".tmp-").split("-")[2:])
        after = chance.choice(["that shard", "the round", "the next step began"])
        ends = {
            "that shard": lambda: (campaign.labels / target).exists(),
            "the round": lambda: campaign.is_done(phase),
            "the next step began": lambda: campaign.step("master-1") > 0,
        }
        campaign.until(ends[after])
        worker.send_signal(signal.SIGCONT)
        code = worker.wait(300)
    finally:
        worker.kill()
        worker.wait()
    return f"stood still writing {target}, went on after {after}, ended with {code}"


def bad_node(campaign: Campaign, phase: str, chance: random.Random) -> str:
    """From some moment on each unit of one worker fails, at once, so that it would soon have failed all: the other does them."""
    assert phase in MAPPED
    campaign.until(lambda: campaign.processes(phase) or campaign.is_done(phase))
    least = chance.randrange(0, 2)
    campaign.until(lambda: campaign.recorded(phase) >= least or campaign.is_done(phase), every_s=0.005)
    processes = campaign.processes(phase)
    if not processes:
        return "too late to break anything"
    index = chance.choice(sorted(processes))
    with suppress(ProcessLookupError, FileNotFoundError):
        # it can do small things, write records among them, and gets no memory for a batch or a thread
        resource.prlimit(processes[index], resource.RLIMIT_AS, (_memory(processes[index]),) * 2)
    campaign.until(lambda: not is_alive(processes[index], campaign.run) or campaign.is_done(phase))
    events = [event["text"] for event in campaign.told(phase, "failed")]
    return f"worker {index} got no memory after {least} units: {events[-1][:90] if events else 'it met none'}"


def _memory(pid: int) -> int:
    """Bytes of its address space, and a little more."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    return pages * resource.getpagesize() + (1 << 20)


def master_twice(campaign: Campaign, phase: str, chance: random.Random) -> str:
    """Submitted twice at once while the phase runs: nothing is submitted again."""
    when = reach(campaign, phase, chance)
    before = len(campaign.plans)
    masters = [sbatch(campaign.slurm, campaign.config, *campaign.overrides) for _ in range(2)]
    ended = {"COMPLETED", "FAILED", "CANCELLED"}
    campaign.until(lambda: all(campaign.slurm.jobs().get(job) in ended for job in masters), every_s=0.3)
    said = [said_by(campaign.slurm, job) for job in masters]
    assert {campaign.slurm.jobs()[job] for job in masters} == {"COMPLETED"}, said
    assert len(campaign.plans) == before, said
    return f"{when}: master.sh twice, no new plan"


def stop_rank(campaign: Campaign, phase: str, chance: random.Random) -> str:
    """A rank stands still: it is named, the job ends, and is planned again."""
    assert phase in TRAINED
    step = chance.randrange(2, STEPS // 2)
    campaign.until(lambda: campaign.step(phase) >= step, every_s=0.005)
    job, processes = campaign.job(phase), campaign.processes(phase)
    rank = chance.choice(sorted(processes))
    _send(processes[rank], signal.SIGSTOP)
    began = time.monotonic()
    campaign.until(lambda: campaign.job(phase) != job and not is_alive(processes[rank], campaign.run))
    named = campaign.told(phase, "stuck")
    assert named and all(event["rank"] == rank for event in named), (rank, named)
    return f"{phase} at step {step}: rank {rank} stopped, named, planned again after {time.monotonic() - began:.0f} s"


def failing_job(campaign: Campaign, phase: str, chance: random.Random) -> str:
    """Training's jobs end before they begin, whatever is tried; a person mends it."""
    assert phase in TRAINED
    broken, before = campaign.folder / "broken", TRAINED[: TRAINED.index(phase)]
    campaign.until(lambda: all(map(campaign.is_done, before)))
    broken.touch()
    if campaign.is_running(phase):  # a fault in the phase before took until now
        campaign.slurm.run("scontrol", "requeue", campaign.job(phase))
    return _fails_for_good(campaign, phase, broken.unlink)


def damaged_shard(campaign: Campaign, phase: str, chance: random.Random) -> str:
    """A shard that labelling reads is damaged; a person puts it back."""
    assert phase == "label-1"
    shard = chance.choice(sorted((campaign.run / "data" / "shards").glob("train-*.tar")))
    campaign.until(lambda: campaign.is_done("base"), every_s=0.005)
    whole = shard.read_bytes()
    shard.write_bytes(b"".join(bytes([b ^ 1]) if at % 512 == 300 else bytes([b]) for at, b in enumerate(whole)))
    said = _fails_for_good(campaign, phase, lambda: shard.write_bytes(whole))
    assert shard.stem in said, said
    return said


def _fails_for_good(campaign: Campaign, phase: str, mend: Callable[[], object]) -> str:
    """Nothing may be left in the queue, the user has to see why, and one command has to bring it to its end."""
    campaign.until(lambda: (campaign.run / "alert.json").exists() or campaign.is_done(phase), every_s=0.2)
    if campaign.is_done(phase):
        mend()
        return f"{phase} was done before it could fail"
    campaign.until(campaign.is_quiet, 60, 0.3)
    shown = status(campaign.slurm, campaign.run)
    phases = {each["name"]: each for each in shown["phases"]}
    names = list(phases)
    assert phases[phase]["state"] in ("failed", "lost"), shown
    assert phases[phase]["why"] and shown["alert"], shown
    assert {phases[name]["state"] for name in names[names.index(phase) + 1 :]} == {"waiting"}, shown
    mend()
    answer = mlseg(campaign.slurm, "retry", campaign.run, phase)
    assert answer.returncode == 0, answer.stderr + answer.stdout
    return f"{phase} failed for good: {shown['alert']}; {phases[phase]['why']}; retried"


ANY = ("shards", "base", "label-1", "master-1", "evaluate", "report")
LABELLING = ("label-1",)
FAULTS: dict[str, tuple[Fault, tuple[str, ...]]] = {
    "preempt": (preempt, ANY),
    "node down": (node_down, ANY),
    "node lost": (node_lost, ANY),
    "USR2": (signal_job("USR2"), ANY),
    "TERM": (signal_job("TERM"), ANY),
    "requeue": (requeue, ANY),
    "kill slurmctld": (kill_controller, ANY),
    "kill slurmctld at replan": (kill_controller_at_replan, ANY),
    "slurmctld forgets the start": (forgotten_start, TRAINED),
    "kill a process": (kill_process, ANY),
    "kill before publish": (kill_before_publish, LABELLING),
    "kill before record": (kill_before_record, LABELLING),
    "two workers on a shard": (second_worker, LABELLING),
    "bad node": (bad_node, ("shards", *LABELLING)),
    "master twice": (master_twice, ANY),
    "stop a rank": (stop_rank, TRAINED),
    "failing job": (failing_job, TRAINED),
    "damaged shard": (damaged_shard, LABELLING),
}
"""Name -> (campaign, phase, chance) -> what was done, and the phases in which it can happen."""
FOR_GOOD = {"failing job", "damaged shard"}
"""Their phase fails until a person mends it."""

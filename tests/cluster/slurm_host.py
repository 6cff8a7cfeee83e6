"""A real SLURM on this host, without root's help or munge: one slurmctld and three slurmd in a folder of their own.

By hand: `python tests/cluster/slurm_host.py FOLDER` starts it, prints the SLURM_CONF to export, and ends it on Ctrl-C.
"""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

CONTROLLER = "slurmctld"
NODES = ("n1", "n2", "n3")
_DOUBT_S = 180.0
_PROGRAMS = ("slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "srun")

_CONF = """
ClusterName=mlsegtest
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdParameters=config_overrides
SlurmctldParameters=preempt_send_user_signal
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0,bf_interval=2,requeue_setup_env_fail
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
KillWait=5
MinJobAge=600
SlurmctldTimeout=30
SlurmdTimeout=30
InactiveLimit=0
{nodes}
PartitionName=low Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=20
PartitionName=high Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10
"""


def missing_programs() -> list[str]:
    """SLURM's programs that this machine lacks (Debian: apt-get install slurm-wlm)."""
    return [program for program in _PROGRAMS if _find(program) is None]


def _find(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin:/usr/local/sbin")


class SlurmHost:
    """Started on entry, ended on exit; `environment` holds what commands need to find it."""

    def __init__(self, folder: Path, settings: Mapping[str, str] = MappingProxyType({}), gpus: int = 0) -> None:
        """settings: of slurm.conf, instead of what stands there.  gpus: of each node, as SLURM counts them; there are none."""
        self.folder, self._settings, self._gpus = folder, settings, gpus
        self.conf = folder / "slurm.conf"
        self.environment = {**os.environ, "SLURM_CONF": str(self.conf)}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._doubtful_until = 0.0

    def write_conf(self) -> None:
        """slurm.conf, for three nodes that this machine plays."""
        (self.folder / "state").mkdir(parents=True, exist_ok=True)
        ports = free_ports(len(NODES) + 1)
        host, gres = socket.gethostname(), ""
        if self._gpus:
            gres = f" Gres=gpu:{self._gpus}"
            (self.folder / "gres.conf").write_text(f"Name=gpu File=/dev/null Count={self._gpus}\n")
            self._settings = {"GresTypes": "gpu", **self._settings}
        nodes = "\n".join(
            # the one machine plays three nodes of two CPUs each
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=2 RealMemory=4000{gres} State=UNKNOWN"
            for name, port in zip(NODES, ports[1:], strict=True)
        )
        text = _CONF.format(host=host, port=ports[0], user=getpass.getuser(), folder=self.folder, nodes=nodes)
        kept = [line for line in text.splitlines() if line.split("=")[0] not in self._settings]
        self.conf.write_text("\n".join([*(f"{name}={value}" for name, value in self._settings.items()), *kept]) + "\n")

    def __enter__(self) -> "SlurmHost":
        if not self.conf.exists():
            self.write_conf()
        try:
            for name in (CONTROLLER, *NODES):
                self.start(name)
            self.wait_for(self.is_idle, 60)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *unused: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the jobs, then the daemons."""
        if CONTROLLER in self._daemons and self._daemons[CONTROLLER].poll() is None:
            subprocess.run(["scancel", "--user", getpass.getuser()], env=self.environment, timeout=30, check=False)
            time.sleep(1)
        for process in reversed(self._daemons.values()):
            process.send_signal(signal.SIGTERM)
        for process in self._daemons.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
        self._daemons = {}

    def start(self, name: str) -> None:
        """slurmctld, or the slurmd of a node; also after kill."""
        if name == CONTROLLER:
            self._spawn(name, "slurmctld", "-D", "-f", str(self.conf))
        else:
            (self.folder / f"spool-{name}").mkdir(exist_ok=True)
            self._spawn(name, "slurmd", "-D", "-N", name, "-f", str(self.conf))

    def kill(self, name: str) -> None:
        """-9; the jobs go on."""
        self._daemons[name].kill()
        self._daemons[name].wait(15)
        if name == CONTROLLER:
            self._doubtful_until = time.monotonic() + _DOUBT_S

    def copy_state(self, to: Path) -> None:
        """What slurmctld would know if it died now; it writes that down every few seconds."""
        for _ in range(10):
            with contextlib.suppress(shutil.Error):  # of a file that it has just renamed
                shutil.rmtree(to, ignore_errors=True)
                shutil.copytree(self.folder / "state", to)
                return
        raise TimeoutError("its state does not stay as it is")

    def saved(self) -> float:
        """When it last wrote down its jobs, as time.time(); 0 before it did."""
        path = self.folder / "state" / "job_state"
        return path.stat().st_mtime if path.exists() else 0.0

    def restore_state(self, before: Path) -> None:
        """While slurmctld is away."""
        shutil.rmtree(self.folder / "state")
        shutil.copytree(before, self.folder / "state")

    def tend(self) -> None:
        """What an administrator does when slurmctld woke up with a memory of some seconds ago: it believes that jobs run which have
        ended, until their nodes say again what they have; and jobs that it starts twice it holds, and drains their nodes."""
        if time.monotonic() < self._doubtful_until:
            self.run("scontrol", "reconfigure")
        for line in self.run("squeue", "-h", "-t", "PENDING", "-o", "%A %r").splitlines():
            job, reason = line.split(maxsplit=1)
            if reason == "launch failed requeued held":
                self.run("scontrol", "release", job)
        for line in self.run("sinfo", "-h", "-N", "-p", "low", "-o", "%N %E").splitlines():
            node, reason = line.split(maxsplit=1)
            if reason.startswith("Duplicate jobid"):
                self.run("scontrol", "update", f"nodename={node}", "state=resume")

    def settle(self, timeout_s: float) -> None:
        """Wait until nothing runs; after slurmctld was killed with `tend` meanwhile. Raises TimeoutError."""

        def idle() -> bool:
            if time.monotonic() < self._doubtful_until:
                self.tend()
            return self.is_idle()

        self.wait_for(idle, timeout_s, 2)

    def is_idle(self) -> bool:
        return self.run("sinfo", "-h", "-N", "-p", "low", "-o", "%t").split().count("idle") == len(NODES)

    def run(self, *command: str) -> str:
        """Output of a command that talks to this SLURM; "" when it fails."""
        try:
            answer = subprocess.run(
                command, env=self.environment, capture_output=True, text=True, timeout=60, check=False
            )
        except subprocess.TimeoutExpired:
            return ""
        return answer.stdout if answer.returncode == 0 else ""

    def jobs(self) -> dict[str, str]:
        """Job id -> state, of every job that the controller remembers."""
        lines = self.run("squeue", "-h", "-r", "-t", "all", "-o", "%i %T").splitlines()
        return dict(line.split() for line in lines)

    def wait_for(self, condition, timeout_s: float, every_s: float = 0.5) -> None:
        """Raises TimeoutError with the end of the controller's log."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                log = self.folder / "slurmctld.log"
                tail = "\n".join(log.read_text().splitlines()[-20:]) if log.exists() else "(no log)"
                raise TimeoutError(f"not within {timeout_s} s; queue: {self.jobs()}\n{tail}")
            time.sleep(every_s)

    def _spawn(self, name: str, program: str, *arguments: str) -> None:
        path = _find(program)
        assert path is not None
        with open(self.folder / f"{name}.out", "ab") as output:
            self._daemons[name] = subprocess.Popen(
                [path, *arguments], env=self.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), SlurmHost(Path(sys.argv[1]).absolute()) as slurm:
        print(f"export SLURM_CONF={slurm.conf}", flush=True)
        signal.pause()

"""SLURM's accounting on this host: a slurmdbd with a MariaDB of its own, for what sites limit per user, account and qos."""

import contextlib
import getpass
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.cluster.slurm_host import SlurmHost, free_ports

_PROGRAMS = ("slurmdbd", "sacctmgr", "mariadbd", "mariadb-install-db")
_CONF = """
AuthType=auth/none
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser={user}
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=accounting
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
"""


def missing_programs() -> list[str]:
    """What this machine lacks (Debian: apt-get install slurmdbd slurm-wlm-mysql-plugin mariadb-server)."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    return [program for program in _PROGRAMS if shutil.which(program, path=path) is None]


@contextlib.contextmanager
def slurm_with_accounts(folder: Path) -> Iterator[SlurmHost]:
    """A SLURM that enforces limits; this user has the account `lab` under the qos `normal`, without any limit yet."""
    folder.mkdir(parents=True)
    user, data, socket = getpass.getuser(), folder / "database", folder / "db.sock"
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "MYSQL_UNIX_PORT": str(socket)}
    with contextlib.ExitStack() as ends:
        make = ["mariadb-install-db", "--no-defaults", f"--datadir={data}", f"--user={user}", "--skip-test-db"]
        subprocess.run(
            [*make, "--auth-root-authentication-method=normal"],
            env=environment,
            check=True,
            capture_output=True,
        )
        serve = ["mariadbd", "--no-defaults", f"--datadir={data}", f"--user={user}", f"--socket={socket}"]
        serve += ["--skip-networking", f"--pid-file={folder}/db.pid", "--innodb-buffer-pool-size=64M"]
        ends.enter_context(_running(serve, environment, folder / "mariadbd.out"))
        _wait(socket.exists)
        (port,) = free_ports(1)
        conf = folder / "slurmdbd.conf"  # slurmdbd looks for it beside slurm.conf
        conf.write_text(_CONF.format(port=port, user=user, folder=folder))
        conf.chmod(0o600)
        environment["SLURM_CONF"] = str(folder / "slurm.conf")
        ends.enter_context(_running(["slurmdbd", "-D"], environment, folder / "slurmdbd.out"))
        _wait(lambda: "started" in (folder / "slurmdbd.out").read_text())
        settings = {
            "AccountingStorageType": "accounting_storage/slurmdbd",
            "AccountingStorageHost": "localhost",
            "AccountingStoragePort": str(port),
            "AccountingStorageEnforce": "limits",
        }
        host = SlurmHost(folder, settings)
        host.write_conf()
        for words in (["cluster", "mlsegtest"], ["account", "lab"], ["user", user, "account=lab"]):
            done = subprocess.run(
                ["sacctmgr", "-i", "add", *words], env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done
        yield ends.enter_context(host)


@contextlib.contextmanager
def _running(command: list[str], environment: dict[str, str], output: Path) -> Iterator[None]:
    with open(output, "wb") as file:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)


def _wait(condition) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)

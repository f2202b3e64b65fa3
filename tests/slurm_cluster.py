"""A real Slurm of a test's own: munge, a controller and some node daemons, all on this machine, as one user.

What the daemons need to run side by side without root, cgroups or accounting is from slurm.conf(5), munged(8)
and slurmd(8). Several daemons on one host: `-N`, a port and a spool folder each.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.azurite import free_ports
from tests.farm_runs import PATIENCE_SECONDS

DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue")
_CONF = """\
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/m.sock,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1,default_queue_depth=1000
SlurmdParameters=config_overrides
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
SlurmdTimeout=5
KillWait=2
MaxArraySize={array}
{extra}
"""


class Cluster:
    """The running daemons; `environment` lets Slurm's commands, and so the farm, find them."""

    def __init__(self, folder: Path, nodes: int, cpus: int, array: int, extra: Sequence[str]) -> None:
        self.folder = folder
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf")}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.nodes = [f"n{number}" for number in range(1, nodes + 1)]
        ports = free_ports(nodes + 1)
        lines = [
            f"NodeName={node} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs={cpus} State=UNKNOWN"
            for node, port in zip(self.nodes, ports[1:], strict=True)
        ]
        lines += [
            "PartitionName=main Nodes=ALL Default=YES State=UP",
            "PartitionName=short Nodes=ALL MaxTime=1",
        ]
        user = pwd.getpwuid(os.getuid()).pw_name
        text = _CONF.format(port=ports[0], user=user, folder=folder, array=array, extra="\n".join(extra))
        (folder / "slurm.conf").write_text(text + "\n".join(lines) + "\n")
        (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        for name in ("state", *(f"spool-{node}" for node in self.nodes)):
            (folder / name).mkdir()
        key = folder / "m.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)

    def start(self, *names: str) -> None:
        """Start daemons: `munged`, `slurmctld`, or a node by its name; waits until it serves."""
        for name in names:
            with (self.folder / f"{name}.log").open("ab") as log:
                self._running[name] = subprocess.Popen(
                    self._command(name), cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    env={**os.environ, **self.environment}, start_new_session=True,
                )  # fmt: skip
            if name == "munged":
                self._wait(lambda: (self.folder / "m.sock").exists())

    def _command(self, name: str) -> list[str]:
        if name == "munged":
            own = {"socket": "m.sock", "key-file": "m.key", "pid-file": "m.pid", "seed-file": "m.seed"}
            own["log-file"] = "m.log"
            return ["munged", "--foreground", "--force", *(f"--{key}={self.folder / own[key]}" for key in own)]
        conf = ["-D", "-f", str(self.folder / "slurm.conf")]
        return ["slurmctld", *conf] if name == "slurmctld" else ["slurmd", *conf, "-N", name]

    def ready(self) -> None:
        """Wait until every node is idle."""
        self._wait(
            lambda: (
                self.run("sinfo", "-h", "-N", "-p", "main", "-o", "%T").split() == ["idle"] * len(self.nodes)
            )
        )

    def _wait(self, enough: object) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not enough():  # type: ignore[operator]
            logs = "\n".join(path.read_text(errors="replace")[-800:] for path in self.folder.glob("*.log"))
            assert time.monotonic() < deadline, f"Slurm did not start\n{logs}"
            time.sleep(0.05)

    def run(self, *argv: str) -> str:
        """What one of Slurm's commands says; nothing while the controller is away."""
        done = subprocess.run(
            argv,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return done.stdout

    def kill(self, name: str) -> None:
        """Kill a daemon as if its machine had burnt down; tasks of a node go on unseen."""
        self._running[name].kill()
        self._running[name].wait()

    def lose(self, node: str) -> None:
        """A node goes away with its tasks, and comes back."""
        self.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
        self._wait(lambda: not self.run("squeue", "-h", "-w", node, "-t", "RUNNING,COMPLETING").strip())
        self.run("scontrol", "update", f"nodename={node}", "state=resume")

    def stop(self) -> None:
        """End everything, tasks first."""
        self.run("scancel", "-u", pwd.getpwuid(os.getuid()).pw_name)
        for name in reversed(self._running):
            self._running[name].terminate()
        for process in self._running.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        _kill_left(str(self.folder).encode())


def _kill_left(mark: bytes) -> None:
    """Kill what names the cluster's folder in its command line or environment."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            known = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
            if mark in known and int(folder.name) != os.getpid():
                os.kill(int(folder.name), signal.SIGKILL)


@contextlib.contextmanager
def cluster(*extra: str, nodes: int = 2, cpus: int = 4, array: int = 1001) -> Iterator[Cluster]:
    """A cluster for a while; skips the test where Slurm's packages are missing."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    if missing := [name for name in DAEMONS if shutil.which(name, path=path) is None]:
        pytest.skip(f"no {missing[0]} here (apt-get install slurmctld slurmd slurm-client munge)")
    os.environ["PATH"] = path
    folder = Path(tempfile.mkdtemp(prefix="slurm"))  # short: a socket's path has at most 107 bytes
    made = Cluster(folder, nodes, cpus, array, extra)
    try:
        made.start("munged", "slurmctld", *made.nodes)
        made.ready()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)

"""What processes cost: CPU and memory, by the part that they play."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

ROLES = {
    "ray::CoordinatorActorWithGateway": "core",
    "ray::GatewayActor": "gateway",
    "ray::CoordinatorActor": "coordinator",
    "ray::ServeReplica": "Serve replica",
    "haproxy": "haproxy",
    "nats-server": "nats-server",
    "ray::ProjectorActor": "projector",
    "ray::IntakeActor": "intake",
    "ray::AgentActor": "agents",
    "ray::ModelsActor": "embedded model",
    "raylet": "raylet",
    "gcs_server": "gcs_server",
    "ray::": "other Ray actors",
}
"""Parts of a platform by how their process's name begins; the first that fits."""
REST = "other"
MIB = 1024**2

Processes = Mapping[int, tuple[str, psutil.Process]]
"""By their ids: the part that each plays, and itself."""


def role_of(process: psutil.Process) -> str:
    try:
        name = process.name()
    except psutil.Error:
        return REST
    return next((role for begins, role in ROLES.items() if name.startswith(begins)), REST)


@dataclass(frozen=True)
class Cpu:
    """CPU seconds spent until a moment, by process and by the machine."""

    at: float
    spent: dict[int, tuple[str, float]]
    machine: float


@dataclass(frozen=True)
class CpuUse:
    """CPU seconds between two moments."""

    seconds: float
    by_role: dict[str, float]
    machine: float
    """Of everything that ran on the machine; what `by_role` has no part in was taken by others."""

    @property
    def total(self) -> float:
        return sum(self.by_role.values())


def cpu(processes: Processes) -> Cpu:
    spent = {}
    for pid, (role, process) in processes.items():
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        spent[pid] = (role, times.user + times.system)
    of_machine = psutil.cpu_times()
    return Cpu(time.monotonic(), spent, sum(of_machine) - of_machine.idle - getattr(of_machine, "iowait", 0.0))


def between(before: Cpu, after: Cpu) -> CpuUse:
    """What was spent between the two; a process that came meanwhile counts from its start."""
    by_role: dict[str, float] = {}
    for pid, (role, spent) in after.spent.items():
        by_role[role] = by_role.get(role, 0.0) + spent - before.spent.get(pid, (role, 0.0))[1]
    return CpuUse(after.at - before.at, by_role, after.machine - before.machine)


@dataclass(frozen=True)
class Memory:
    """MiB of the processes that play one part."""

    pss: float
    """Pages that several processes share are divided among them."""
    rss: float


def memory(processes: Processes) -> dict[str, Memory]:
    """By part; processes that this user may not look into are left out."""
    found: dict[str, Memory] = {}
    for pid, (role, _) in processes.items():
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        kib = {line.split(":")[0]: int(line.split()[1]) for line in text.splitlines()[1:]}
        had = found.get(role, Memory(0.0, 0.0))
        found[role] = Memory(had.pss + kib["Pss"] / 1024, had.rss + kib["Rss"] / 1024)
    return found


def tree(pid: int, role: str) -> Processes:
    """A process and all that came from it."""
    root = psutil.Process(pid)
    return {each.pid: (role, each) for each in [root, *root.children(recursive=True)]}


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0))

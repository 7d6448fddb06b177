"""CPU time and memory of process trees, and how much the neighbours on the machine took."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

import psutil

GENERATOR: Final = "generator"


def _tree(pid: int) -> Iterator[psutil.Process]:
    """A process and all that descend from it."""
    process = psutil.Process(pid)
    yield process
    yield from process.children(recursive=True)


def cpu_s(pids: Sequence[int]) -> float:
    """User and system time of process trees, with all their threads."""
    times = [member.cpu_times() for pid in pids for member in _tree(pid)]
    return float(sum(spent.user + spent.system for spent in times))


def kernel_s(pids: Sequence[int]) -> float:
    """Of that, what the operating system took: on Linux for sockets, and what is sent is received in it as well."""
    return float(sum(member.cpu_times().system for pid in pids for member in _tree(pid)))


def resident_bytes(pids: Sequence[int]) -> int:
    """Resident memory of process trees."""
    return sum(member.memory_info().rss for pid in pids for member in _tree(pid))


_RUNNING: Final = ("user", "nice", "system", "irq", "softirq")


@dataclass(frozen=True)
class _Machine:
    """Seconds of all cores since the start: spent on processes, and kept by the hypervisor for other machines."""

    busy_s: float
    stolen_s: float

    @classmethod
    def now(cls) -> Self:
        times = psutil.cpu_times()
        busy_s = sum(float(getattr(times, name, 0.0)) for name in _RUNNING)
        return cls(busy_s, float(getattr(times, "steal", 0.0)))  # macOS does not count steal


@dataclass(frozen=True)
class Used:
    """What was used within a measured stretch of time."""

    wall_s: float
    cpu_s: Mapping[str, float]
    kernel_s: Mapping[str, float]
    """Of that, what the operating system took; the generator's own is not told apart."""
    steal_cores: float
    """Cores that other machines on the same host kept from this one."""
    other_cores: float
    """Cores that other programs on this machine kept from the run."""


class Meter:
    """Measures groups of process trees from its making to ``read``; the generator is this process."""

    def __init__(self, groups: Mapping[str, Sequence[int]]) -> None:
        self._groups = groups
        self._began = time.perf_counter()
        self._cpu_s = self._snapshot()
        self._kernel_s = self._kernel()
        self._machine = _Machine.now()

    def _snapshot(self) -> dict[str, float]:
        return {name: cpu_s(pids) for name, pids in self._groups.items()} | {GENERATOR: time.process_time()}

    def _kernel(self) -> dict[str, float]:
        return {name: kernel_s(pids) for name, pids in self._groups.items()}

    def read(self) -> Used:
        """What was used since it was made."""
        wall_s = time.perf_counter() - self._began
        machine = _Machine.now()
        used = {name: spent - self._cpu_s[name] for name, spent in self._snapshot().items()}
        kernel = {name: spent - self._kernel_s[name] for name, spent in self._kernel().items()}
        stolen_s = machine.stolen_s - self._machine.stolen_s
        others_s = machine.busy_s - self._machine.busy_s - sum(used.values())
        return Used(wall_s, used, kernel, stolen_s / wall_s, max(0.0, others_s) / wall_s)

"""CPU time and memory of process trees, and how much the neighbours on the machine took."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

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


def resident_bytes(pids: Sequence[int]) -> int:
    """Resident memory of process trees."""
    return sum(member.memory_info().rss for pid in pids for member in _tree(pid))


def _stolen_s() -> float:
    """Time in which the hypervisor ran somebody else although this machine had work; 0 where nobody counts it."""
    return float(getattr(psutil.cpu_times(), "steal", 0.0))


@dataclass(frozen=True)
class Used:
    """What was used within a measured stretch of time."""

    wall_s: float
    cpu_s: Mapping[str, float]
    steal_cores: float


class Meter:
    """Measures groups of process trees from its making to ``read``; the generator is this process."""

    def __init__(self, groups: Mapping[str, Sequence[int]]) -> None:
        self._groups = groups
        self._began = time.perf_counter()
        self._cpu_s = self._snapshot()
        self._stolen_s = _stolen_s()

    def _snapshot(self) -> dict[str, float]:
        return {name: cpu_s(pids) for name, pids in self._groups.items()} | {GENERATOR: time.process_time()}

    def read(self) -> Used:
        """What was used since it was made."""
        wall_s = time.perf_counter() - self._began
        used = {name: spent - self._cpu_s[name] for name, spent in self._snapshot().items()}
        return Used(wall_s, used, (_stolen_s() - self._stolen_s) / wall_s)

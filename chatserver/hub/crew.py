"""Which processes write: what ``workload`` says, told among the living hubs."""

from collections.abc import Callable, Sequence

from chatserver.hub.hubs import HubRegistry, writer_of
from chatserver.hub.workload import Workload
from chatserver.metrics import Metrics


class Crew:
    """The processes that write, as this one sees it.

    Args:
        registry: knows the living hubs.
        tell: tells the other hubs how many messages a second this one is sent.
        per_writer: see ``Workload``.
        time: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        registry: HubRegistry,
        tell: Callable[[float], None],
        per_writer: float,
        time: Callable[[], float],
        metrics: Metrics,
    ) -> None:
        self._registry = registry
        self._tell = tell
        self._time = time
        self._metrics = metrics
        self._workload = Workload(per_writer, time())
        self._writing: Sequence[str] = registry.live

    def writer_for(self, partition: int) -> str:
        """Who writes the message of this partition that this process was sent now."""
        self._workload.messages += 1
        return writer_of(partition, self._writing)

    def heard(self, hub: str, rate: float) -> None:
        """Another hub tells of itself."""
        self._workload.heard(hub, rate, self._time())

    async def share(self) -> None:
        """Take stock and tell the others; called once a second."""
        rate = self._workload.measure(len(self._registry.live), self._time())
        if rate is not None:
            self._tell(rate)
        self.choose()

    def choose(self) -> None:
        """Hubs came or went, or it is time."""
        self._writing = self._workload.writers(self._registry.live, self._time())
        self._metrics.writing.set(self._registry.hub_id in self._writing)

"""The operator's commands, run within the test's process."""

from collections.abc import Callable


class Outcome:
    """How a command ended, and what it printed."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out.splitlines()
        self.err = err.splitlines()


Run = Callable[..., Outcome]

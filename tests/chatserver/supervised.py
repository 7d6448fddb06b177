"""Processes for ``chatserver.workers`` to watch: ``python -m tests.chatserver.supervised BEHAVIOUR COUNT STOP_S``."""

import functools
import os
import signal
import sys
import time
from multiprocessing.connection import Connection

from chatserver.workers import Workers


def behave(behaviour: str, news: Connection) -> None:
    if behaviour == "fail":
        sys.exit(3)
    if behaviour == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    news.send(None)
    if behaviour == "brief":
        time.sleep(0.2)
        sys.exit(5)
    time.sleep(60)


def main(behaviour: str, count: int, stop_s: float) -> int:
    workers = Workers(
        functools.partial(behave, behaviour),
        count,
        stop_s,
        on_serving=lambda: print("serving", flush=True),
        on_ended=lambda pid: print(f"ended {pid}", flush=True),
    )
    print(f"supervisor {os.getpid()}", flush=True)
    return workers.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))

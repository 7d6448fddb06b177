"""The supervisor, with real processes that behave badly."""

import os
import signal
import time

from tests.program import Program, all_gone, descendants


def supervised(behaviour: str, count: int = 2, stop_s: float = 20.0) -> Program:
    return Program(["-m", "tests.chatserver.supervised", behaviour, str(count), str(stop_s)])


def test_all_are_stopped_when_it_is() -> None:
    with supervised("good") as supervisor:
        supervisor.line("serving")
        started = descendants(supervisor.process.pid)
        assert supervisor.stop() == 0
        all_gone(started)
        assert len([line for line in supervisor.output if line.startswith("ended")]) == 2


def test_one_that_cannot_start_ends_it() -> None:
    with supervised("fail") as supervisor:
        assert supervisor.wait() == 1
        assert "serving" not in supervisor.output


def test_one_that_ends_is_replaced_but_not_at_once() -> None:
    with supervised("brief", count=1) as supervisor:
        supervisor.line("serving")
        supervisor.line("ended ")
        begin = time.monotonic()
        supervisor.line("ended ")
        assert time.monotonic() - begin > 0.8
        assert supervisor.output.count("serving") == 1
        assert supervisor.stop() == 0


def test_those_that_do_not_stop_are_killed_in_time() -> None:
    with supervised("deaf", stop_s=1.0) as supervisor:
        supervisor.line("serving")
        started = descendants(supervisor.process.pid)
        begin = time.monotonic()
        assert supervisor.stop() == 0
        assert time.monotonic() - begin < 10
        all_gone(started)


def test_a_second_ctrl_c_kills_at_once() -> None:
    with supervised("deaf") as supervisor:
        supervisor.line("serving")
        os.killpg(supervisor.process.pid, signal.SIGINT)
        time.sleep(0.5)
        begin = time.monotonic()
        os.killpg(supervisor.process.pid, signal.SIGINT)
        assert supervisor.wait() == 0
        assert time.monotonic() - begin < 10

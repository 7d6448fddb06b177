"""Judging messages by the million: lines in, lines out in the same order, over several processes."""

import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import chain, islice
from multiprocessing import get_context
from typing import Any, BinaryIO, Final

import orjson

from policies.contact import ContactRules, Detector, OrderContext, Verdict

_CHUNK_LINES: Final = 2000
"""Lines that a process takes at a time: a tenth of a second of work, beside which passing them on is nothing …"""
_CHUNK_BYTES: Final = 1024 * 1024
"""… or fewer, if they are long."""
_CHUNKS_AHEAD: Final = 3
"""Chunks that may wait for each process, so that memory stays bounded however long the input is."""
LINE_BYTES: Final = 4 * 1024 * 1024
"""A longer line is no message."""

Chunk = tuple[int, list[bytes]]
"""The number of its first line, and the lines."""


class NotJson(Exception):
    """A line is not JSON. Of one argument, so that it comes back from another process as it was."""


@dataclass(frozen=True, slots=True)
class Judged:
    """The answers to a chunk of lines.

    ``read``: bytes of the input. ``lines``: how many there were. ``bad``: what is wrong with which line. ``stopped``:
    why the rest was not read.
    """

    answers: bytes
    read: int
    lines: int
    bad: list[str]
    stopped: str | None = None


def judged(source: BinaryIO, jobs: int, rules: ContactRules) -> Iterator[Judged]:
    """The answers, chunk by chunk in the order of the lines; the last one where a line is not JSON.

    A short input takes no process of its own.

    Args:
        jobs: processes that judge.
    """
    chunks = _chunks(source)
    first = list(islice(chunks, 2))
    written = rules.model_dump_json()
    answered: Iterator[Judged]
    if jobs == 1 or len(first) < 2:
        answered = (_judge(written, *chunk) for chunk in chain(first, chunks))
    else:
        answered = _in_processes(chain(first, chunks), jobs, written)
    for each in answered:
        yield each
        if each.stopped:
            return


def _in_processes(chunks: Iterable[Chunk], jobs: int, rules: str) -> Iterator[Judged]:
    waiting: deque[Future[Judged]] = deque()
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_leave_interrupts)
    try:
        for chunk in chunks:
            waiting.append(pool.submit(_judge, rules, *chunk))
            if len(waiting) >= jobs * _CHUNKS_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _leave_interrupts() -> None:
    # Ctrl-C reaches every process of the terminal; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _chunks(source: BinaryIO) -> Iterator[Chunk]:
    number = 1
    lines: list[bytes] = []
    size = 0
    while line := source.readline(LINE_BYTES + 1):
        # Of a line that is too long, the part that shows it is enough.
        rest = line
        while len(rest) > LINE_BYTES and not rest.endswith(b"\n"):
            rest = source.readline(LINE_BYTES + 1)
        lines.append(line)
        size += len(line)
        if len(lines) == _CHUNK_LINES or size >= _CHUNK_BYTES:
            yield number, lines
            number += len(lines)
            lines, size = [], 0
    if lines:
        yield number, lines


@cache
def _detector(rules: str) -> Detector:
    return Detector(ContactRules.model_validate_json(rules))


def _judge(rules: str, number: int, lines: list[bytes]) -> Judged:
    detector = _detector(rules)
    answers: list[bytes] = []
    bad: list[str] = []
    stopped: str | None = None
    for place, line in enumerate(lines, number):
        if not line.strip():
            continue
        if len(line) > LINE_BYTES:
            why = f"longer than {LINE_BYTES} bytes"
            answer: dict[str, Any] = {"line": place, "error": why}
        else:
            try:
                message = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                stopped = f"line {place}: not JSON: {error}"
                break
            answer = _answer(detector, message, place)
        if "error" in answer:
            bad.append(f"line {place}: {answer['error']}")
        answers.append(orjson.dumps(answer))
    answers.append(b"")
    return Judged(b"\n".join(answers), sum(map(len, lines)), len(lines), bad, stopped)


def _answer(detector: Detector, message: Any, place: int) -> dict[str, Any]:
    if not isinstance(message, dict):
        return {"line": place, "error": "not an object"}
    answer: dict[str, Any] = {"id": message["id"]} if "id" in message else {}
    text, context, order = message.get("text"), message.get("context") or (), message.get("order")
    if not isinstance(text, str):
        return answer | {"line": place, "error": "without a text"}
    if not isinstance(context, list | tuple) or not all(isinstance(one, str) for one in context):
        return answer | {"line": place, "error": "context is not a list of texts"}
    if order is not None and not isinstance(order, dict):
        return answer | {"line": place, "error": "order is not an object"}
    return answer | _told(detector.check(text, context, _order(order) if order else None))


def _told(verdict: Verdict) -> dict[str, Any]:
    return {
        "action": verdict.action.value,
        "confidence": verdict.confidence,
        "findings": [
            {
                "category": finding.category.value,
                "start": finding.start,
                "end": finding.end,
                "confidence": finding.confidence,
                "rule": finding.rule,
            }
            for finding in verdict.findings
        ],
    }


def _order(said: dict[str, Any]) -> OrderContext:
    return OrderContext(
        order_ids=_strings(said.get("ids")) | _strings(said.get("order_ids")),
        title=str(said.get("title") or ""),
        category=str(said.get("category") or ""),
        in_game_names=_strings(said.get("in_game_names")),
        own_domains=_strings(said.get("own_domains")),
    )


def _strings(value: Any) -> frozenset[str]:
    return frozenset(map(str, value)) if isinstance(value, list) else frozenset()

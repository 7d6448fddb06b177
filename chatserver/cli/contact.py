"""Commands on contact detection that need no server: ``policy scan`` and ``policy evaluate``."""

import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from functools import cache
from itertools import chain, islice
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final

import orjson
import typer

from chatserver.cli.failures import ExitCode, Failure
from chatserver.cli.options import say

if TYPE_CHECKING:
    from policies.contact import Detector, OrderContext

_CHUNK_LINES: Final = 2000
"""Lines that a process takes at a time: some tenths of a second of work."""
_CHUNKS_AHEAD: Final = 3
"""Chunks that may wait for each process, so that memory stays bounded however long the input is."""

Input = Annotated[
    str, typer.Argument(metavar="[FILE.jsonl|-]", help="One JSON object a line; - or nothing is standard input.")
]
Output = Annotated[
    Path | None,
    typer.Option("--output", metavar="FILE", dir_okay=False, help="Where to write; standard output if not given."),
]
Jobs = Annotated[
    int | None, typer.Option(min=1, max=256, help="Processes; as many as there are processors by default.")
]


class BadLine(Exception):
    """A line is no message. Of one argument, so that it comes back from another process as it was."""


def scan(file: Input = "-", output: Output = None, jobs: Jobs = None) -> None:
    """Judge messages of a file by the rules of contact detection, without a server or database.

    Reads {"id"?, "text", "context"?: [earlier messages of the same sender], "order"?} lines and writes, in the same
    order, {"id"?, "action", "confidence", "findings"} lines. A finding that lies in an earlier message has
    start = end = 0.
    """
    with ExitStack() as stack:
        source, size = _source(file, stack)
        target = stack.enter_context(output.open("wb")) if output else sys.stdout.buffer
        lines: Iterable[bytes] = source
        if size and _on_terminal():
            lines = stack.enter_context(_progress(source, size))
        try:
            for judged in _judged(lines, jobs or os.cpu_count() or 1):
                target.write(judged)
            target.flush()
        except BadLine as error:
            raise Failure(ExitCode.FAILED, [str(error)]) from None


def _on_terminal() -> bool:
    return sys.stderr.isatty()


def _source(file: str, stack: ExitStack) -> tuple[BinaryIO, int]:
    """The input and its size in bytes; 0 when it is not known."""
    if file == "-":
        return sys.stdin.buffer, 0
    path = Path(file)
    try:
        return stack.enter_context(path.open("rb")), path.stat().st_size
    except OSError as error:
        raise Failure(ExitCode.USAGE, [f"{file}: {error.strerror}"]) from None


class _progress:  # noqa: N801
    """Lines, with a progress bar on standard error that counts their bytes."""

    def __init__(self, source: Iterable[bytes], size: int) -> None:
        self._source = source
        self._bar = typer.progressbar(length=size, label="scanning", file=sys.stderr)

    def __enter__(self) -> Iterator[bytes]:
        self._bar.__enter__()
        return self._counted()

    def __exit__(self, *raised: Any) -> None:
        self._bar.__exit__(*raised)

    def _counted(self) -> Iterator[bytes]:
        for line in self._source:
            self._bar.update(len(line))
            yield line


def _judged(lines: Iterable[bytes], jobs: int) -> Iterator[bytes]:
    """The answers, chunk by chunk in the order of the lines. A short input takes no process of its own."""
    chunks = _chunks(lines)
    first = list(islice(chunks, 2))
    if jobs == 1 or len(first) < 2:
        for number, chunk in chain(first, chunks):
            yield _judge_chunk(number, chunk)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting: deque[Future[bytes]] = deque()
        for number, chunk in chain(first, chunks):
            waiting.append(pool.submit(_judge_chunk, number, chunk))
            if len(waiting) >= jobs * _CHUNKS_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _chunks(lines: Iterable[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """Chunks of lines, each with the number of its first line."""
    numbered, number = iter(lines), 1
    while chunk := list(islice(numbered, _CHUNK_LINES)):
        yield number, chunk
        number += len(chunk)


@cache
def _detector() -> "Detector":
    from policies.contact import Detector

    return Detector()


def _judge_chunk(number: int, chunk: list[bytes]) -> bytes:
    detector = _detector()
    answers: list[bytes] = []
    for place, line in enumerate(chunk, number):
        if not line.strip():
            continue
        try:
            message = orjson.loads(line)
            text, context = message["text"], message.get("context") or []
            if not (
                isinstance(text, str) and isinstance(context, list) and all(isinstance(one, str) for one in context)
            ):
                raise TypeError
            order = _order(message["order"]) if message.get("order") else None
        except (ValueError, KeyError, TypeError, AttributeError):
            why = f'line {place}: not {{"text": …, "context"?: […], "order"?: {{…}}}}'
            raise BadLine(why) from None
        verdict = detector.check(text, context, order)
        answer: dict[str, Any] = {"id": message["id"]} if "id" in message else {}
        answer["action"], answer["confidence"] = verdict.action.value, verdict.confidence
        answer["findings"] = [
            {
                "category": finding.category.value,
                "start": finding.start,
                "end": finding.end,
                "confidence": finding.confidence,
                "rule": finding.rule,
            }
            for finding in verdict.findings
        ]
        answers.append(orjson.dumps(answer) + b"\n")
    return b"".join(answers)


def _order(said: dict[str, Any]) -> "OrderContext":
    """The order of a line: ``order_ids``, ``in_game_names`` and ``own_domains`` are lists; ``title``, ``category``."""
    from policies.contact import OrderContext

    return OrderContext(
        order_ids=frozenset(map(str, said.get("order_ids", ()))),
        title=str(said.get("title", "")),
        category=str(said.get("category", "")),
        in_game_names=frozenset(map(str, said.get("in_game_names", ()))),
        own_domains=frozenset(map(str, said.get("own_domains", ()))),
    )


Folder = Annotated[
    Path,
    typer.Argument(metavar="DIR", exists=True, file_okay=False, readable=True, help="Folder of labelled .jsonl files."),
]
Report = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", dir_okay=False, help="A report with the misses.")
]


def evaluate(folder: Folder, html: Report = None) -> None:
    """Measure contact detection on labelled messages: recall, false alarms, spans and time.

    Each line of the folder's .jsonl files is {"text", "context"?, "label": whether it is an attempt,
    "spans"?: [[start, end, category]], "evasion"? or "hard"?: its kind}.
    """
    from chatserver.cli.contact_report import measure, page, table

    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise Failure(ExitCode.USAGE, [f"{folder}: no .jsonl files"])
    figures = [measure(file, _detector()) for file in files]
    for line in table(figures):
        say(line)
    if html is not None:
        html.write_text(page(figures), encoding="utf-8")

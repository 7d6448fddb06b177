"""Commands on contact detection that need no server: ``policy scan`` and ``policy evaluate``."""

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Final

import typer

from chatserver.cli.failures import ExitCode, Failure
from chatserver.cli.options import say

if TYPE_CHECKING:
    from chatserver.cli.contact_scan import Judged
    from policies.contact import ContactRules

_NAMED_LINES: Final = 20
"""Bad lines that are told one by one; the output has all of them."""

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
Rules = Annotated[
    Path | None,
    typer.Option("--policy", metavar="FILE", exists=True, dir_okay=False, help="The policy file whose rules to try."),
]


def scan(file: Input = "-", output: Output = None, jobs: Jobs = None, policy: Rules = None) -> None:
    """Judge messages of a file by the rules of contact detection, without a server or database.

    Reads {"id"?, "text", "context"?: [earlier messages of the same sender], "order"?: {"ids"?, "title"?, "category"?,
    "in_game_names"?, "own_domains"?}} lines and writes, in the same order, {"id"?, "action", "confidence", "findings"}
    lines. A finding that lies in an earlier message has start = end = 0.

    A line that is no such message is answered by {"id"?, "line", "error"} and the rest goes on, with exit code 1 at the
    end; the first line that is not JSON ends it, since what follows can hardly be trusted.
    """
    from chatserver.cli.contact_scan import judged

    with ExitStack() as stack:
        source, size = _source(file, output, stack)
        target = stack.enter_context(output.open("wb")) if output else sys.stdout.buffer
        answers: Iterable[Judged] = judged(source, jobs or os.cpu_count() or 1, _rules(policy))
        if _on_terminal(sys.stderr) and (output or not _on_terminal(sys.stdout)):
            answers = _progress(answers, size)
        bad, stopped = 0, None
        for each in answers:
            target.write(each.answers)
            for line in each.bad[: max(0, _NAMED_LINES - bad)]:
                typer.echo(f"chatserver: {line}", err=True)
            bad += len(each.bad)
            stopped = each.stopped
        target.flush()
    if bad > _NAMED_LINES:
        typer.echo(f"chatserver: and {bad - _NAMED_LINES} more such lines", err=True)
    if stopped:
        raise Failure(ExitCode.FAILED, [stopped])
    if bad:
        raise typer.Exit(ExitCode.FAILED)


def _on_terminal(stream: object) -> bool:
    return bool(getattr(stream, "isatty", lambda: False)())


def _rules(policy: Path | None) -> "ContactRules":
    from chatserver.policy_file import load_policy

    return load_policy(policy or "").contact


def _source(file: str, output: Path | None, stack: ExitStack) -> tuple[BinaryIO, int]:
    """The input and its size in bytes; 0 when it is not known."""
    source: BinaryIO = sys.stdin.buffer
    if file != "-":
        try:
            source = stack.enter_context(Path(file).open("rb"))  # noqa: SIM115 (it is one)
        except OSError as error:
            raise Failure(ExitCode.USAGE, [f"{file}: {error.strerror}"]) from None
    try:
        status = os.fstat(source.fileno())
    except OSError:
        return source, 0
    if output and output.exists() and os.path.samestat(status, output.stat()):
        raise Failure(ExitCode.USAGE, [f"{output}: is what is read"])
    return source, status.st_size if stat.S_ISREG(status.st_mode) else 0


def _progress(answers: "Iterable[Judged]", size: int) -> "Iterator[Judged]":
    """The answers, with a bar on standard error; of a pipe, whose end nobody knows, with the lines so far."""
    done = 0
    if not size:
        for each in answers:
            done += each.lines
            typer.echo(f"\r{done:,} lines", err=True, nl=False)
            yield each
        typer.echo(err=True)
        return
    bar: Any
    with typer.progressbar(length=size, label="scanning", file=sys.stderr) as bar:
        for each in answers:
            done += each.lines
            bar.label = f"{done:,} lines"
            bar.update(each.read)
            yield each


Folder = Annotated[
    Path,
    typer.Argument(metavar="DIR", exists=True, file_okay=False, readable=True, help="Folder of labelled .jsonl files."),
]
Report = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", dir_okay=False, help="A report with the misses.")
]


LeaveOut = Annotated[
    bool,
    typer.Option(
        "--leave-out", help="By kind of attempt, also what is found without the words that only this kind speaks for."
    ),
]


def evaluate(folder: Folder, html: Report = None, policy: Rules = None, leave_out: LeaveOut = False) -> None:
    """Measure contact detection on labelled messages: recall, false alarms, spans and time.

    Each line of the folder's .jsonl files is {"text", "context"?, "label": whether it is an attempt,
    "spans"?: [[start, end, category]], "evasion"? or "hard"?: its kind}.
    """
    from chatserver.cli import contact_families
    from chatserver.cli.contact_report import measure, page, table
    from policies.contact import Detector

    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise Failure(ExitCode.USAGE, [f"{folder}: no .jsonl files"])
    # In shadow mode everything is allowed, and there would be nothing to measure.
    detector = Detector(_rules(policy).model_copy(update={"shadow": False}))
    figures = [measure(file, detector) for file in files]
    for line in table(figures):
        say(line)
    if leave_out and (kinds := list(contact_families.leave_out(files, detector))):
        say("")
        for line in contact_families.families(kinds):
            say(line)
    if html is not None:
        html.write_text(page(figures), encoding="utf-8")

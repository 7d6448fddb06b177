"""The command ``config``."""

from typing import Annotated

import typer

from chatserver.cli.failures import ExitCode, Failure
from chatserver.cli.options import Config, Data, configuration, say


def config(
    describe: Annotated[bool, typer.Option("--describe", help="Say what each setting is for.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Say what keeps it from production; exit code 1 then.")
    ] = False,
    config: Config = None,
    data: Data = None,
) -> None:
    """Print the effective settings and where each value comes from, as a TOML file, with secrets hidden."""
    from chatserver.configuration import render
    from chatserver.settings import problems

    effective = configuration(config, data)
    for line in render(effective, describe):
        say(line)
    if check and (found := problems(effective.settings)):
        raise Failure(ExitCode.FAILED, ["this configuration is not fit for production:", *found])

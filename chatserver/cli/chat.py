"""The command ``chat``."""

from pathlib import Path
from typing import Annotated

import typer

from chatserver.cli.options import Data, running_instance


def chat(
    room: Annotated[
        str | None, typer.Argument(help="The room's id; by default the demo order's room.", show_default=False)
    ] = None,
    role: Annotated[str, typer.Option("--as", metavar="ROLE", help="With --data: buyer, seller or agent.")] = "buyer",
    data: Data = None,
    url: Annotated[str | None, typer.Option(help="Base URL of a server, instead of --data.")] = None,
    token: Annotated[
        str | None,
        typer.Option(envvar="DISPUTE_CHAT_TOKEN", help="With --url: the user's JWT; others here may see an option."),
    ] = None,
    after: Annotated[int | None, typer.Option(min=0, help="Begin after this seq, not with the latest.")] = None,
    stop_on_error: Annotated[
        bool, typer.Option("--stop-on-error", help="In a pipe: end with the first line that is refused.")
    ] = False,
) -> None:
    """Talk in a room, from a terminal or in a pipe.

    In a pipe each line is a message or a command; one that is refused is told, and the others go on. The exit code is
    1 then. Without --data and --url: in the development instance that runs on .chatserver.
    """
    from chatserver.terminal import run_terminal

    if url is None and data is None:
        data = Path(".chatserver")
    if data is not None:
        running_instance(data)
        # A token in the environment is for other servers.
        token = token if url else None
    raise typer.Exit(run_terminal(room, role=role, data=data, url=url, token=token, after=after, stops=stop_on_error))

"""Commands that run something until they are told to stop: ``dev``, ``serve``, ``worker``."""

import os
from pathlib import Path
from typing import Annotated

import typer

from chatserver.cli.failures import ExitCode, Failure
from chatserver.cli.options import Config, Data, configuration, require_mongo, say

Port = Annotated[int | None, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one [8000].")]


def dev(
    port: Port = None,
    data: Annotated[Path, typer.Option(metavar="DIR", help="Where everything is kept.")] = Path(".chatserver"),
) -> None:
    """Run everything on this machine: MongoDB, Valkey, an S3 store, the server and its worker, with a demo order.

    Prints "ready <base url>" when it can be used; addresses and credentials are then in DIR/dev.json. Ctrl-C stops all
    of it. Data stays in the folder, except what is in the S3 store, which is in memory; CHATSERVER_S3_URL names
    another one. Anybody on this machine can mint tokens: for development only.
    """
    from chatserver.dev import run

    raise typer.Exit(run(port, data, os.environ, say))


def serve(
    workers: Annotated[int | None, typer.Option(min=1, help="Server processes that share the port [1].")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on [127.0.0.1].")] = None,
    port: Port = None,
    config: Config = None,
) -> None:
    """Run the server, for production.

    Configured by CHATSERVER_* environment variables and a TOML file; refuses to start while something is missing or
    unsafe, and says what. SIGTERM stops it as planned: clients are told when to come back, and what was acknowledged
    is kept.
    """
    from chatserver.settings import problems

    settings = configuration(config, workers=workers, host=host, port=port).settings
    if found := problems(settings):
        raise Failure(ExitCode.USAGE, ["this configuration is not fit for production:", *found])
    from chatserver.serve import serve as run

    raise typer.Exit(run(settings, lambda url: say(f"listening on {url}")))


def worker(config: Config = None, data: Data = None) -> None:
    """Run the periodic work of a deployment: any number of processes, which share it.

    They fire the deadlines of disputes and check the record. Without redis_url, live rooms hear of what a worker writes
    only seconds later.
    """
    from chatserver.settings import worker_problems

    settings = require_mongo(configuration(config, data).settings)
    if found := worker_problems(settings):
        raise Failure(ExitCode.USAGE, ["this configuration is not fit for a worker:", *found])
    from chatserver.worker import work

    raise typer.Exit(work(settings))

"""The command line.

Each command imports what it needs when it runs, so that ``chatserver --help`` answers at once.

Exit codes: 0 done; 1 what was asked for is not so (a broken record, a server that did not start); 2 wrong options or a
configuration that cannot be used; 3 something it depends on does not answer; 4 something on this machine is in the way
(a port or folder in use, a missing program or library); 130 interrupted.
"""

import sys

import typer

from chatserver.cli import access, chat, erasure, policy, record, running, settings, webhooks
from chatserver.cli.failures import ExitCode, explain

app = typer.Typer(
    name="chatserver",
    help="A realtime dispute chat server: buyer, seller and support in one room, on a record both sides can trust.",
    epilog="Exit codes: 0 done, 1 failed or not so, 2 usage or configuration, 3 unavailable, 4 cannot start here.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(running.dev)
app.command()(running.serve)
app.command()(running.worker)
app.command()(record.migrate)
app.command()(record.verify)
app.command()(access.token)
app.add_typer(access.keys, name="keys")
app.command()(access.revoke)
app.command()(erasure.erase)
app.command()(settings.config)
app.add_typer(policy.policy, name="policy")
app.add_typer(webhooks.webhooks, name="webhooks")
app.command()(chat.chat)


def main() -> None:
    """Run the command that the arguments name, and end the process with its exit code."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
    except Exception as error:
        # What is not known is a bug, and its traceback is wanted.
        if (failure := explain(error)) is None:
            raise
        for line in failure.lines:
            print(f"chatserver: {line}", file=sys.stderr)  # noqa: T201
        sys.exit(failure.code)

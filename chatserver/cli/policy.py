"""Commands on the policy: ``policy check``, ``show``, ``schema``, ``dry-run``, ``scan``, ``evaluate``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from chatserver.cli.contact import evaluate, scan
from chatserver.cli.dry_run import dry_run
from chatserver.cli.failures import ExitCode, Failure
from chatserver.cli.options import Config, Data, configuration, say

policy = typer.Typer(no_args_is_help=True, help="The rules of disputes: check, show and try a policy file.")

policy.command("dry-run")(dry_run)
policy.command()(scan)
policy.command()(evaluate)

PolicyFile = Annotated[
    Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, readable=True, help="The policy file (TOML).")
]


@policy.command()
def check(
    file: PolicyFile,
    strict: Annotated[bool, typer.Option("--strict", help="A warning counts as a mistake.")] = False,
) -> None:
    """Say what is wrong with a policy file, and what looks like a mistake.

    Each line names the place. Exit code 1 when the file cannot be used, or with --strict when there is a warning.
    """
    from chatserver.configuration import ConfigurationError
    from chatserver.policy_file import load_policy
    from policies.dispute.doubts import doubts

    try:
        read = load_policy(file)
    except ConfigurationError as error:
        raise Failure(ExitCode.FAILED, error.lines) from None
    found = doubts(read)
    for doubt in found:
        say(f"{file}: {doubt.place}: warning: {doubt.why}")
    if found and strict:
        raise typer.Exit(ExitCode.FAILED)
    say(f"{file}: policy {read.version!r} can be used")


@policy.command()
def show(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", exists=True, dir_okay=False, show_default=False, help="A policy file."),
    ] = None,
    config: Config = None,
    data: Data = None,
) -> None:
    """Print a policy with everything it leaves out, as a file to begin with.

    Without FILE it is the one that the settings name (policy_file), or the default one.
    """
    from chatserver.policy_file import load_policy
    from chatserver.policy_text import policy_text

    for line in policy_text(load_policy(file or configuration(config, data).settings.policy_file)):
        say(line)


@policy.command()
def schema() -> None:
    """Print the JSON schema of a policy file, for editors that complete and check TOML."""
    from chatserver.policy_text import policy_schema

    say(json.dumps(policy_schema(), indent=2))

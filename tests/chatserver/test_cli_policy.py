"""The commands on the policy file."""

import json
import tomllib
from pathlib import Path

import pytest

from chatserver.cli.failures import ExitCode
from policies.dispute.policy import Policy, parse_policy
from tests.chatserver.commands import Run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "policy.toml"


class TestCheck:
    def test_a_good_file_can_be_used(self, run: Run, file: Path) -> None:
        file.write_text('version = "2026-02"\n[terms]\nattend_within = "12h"\n')
        checked = run("policy", "check", str(file))
        assert (checked.code, checked.out, checked.err) == (0, [f"{file}: policy '2026-02' can be used"], [])

    def test_every_mistake_is_named_with_its_place(self, run: Run, file: Path) -> None:
        file.write_text('[terms]\nattend_with = "12h"\nupdate_within = "soon"\nreminders = {room_closes = "1h"}\n')
        checked = run("policy", "check", str(file))
        assert (checked.code, checked.out) == (ExitCode.FAILED, [])
        assert [line.split(": ")[2] for line in checked.err] == [
            "terms.update_within",
            "terms.reminders.room_closes",
            "terms.attend_with",
        ]
        assert checked.err[2].endswith("there is no such setting; do you mean attend_within?")

    def test_a_doubt_is_a_warning_and_with_strict_a_failure(self, run: Run, file: Path) -> None:
        file.write_text('version = "2026-02"\n[terms]\nreminders = {seller_attend = "1d"}\n')
        checked = run("policy", "check", str(file))
        assert checked.code == ExitCode.DONE
        assert checked.out[0].startswith(f"{file}: terms.reminders.seller_attend: warning: as long as ")
        strict = run("policy", "check", "--strict", str(file))
        assert (strict.code, strict.out) == (ExitCode.FAILED, checked.out[:1])

    def test_a_file_that_is_not_there_is_wrong_usage(self, run: Run, file: Path) -> None:
        assert run("policy", "check", str(file)).code == ExitCode.USAGE


class TestShow:
    def test_what_it_prints_is_a_file_to_begin_with(self, run: Run, file: Path) -> None:
        shown = run("policy", "show")
        assert parse_policy(tomllib.loads("\n".join(shown.out))) == Policy()
        file.write_text("\n".join(shown.out))
        assert run("policy", "check", "--strict", str(file)).code == ExitCode.DONE

    def test_it_completes_a_file(self, run: Run, file: Path) -> None:
        file.write_text('[terms]\nattend_within = "36h"\n')
        for shown in (run("policy", "show", str(file)), run("policy", "show", CHATSERVER_POLICY_FILE=str(file))):
            assert 'attend_within = "1d 12h"' in shown.out
            assert 'update_within = "3d"' in shown.out

    def test_a_broken_file_is_explained(self, run: Run, file: Path) -> None:
        file.write_text("version = 1")
        shown = run("policy", "show", str(file))
        assert shown.code == ExitCode.USAGE
        assert shown.err == [f"chatserver: {file}: version: input should be a valid string"]


def test_the_schema_is_json(run: Run) -> None:
    assert json.loads("\n".join(run("policy", "schema").out))["title"] == "Policy"

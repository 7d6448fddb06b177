"""The commands on contact detection that need no server."""

import io
import json
import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from chatserver.cli.contact_scan import LINE_BYTES
from chatserver.cli.failures import ExitCode
from tests.chatserver.commands import Run
from tests.program import environment_with

ATTEMPT = {"id": "a", "text": "call 617-555-0143"}
PLAIN = {"text": "thanks, it works"}


def write(file: Path, *rows: object) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


class TestScan:
    def test_lines_are_answered_in_their_order(self, run: Run, tmp_path: Path) -> None:
        file = write(
            tmp_path / "in.jsonl", ATTEMPT, PLAIN, {"id": 3, "text": "0143", "context": ["my mobile is 617", "555"]}
        )
        scanned = run("policy", "scan", str(file))
        first, second, third = map(json.loads, scanned.out)
        assert scanned.code == ExitCode.DONE
        assert (first["id"], first["action"]) == ("a", "withhold")
        assert set(first["findings"][0]) == {"category", "start", "end", "confidence", "rule"}
        assert second == {"action": "allow", "confidence": 0.0, "findings": []}
        assert (third["id"], third["action"]) == (3, "warn")

    def test_many_lines_keep_their_order_over_processes(self, run: Run, tmp_path: Path) -> None:
        file = write(tmp_path / "in.jsonl", *({"id": number, "text": "ok"} for number in range(4500)))
        output = tmp_path / "out.jsonl"
        assert run("policy", "scan", str(file), "--output", str(output), "--jobs", "2").code == ExitCode.DONE
        assert [json.loads(line)["id"] for line in output.read_text().splitlines()] == list(range(4500))

    def test_what_comes_before_a_line_that_is_not_json_is_judged(self, run: Run, tmp_path: Path) -> None:
        file, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
        for before, jobs in ((1, "1"), (4500, "2")):
            file.write_text((json.dumps(PLAIN) + "\n") * before + "{\n" + json.dumps(PLAIN))
            failed = run("policy", "scan", str(file), "--output", str(output), "--jobs", jobs)
            assert failed.code == ExitCode.FAILED
            assert failed.err[0].startswith(f"chatserver: line {before + 1}: not JSON: ")
            assert len(output.read_text().splitlines()) == before

    def test_standard_input_is_read(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(ATTEMPT).encode() + b"\n\n")))
        assert len(run("policy", "scan", "-").out) == 1

    def test_facts_of_the_order_count(self, run: Run, tmp_path: Path) -> None:
        order = {
            "order_ids": ["617-555-0143"],
            "title": "Gold",
            "category": "currency",
            "own_domains": ["loot.example"],
        }
        scanned = run("policy", "scan", str(write(tmp_path / "in.jsonl", {"text": "617-555-0143", "order": order})))
        assert json.loads(scanned.out[0])["action"] == "allow"

    @pytest.mark.parametrize(
        ("line", "why"),
        [
            ("[]", "not an object"),
            ('{"id": 7, "text": 1}', "without a text"),
            ('{"text": "a", "context": [1]}', "context is not a list of texts"),
            ('{"text": "a", "context": "b"}', "context is not a list of texts"),
            ('{"text": "a", "order": 1}', "order is not an object"),
        ],
    )
    def test_a_line_that_is_no_message_is_named_and_the_rest_goes_on(
        self, run: Run, tmp_path: Path, line: str, why: str
    ) -> None:
        file = tmp_path / "in.jsonl"
        file.write_text(json.dumps(PLAIN) + "\n\n" + line + "\n" + json.dumps(ATTEMPT))
        scanned = run("policy", "scan", str(file))
        assert scanned.code == ExitCode.FAILED
        assert scanned.err == [f"chatserver: line 3: {why}"]
        first, second, third = map(json.loads, scanned.out)
        assert (first["action"], third["action"]) == ("allow", "withhold")
        assert second == ({"id": 7} if '"id"' in line else {}) | {"line": 3, "error": why}

    def test_a_line_without_end_is_not_kept(self, run: Run, tmp_path: Path) -> None:
        file = tmp_path / "in.jsonl"
        file.write_text('{"text": "' + "a" * LINE_BYTES * 3 + '"}\n' + json.dumps(ATTEMPT))
        scanned = run("policy", "scan", str(file))
        assert scanned.err == [f"chatserver: line 1: longer than {LINE_BYTES} bytes"]
        assert json.loads(scanned.out[1])["action"] == "withhold"

    def test_of_many_bad_lines_the_first_are_named(self, run: Run, tmp_path: Path) -> None:
        scanned = run("policy", "scan", str(write(tmp_path / "in.jsonl", *[{}] * 30)))
        assert len(scanned.err) == 21
        assert scanned.err[-1] == "chatserver: and 10 more such lines"
        assert len(scanned.out) == 30

    def test_odd_facts_of_an_order_do_not_matter(self, run: Run, tmp_path: Path) -> None:
        rows = ({"text": "hello", "order": order} for order in ({}, {"ids": 7, "title": None}, {"ids": [7]}, None))
        scanned = run("policy", "scan", str(write(tmp_path / "in.jsonl", *rows)))
        assert [json.loads(line)["action"] for line in scanned.out] == ["allow"] * 4

    def test_the_rules_of_a_policy_file_hold(self, run: Run, tmp_path: Path) -> None:
        policy = tmp_path / "policy.toml"
        policy.write_text("[contact]\nshadow = true\n")
        scanned = run("policy", "scan", str(write(tmp_path / "in.jsonl", ATTEMPT)), "--policy", str(policy))
        (answer,) = map(json.loads, scanned.out)
        assert (answer["action"], answer["findings"] != []) == ("allow", True)
        policy.write_text("[contact]\nshadow = 3\n")
        assert run("policy", "scan", "none", "--policy", str(policy)).code == ExitCode.USAGE

    def test_what_is_read_is_not_written_over(self, run: Run, tmp_path: Path) -> None:
        file = write(tmp_path / "in.jsonl", PLAIN)
        assert run("policy", "scan", str(file), "--output", str(file)).code == ExitCode.USAGE
        assert file.read_text() == json.dumps(PLAIN) + "\n"

    def test_a_file_that_is_not_there_is_wrong_usage(self, run: Run, tmp_path: Path) -> None:
        assert run("policy", "scan", str(tmp_path / "none")).code == ExitCode.USAGE

    @pytest.mark.parametrize("piped", [False, True])
    def test_a_terminal_sees_how_far_it_is(self, tmp_path: Path, piped: bool) -> None:
        file = write(tmp_path / "in.jsonl", *[PLAIN] * 2100)
        leader, follower = pty.openpty()
        arguments = [sys.executable, "-m", "chatserver", "policy", "scan", "-" if piped else str(file), "--jobs", "1"]
        with subprocess.Popen(
            [*arguments, "--output", str(tmp_path / "out.jsonl")],
            stdin=subprocess.PIPE,
            stderr=follower,
            env=environment_with({"TERM": "xterm"}),
        ) as process:
            os.close(follower)
            assert process.stdin is not None
            process.stdin.write(file.read_bytes() if piped else b"")
            process.stdin.close()
            seen = b""
            # Linux ends the leader's side with an error once nobody holds the other one.
            with suppress(OSError):
                while part := os.read(leader, 4096):
                    seen += part
        os.close(leader)
        assert process.returncode == ExitCode.DONE
        assert b"2,100 lines" in seen
        assert (b"100%" in seen) is not piped

    def test_a_pipe_that_nobody_reads_any_more_ends_it(self, tmp_path: Path) -> None:
        file = write(tmp_path / "in.jsonl", *[PLAIN] * 9000)
        command = f"{sys.executable} -m chatserver policy scan {file} --jobs 2 | head -1"
        ended = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, env=environment_with({})
        )
        assert json.loads(ended.stdout)["action"] == "allow"
        assert "Traceback" not in ended.stderr


class TestEvaluate:
    def test_a_table_and_a_page_of_the_misses(self, run: Run, tmp_path: Path) -> None:
        spans = [[5, 17, "phone"]]
        write(tmp_path / "attempts.jsonl", {**ATTEMPT, "label": True, "spans": spans, "evasion": "plain"})
        write(
            tmp_path / "others.jsonl",
            {**PLAIN, "label": False},
            {**ATTEMPT, "text": "<b> dial 617-555-0143", "label": False},
        )
        write(tmp_path / "empty.jsonl")
        page = tmp_path / "page.html"
        evaluated = run("policy", "evaluate", str(tmp_path), "--html", str(page))
        assert evaluated.code == ExitCode.DONE
        rows = {line.split()[0]: line.split() for line in evaluated.out[1:]}
        assert rows["attempts"][1:3] == ["1", "1.000"]
        assert rows["attempts"][7] == "1.000"
        assert rows["others"][3:6] == ["2", "1", "500.00"]
        shown = page.read_text()
        assert "&lt;b&gt; dial <u>617-555-0143</u>" in shown
        assert "0 missed of 1, 0 false alarms of" in shown
        assert '<tr class="false"><th>false alarm</th>' in shown

    def test_the_rules_of_a_policy_file_are_measured(self, run: Run, tmp_path: Path) -> None:
        write(tmp_path / "attempts.jsonl", {**ATTEMPT, "label": True})
        policy = tmp_path / "policy.toml"
        for rules, recall in (("shadow = true", "1.000"), ("default = {warn = 1, withhold = 1}", "0.000")):
            policy.write_text(f"[contact]\n{rules}\n")
            evaluated = run("policy", "evaluate", str(tmp_path), "--policy", str(policy))
            assert evaluated.out[1].split()[2] == recall

    def test_kinds_of_attempts_are_measured_without_their_own_words(self, run: Run, tmp_path: Path) -> None:
        write(
            tmp_path / "attempts.jsonl",
            {"text": "write me on telegram", "label": True, "evasion": "invite"},
            {"text": "gib mir deine nummer", "label": True, "evasion": "lang_de"},
            {"text": "meine nummer ist 030 901820", "label": True, "evasion": "lang_de"},
            {"text": "telegram 0151 23456789", "label": True, "evasion": "plain"},
            {"text": "hello", "label": False},
        )
        evaluated = run("policy", "evaluate", str(tmp_path), "--leave-out")
        assert evaluated.code == ExitCode.DONE
        rows = {line.split()[0]: line.split()[1:] for line in evaluated.out[evaluated.out.index("") + 2 :]}
        assert set(rows) == {"invite", "lang_de", "plain", "all"}
        assert (rows["plain"][1], rows["plain"][3]) == ("1.000", "1.000")
        assert (rows["lang_de"][1], rows["lang_de"][3]) == ("1.000", "0.500")
        assert int(rows["lang_de"][2]) > int(rows["plain"][2])
        assert rows["all"][0] == "4"

    def test_a_line_without_label_is_named(self, run: Run, tmp_path: Path) -> None:
        write(tmp_path / "attempts.jsonl", ATTEMPT)
        evaluated = run("policy", "evaluate", str(tmp_path))
        assert evaluated.code == ExitCode.FAILED
        assert "line 1 is not labelled" in evaluated.err[0]

    def test_a_folder_of_nothing_is_wrong_usage(self, run: Run, tmp_path: Path) -> None:
        assert run("policy", "evaluate", str(tmp_path)).code == ExitCode.USAGE

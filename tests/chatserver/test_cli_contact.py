"""The commands on contact detection that need no server."""

import io
import json
import sys
from pathlib import Path

import pytest

from chatserver.cli.failures import ExitCode
from tests.chatserver.commands import Run

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
        with file.open("a") as lines:
            lines.write("{}\n")
        failed = run("policy", "scan", str(file), "--output", str(output), "--jobs", "2")
        assert failed.code == ExitCode.FAILED
        assert "line 4501" in failed.err[0]

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
        "line", ["{", "[]", '{"text": 1}', '{"text": "a", "context": [1]}', '{"text": "a", "order": 1}']
    )
    def test_a_line_that_is_no_message_is_named(self, run: Run, tmp_path: Path, line: str) -> None:
        file = tmp_path / "in.jsonl"
        file.write_text(json.dumps(PLAIN) + "\n" + line + "\n")
        scanned = run("policy", "scan", str(file))
        assert scanned.code == ExitCode.FAILED
        assert scanned.err[0].startswith("chatserver: line 2: not ")

    def test_a_file_that_is_not_there_is_wrong_usage(self, run: Run, tmp_path: Path) -> None:
        assert run("policy", "scan", str(tmp_path / "none")).code == ExitCode.USAGE

    def test_a_terminal_sees_how_far_it_is(self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("chatserver.cli.contact._on_terminal", lambda: True)
        assert len(run("policy", "scan", str(write(tmp_path / "in.jsonl", ATTEMPT, PLAIN))).out) == 2


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
        assert "&lt;b&gt; dial" in page.read_text()

    def test_a_line_without_label_is_named(self, run: Run, tmp_path: Path) -> None:
        write(tmp_path / "attempts.jsonl", ATTEMPT)
        evaluated = run("policy", "evaluate", str(tmp_path))
        assert evaluated.code == ExitCode.FAILED
        assert "line 1 is not labelled" in evaluated.err[0]

    def test_a_folder_of_nothing_is_wrong_usage(self, run: Run, tmp_path: Path) -> None:
        assert run("policy", "evaluate", str(tmp_path)).code == ExitCode.USAGE

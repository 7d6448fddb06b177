"""The bench still runs, and finds nothing wrong with the server in two seconds of it."""

from pathlib import Path

import pytest

from tests.bench.__main__ import main


def test_a_short_bench_runs_and_finds_nothing_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    size = ["--rooms", "5", "--outstanding", "8"]
    time = ["--warm", "0.5", "--seconds", "1", "--windows", "1", "--rounds", "1"]
    assert main(["closed", *size, *time, "--data", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "WRONG" not in printed
    assert "numbers and hash chain of every room checked" in printed

"""The bench of deadlines still runs, and finds that each fires once and in time."""

from pathlib import Path

import pytest

from chatserver.embedded import Mongod, Valkey
from tests.bench.deadlines import Size, measure


def test_a_small_bench_finds_that_all_fire_once_and_in_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    size = Size(disputes=2_000, due=200, rate=50, spread_s=3.0, idle_s=1.0, settle_s=2.0)
    with Mongod(tmp_path / "mongod") as mongod, Valkey(tmp_path / "valkey") as valkey:
        assert measure(mongod, valkey, tmp_path, size) == 0
    printed = capsys.readouterr().out
    assert "WRONG" not in printed
    assert "| open disputes" in printed
    assert "400" in printed, "both workers' share"

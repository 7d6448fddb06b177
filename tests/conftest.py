from collections.abc import Generator

import pytest

from tests.databases import migrated
from tests.services import mongo_url, redis_url, s3_url

__all__ = ["migrated", "mongo_url", "redis_url", "s3_url"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skipped test proves nothing: here it fails."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Nor does a skipped module."""
    report = yield
    if report.skipped:
        report.outcome = "failed"
    return report

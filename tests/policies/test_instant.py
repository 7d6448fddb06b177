from datetime import UTC, datetime, timedelta, timezone

from policies.instant import instant, rfc3339


def test_an_instant_is_utc_and_cut_to_the_millisecond() -> None:
    local = datetime(2026, 1, 31, 10, 30, 0, 250_999, timezone(timedelta(hours=1)))
    assert instant(local) == datetime(2026, 1, 31, 9, 30, 0, 250_000, UTC)
    assert instant(local).tzinfo is UTC


def test_rfc3339_is_utc_whatever_the_zone_of_the_time() -> None:
    india = datetime(2024, 2, 29, 1, 0, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert rfc3339(india) == "2024-02-28T19:30:00.000Z"
    assert rfc3339(india.astimezone(UTC)) == "2024-02-28T19:30:00.000Z"


def test_rfc3339_has_exactly_three_decimals() -> None:
    assert rfc3339(datetime(2026, 1, 31, 9, 30, tzinfo=UTC)) == "2026-01-31T09:30:00.000Z"
    assert rfc3339(datetime(2026, 1, 31, 9, 30, 0, 250_999, tzinfo=UTC)) == "2026-01-31T09:30:00.250Z"

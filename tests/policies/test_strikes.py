"""How flags of a user add up."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from policies.flag import Cause, CauseKind, Flag, FlagState, Mark
from policies.strikes import ENOUGH, Strike, StrikeRules, StrikeWeights, counts, score, strike

NOW = datetime(2026, 3, 1, tzinfo=UTC)
RULES = StrikeRules()


def ago(days: float, mark: Mark = Mark.WITHHELD, *, released: bool = False) -> Strike:
    return Strike(NOW - timedelta(days=days), mark, released)


def flag(*kinds: CauseKind, state: FlagState = FlagState.OPEN) -> Flag:
    causes = tuple(Cause(kind, "phone", "text", 0, 4, 90, "phone.international") for kind in kinds)
    return Flag(Mark.WITHHELD, 90, causes, state)


def test_what_became_of_a_text_says_what_it_weighs() -> None:
    assert [score([ago(0, mark)], NOW, RULES) for mark in Mark] == [0.0, 0.25, 1.0, 1.0]
    assert score([], NOW, RULES) == 0


def test_a_strike_weighs_half_after_each_half_life() -> None:
    assert score([ago(30)], NOW, RULES) == 0.5
    assert score([ago(60)], NOW, RULES) == 0.25
    assert score([ago(30)], NOW, StrikeRules(half_life=timedelta(days=15))) == 0.25
    assert score([ago(365_00)], NOW, RULES) == pytest.approx(0)


def test_strikes_add_up() -> None:
    assert score([ago(0), ago(30), ago(30, Mark.WARNED)], NOW, RULES) == 1.625


def test_what_staff_released_does_not_count() -> None:
    assert score([ago(0, released=True), ago(30)], NOW, RULES) == 0.5


def test_a_strike_of_a_clock_that_is_ahead_weighs_as_a_new_one() -> None:
    assert score([ago(-1)], NOW, RULES) == 1


def test_three_withheld_messages_of_a_day_are_told_to_staff() -> None:
    assert score([ago(0)] * 3, NOW, RULES) >= RULES.report_above
    assert score([ago(0.5)] * 3, NOW, RULES) < RULES.report_above


def test_weights_are_the_operators() -> None:
    rules = StrikeRules(weights=StrikeWeights(warned=2))
    assert score([ago(0, Mark.WARNED), ago(0)], NOW, rules) == 3


strikes = st.lists(
    st.builds(
        Strike,
        st.integers(-400, 10_000).map(lambda days: NOW - timedelta(days=days)),
        st.sampled_from(Mark),
        st.booleans(),
    ),
    max_size=20,
)


@given(strikes, st.randoms(use_true_random=False))
def test_their_order_makes_no_difference(given_strikes: list[Strike], random: object) -> None:
    mixed = given_strikes.copy()
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert score(mixed, NOW, RULES) == pytest.approx(score(given_strikes, NOW, RULES))


@given(strikes)
def test_it_is_never_more_than_the_weights_and_only_falls(given_strikes: list[Strike]) -> None:
    total = score(given_strikes, NOW, RULES)
    assert 0 <= total <= sum(RULES.weights.of(each.mark) for each in given_strikes if not each.released)
    assert score(given_strikes, NOW + timedelta(days=1), RULES) <= total


def test_a_flag_is_a_strike_unless_it_is_only_about_secrets() -> None:
    assert strike(NOW, flag(CauseKind.CONTACT)) == Strike(NOW, Mark.WITHHELD)
    assert strike(NOW, flag(CauseKind.SECRET, CauseKind.CONDUCT)) == Strike(NOW, Mark.WITHHELD)
    assert strike(NOW, flag(CauseKind.SECRET)) is None
    assert strike(NOW, flag()) == Strike(NOW, Mark.WITHHELD)
    assert strike(NOW, flag(CauseKind.CONTACT, state=FlagState.RELEASED)) == Strike(NOW, Mark.WITHHELD, True)
    assert strike(NOW, flag(CauseKind.CONTACT, state=FlagState.CONFIRMED)) == Strike(NOW, Mark.WITHHELD, False)


@pytest.mark.parametrize(
    "content",
    [
        {"half_life": 0},
        {"report_above": 0},
        {"report_above": float("nan")},
        {"weights": {"warned": -1}},
        {"weights": {"warned": float("inf")}},
    ],
)
def test_rules_that_make_no_sum_are_refused(content: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        StrikeRules.model_validate(content)


def found(*categories: str, mark: Mark = Mark.WARNED) -> Flag:
    causes = (Cause(CauseKind.CONDUCT, each, "text", 0, 0, 100, f"conduct.{each}") for each in categories)
    return Flag(mark, 100, tuple(causes))


def test_of_a_flood_the_first_counts() -> None:
    flood, repeat = found("flooding"), found("repeating")
    assert counts(flood, [])
    assert not counts(flood, [flood])
    assert counts(repeat, [flood])
    assert counts(found("flooding", "repeating"), [flood])
    assert not counts(found("flooding", "repeating"), [flood, repeat])
    assert not counts(repeat, [found("repeating", "insult")])
    assert counts(found("repeating", mark=Mark.WITHHELD), [repeat])


def test_of_what_is_worse_enough_count() -> None:
    insult, flood = found("insult"), found("flooding")
    assert counts(insult, [insult] * (ENOUGH - 1))
    assert not counts(insult, [insult] * ENOUGH)
    assert counts(insult, [flood] * ENOUGH)
    assert not counts(found("insult", "flooding"), [*[insult] * ENOUGH, flood])
    assert counts(found(), [found()] * (ENOUGH - 1))
    assert not counts(found(), [found()] * ENOUGH)


def test_false_alarms_take_no_place_of_what_is_none() -> None:
    released = replace(found("insult"), state=FlagState.RELEASED)
    assert counts(found("insult"), [released] * ENOUGH)
    assert not counts(found("flooding"), [replace(found("flooding"), state=FlagState.RELEASED)])


def test_nothing_hides_behind_very_many_of_something_milder() -> None:
    mild = [found("insult")] * ENOUGH
    assert counts(found("threat"), mild)
    assert counts(found("insult", "threat"), mild)
    assert counts(found("insult", mark=Mark.WITHHELD), mild)
    assert not counts(found("insult"), [found("insult", mark=Mark.WITHHELD)] * ENOUGH)

"""What ``policy show`` prints is a policy file, and the schema describes policy files."""

import tomllib
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from chatserver.policy_text import duration_text, policy_schema, policy_text
from policies.contact import Action, Category
from policies.dispute.policy import REMINDED, Policy, parse_policy
from policies.flag import Mark
from policies.plain import LARGEST_INT
from policies.secrets import SecretKind
from policies.vocabulary import EvidenceKind, Reason, TrustLevel

durations = st.integers(0, 3650 * 86_400).map(lambda seconds: timedelta(seconds=seconds))
windows = st.dictionaries(st.sampled_from(sorted(TrustLevel)), durations)
kinds = st.lists(st.sampled_from(sorted(EvidenceKind)), max_size=3)
text = st.text(st.characters(codec="utf-8"), max_size=20)
thresholds = st.fixed_dictionaries({"warn": st.floats(0, 0.5), "withhold": st.floats(0.5, 1)})
actions = st.sampled_from(sorted(Action))
secrets = st.lists(st.sampled_from(sorted(SecretKind)), max_size=3)
policies = st.fixed_dictionaries(
    {},
    optional={
        "version": st.text(st.characters(codec="utf-8"), min_size=1, max_size=64),
        "opening": st.fixed_dictionaries(
            {},
            optional={
                "not_before": durations,
                "windows": windows,
            },
        ),
        "terms": st.fixed_dictionaries(
            {},
            optional={
                "attend_within": durations,
                "settlement_retries": st.integers(0, 100),
                "settle": st.sampled_from(["at_once", "when_final"]),
                "reminders": st.dictionaries(st.sampled_from(sorted(REMINDED)), durations),
                "second_person_above": st.dictionaries(
                    st.text(st.characters(codec="utf-8", exclude_characters="\0")),
                    st.integers(-LARGEST_INT, LARGEST_INT),
                ),
            },
        ),
        "evidence": st.fixed_dictionaries(
            {},
            optional={
                "per_side": st.integers(1, 1000),
                "per_kind": st.dictionaries(st.sampled_from(sorted(EvidenceKind)), st.integers(1, 1000), max_size=3),
                "kinds": st.lists(st.sampled_from(sorted(EvidenceKind)), min_size=1, max_size=3, unique=True),
                "retention": durations,
            },
        ),
        "contact": st.fixed_dictionaries(
            {},
            optional={
                "shadow": st.booleans(),
                "default": thresholds,
                "categories": st.dictionaries(st.sampled_from(sorted(Category)), thresholds),
                "own_domains": st.lists(text, max_size=3),
                "lexicon": st.dictionaries(
                    st.sampled_from(["app", "reach", "INVITE"]),
                    st.fixed_dictionaries({"words": st.lists(text, max_size=3)}),
                ),
                "warned_raise": st.floats(0, 0.5),
            },
        ),
        "conduct": st.fixed_dictionaries(
            {}, optional={"repeats": st.integers(1, 100), "alike": st.floats(0.1, 1), "threat": actions}
        ),
        "secrets": st.fixed_dictionaries({}, optional={"masked": secrets, "hand_over": secrets}),
        "strikes": st.fixed_dictionaries(
            {},
            optional={
                "half_life": st.integers(1, 3650).map(lambda days: f"{days}d"),
                "report_above": st.floats(0, 1000, exclude_min=True),
                "weights": st.dictionaries(st.sampled_from(sorted(Mark)), st.floats(0, 100)),
            },
        ),
        "checklists": st.dictionaries(
            st.sampled_from(sorted(Reason)), st.fixed_dictionaries({"buyer": kinds, "seller": kinds}), max_size=3
        ),
    },
).map(parse_policy)


FILLED = {
    "second_person_above": {"EUR": 1},
    "categories": {"phone": {"warn": 0.25}},
    "lexicon": {"app": {"words": ["owlgram"]}, "digits": {"7": ["sedem"]}},
}
"""For the tables that are empty by default."""


def shown(policy: Policy) -> dict[str, Any]:
    return tomllib.loads("\n".join(policy_text(policy)))


@given(policies)
def test_what_is_shown_is_read_as_the_same_policy_and_fits_the_schema(policy: Policy) -> None:
    assert parse_policy(shown(policy)) == policy
    Draft202012Validator(policy_schema()).validate(shown(policy))


def test_everything_that_a_policy_holds_is_shown() -> None:
    content = shown(Policy())
    assert content.keys() == Policy.model_fields.keys()
    parts = {name: type(part) for name, part in Policy() if isinstance(part, BaseModel)}
    assert "evidence" in parts
    for name, part in parts.items():
        assert content[name].keys() == part.model_fields.keys()


def test_everything_in_a_policy_that_is_changed_is_read_back() -> None:
    """Of each value of each part another one, whatever parts there are some day."""
    changed = parse_policy(otherwise(Policy()))
    assert parse_policy(shown(changed)) == changed
    for name, part in Policy():
        other = getattr(changed, name)
        if not isinstance(part, BaseModel):
            assert other != part, name
            continue
        for field, value in part:
            assert getattr(other, field) != value, f"{name}.{field}"


def otherwise(part: BaseModel) -> dict[str, Any]:
    """The content of a file in which nothing has its default."""
    return {name: another(name, value) for name, value in part}


def another(name: str, value: Any) -> Any:
    if isinstance(value, BaseModel):
        return otherwise(value)
    if isinstance(value, timedelta):
        return duration_text(value + timedelta(seconds=1))
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 0.9 or 0.5
    if isinstance(value, tuple):
        return [str(each) for each in value[1:]] or (
            {"own_domains": ["loot.example"], "hand_over": ["code"]}.get(name, [])
        )
    if isinstance(value, Action):
        return "allow"
    if isinstance(value, str):
        return {"settle": "when_final", "version": "2"}[name]
    assert isinstance(value, dict)
    return {key: another(key, each) for key, each in value.items()} or FILLED[name]


def test_every_line_of_a_shown_policy_has_its_purpose_beside_it() -> None:
    lines = list(policy_text(Policy()))
    above = lines[lines.index('attend_within = "1d"') - 1]
    assert above == "# The seller's time for a first real act."
    assert shown(Policy())["terms"]["reminders"].keys() == REMINDED.keys()


def test_a_reminder_that_is_off_is_shown_as_off() -> None:
    policy = parse_policy({"terms": {"reminders": {"no_update": 0}}})
    assert "no_update" not in policy.terms.reminders
    assert policy.terms.reminders["seller_attend"] == timedelta(hours=6)
    assert shown(policy)["terms"]["reminders"]["no_update"] == "0s"


def test_a_trust_level_that_a_file_leaves_out_keeps_its_window() -> None:
    policy = parse_policy({"opening": {"windows": {"trusted": "2d"}}})
    assert policy.opening.windows[TrustLevel.TRUSTED] == timedelta(days=2)
    assert policy.opening.windows[TrustLevel.UNVERIFIED] == timedelta(days=14)


def test_a_kind_of_evidence_that_a_file_leaves_out_keeps_its_number() -> None:
    policy = parse_policy({"evidence": {"per_kind": {"photo": 3}}})
    assert policy.evidence.per_kind == {"photo": 3, "video": 10, "screen_recording": 10}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (1, "1s"), (59, "59s"), (60, "1m"), (90_061, "1d 1h 1m 1s"), (86_400, "1d"), (129_600, "1d 12h")],
)
def test_durations_are_written_as_a_person_would(seconds: int, text: str) -> None:
    assert duration_text(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    "content",
    [
        {"opnening": {}},
        {"opening": {"not_before": "soon"}},
        {"opening": {"windows": {"famous": "1d"}}},
        {"terms": {"settlement_retries": 101}},
        {"terms": {"reminders": {"room_closes": "1h"}}},
        {"terms": {"second_person_above": {"EUR": 2**53}}},
        {"terms": {"second_person_above": {"EUR": -(2**53)}}},
        {"evidence": {"per_kind": {"photos": 3}}},
        {"evidence": {"per_kind": {"photo": 0}}},
        {"evidence": {"per_kind": {"photo": 1001}}},
        {"checklists": {"defective": {"buyer": ["photos"]}}},
        {"contact": {"categories": {"fax": {"warn": 0.5}}}},
        {"contact": {"default": {"warn": 1.1}}},
        {"contact": {"lexicon": {"app": {"words": "owlgram"}}}},
        {"conduct": {"threat": "ban"}},
        {"secrets": {"masked": ["diary"]}},
        {"strikes": {"report_above": 0}},
        {"strikes": {"weights": {"erased": 1}}},
    ],
)
def test_the_schema_refuses_what_the_server_refuses(content: dict[str, Any]) -> None:
    assert not Draft202012Validator(policy_schema()).is_valid(content)
    with pytest.raises(ValueError, match="validation error"):
        parse_policy(content)


def test_the_schema_gives_defaults_as_a_file_would() -> None:
    schema = policy_schema()
    assert schema["$defs"]["Opening"]["properties"]["not_before"]["default"] == "15m"
    assert schema["properties"]["terms"]["default"]["attend_within"] == "1d"
    Draft202012Validator.check_schema(schema)

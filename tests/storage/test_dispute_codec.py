from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NewType, get_args, get_origin, get_type_hints

import bson
import pytest
from bson.codec_options import CodecOptions
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.dispute.policy import Checklist, Terms
from policies.dispute.state import Dispute
from policies.vocabulary import EvidenceKind
from storage import dispute_codec
from storage.dispute_codec import decode_dispute, encode_dispute
from tests.storage.disputes import dispute

TIMES = st.datetimes(
    min_value=datetime(1970, 1, 1),  # noqa: DTZ001  (as the strategy wants them)
    max_value=datetime(2999, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
).map(lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000))
DURATIONS = st.integers(0, 3650 * 86_400).map(lambda seconds: timedelta(seconds=seconds))
TERMS = st.builds(
    Terms,
    attend_within=DURATIONS,
    reminders=st.dictionaries(st.sampled_from(["seller_attend", "no_update"]), DURATIONS),
    second_person_above=st.dictionaries(st.sampled_from(["EUR", "USD"]), st.integers(0, 2**53 - 1)),
    settle=st.sampled_from(["at_once", "when_final"]),
)
CHECKLISTS = st.builds(
    Checklist,
    buyer=st.lists(st.sampled_from(EvidenceKind)).map(tuple),
    seller=st.lists(st.sampled_from(EvidenceKind)).map(tuple),
)

SIMPLE: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(),
    int: st.integers(-(2**53), 2**53),
    bool: st.booleans(),
    datetime: TIMES,
    type(None): st.none(),
    Terms: TERMS,
    Checklist: CHECKLISTS,
}


def any_of(kind: Any) -> st.SearchStrategy[Any]:
    """Any value that a field of this type may have."""
    if isinstance(kind, NewType):
        return any_of(kind.__supertype__)
    if kind in SIMPLE:
        return SIMPLE[kind]
    container, arguments = get_origin(kind), get_args(kind)
    if container in (tuple, frozenset):
        return st.lists(any_of(arguments[0]), max_size=3).map(container)
    if arguments:
        return st.one_of(*map(any_of, arguments))
    if isinstance(kind, type) and is_dataclass(kind):
        hints = get_type_hints(kind)
        return st.builds(kind, **{field.name: any_of(hints[field.name]) for field in fields(kind)})
    return st.sampled_from(kind)


def kept(document: dict[str, Any]) -> dict[str, Any]:
    """What MongoDB gives back for a document."""
    return bson.decode(bson.encode(document), CodecOptions(tz_aware=True))


@settings(deadline=None)
@given(any_of(Dispute))
def test_any_dispute_comes_back_as_it_was(dispute: Dispute) -> None:
    assert decode_dispute(kept(encode_dispute(dispute))) == dispute


def test_what_is_not_there_takes_no_room() -> None:
    document = encode_dispute(dispute())
    assert "appeal" not in document
    assert document["frozen"] is False
    assert document["heard"] == ["buyer"]


def test_a_field_that_an_older_release_did_not_write_has_its_default() -> None:
    document = encode_dispute(dispute())
    for name in ("refunded", "heard", "held"):
        del document[name]
    assert decode_dispute(document) == replace(dispute(), heard=frozenset())


@pytest.mark.parametrize("kind", [float, dict[str, int], int | str, list])
def test_a_field_that_has_no_form_is_found_at_once(kind: Any) -> None:
    @dataclass
    class Later:
        field: kind

    Later.__annotations__["field"] = kind
    with pytest.raises(TypeError, match="a dispute holds"):
        dispute_codec._codec(Later)

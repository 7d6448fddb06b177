"""What the documents say of entries' bodies, held against all that random play of the rules writes."""

import copy
import json
from collections import Counter
from typing import Any, Final

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from jsonschema import Draft202012Validator

from chatserver.asyncapi import document
from chatserver.settings import Settings
from policies.evidence import Added, Announcement, EvidenceId, MediaType
from policies.vocabulary import EntryKind, EvidenceKind, Role, UserId
from tests.policies.dispute.test_machine import DisputeMachine

KINDS_PLAYED: Final = 20
"""At least so many of the kinds; all of them, and screened texts too, come up in the system tests, where every frame is
held against the documents."""


def validators() -> dict[str, Draft202012Validator]:
    """By kind of entry. Closed for this: a member that no schema names fails."""
    described = document(Settings(), "test")
    schemas = copy.deepcopy(described["components"]["schemas"])
    for schema in schemas.values():
        if "properties" in schema:
            schema["additionalProperties"] = False
    return {
        kind: Draft202012Validator({**body, "components": {"schemas": schemas}})
        for kind, body in described["x-entry-bodies"].items()
    }


BY_KIND: Final = validators()


def problems(kind: EntryKind, body: Any) -> list[str]:
    plain = json.loads(json.dumps(body))
    return [f"{kind}: {error.json_path}: {error.message}" for error in BY_KIND[kind.value].iter_errors(plain)]


def test_whatever_is_played_fits_its_schema() -> None:
    seen: Counter[EntryKind] = Counter()

    class Compared(DisputeMachine):
        def look_at(self, before: Any, after: Any, entry: Any) -> None:
            super().look_at(before, after, entry)
            seen[entry.kind] += 1
            if entry.kind is not EntryKind.EVIDENCE_ADDED:  # the machine's says no more than the rules need
                assert not problems(entry.kind, entry.body)

    run_state_machine_as_test(
        Compared,
        settings=settings(
            max_examples=100,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert len(seen) >= KINDS_PLAYED


def test_the_entry_of_evidence_fits_its_schema() -> None:
    for caption, origin, late in (("", "", False), ("As it came", "phone", True)):
        said = Announcement("p.jpg", "image/jpeg", 1, "0" * 64, EvidenceKind.PHOTO, caption, None, origin)
        added = Added(EvidenceId("e"), UserId("u"), Role.BUYER, said, MediaType.JPEG, thumbnail=True, late=late)
        assert not problems(EntryKind.EVIDENCE_ADDED, added.body())


def test_a_member_that_is_not_documented_or_missing_is_found() -> None:
    assert problems(EntryKind.DISPUTE_REOPENED, {"reason": "x", "mood": "bad"})
    assert problems(EntryKind.DISPUTE_REOPENED, {})

"""The policy file: what is read from it, and what its author is told about mistakes."""

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from chatserver.configuration import ConfigurationError
from chatserver.policy_file import load_policy
from chatserver.settings import Settings, problems
from policies.dispute.policy import Policy
from policies.vocabulary import EvidenceKind, Reason, TrustLevel


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "policy.toml"


def lines_of(file: Path) -> list[str]:
    with pytest.raises(ConfigurationError) as failure:
        load_policy(file)
    return [line.removeprefix(f"{file}: ") for line in failure.value.lines]


def test_without_a_file_the_default_policy_holds() -> None:
    assert load_policy("") == Policy()


def test_what_a_file_says_holds_and_what_it_leaves_out_has_its_default(file: Path) -> None:
    file.write_text(
        'version = "2026-02"\n'
        "[opening]\n"
        'not_before = "30m"\n'
        "[opening.windows]\n"
        'unverified = "7d"\nverified = "1d 12h"\ntrusted = 0\n'
        "[terms]\n"
        'attend_within = "12h"\n'
        "second_person_above = {EUR = 50000}\n"
        "[checklists.defective]\n"
        'buyer = ["video"]\n'
    )
    policy = load_policy(str(file))
    assert policy.version == "2026-02"
    assert policy.opening.not_before == timedelta(minutes=30)
    assert policy.opening.windows[TrustLevel.VERIFIED] == timedelta(hours=36)
    assert policy.terms.attend_within == timedelta(hours=12)
    assert policy.terms.update_within == timedelta(hours=72)
    assert policy.terms.second_person_above == {"EUR": 50_000}
    assert policy.checklist(Reason.DEFECTIVE).buyer == (EvidenceKind.VIDEO,)
    assert policy.checklist(Reason.INCOMPLETE) == Policy().checklist(Reason.INCOMPLETE)


def test_every_mistake_is_listed_with_its_place(file: Path) -> None:
    file.write_text(
        'opnening = {not_before = "1m"}\n'
        "[opening]\n"
        'not_before = "soon"\n'
        "[opening.windows]\n"
        'trusted = "3651d"\nverified = "9999999999999999d"\nunverified = 99999999999999999\nfamous = "1d"\n'
        "[terms]\n"
        'attend_with = "1h"\n'
        'settle = "never"\n'
        'second_person_above = {"EU\\u0000" = 1, EUR = 9007199254740992}\n'
        "[checklists.defective]\n"
        'buyer = ["photos"]\n'
    )
    found = lines_of(file)
    assert sorted(line.split(":")[0] for line in found) == [
        "checklists.defective.buyer.0",
        "opening.not_before",
        "opening.windows.famous",
        "opening.windows.trusted",
        "opening.windows.unverified",
        "opening.windows.verified",
        "opnening",
        "terms.attend_with",
        "terms.second_person_above.EU\0",
        "terms.second_person_above.EUR",
        "terms.settle",
    ]
    assert "opening.not_before: a duration looks like 3d, 24h, 15m, 30s, or 1d 12h" in found
    for level in ("trusted", "verified", "unverified"):
        assert f"opening.windows.{level}: a duration is from 0 to 3650d" in found
    assert "opnening: there is no such setting; do you mean opening?" in found
    assert "terms.attend_with: there is no such setting; do you mean attend_within?" in found


def test_names_within_tables_of_moderation_are_suggested(file: Path) -> None:
    file.write_text(
        "[contact]\nshadwo = true\n"
        "[contact.default]\nwran = 0.5\n"
        "[contact.categories.phone]\nwithold = 0.9\n"
        "[contact.categories.fax]\nwarn = 0.3\n"
        "[contact.lexicon.apps]\nwords = []\n"
        "[strikes.weights]\nwarnd = 1\n"
        '[conduct]\nthreat = "ban"\nalike = nan\n'
    )
    assert sorted(lines_of(file)) == [
        "conduct.alike: input should be less than or equal to 1",
        "conduct.threat: input should be 'allow', 'warn' or 'withhold'",
        "contact.categories.fax: input should be 'phone', 'email', 'url', 'handle', 'invite', 'payment' or 'crypto'",
        "contact.categories.phone.withold: there is no such setting; do you mean withhold?",
        "contact.default.wran: there is no such setting; do you mean warn?",
        "contact.lexicon: 'apps' is no kind of cue with a list of words",
        "contact.shadwo: there is no such setting; do you mean shadow?",
        "strikes.weights.warnd: there is no such setting; do you mean warned?",
    ]


def test_thresholds_stand_in_their_order(file: Path) -> None:
    file.write_text("[contact.default]\nwarn = 0.9\nwithhold = 0.5\n")
    assert lines_of(file) == ["contact.default: withhold is at least warn"]


def test_a_name_like_no_other_is_only_named(file: Path) -> None:
    file.write_text("[checklists.defective]\nxyz = []\n[zzz]\n")
    assert lines_of(file) == [
        "checklists.defective.xyz: there is no such setting",
        "zzz: there is no such setting",
    ]


def test_a_file_that_cannot_be_read_or_is_not_toml_is_named(file: Path) -> None:
    assert lines_of(file) == ["no such file or directory"]
    file.write_text("version: 1")
    (line,) = lines_of(file)
    assert line.startswith("not TOML: ")
    assert "line 1" in line
    file.write_bytes(b"\xff")
    assert lines_of(file)[0].startswith("not TOML")


def test_a_server_for_production_is_not_started_with_a_policy_that_cannot_be_used(file: Path) -> None:
    settings = Settings(
        mongo_url=SecretStr("mongodb://a/?replicaSet=rs0"),
        redis_url=SecretStr("redis://a/0"),
        jwt_secret=SecretStr("q3vB8xT1mZ0pLkWd7Rj5uYc2aHn9GfEs"),
        allowed_origins=["https://shop.example"],
        policy_file=str(file),
    )
    assert problems(settings) == [f"policy_file: {file}: no such file or directory"]
    file.write_text('[terms]\nattend_within = "1h"\n')
    assert problems(settings) == []

"""What may be uploaded, and under which name it is given out."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.errors import BadRequest, ChatError, Forbidden, Refused, RoomClosed, TooLarge
from policies.evidence import (
    EXTENSIONS,
    FILENAME_CHARS,
    ORIGIN_CHARS,
    Added,
    Announcement,
    EvidenceId,
    EvidenceRules,
    MediaType,
    check_announcement,
    kept_until,
    may_add,
    safe_filename,
)
from policies.room import Party, RoomFacts, dispute_room
from policies.vocabulary import DisputeId, EvidenceKind, OrderId, Role, RoomKind, UserId

AT = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
RULES = EvidenceRules(document_bytes=1000, video_bytes=5000, per_side=3, pending=2, caption_chars=10)
SAID = Announcement("a.png", "image/png", 1000, "0" * 64, EvidenceKind.PHOTO, "", None, "")
FACTS = RoomFacts(
    dispute_room(DisputeId("d1")),
    RoomKind.DISPUTE,
    OrderId("o1"),
    Party(UserId("ann"), "Ann"),
    Party(UserId("bob"), "Bob"),
    AT,
)


def check(said: Announcement = SAID, *, added: int = 0, of_kind: int = 0, pending: int = 0) -> MediaType:
    return check_announcement(said, RULES, added=added, of_kind=of_kind, pending=pending)


@pytest.mark.parametrize("role", [Role.BUYER, Role.SELLER, Role.AGENT, Role.SENIOR_AGENT])
def test_parties_and_agents_add_evidence(role: Role) -> None:
    may_add(FACTS, role)
    with pytest.raises(RoomClosed):
        may_add(replace(FACTS, closed=True), role)


@pytest.mark.parametrize("role", [Role.AUDITOR, Role.SYSTEM])
def test_nobody_else_does(role: Role) -> None:
    with pytest.raises(Forbidden):
        may_add(FACTS, role)


@pytest.mark.parametrize("media_type", MediaType)
def test_every_type_is_taken_under_each_of_its_extensions(media_type: MediaType) -> None:
    for extension in EXTENSIONS[media_type]:
        assert check(replace(SAID, filename=f"A.{extension.upper()}", media_type=media_type.value)) is media_type


@pytest.mark.parametrize(
    ("media_type", "filename"),
    [
        ("image/svg+xml", "a.svg"),
        ("text/html", "a.html"),
        ("application/zip", "a.zip"),
        ("application/x-msdownload", "a.exe"),
        ("image/png; charset=x", "a.png"),
        ("IMAGE/PNG", "a.png"),
        ("", "a.png"),
    ],
)
def test_no_other_type_is(media_type: str, filename: str) -> None:
    with pytest.raises(BadRequest) as refused:
        check(replace(SAID, media_type=media_type, filename=filename))
    assert refused.value.details["field"] == "content_type"


@pytest.mark.parametrize("filename", ["", "png", "a.jpg", "a.png.exe", "a" * (FILENAME_CHARS - 3) + ".png"])
def test_a_filename_fits_its_type_and_its_limit(filename: str) -> None:
    with pytest.raises(BadRequest) as refused:
        check(replace(SAID, filename=filename))
    assert refused.value.details["field"] == "filename"
    check(replace(SAID, filename="a" * (FILENAME_CHARS - 4) + ".png"))


@pytest.mark.parametrize(
    ("name", "media_type", "limit"), [("a.pdf", "application/pdf", 1000), ("a.mp4", "video/mp4", 5000)]
)
def test_a_size_has_its_limit(name: str, media_type: str, limit: int) -> None:
    said = replace(SAID, filename=name, media_type=media_type)
    check(replace(said, size=1))
    check(replace(said, size=limit))
    with pytest.raises(TooLarge) as refused:
        check(replace(said, size=limit + 1))
    assert refused.value.details == {"field": "size", "limit": limit}


@pytest.mark.parametrize("size", [0, -1])
def test_an_empty_file_is_refused(size: int) -> None:
    with pytest.raises(BadRequest, match="empty"):
        check(replace(SAID, size=size))


@pytest.mark.parametrize("sha256", ["", "0" * 63, "0" * 65, "A" * 64, "g" * 64])
def test_a_digest_is_written_in_one_way(sha256: str) -> None:
    with pytest.raises(BadRequest) as refused:
        check(replace(SAID, sha256=sha256))
    assert refused.value.details["field"] == "sha256"


def test_texts_have_their_limits() -> None:
    check(replace(SAID, caption="c" * 10, origin="o" * ORIGIN_CHARS))
    for said, limit in ((replace(SAID, caption="c" * 11), 10), (replace(SAID, origin="o" * 65), ORIGIN_CHARS)):
        with pytest.raises(TooLarge) as refused:
            check(said)
        assert refused.value.details["limit"] == limit


def test_a_kind_may_be_left_out_by_the_operator() -> None:
    rules = EvidenceRules(kinds=(EvidenceKind.TRACKING,))
    with pytest.raises(BadRequest) as refused:
        check_announcement(SAID, rules, added=0, of_kind=0, pending=0)
    assert refused.value.details["field"] == "kind"


def test_a_side_has_its_limit_of_each_kind() -> None:
    rules = EvidenceRules(per_side=3, per_kind={EvidenceKind.VIDEO: 2, EvidenceKind.DOCUMENT: 9})
    for kind, limit in ((EvidenceKind.VIDEO, 2), (EvidenceKind.DOCUMENT, 3), (EvidenceKind.PHOTO, 3)):
        said = replace(SAID, kind=kind)
        check_announcement(said, rules, added=limit - 1, of_kind=limit - 1, pending=0)
        with pytest.raises(Refused) as refused:
            check_announcement(said, rules, added=2, of_kind=limit, pending=0)
        assert refused.value.details == {"rule": "evidence_kind_limit", "kind": kind, "limit": limit}


def test_a_side_and_a_person_have_their_limits() -> None:
    check(added=2, pending=1)
    for added, pending, rule in ((3, 0, "evidence_limit"), (0, 2, "uploads_pending")):
        with pytest.raises(Refused) as refused:
            check(added=added, pending=pending)
        assert refused.value.details["rule"] == rule


@given(
    st.builds(
        Announcement,
        st.text(max_size=300),
        st.text() | st.sampled_from(list(MediaType)),
        st.integers(),
        st.text(),
        st.sampled_from(EvidenceKind),
        st.text(),
        st.none(),
        st.text(),
    )
)
def test_an_announcement_is_taken_or_refused_with_a_code(said: Announcement) -> None:
    try:
        taken = check(said)
    except ChatError as error:
        assert error.details  # noqa: PT017  (which of the two happens is hypothesis' choice)
    else:
        assert taken == said.media_type


@pytest.mark.parametrize(
    ("filename", "safe"),
    [
        ("photo of the lens.png", "photo of the lens.png"),
        ("\u5546\u54c1\u7684\u7167\u7247.PNG", "\u5546\u54c1\u7684\u7167\u7247.png"),
        ("../../etc/passwd.png", "passwd.png"),
        ("C:\\Users\\ann\\a.png", "a.png"),
        ("invoice\u202egnp.exe.png", "invoicegnp.exe.png"),
        ('a"; filename="b.html.png', "a_ filename_b.html.png"),
        ("a\r\nSet-Cookie: x.png", "aSet-Cookie_ x.png"),
        ("....png", "evidence.png"),
        (".png", "evidence.png"),
        ("con.png", "evidence con.png"),
        ("LPT1.tar.png", "evidence LPT1.tar.png"),
        ("a" * 200 + ".png", "a" * 100 + ".png"),
    ],
)
def test_a_filename_is_made_safe(filename: str, safe: str) -> None:
    assert safe_filename(filename, MediaType.PNG) == safe


@given(st.text(max_size=255), st.sampled_from(MediaType))
def test_a_safe_filename_is_one_component_without_tricks(filename: str, media_type: MediaType) -> None:
    safe = safe_filename(filename, media_type)
    assert safe.endswith(f".{EXTENSIONS[media_type][0]}")
    assert not set(safe) & set('/\\:*?"<>|\r\n\0\u202e')
    assert safe[0] not in " ."
    assert 5 <= len(safe) <= 100 + len(".webp") + len("evidence ")


def test_what_an_entry_says() -> None:
    added = Added(EvidenceId("ev1"), UserId("ann"), Role.BUYER, SAID, MediaType.PNG, thumbnail=True)
    assert added.body() == {
        "evidence": "ev1",
        "kind": "photo",
        "filename": "a.png",
        "content_type": "image/png",
        "size": 1000,
        "sha256": "0" * 64,
        "thumbnail": True,
    }
    said = replace(SAID, caption="the lens", origin="camera", captured_at=AT)
    body = replace(added, announcement=said, late=True).body()
    assert (body["caption"], body["origin"], body["captured_at"], body["late"]) == (
        "the lens",
        "camera",
        "2026-01-31T09:30:00.000Z",
        True,
    )


def test_evidence_is_kept_until_the_last_dispute_has_long_ended() -> None:
    rules = EvidenceRules(retention=timedelta(days=10))
    added, day = datetime(2026, 1, 1, tzinfo=UTC), timedelta(days=1)
    assert kept_until(added, [], rules) == added + 10 * day
    assert kept_until(added, [added + 3 * day, added + 5 * day], rules) == added + 15 * day
    assert kept_until(added + 7 * day, [added + 3 * day], rules) == added + 17 * day
    assert kept_until(added, [added + 3 * day, None], rules) is None

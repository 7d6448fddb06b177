"""What becomes of what a party writes."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from policies.conduct import ConductRules, Said
from policies.contact import Action, ContactRules, Detector, OrderContext
from policies.contact.vocabulary import LONGEST_PART
from policies.entry import Author, Draft
from policies.flag import CauseKind, Flag, Mark
from policies.order import OrderFacts, Seller
from policies.room import SYSTEM, Party
from policies.screener import Earlier, Screener, context_of, covered
from policies.screening import Screening, for_author
from policies.secrets import SecretRules
from policies.vocabulary import (
    CommandId,
    EntryKind,
    OrderCategory,
    OrderId,
    Role,
    Seq,
    TrustLevel,
    UserId,
    Visibility,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ANY = OrderContext()
BUYER = Author(UserId("bo"), Role.BUYER, "Bo")
NUMBER = "write me on whatsapp +49 151 12345679"
CARD = "my card is 4111 1111 1111 1111, thank you"


def made(contact: ContactRules | None = None, conduct: ConductRules | None = None) -> Screener:
    return Screener(Detector(contact or ContactRules()), conduct or ConductRules(), SecretRules())


SCREENER = made()
REMINDED = Earlier(reminded=frozenset({CauseKind.CONTACT}))


def message(text: str, earlier: Earlier | None = None, order: OrderContext = ANY) -> Screening:
    found = SCREENER.message(text, earlier or Earlier(), order, NOW)
    assert found is not None
    return found


def draft(text: str) -> Draft:
    return Draft(BUYER, CommandId("c"), EntryKind.MESSAGE, {"text": text})


@pytest.mark.parametrize(
    "text", ["The lens has a scratch.", "ok", "When will you send it?", "👍", "Order 1042 is late."]
)
def test_ordinary_talk_is_not_flagged(text: str) -> None:
    assert SCREENER.message(text, Earlier(), ANY, NOW) is None


def test_what_must_not_be_shown_is_withheld_whole() -> None:
    found = message(NUMBER)
    assert (found.flag.mark, found.visibility) == (Mark.WITHHELD, Visibility.WITHHELD)
    assert {cause.kind for cause in found.flag.causes} == {CauseKind.CONTACT}
    written = found.applied(draft(NUMBER))
    assert (written.body, written.whole) == ({"text": NUMBER}, None)  # nothing of it is masked
    assert (written.visibility, written.flag) == (Visibility.WITHHELD, found.flag)


def test_spans_and_confidence_are_told_and_none_of_the_text() -> None:
    [phone] = [cause for cause in message(NUMBER).flag.causes if cause.category == "phone"]
    assert "151 12345679" in NUMBER[phone.start : phone.end]
    assert (phone.field, 85 <= phone.confidence <= 100) == ("text", True)
    assert "12345679" not in repr(message(NUMBER).flag)


def test_a_reminder_follows_the_entry_it_is_about() -> None:
    reminder = message(NUMBER).reminder(Seq(7))
    assert reminder is not None
    assert (reminder.author, reminder.kind, reminder.command_id) == (SYSTEM, EntryKind.NOTICE, "notice:7")
    assert (reminder.body["notice"], reminder.body["about"]) == ("contact", 7)


def test_nobody_is_reminded_twice_within_minutes() -> None:
    assert message(NUMBER, REMINDED).reminder(Seq(7)) is None
    assert message(NUMBER, Earlier(reminded=frozenset({CauseKind.CONDUCT}))).reminder(Seq(7)) is not None


def test_who_was_reminded_is_suspected_sooner() -> None:
    text = "what's your insta?"
    first, again = message(text), message(text, REMINDED)
    assert again.flag.confidence > first.flag.confidence


def test_earlier_messages_count_for_ten_minutes() -> None:
    said = (Said(NOW - timedelta(minutes=10), "my number is 0151"), Said(NOW - timedelta(minutes=9), "234"))
    assert message("56789", Earlier(said)).flag.causes
    old = [replace(each, at=each.at - timedelta(minutes=10, seconds=1)) for each in said]
    assert SCREENER.message("56789", Earlier(old), ANY, NOW) is None


def test_only_the_last_eight_messages_are_read() -> None:
    others = [Said(NOW - timedelta(seconds=30 * (9 - n)), f"about the {w}") for n, w in enumerate("abcdefgh")]
    number = Said(NOW - timedelta(minutes=8), "my number is 0151 234")
    assert SCREENER.message("56789", Earlier([number, *others[1:]]), ANY, NOW) is not None
    assert SCREENER.message("56789", Earlier([number, *others]), ANY, NOW) is None


def test_a_long_message_is_read_by_itself() -> None:
    begun = Earlier([Said(NOW - timedelta(minutes=1), "my number is 0151 234")])
    rest = "567 89 01 ".ljust(LONGEST_PART, ".")
    assert SCREENER.message(f"  {rest}  ", begun, ANY, NOW) is not None
    assert SCREENER.message(f"{rest}.", begun, ANY, NOW) is None


def test_secrets_are_masked_and_the_whole_is_kept_for_staff() -> None:
    found = message(CARD)
    written = found.applied(draft(CARD))
    assert (found.flag.mark, written.visibility) == (Mark.MASKED, Visibility.ALL)
    assert written.body == {"text": "my card is •••• •••• •••• 1111, thank you"}
    assert written.whole == {"text": CARD}
    assert found.reminder(Seq(1)) is None  # the other side did nothing, and need not know


def test_the_password_of_an_account_that_is_sold_is_not_masked() -> None:
    text = "password: Hunter2!x"
    assert message(text).flag.mark is Mark.MASKED
    assert SCREENER.message(text, Earlier(), OrderContext(category="account"), NOW) is None
    assert message(CARD, order=OrderContext(category="account")).flag.mark is Mark.MASKED


def test_the_severest_consequence_wins() -> None:
    found = message(f"{NUMBER} {CARD}")
    written = found.applied(draft(f"{NUMBER} {CARD}"))
    assert found.flag.mark is Mark.WITHHELD
    assert {cause.kind for cause in found.flag.causes} == {CauseKind.CONTACT, CauseKind.SECRET}
    assert "4111" not in written.body["text"]


def test_bad_conduct_is_reminded_of_as_such() -> None:
    rules = ConductRules(mild_insult=Action.WARN)
    found = made(conduct=rules).message("you are an idiot", Earlier(), ANY, NOW)
    assert found is not None
    assert (found.flag.mark, found.visibility) == (Mark.WARNED, Visibility.ALL)
    reminder = found.reminder(Seq(1))
    assert reminder is not None
    assert reminder.body["notice"] == "conduct"


def test_of_a_flood_only_its_author_is_told() -> None:
    said = [Said(NOW, f"word {word}") for word in "abcdefghij"]
    found = message("more words", Earlier(said))
    assert ([cause.category for cause in found.flag.causes], found.flag.mark) == (["flooding"], Mark.WARNED)
    assert found.reminder(Seq(1)) is None


def test_what_the_rules_allow_is_no_flag() -> None:
    rules = ConductRules(mild_insult=Action.ALLOW)
    assert made(conduct=rules).message("you are an idiot", Earlier(), ANY, NOW) is None


def test_in_shadow_mode_only_staff_know() -> None:
    found = made(ContactRules(shadow=True)).message(NUMBER, Earlier(), ANY, NOW)
    assert found is not None
    assert (found.flag.mark, found.visibility, found.reminder(Seq(1))) == (Mark.NOTED, Visibility.ALL, None)


def test_parts_of_other_texts_are_masked() -> None:
    texts = {"note": "I offer this. My mail is joe.black@gmail.com, ok?", "reason": "It fits."}
    found = SCREENER.texts(texts, ANY, NOW)
    assert found is not None
    assert (found.flag.mark, found.visibility) == (Mark.MASKED, Visibility.ALL)
    offer = Draft(BUYER, CommandId("c"), EntryKind.PROPOSAL_MADE, {"amount": 5, **texts})
    written = found.applied(offer)
    assert "joe.black" not in written.body["note"]
    assert written.body["note"].startswith("I offer this.")
    assert (written.body["reason"], written.body["amount"]) == ("It fits.", 5)
    assert written.whole == {"note": texts["note"]}


def test_other_texts_without_anything_are_not_flagged() -> None:
    assert SCREENER.texts({"note": "I offer this.", "reason": "x" * 4000}, ANY, NOW) is None


def test_threats_in_other_texts_are_masked() -> None:
    rules = ConductRules(threat=Action.WITHHOLD)
    text = "Refund it. I will kill you."
    found = made(conduct=rules).texts({"note": text}, ANY, NOW)
    assert found is not None
    assert "kill" not in found.shown["note"]


def test_masking_keeps_length_and_spaces() -> None:
    assert covered("call 12 34", [(5, 10)]) == "call •• ••"
    assert covered("ab c", [(0, 0)]) == "•• •"  # all of it is meant


@pytest.mark.parametrize(
    ("name", "fit"),
    [
        ("Bo", True),
        ("Märta K.", True),
        ("", True),
        ("wa +4915112345678", False),
        ("Sal +4915112345678", False),
        ("lampen.example.com", False),
        ("Ann#1234", True),
    ],
)
def test_names_hold_no_contact_details(name: str, fit: bool) -> None:
    assert SCREENER.name_is_fit(name) is fit


def test_a_telephone_number_is_no_card_whatever_its_check_digit_says() -> None:
    text = "write me on whatsapp +4915112345678"
    assert {cause.kind for cause in message(text).flag.causes} == {CauseKind.CONTACT}
    assert message(text).whole == {}


def test_the_author_is_told_what_the_mark_is_for() -> None:
    told = for_author(message(f"{NUMBER} {CARD}").flag)
    assert "telephone number" in told
    assert "card" not in told


@pytest.mark.parametrize("mark", [Mark.WARNED, Mark.MASKED, Mark.WITHHELD])
def test_the_author_is_told_what_to_say_otherwise(mark: Mark) -> None:
    flag = message(NUMBER).flag
    told = for_author(replace(flag, mark=mark))
    assert "telephone number" in told
    assert "whatsapp" not in told.lower()


def test_the_author_of_bad_words_is_reminded_of_manners() -> None:
    found = made(conduct=ConductRules(mild_insult=Action.WARN)).message("you are an idiot", Earlier(), ANY, NOW)
    assert found is not None
    assert "polite" in for_author(found.flag)


def test_a_flag_without_a_rule_to_remind_of_ends_with_what_it_looks_like() -> None:
    flag = Flag(Mark.WARNED, 100, tuple(cause for cause in message(CARD).flag.causes))
    assert for_author(flag).strip() == "This looks like the number of a card."


def test_the_order_says_what_both_may_name() -> None:
    facts = OrderFacts(
        OrderId("1042"),
        Party(UserId("b"), "B"),
        Seller(UserId("s"), "S", TrustLevel.VERIFIED),
        "Level 60 mage",
        OrderCategory.ACCOUNT,
        100,
        "EUR",
        NOW,
        {"character": "Thrall", "realm": {"name": "Ember", "number": 3}, "refs": ["TR-99", 5]},
    )
    context = context_of(facts)
    assert context.order_ids == {"1042", "TR-99"}
    assert context.in_game_names == {"Thrall", "Ember", "TR-99"}
    assert (context.title, context.category) == ("Level 60 mage", "account")

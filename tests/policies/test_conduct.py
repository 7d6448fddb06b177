"""Flooding, repeats, walls of text, insults, threats, and reviews as a lever."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.conduct import ConductRules, Misconduct, Said, alike, conduct
from policies.contact import Action
from policies.contact.normal import normalise

NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
RULES = ConductRules()


def kinds(text: str, lately: list[Said] | None = None) -> set[Misconduct]:
    return {concern.kind for concern in conduct(text, lately or [], NOW, RULES)}


def said(*texts: str, seconds: float = 1) -> list[Said]:
    return [Said(NOW - timedelta(seconds=seconds * (len(texts) - place)), text) for place, text in enumerate(texts)]


def test_a_flood() -> None:
    numbers = [f"message {number} of the day" for number in range(9)]
    assert Misconduct.FLOODING in kinds("and another", said(*numbers))
    assert Misconduct.FLOODING not in kinds("and another", said(*numbers, seconds=30))


def test_about_the_same_again_and_again() -> None:
    assert Misconduct.REPEATING in kinds(
        "Where is my GOLD??", said("where is my gold", "where is my gold!", "Where is my gold?")
    )
    assert Misconduct.REPEATING not in kinds("where is my gold", said("hello", "are you there", "it is late"))
    assert Misconduct.REPEATING not in kinds("where is my gold", said(*["where is my gold"] * 3, seconds=700))


def test_a_wall_of_text() -> None:
    assert kinds("word " * 600) == {Misconduct.LONG_PASTE}
    assert kinds("word " * 100) == set()


WITHHELD = (Action.WITHHOLD,)
WARNED = (Action.WARN,)


@pytest.mark.parametrize(
    ("kind", "actions", "texts"),
    [
        (
            Misconduct.INSULT,
            WARNED,
            [
                "you are an idiot", "İDİOT", "shut up already", "u r so stupid", "are you dumb?", "stupid seller",
                "you're such a pathetic clown", "what a loser", "fuck you", "f*ck you", "id1ot", "@sshole",
                "idiooooot", "stuuupid seller",
                "i d i o t", "y o u  d u m b a s s", "eres un imbécil", "eres tonto",
                "hijo de puta", "vendedor de mierda",
                "eres una mierda", "você é burro", "seu lixo", "vai se foder", "Arschloch", "du bist so dumm",
                "Du Idiot",
                "tu es vraiment con", "espèce d'abruti", "ta gueule", "sei scemo", "vaffanculo",
                "ты тупой", "заткнись",
                "ну и мразь", "jesteś idiotą", "spierdalaj", "sen aptal mısın", "şerefsizler", "يا كلب", "انت غبي",
                "你是猪", "垃圾卖家", "你这个白痴", "dasar bodoh", "kamu anjing", "goblok", "óc chó", "đồ mất dạy",
                "chutiya hai tu", "tum pagal ho", "madarchod",
            ],
        ),
        (
            Misconduct.INSULT,
            WITHHELD,
            [
                "kill yourself", "kys", "i hope you die", "go die in a fire", "mátate", "ojalá te mueras",
                "vai se matar",
                "bring dich um", "suicide-toi", "va te pendre", "ammazzati", "сдохни",
                "zabij się", "geber", "روح موت",
                "去死", "你怎么不去死", "mati aja lu", "chết đi", "mar ja", "sale arabe", "sporco ebreo",
            ],
        ),
        (
            Misconduct.THREAT,
            WITHHELD,
            [
                "i know where you live", "I'll kill you", "я знаю, где ты живёшь",
                "I will come over and beat you up", "gonna break your legs", "i will dox you",
                "te voy a matar", "sé dónde vives", "vou te matar", "sei onde você mora", "ich bringe dich um",
                "ich weiß wo du wohnst", "je vais te tuer", "je sais où tu habites", "ti ammazzo", "so dove abiti",
                "я тебя найду", "знаю где ты живешь", "zabiję cię", "wiem gdzie mieszkasz", "seni öldürürüm",
                "nerede oturduğunu biliyorum", "راح اقتلك", "弄死你", "我知道你住哪", "gue bunuh lu", "tao giết mày",
                "main tujhe maar dunga",
            ],
        ),
        (
            Misconduct.THREAT,
            WARNED,
            [
                "you'll regret this", "watch your back", "te vas a arrepentir", "você vai se arrepender",
                "das wirst du bereuen", "tu vas le regretter", "te ne pentirai", "ты пожалеешь", "pożałujesz",
                "pişman olacaksın", "بتندم", "你会后悔的", "kamu akan menyesal", "mày sẽ hối hận", "pachtaoge",
            ],
        ),
        (
            Misconduct.EXTORTION,
            WARNED,
            [
                "refund me or i leave a one star", "refund or one star",
                "1 star unless i hear from you", "fix it or I'll give you a bad review",
                "bad review unless you refund", "if you don't pay me back i will leave negative feedback",
                "5 stars if you refund half", "I'll delete my review if you give me a discount",
                "no refund unless you remove the review", "refund, otherwise you get 1 star",
                "reembolso o te pongo una estrella", "si no me devuelves el dinero te dejo una mala reseña",
                "devolve o dinheiro ou dou nota 1", "Geld zurück, sonst gibt es eine schlechte Bewertung",
                "5 Sterne wenn du mir Rabatt gibst", "remboursez-moi ou je mets une étoile",
                "rimborso o ti lascio una recensione negativa", "верни деньги или поставлю одну звезду",
                "удалю отзыв если вернешь деньги", "zwrot albo wystawię negatywa",
                "parayı iade et yoksa kötü yorum yaparım",
                "رجع فلوسي والا اعطيك نجمه", "不然我就给你差评", "不退款就给差评", "退款后改好评",
                "refund atau saya kasih bintang 1", "hoàn tiền không thì 1 sao",
                "paise wapas karo warna bad review dunga",
            ],
        ),
    ],
)  # fmt: skip
def test_words(kind: Misconduct, actions: tuple[Action, ...], texts: list[str]) -> None:
    missed = []
    for text in texts:
        concerns = conduct(text, [], NOW, RULES)
        assert all(0 <= concern.start < concern.end <= len(text) for concern in concerns)
        if (kind, actions[0]) not in [(concern.kind, concern.action) for concern in concerns]:
            missed.append(text)
    assert missed == []


@pytest.mark.parametrize(
    "text",
    [
        "the item is not as described", "i gave 5 stars", "class assassin level 60", "refund please",
        "this is a killer deal", "i will report this to support", "1 star hotel", "a 2 star or 1 star hero?",
        "you are not stupid", "i'm so stupid, i forgot the code", "sorry, I am an idiot", "he called me an idiot",
        "she said i will kill you, see the screenshot", "don't be an idiot", "I never said you are an idiot",
        "stupid question: where is the key?", "this stupid game crashed", "Scunthorpe United", "Essex and Sussex",
        "cockpit of the plane", "shiitake from Penistone", "Dick Smith store", "bass guitar", "a bastard sword +5",
        "the dog skin and the rat mount", "fire retardant", "le colis est en retard", "garbage collection plate",
        "clown costume", "trash can skin", "fat stacks of gold", "I will kill you in the next match",
        "the boss will kill you at level 3", "i will find you a better one",
        "i know your address is correct", "i have your home address, it ships today", "a b c d e",
        "ich finde dich nett", "te voy a buscar el paquete", "la batterie va mourir", "pneu crevé",
        "no te vas a arrepentir", "you won't regret this", "non te ne pentirai", "nie pożałujesz",
        "жидкость для линз", "tengo un perro",
        "puta madre, qué bueno", "un burro de peluche", "meu cachorro comeu", "你等着我发货", "我不是白痴",
        "狗粮到了吗",
        "猪肉罐头", "đồ ngủ cho bé", "tháng cho thuê", "anjing saya sakit", "مشكلة مع الكلب في اللعبة",
        "this or that. I will give no 1 star", "5 stars if you deliver today",
        "great seller, 5 stars", "the buyer says refund or one star",
        "i got a bad review last week", "do you have a free extra?", "good reviews on this shop",
        "i can refund you or send it again", "or one of the others", "ben aptal değilim", "main pagal nahi hu",
        "İyi günler", "grazie, sei gentile", "du bist nett", "ты лучший", "you are the best",
    ],
)  # fmt: skip
def test_plain_words_pass(text: str) -> None:
    assert kinds(text) == set()


def test_a_denial_ends_with_its_clause() -> None:
    assert kinds("i am not happy, you are an idiot") == {Misconduct.INSULT}
    assert kinds("i am sorry but you are an idiot") == {Misconduct.INSULT}
    assert kinds("this is not fair, idiot") == {Misconduct.INSULT}


def test_places_are_those_of_the_original() -> None:
    text = "Ｙｏｕ are a \u200bmotherfucker, İDİOOOOT"
    concerns = conduct(text, [], NOW, RULES)
    assert [text[concern.start : concern.end] for concern in concerns] == ["motherfucker", "İDİOOOOT"]


def test_a_known_normal_form_is_used() -> None:
    assert conduct("x", [], NOW, RULES, normalise("you idiot"))[0].rule == "conduct.mild"


def test_what_is_done_is_the_operators_choice() -> None:
    rules = ConductRules(mild_insult=Action.WITHHOLD, veiled_threat=Action.ALLOW)
    assert [each.action for each in conduct("idiot, watch your back", [], NOW, rules)] == [
        Action.WITHHOLD,
        Action.ALLOW,
    ]


def test_one_concern_for_words_within_words() -> None:
    assert len(conduct("hijo de puta", [], NOW, RULES)) == 1


def test_only_lately_counts_as_a_flood() -> None:
    often = [Said(NOW - timedelta(seconds=age), f"about {age}") for age in (300, 200, 19, 18, 17, 16, 15, 14, 13)]
    assert Misconduct.FLOODING not in kinds("another", often)


@pytest.mark.parametrize(
    ("lately", "repeats"),
    [
        (["buy my gold now"] * 3, True),
        (["buy my gold now!!!", "BUY MY GOLD NOW", "b.u.y my gold n.o.w"], True),
        (["buy my gold now"] * 2 + ["something of about that size"] * 5, False),
        (["sell my gold now"] * 3, False),
        (["buy my gold now, it is the best gold of all the gold there is"] * 3, False),
        (["buy"] * 3, False),
        ([""] * 8, False),
    ],
)
def test_repeats(lately: list[str], repeats: bool) -> None:
    assert (Misconduct.REPEATING in kinds("buy my gold now", said(*lately, seconds=30))) is repeats


@given(
    st.text("abcdefgh", min_size=12, max_size=90),
    st.text("abxyz", max_size=25),
    st.integers(0, 90),
    st.integers(0, 12),
)
def test_a_text_changed_in_one_place_is_a_repeat_when_it_is_alike(text: str, new: str, at: int, gone: int) -> None:
    other = text[:at] + new + text[at + gone :]
    lately = said(*[other] * RULES.repeats)
    sized = len(text) // 2 - 2 <= len(other) <= len(text) * 2 + 2
    if Misconduct.REPEATING in kinds(text, lately):
        assert alike(text, other) >= RULES.alike
    elif at == 0 and gone < 6 and sized:  # the second half is the same
        assert alike(text, other) < RULES.alike


def test_a_letter_changed_in_a_longer_text_is_still_a_repeat() -> None:
    text = "selling cheap gold on all servers, fast delivery, five minutes, trusted seller since long, ask me about {}"
    lately = said(*(text.format(what) for what in ("rubles", "roubles", "bubbles")), seconds=30)
    assert Misconduct.REPEATING in kinds(text.format("rubbles"), lately)
    assert Misconduct.REPEATING in kinds("very long " * 300, said(*["very long " * 300] * 3, seconds=30))


@pytest.mark.parametrize(
    "piece",
    [
        "a", "you are ", "stupid ", "you are stupid ", "not ", "or 1 star ", "refund ", "if you ", "i will ",
        "5 stars ",
        "unless ", "aaa", "a1a", "@ss ", "idiot", "fuck you ", "你是", "差评", "ты тупой ",
        "i will kill you ", "said ",
        "refund or if you do not i will leave 1 star ", "\n", "é", "\U0001f600", "no idiot ", "1 star or ",
    ],
)  # fmt: skip
def test_time_grows_with_the_text_and_no_faster(piece: str) -> None:
    text = (piece * 4000)[:4000]
    lately = [Said(NOW, text + str(number)) for number in range(8)]
    assert min(timed(text, lately) for _ in range(3)) < 0.1


def timed(text: str, lately: list[Said]) -> float:
    start = time.perf_counter()
    conduct(text, lately, NOW, RULES)
    return time.perf_counter() - start


def test_likeness() -> None:
    assert alike("", "") == 1
    assert alike("", "a") == 0
    assert alike("ab", "AB!") == 1
    assert alike("something else", "nothing of it") < 0.5


@given(st.text(max_size=100), st.text(max_size=100))
def test_any_text_is_judged(text: str, other: str) -> None:
    for concern in conduct(text, [Said(NOW, other)], NOW, RULES):
        assert 0 <= concern.start <= concern.end <= len(text)
    assert alike(text, other) == alike(other, text)

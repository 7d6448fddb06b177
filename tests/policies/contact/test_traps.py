"""What a filter of words and patterns gets wrong, and this one must not."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.contact import Action, Category, ContactRules, Detector, OrderContext, Thresholds

DETECTOR = Detector()


def confidence(text: str, *context: str, order: OrderContext | None = None) -> float:
    return DETECTOR.check(text, context, order).confidence


@pytest.mark.parametrize(
    "text",
    [
        "the discord nitro i paid for never came",
        "skype credit of 10 usd is missing",
        "paypal took the money twice, see my statement",
        "no paypal, i pay on the site",
        "he asked me for whatsapp and i said no",
        "We agreed on Tuesday.How long do I have to wait",
        "order 2025550188 is not here yet",
        "tracking 9205590164917312751089 stopped",
        "my card 4242 4242 4242 4242 was charged",
        "account number 3125550184 in your invoice",
        "build 19045.3693.1000.0 crashes",
        "trade with NightOwl#7731 in the game lobby",
        "my character name is petr_gold on EU server",
        "login petr_gold password Hx7!kk works",
        "uuid 3f2504e0-4f89-41d3-9a0c-0305e82c3301",
        "db938c20-3a3d-4ca9-b64d-ed8837ae4876",
        "what is the signal range of this router?",
        "a direct flight is cheaper",
        "it is ₱₱₱ but fine, ₩12,000 in all",
        "la cuenta de Instagram que compré fue bloqueada",
        "no voy a pagar por fuera de la plataforma",
        "o vendedor quer pix por fora, não aceitei",
        "2024-11-05 18:00 to 2024-11-06 23:30",
        "ip 81.2.69.142 timed out",
        "see Screenshot_20241105-182210.png",
        "we lost 13-16 and 2-3",
        "https://shop.example/orders/2025550188",
        "12,500 gold for 12.50 eur",
        "from 20241101 until 20241122 zero updates",
        "asp.net build fails",
        "lo compré ayer.es raro",
        "paguei ontem.com certeza",
        "the same thing is cheaper on ebay",
        "i saw the picture on facebook",
        "green phone case instead of blue",
        "the qr code on the box is torn",
        "заказ 0674512098 не выдан",
        "주문번호 01047298316 확인 부탁",
        "直取引はしません、禁止です",
        "version base64 of the key does not open",
    ],
)
def test_honest_messages_pass(text: str) -> None:
    assert confidence(text) < 0.5


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("微信号：goldfish_2020加我", Category.HANDLE),
        ("我的电话13987654321打给我", Category.PHONE),
        ("Beni 0533 987 65 43'ten ara", Category.PHONE),
        ("İNSTAGRAMDAN yaz bana", Category.INVITE),
        ("add me on wh\u200bats\u200bapp", Category.INVITE),
        ("my ｄｉｓｃｏｒｄ is owl_77", Category.INVITE),
        ("call ４１５５５５０１２７", Category.PHONE),
        ("رقمي ٠٥٥١٢٣٤٥٦٧ كلمني", Category.PHONE),
        ("ring 6️⃣1️⃣7️⃣5️⃣5️⃣5️⃣0️⃣1️⃣4️⃣3️⃣", Category.PHONE),
        ("two oh two triple five oh one double eight", Category.PHONE),
        ("mail owl (at) outlook (dot) com", Category.EMAIL),
        ("owl.trade@outlook.com", Category.EMAIL),
        ("hxxps://t.me/owl", Category.URL),
        ("read backwards: moc.kooltuo@lwo", Category.EMAIL),
        ("77_lwo ppastahw", Category.INVITE),
        ("電話は090-1234-5678です", Category.PHONE),
        ("owlparts•com", Category.URL),
        ("owlparts .  shop", Category.URL),
        ("ig/owlparts99", Category.HANDLE),
        ("call me 6l7-SSS-0l43", Category.PHONE),
        ("my cell = (617)-five55-oh1four3", Category.PHONE),
        ("write me on ᗯᕼᗩTᔕᗩᑭᑭ", Category.INVITE),
        ("write me on ꓔꓰꓡꓰꓖꓣꓮꓟ", Category.INVITE),
        ("write me on ᏔᎻᎪᎢᏚᎪᏢᏢ", Category.INVITE),
        ("write me on ₮ɆⱠɆ₲Ɽ₳₥", Category.INVITE),
        ("write me on wħⱥtsⱥꝑꝑ", Category.INVITE),
        ("write me on тєℓєgяαм", Category.INVITE),
        ("โทร081-234-5678ครับ", Category.PHONE),
        ("пиши в вaтcaп", Category.INVITE),
        ("пиши в т е л е г р а м", Category.INVITE),
        ("escribe o t e l e g r a m", Category.INVITE),
        ("moc.liamg@77_lwo", Category.EMAIL),
        ("decode b3dsQG91dGxvb2suY29t", Category.EMAIL),
        ("hex 6f776c406f75746c6f6f6b2e636f6d", Category.EMAIL),
        ("char codes 111 119 108 64 111 117 116 108 111 111 107 46 99 111 109", Category.EMAIL),
        ("send btc to 1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", Category.CRYPTO),
        ("my iban is DE89 3704 0044 0532 0130 00 send it there", Category.PAYMENT),
        ("cancel the order and pay me directly, cheaper", Category.PAYMENT),
        ("scan the qr code in my picture to add me", Category.INVITE),
        ("ѕkуре me", Category.INVITE),
        ("i n s t a g r a m: o w l 7 7", Category.HANDLE),
        ("transfer na kartu? скинь на карту 4276 1600 1234 5674", Category.PAYMENT),
        ("восемь девятьсот двенадцать триста сорок пять шестьдесят семь ноль один, звони", Category.PHONE),
        ("ruf an null eins sieben zwo fünfundvierzig achtundsechzig null drei", Category.PHONE),
        ("번호 공일공 이삼사오 육칠팔구 연락 주세요", Category.PHONE),
        ("电话 一三九 八七六五 四三二一", Category.PHONE),
        ("카톡으로 연락 주세요", Category.INVITE),
        ("пиши в тeлeгpaм", Category.INVITE),
        ("find me on ᴛᴇʟᴇɢʀᴀᴍ", Category.INVITE),
        ("пиши в т3л3гу", Category.INVITE),
        ("my sn4p is on all day, add", Category.INVITE),
        ("v:owl_7731", Category.HANDLE),
        ("owl77 is the name and it's a hotmail", Category.EMAIL),
        ("kirill.owl собака яндекс точка ру", Category.EMAIL),
        ("owl apenstaartje gmail punt com", Category.EMAIL),
        ("owl77ATgmailDOTcom", Category.EMAIL),
        ("buy it on my ebay, cheaper there", Category.PAYMENT),
        ("my number is written in the second picture", Category.INVITE),
        ("rot13: gryrtenz bjy_genqrf", Category.INVITE),
        ("take away the stars: wh*at*s*ap*p me", Category.INVITE),
        ("morse -.... .---- --... ..... ..... ..... ----- .---- ....- ...--", Category.PHONE),
        ("remove the x: x617x555x0143x", Category.PHONE),
    ],
)
def test_attempts_are_found(text: str, category: Category) -> None:
    verdict = DETECTOR.check(text)
    assert verdict.action is not Action.ALLOW
    assert category in {finding.category for finding in verdict.findings if finding.confidence >= 0.5}


def test_hints_alone_never_withhold() -> None:
    for text in (
        "hit me up on the green app, you know which one",
        "find me on the paper plane app, same nick everywhere, my bio says how",
        "write me on the app that starts with w",
    ):
        assert DETECTOR.check(text).action is Action.WARN


def test_split_number() -> None:
    assert confidence("0143", "my mobile is 617", "555") >= 0.5
    assert confidence("0143") == 0


def test_split_address() -> None:
    found = DETECTOR.check("outlook dot com", ["my mail is owl.trade", "at"]).findings
    assert {finding.category for finding in found} & {Category.EMAIL, Category.URL}


def test_split_channel_and_name() -> None:
    assert confidence("owl_77", "add me on discord", "i am") >= 0.5
    assert confidence("owl", "add me on discord", "i am") >= 0.5
    assert confidence("owl_77") < 0.5
    assert confidence("1234", "add me on discord") < 0.5
    assert confidence("thanks", "add me on discord") < 0.5


def test_split_name_of_channel() -> None:
    assert confidence("app me", "whats") >= 0.5
    assert confidence("信", "微") >= 0.5
    assert confidence("p", *"whatsap") >= 0.5
    assert confidence("app crashes", "whats the status", "the") < 0.5


def test_parts_in_sentences() -> None:
    assert confidence("and the last bit is 0143", "first three are 617", "then 555") >= 0.5
    assert confidence("i paid 0143 coins", "i had 617 of them", "then 555 were gone") < 0.5


def test_name_after_bare_channel() -> None:
    assert confidence("nightowl", "telegram") >= 0.5
    assert confidence("owl.trade", "my gmail") >= 0.5
    assert confidence("nightowl", "hello") < 0.5


def test_prices_and_times_do_not_join() -> None:
    assert confidence("at 12:30", "for 2 people", "on the 12th") < 0.5
    assert confidence("$40", "i paid 4155550", "and 19") < 0.5


def test_window_is_bounded() -> None:
    assert (
        confidence("0143", *["617 555"] + ["hello there my friend, how are you doing today? fine i hope, so good"] * 8)
        < 0.5
    )


def test_known_order_id_is_no_number() -> None:
    order = OrderContext(order_ids=frozenset({"617-555-0143"}))
    assert confidence("is 617-555-0143 yours?", order=order) < 0.5 <= confidence("is 617-555-0143 yours?")


def test_declared_name_in_game_is_no_handle() -> None:
    order = OrderContext(in_game_names=frozenset({"Owl#7731"}))
    assert confidence("message me, Owl#7731", order=order) < confidence("message me, Owl#7731")


def test_title_of_the_order_lowers_its_own_words() -> None:
    order = OrderContext(title="Discord account 2016")
    assert confidence("my discord ?", order=order) < confidence("my discord ?")


def test_credentials_of_a_sold_account_are_its_delivery() -> None:
    text = "login owl.trade@outlook.com password Hx7!kk"
    assert confidence(text, order=OrderContext(category="account")) < 0.5 <= confidence(text)


def test_own_domains_lead_nowhere_else() -> None:
    order = OrderContext(own_domains=frozenset({"https://www.lootmarket.com/"}))
    assert confidence("see https://help.lootmarket.com/refunds", order=order) == 0
    assert confidence("owner@lootmarket.com", order=order) == 0
    assert Detector(ContactRules(own_domains=("lootmarket.com",))).check("lootmarket.com/help").confidence == 0
    assert confidence("see https://help.lootmarket.com/refunds") >= 0.5


def test_warned_sender_is_less_believed() -> None:
    text = "do you use skype"
    assert DETECTOR.check(text, warned=True).confidence > DETECTOR.check(text).confidence


def test_thresholds_are_the_operators() -> None:
    strict = Detector(ContactRules(categories={Category.INVITE: Thresholds(warn=0.1, withhold=0.2)}))
    assert strict.check("do you use skype").action is Action.WITHHOLD
    lax = Detector(ContactRules(default=Thresholds(warn=1, withhold=1)))
    assert lax.check("do you use skype").action is Action.ALLOW
    with pytest.raises(ValueError, match="at least"):
        Thresholds(warn=0.9, withhold=0.5)


def test_shadow_only_notes() -> None:
    verdict = Detector(ContactRules(shadow=True)).check("call 617-555-0143")
    assert verdict.action is Action.ALLOW
    assert verdict.findings
    assert verdict.for_staff.startswith("Would be withhold")
    assert verdict.for_author == ""


def test_operators_words_count() -> None:
    rules = ContactRules(lexicon={"app": {"words": ("zorptalk",)}, "digits": {"7": ("zibben",)}})
    assert Detector(rules).check("add me on zorptalk").confidence >= 0.5 > confidence("add me on zorptalk")
    assert Detector(rules).check("call one zibben two five five five oh one four three").confidence >= 0.5
    with pytest.raises(ValueError, match="no kind of cue"):
        ContactRules(lexicon={"nonsense": {"words": ("x",)}})


def test_sentences_do_not_teach() -> None:
    verdict = DETECTOR.check("call 617-555-0143")
    assert "617" not in verdict.for_author + verdict.for_staff
    assert "telephone number" in verdict.for_author
    assert "phone." in verdict.for_staff
    assert "phone." not in verdict.for_author
    many = DETECTOR.check("a@b.com c@d.com e@f.com g@h.com i@j.com k@l.com m@n.com")
    assert "more" in many.for_staff


def test_nothing_is_said_of_a_plain_message() -> None:
    verdict = DETECTOR.check("thanks, it works now")
    assert (verdict.action, verdict.confidence, verdict.findings) == (Action.ALLOW, 0, ())
    assert verdict.for_staff == verdict.for_author == ""


def test_a_sign_of_another_script_in_an_account_is_no_mistake() -> None:
    assert DETECTOR.check("DE89 3704 0044 0532 0130\u212a\u017f").confidence < 1


@pytest.mark.parametrize(
    "text",
    [
        "version 31.0.15.3623 of the driver crashes at 10.0.0.1",
        "on march 13, 2017 9412 boxes came",
        "scores 3-10 . 3-13 . 0-4 . 5-12",
        "sizes 7.1 7.2 7.3 7.4 7.5",
        "ssn 514-69-0360",
        "groups of 110 - 130 - 220 - 240 volts",
        "fees of 580, 920 & 950 coins",
        "it costs usd 4155550199",
        "5551234567 mm",
        "8 x 20005000 = 160040000",
        "codes 4417-0091-2260-1188",
        "12345678901234567890 is the hash",
    ],
)
def test_other_numbers_are_no_telephone_numbers(text: str) -> None:
    assert confidence(text) < 0.5


@pytest.mark.parametrize("form", ["{}", "#{}", "msg {}", "text-{}", "photo {} of it", "{}."])
def test_counting_is_no_number_in_parts(form: str) -> None:
    said = [form.format(number) for number in range(1, 60)]
    for place in range(1, len(said)):
        assert DETECTOR.check(said[place], said[max(0, place - 8) : place]).action is Action.ALLOW, said[place]


def test_a_number_digit_by_digit_is_found_though_some_of_it_counts_up() -> None:
    for number in ("01529384756", "4915123409876", "6125678901"):
        said = list(number)
        actions = {DETECTOR.check(said[place], said[max(0, place - 8) : place]).action for place in range(len(said))}
        assert actions != {Action.ALLOW}, number


@given(st.uuids(version=4), st.binary(min_size=4, max_size=32).filter(lambda token: not token.hex().isdigit()))
def test_identifiers_of_machines_are_no_telephone_numbers(uuid: UUID, token: bytes) -> None:
    for text in (str(uuid), token.hex(), f"the token {token.hex()} is refused"):
        assert all(finding.category is not Category.PHONE for finding in DETECTOR.check(text).findings), text

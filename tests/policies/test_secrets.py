"""Secrets in a chat, and what is left to read of them."""

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.checksum import luhn
from policies.secrets import MASK, SecretKind, SecretRules, find_secrets, mask


@pytest.mark.parametrize(
    ("text", "kind", "masked"),
    [
        ("card 4242 4242 4242 4242 ok", SecretKind.CARD, "card •••• •••• •••• 4242 ok"),
        ("4242-4242-4242-4242", SecretKind.CARD, "•••••••••••••••4242"),
        ("4242.4242.4242.4242, thanks", SecretKind.CARD, "•••••••••••••••4242, thanks"),
        ("4242 4242 4242 4242 12/27 cvc none", SecretKind.CARD, "•••• •••• •••• 4242 12/27 cvc none"),
        ("٤٢٤٢٤٢٤٢٤٢٤٢٤٢٤٢", SecretKind.CARD, "••••••••••••٤٢٤٢"),
        ("5555555555554444", SecretKind.CARD, "••••••••••••4444"),
        ("3782 822463 10005", SecretKind.CARD, "•••• •••••• •0005"),
        ("2200 0000 0000 0004", SecretKind.CARD, "•••• •••• •••• 0004"),
        ("6200000000000005", SecretKind.CARD, "••••••••••••0005"),
        ("4222222222222", SecretKind.CARD, "•••••••••2222"),
        ("password: Hx7!kk now", SecretKind.PASSWORD, "password: •••••• now"),
        ("the pass is dragon88", SecretKind.PASSWORD, "the pass is ••••••••"),
        ("pass dragon88", SecretKind.PASSWORD, "pass ••••••••"),
        ("user owl password: dragon", SecretKind.PASSWORD, "user owl password: ••••••"),
        ("PW=letMeIn, mail below", SecretKind.PASSWORD, "PW=•••••••• mail below"),
        ("contraseña: luna22", SecretKind.PASSWORD, "contraseña: ••••••"),
        ("la clave es luna22", SecretKind.PASSWORD, "la clave es ••••••"),
        ("senha é gato99", SecretKind.PASSWORD, "senha é ••••••"),
        ("Passwort ist kater12", SecretKind.PASSWORD, "Passwort ist •••••••"),
        ("mot de passe : chat42", SecretKind.PASSWORD, "mot de passe : ••••••"),
        ("hasło: kotek12", SecretKind.PASSWORD, "hasło: •••••••"),
        ("şifre: kedi123", SecretKind.PASSWORD, "şifre: •••••••"),
        ("kata sandi: kucing7", SecretKind.PASSWORD, "kata sandi: •••••••"),
        ("mật khẩu là meo1234", SecretKind.PASSWORD, "mật khẩu là •••••••"),
        ("пароль: qwe123", SecretKind.PASSWORD, "пароль: ••••••"),
        ("كلمة السر: qwe123", SecretKind.PASSWORD, "كلمة السر: ••••••"),
        ("密码是abc123，谢谢", SecretKind.PASSWORD, "密码是••••••，谢谢"),
        ("password hai billi77", SecretKind.PASSWORD, "password hai •••••••"),
        ("use ghp_abcdefghijklmnopqrstuvwxyz0123456789", SecretKind.TOKEN, "use " + MASK * 40),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcdefgh-_12", SecretKind.TOKEN, MASK * 49),
        ("AKIAIOSFODNN7EXAMPLE", SecretKind.TOKEN, MASK * 20),
        ("xoxb-" + "1234567890-abcdefghij", SecretKind.TOKEN, MASK * 26),
        ("sk_live_" + "a1" * 10, SecretKind.TOKEN, MASK * 28),
        ("dck_" + "a1" * 16, SecretKind.TOKEN, MASK * 36),
        ("bot 123456789:AA" + "x1" * 17, SecretKind.TOKEN, "bot " + MASK * 46),
        (
            "seed phrase: " + " ".join(["apple"] * 12),
            SecretKind.TOKEN,
            "seed phrase: " + " ".join([MASK * 5] * 12),
        ),
        ("-----BEGIN PRIVATE KEY-----\nabc=\n-----END PRIVATE KEY-----", SecretKind.TOKEN, None),
        ("your verification code is 482913", SecretKind.CODE, "your verification code is ••••••"),
        ("G-482913 is your Google verification code.", SecretKind.CODE, "•••••••• is your Google verification code."),
        ("OTP: 482 913", SecretKind.CODE, "OTP: ••• •••"),
        ("the login code I got is 48291", SecretKind.CODE, "the login code I got is •••••"),
        ("Steam guard code: F7K2Q", SecretKind.CODE, "Steam guard code: •••••"),
        ("cvv 123", SecretKind.CODE, "cvv •••"),
        ("código de seguridad: 123", SecretKind.CODE, "código de seguridad: •••"),
        ("código de verificação: 482913", SecretKind.CODE, "código de verificação: ••••••"),
        ("Bestätigungscode: 482913", SecretKind.CODE, "Bestätigungscode: ••••••"),
        ("code de vérification 482913", SecretKind.CODE, "code de vérification ••••••"),
        ("codice di verifica: 482913", SecretKind.CODE, "codice di verifica: ••••••"),
        ("код подтверждения 4829", SecretKind.CODE, "код подтверждения ••••"),
        ("kod weryfikacyjny: 482913", SecretKind.CODE, "kod weryfikacyjny: ••••••"),
        ("doğrulama kodu: 482913", SecretKind.CODE, "doğrulama kodu: ••••••"),
        ("رمز التحقق 482913", SecretKind.CODE, "رمز التحقق ••••••"),
        ("验证码 482913", SecretKind.CODE, "验证码 ••••••"),
        ("482913是验证码", SecretKind.CODE, "••••••是验证码"),
        ("kode verifikasi: 482913", SecretKind.CODE, "kode verifikasi: ••••••"),
        ("mã xác minh: 482913", SecretKind.CODE, "mã xác minh: ••••••"),
    ],
)
def test_secrets_are_masked(text: str, kind: SecretKind, masked: str | None) -> None:
    secrets = find_secrets(text)
    assert [secret.kind for secret in secrets] == [kind]
    if masked is not None:
        assert mask(text, secrets) == masked


@pytest.mark.parametrize(
    "text",
    [
        "card 4242 4242 4242 4241 is not one",
        "order 2025550188",
        "order no. 4242424242424242",
        "Order number: 4242424242424242",
        "tracking: 4242424242424242",
        "номер заказа 4242424242424242",
        "id-4242424242424242",
        "4242424242424242-01",
        "x4242424242424242",
        "4242424242424242424242424242424242424242",
        "1234567812345670",
        "49927398716",
        "imei 490154203237518",
        "tracking 9205590164917312751089",
        "the password does not work",
        "i changed the password and the email",
        "password: changed",
        "password: please check your mail",
        "password: ********",
        "the password is wrong!!",
        "the password is 8 characters long",
        "password is at https://shop.example/reset1",
        "passwords: 2",
        "password reset at 10:30",
        "battle pass: level100",
        "season pass is level100",
        "the pass lasts 30 days",
        "boarding pass: AB1234",
        "steam clave: ABCD1-EFGH2-IJKL3",
        "la clave: ABCD1-EFGH2-IJKL3",
        "the code is used",
        "gift code 123456789",
        "your verification code was sent in 2024 to the old phone",
        "verification code: 123",
        "confirmation code 4417-1234-5678",
        "4 2 4 2 4 2 4 2 4 2 4 2 4 2 4 2",
        "100 is the price of the guard code",
        "no verification code came, order 482913",
        "asia server, token shop, bot lobby, seed of hope, the backup",
        "recovery phrase",
    ],
)
def test_the_rest_is_left_alone(text: str) -> None:
    assert find_secrets(text) == ()


@pytest.mark.parametrize(
    ("number", "right"), [("4242424242424242", True), ("4242424242424241", False), ("0", True), ("79927398713", True)]
)
def test_check_digits(number: str, right: bool) -> None:
    assert luhn(number) is right


def test_several_cards_are_several_secrets() -> None:
    text = "4242 4242 4242 4242 5555 5555 5555 4444"
    assert mask(text, find_secrets(text)) == "•••• •••• •••• 4242 •••• •••• •••• 4444"


def test_what_goes_beyond_another_secret_is_one_too() -> None:
    secrets = find_secrets("password: 4242 4242 4242 4242x pass=a1b2c3 otp 482913")
    assert all(first.end <= second.start for first, second in pairwise(secrets))
    text = "otp 482913 is my login code"
    assert mask(text, find_secrets(text)) == "otp •••••• is my login code"


def test_what_was_sold_is_handed_over() -> None:
    text = "login owl password: Hx7!kk card 4242424242424242"
    kinds = SecretRules().kinds(hand_over=True)
    assert mask(text, find_secrets(text), kinds) == "login owl password: Hx7!kk card ••••••••••••4242"
    assert SecretRules().kinds(hand_over=False) == frozenset(SecretKind)


def test_a_card_within_a_password_is_still_a_card() -> None:
    kinds = SecretRules().kinds(hand_over=True)
    for text, shown in (
        ("password: abc,4242 4242 4242 4242", "password: abc,•••• •••• •••• 4242"),
        ("password: abc,4242424242424242,def", "password: abc,••••••••••••4242,def"),
    ):
        assert mask(text, find_secrets(text), kinds) == shown
        assert "a" not in mask(text, find_secrets(text)).removeprefix("password")


def test_a_secret_within_another_is_not_told_twice() -> None:
    assert [secret.kind for secret in find_secrets("password: otp:482913")] == [SecretKind.PASSWORD]


def test_digits_beside_what_was_masked_make_no_new_card() -> None:
    text = "4242424242424244242 424242424242"
    masked = mask(text, find_secrets(text))
    assert mask(masked, find_secrets(masked)) == masked


def test_secrets_do_not_overlap() -> None:
    secrets = find_secrets("password: 4242424242424242")
    assert len(secrets) == 1


PIECES = st.sampled_from(
    [
        "password", "pass", ":", "=", " is ", " ", "\n", "4242 4242 4242 4242", "4242", "4242424242424242", "otp",
        "cvv", "123", "482913", "code", "verification code", "ghp_" + "a1" * 18, "eyJhbGciOi.eyJzdWIiO.abcdefgh", "•",
        "٤٢٤٢", "-",
        "密码", "是", "验证码", "пароль", "x", "Hx7!kk", "seed phrase: " + "apple " * 12, "İ", "\u200b",
        "\ud800",
    ]
)  # fmt: skip
TEXTS = st.text(max_size=200) | st.lists(PIECES, max_size=12).map("".join)
SETS = st.frozensets(st.sampled_from(SecretKind))


@given(TEXTS, SETS)
def test_masking_keeps_the_length_and_the_rest(text: str, kinds: frozenset[SecretKind]) -> None:
    secrets = find_secrets(text)
    masked = mask(text, secrets, kinds)
    hidden = {place for secret in secrets if secret.kind in kinds for place in range(secret.start, secret.end)}
    assert len(masked) == len(text)
    assert all(masked[place] == char for place, char in enumerate(text) if place not in hidden)
    end = 0
    for secret in secrets:
        assert end <= secret.start < secret.end <= len(text)
        end = secret.end


@given(TEXTS)
def test_what_is_masked_once_stays_as_it_is(text: str) -> None:
    masked = mask(text, find_secrets(text))
    assert mask(masked, find_secrets(masked)) == masked


@pytest.mark.parametrize(
    "piece",
    [
        "4", "4 ", "4-", "42 ", "4242 ", "4242424242424242 ", "password", "password ", "password:", "password is ",
        "pass:a1b2c3 ", "eyJ", "eyJaaaaaaaa.", "eyJaaaaaaaa ", "sk-", "otp", "otp ", "otp: ", "123 is ", "code ",
        "123 ", "1234 is your ", "验证码", "seed phrase ", "seed phrase apple ", "apple ", "-----BEGIN ",
        "-----BEGIN PRIVATE KEY-----", "M" * 24 + ".", "verification code ", "пароль", "١", "'", "•", "order 4242",
    ],
)  # fmt: skip
def test_time_grows_with_the_text_and_no_faster(piece: str) -> None:
    text = ("seed password otp eyJ " + piece * 4000)[:4000]
    best = min(timed(text) for _ in range(3))
    assert best < 0.05, f"{best * 1000:.1f} ms"


def timed(text: str) -> float:
    start = time.perf_counter()
    find_secrets(text)
    return time.perf_counter() - start

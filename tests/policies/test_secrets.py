"""Secrets in a chat, and what is left to read of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.secrets import SecretKind, SecretRules, find_secrets, mask


@pytest.mark.parametrize(
    ("text", "kind", "masked"),
    [
        ("card 4242 4242 4242 4242 ok", SecretKind.CARD, "card •••• •••• •••• 4242 ok"),
        ("password: Hx7!kk now", SecretKind.PASSWORD, "password: •••••• now"),
        ("the pass is dragon88", SecretKind.PASSWORD, "the pass is ••••••••"),
        ("contraseña: luna22", SecretKind.PASSWORD, "contraseña: ••••••"),
        ("пароль: qwe123", SecretKind.PASSWORD, "пароль: ••••••"),
        ("密码是abc123", SecretKind.PASSWORD, "密码是••••••"),
        ("use ghp_abcdefghijklmnopqrstuvwxyz0123456789", SecretKind.TOKEN, "use " + "•" * 40),
        ("your verification code is 482913", SecretKind.CODE, "your verification code is ••••••"),
        ("验证码 482913", SecretKind.CODE, "验证码 ••••••"),
    ],
)
def test_secrets_are_masked(text: str, kind: SecretKind, masked: str) -> None:
    secrets = find_secrets(text)
    assert [secret.kind for secret in secrets] == [kind]
    assert mask(text, secrets) == masked


@pytest.mark.parametrize(
    "text",
    [
        "card 4242 4242 4242 4241 is not one",
        "order 2025550188",
        "the password does not work",
        "i changed the password and the email",
        "the code is used",
        "tracking 9205590164917312751089",
    ],
)
def test_the_rest_is_left_alone(text: str) -> None:
    assert find_secrets(text) == ()


def test_what_was_sold_is_handed_over() -> None:
    text = "login owl password: Hx7!kk card 4242424242424242"
    kinds = SecretRules().kinds(hand_over=True)
    assert mask(text, find_secrets(text), kinds) == "login owl password: Hx7!kk card ••••••••••••4242"
    assert SecretRules().kinds(hand_over=False) == frozenset(SecretKind)


def test_secrets_do_not_overlap() -> None:
    secrets = find_secrets("password: 4242424242424242")
    assert len(secrets) == 1


@given(st.text(max_size=200))
def test_masking_keeps_the_length(text: str) -> None:
    secrets = find_secrets(text)
    assert len(mask(text, secrets)) == len(text)
    for secret in secrets:
        assert 0 <= secret.start < secret.end <= len(text)

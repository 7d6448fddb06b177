"""Secrets that people write into a chat: numbers of cards, passwords, tokens, one-time codes; and how to mask them.

Sources: ISO/IEC 7812-1 (numbers of cards, with their check digit), RFC 7519 (JWT); prefixes of tokens as their issuers
publish them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pydantic import Field

from policies.checksum import luhn
from policies.part import Part


class SecretKind(StrEnum):
    """What kind of secret it is."""

    CARD = "card"
    PASSWORD = "password"  # noqa: S105
    TOKEN = "token"  # noqa: S105
    CODE = "code"


class SecretRules(Part):
    """Which secrets are masked for the other side."""

    masked: tuple[SecretKind, ...] = Field(tuple(SecretKind), description="The kinds that are masked.")
    hand_over: tuple[SecretKind, ...] = Field(
        (SecretKind.CARD,), description="Those that are masked where an account is handed over: its password is not."
    )

    def kinds(self, *, hand_over: bool) -> frozenset[SecretKind]:
        """The kinds that are masked. ``hand_over``: the dispute is about an account that changes hands."""
        return frozenset(self.hand_over if hand_over else self.masked)


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret and where it stands, in code points of the text."""

    kind: SecretKind
    start: int
    end: int


_CARD: Final = re.compile(r"(?<![\w-])[2-6](?:[ -]?\d){12,18}(?![\w-])")
_PASSWORD: Final = re.compile(
    r"(?:\b(?:password|passwort|passwd|passcode|pass|pwd|pw|contraseña|contrasena|clave|senha|mot de passe|mdp|parola|"
    r"hasło|haslo|şifre|sifre|kata sandi|mật khẩu|mat khau)|пароль|كلمة السر|كلمة المرور|密码|密碼)"
    r"\s?(?:is|es|ist|é|est|è|это|to|:|=|\uff1a|是|->){1,2}\s{0,3}(?P<secret>\S{3,64})",
    re.IGNORECASE,
)
_TOKEN: Final = re.compile(
    r"(?<![\w-])(?:eyJ[\w-]{8,500}\.[\w-]{8,2000}\.[\w-]{8,500}|(?:sk|pk|rk)_(?:live|test)_\w{16,128}|gh[pousr]_\w{30,100}|"
    r"xox[abprs]-[\w-]{10,200}|AKIA[0-9A-Z]{16}|AIza[\w-]{35}|glpat-[\w-]{20}|sk-[\w-]{20,200})(?![\w-])"
)
_CODE: Final = re.compile(
    r"(?:\b(?:otp|2fa|one[- ]time (?:code|password)|(?:verification|security|login|auth|authentication) code|"
    r"sms code|código de verifica(?:ción|ção)|bestätigungscode|code de vérification|codice di verifica|"
    r"kod weryfikacyjny|doğrulama kodu|kode otp|kode verifikasi|mã otp|mã xác minh)|код подтверждения|код из смс|"
    r"رمز التحقق|验证码|驗證碼)\D{0,12}?(?P<secret>\d{3}[ -]?\d{3}|\d{4,8})(?!\d)",
    re.IGNORECASE,
)
MASK: Final = "•"


def find_secrets(text: str) -> tuple[Secret, ...]:
    """The secrets of a text, in order, not overlapping. A number of a card counts when its check digit is right."""
    found = [
        Secret(SecretKind.CARD, match.start(), match.end())
        for match in _CARD.finditer(text)
        if luhn(re.sub(r"\D", "", match.group()))
    ]
    found += [Secret(SecretKind.TOKEN, match.start(), match.end()) for match in _TOKEN.finditer(text)]
    found += [Secret(SecretKind.PASSWORD, *match.span("secret")) for match in _PASSWORD.finditer(text)]
    found += [Secret(SecretKind.CODE, *match.span("secret")) for match in _CODE.finditer(text)]
    kept: list[Secret] = []
    for secret in sorted(found, key=lambda secret: (secret.start, -secret.end)):
        if not kept or secret.start >= kept[-1].end:
            kept.append(secret)
    return tuple(kept)


def mask(text: str, secrets: Sequence[Secret], kinds: frozenset[SecretKind] = frozenset(SecretKind)) -> str:
    """The text with secrets hidden; of a card, the last four digits stay, so that people know which one is meant.

    The text keeps its length: spans that were found in it stay true.
    """
    chars = list(text)
    for secret in secrets:
        if secret.kind not in kinds:
            continue
        shown = 4 if secret.kind is SecretKind.CARD else 0
        for place in range(secret.start, secret.end - shown):
            if not chars[place].isspace():
                chars[place] = MASK
    return "".join(chars)

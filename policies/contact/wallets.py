"""Wallets and bank accounts, told from noise by their checksums.

Sources: base58check (Bitcoin's reference), BIP 173 and BIP 350 (bech32), EIP-55 (form only), ISO 13616 (IBAN).
"""

import hashlib
import re
from itertools import pairwise
from typing import Final

_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE58_VALUES: Final = {char: value for value, char in enumerate(_BASE58)}
_BECH32: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_WALLET: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:(?P<hex>0x[0-9a-fA-F]{40})"
    r"|(?P<bech>(?:bc1|tb1|ltc1|BC1|LTC1)[a-zA-Z0-9]{20,71})"
    r"|(?P<base>[123TLMDXA9][1-9A-HJ-NP-Za-km-z]{25,34})"
    r"|(?P<ripple>r[1-9A-HJ-NP-Za-km-z]{28,34})|(?P<long>[1-9A-HJ-NP-Za-km-z]{43,44}|4[1-9A-HJ-NP-Za-km-z]{94}))(?![A-Za-z0-9])"
)
_IBAN: Final = re.compile(
    r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]){11,30}(?![A-Za-z0-9])", re.IGNORECASE | re.ASCII
)
_IBAN_SIZES: Final = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29,
    "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29,
    "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28,
    "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28,
    "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MN": 20,
    "MR": 27, "MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29, "PT": 25,
    "QA": 29, "RO": 24, "RS": 22, "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27,
    "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20, "YE": 30,
}  # fmt: skip
"""How long an account is by country (the registry of ISO 13616): of identifiers, one in 97 has a right checksum."""
_GENERATOR: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)

Found = tuple[int, int, float, str]
"""Start, end, confidence, rule."""


def wallets(text: str) -> list[Found]:
    """Addresses of wallets in a text as it was written. What has a checksum must have the right one to be sure."""
    found: list[Found] = []
    for match in _WALLET.finditer(text):
        written = match.group()
        if match["hex"]:
            found.append((match.start(), match.end(), 0.92, "crypto.hex"))
        elif match["bech"]:
            if bech32_valid(written.lower()):
                found.append((match.start(), match.end(), 0.96, "crypto.bech32"))
            elif len(written) >= 40:
                found.append((match.start(), match.end(), 0.7, "crypto.bech32_form"))
        elif match["base"]:
            if base58_valid(written):
                found.append((match.start(), match.end(), 0.96, "crypto.base58"))
            elif len(written) == 34 and written[0] in "T13" and _is_jumbled(written):
                found.append((match.start(), match.end(), 0.55, "crypto.base58_form"))
        elif _is_jumbled(written):
            found.append((match.start(), match.end(), 0.55, "crypto.form" if match["ripple"] else "crypto.long"))
    return found


def ibans(text: str) -> list[Found]:
    """Bank accounts with a right checksum."""
    found: list[Found] = []
    for match in _IBAN.finditer(text):
        end = match.end()
        while end > match.start() + 15:
            if iban_valid(text[match.start() : end]):
                found.append((match.start(), end, 0.9, "payment.iban"))
                break
            end = text.rfind(" ", match.start(), end)
    return found


def iban_valid(written: str) -> bool:
    """ISO 13616: as long as the country has it, and the number moved and read in base 36 leaves 1 divided by 97."""
    compact = re.sub(r"[ -]", "", written).upper()
    if _IBAN_SIZES.get(compact[:2]) != len(compact):
        return False
    return int("".join(str(int(char, 36)) for char in compact[4:] + compact[:4])) % 97 == 1


def base58_valid(written: str) -> bool:
    """A base58check address: 21 bytes and the first four of their double SHA-256."""
    number = 0
    for char in written:
        number = number * 58 + _BASE58_VALUES[char]
    if number.bit_length() > 200:
        return False
    payload = number.to_bytes(25, "big")
    return hashlib.sha256(hashlib.sha256(payload[:21]).digest()).digest()[:4] == payload[21:]


def bech32_valid(written: str) -> bool:
    """BIP 173 and BIP 350: the polynomial over the human-readable part and the data."""
    prefix, _, data = written.rpartition("1")
    if not prefix or any(char not in _BECH32 for char in data):
        return False
    values = [ord(char) >> 5 for char in prefix] + [0] + [ord(char) & 31 for char in prefix]
    values += [_BECH32.index(char) for char in data]
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for place in range(5):
            check ^= _GENERATOR[place] if (top >> place) & 1 else 0
    return check in (1, 0x2BC830A3)


def _is_jumbled(written: str) -> bool:
    """Whether capitals, small letters and digits are mixed like in random text."""
    changes = sum(_class(a) != _class(b) for a, b in pairwise(written))
    return changes > len(written) // 3


def _class(char: str) -> int:
    return 0 if char.isdigit() else 1 if char.isupper() else 2

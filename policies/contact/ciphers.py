"""Texts that a message says are encoded: what they say, read in the ways that people know.

Base64 betrays itself; everything else is only tried where the message announces it.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from string import ascii_lowercase
from typing import Final
from urllib.parse import unquote

_BASE64: Final = re.compile(r"(?<![A-Za-z0-9+/=])[A-Za-z0-9+/]{11,400}={0,2}(?![A-Za-z0-9+/=])")
_BASE32: Final = re.compile(r"(?<![A-Za-z0-9=])[A-Z2-7]{12,200}={0,6}(?![A-Za-z0-9=])")
_HEX: Final = re.compile(r"(?<![0-9a-zA-Z])(?:[0-9a-fA-F]{2}[\s:]?){8,200}(?![0-9a-zA-Z])")
_CODES: Final = re.compile(r"(?<!\d)(?:1?\d{2}[\s,;-]{1,2}){6,100}1?\d{2}(?!\d)")
_BITS: Final = re.compile(r"(?<!\d)(?:[01]{8}[\s,]?){5,60}(?!\d)")
_PERCENT: Final = re.compile(r"[\w.~-]{0,20}(?:%[0-9a-fA-F]{2}[\w.~-]{0,3}){4,100}")
_MORSE: Final = re.compile(r"[.·-]{1,6}(?:[\s/|]{1,3}[.·-]{1,6}){4,60}")
_MORSE_SIGNS: Final = dict(
    zip(
        [
            ".-",
            "-...",
            "-.-.",
            "-..",
            ".",
            "..-.",
            "--.",
            "....",
            "..",
            ".---",
            "-.-",
            ".-..",
            "--",
            "-.",
            "---",
            ".--.",
            "--.-",
            ".-.",
            "...",
            "-",
            "..-",
            "...-",
            ".--",
            "-..-",
            "-.--",
            "--..",
            "-----",
            ".----",
            "..---",
            "...--",
            "....-",
            ".....",
            "-....",
            "--...",
            "---..",
            "----.",
            ".-.-.-",
            ".--.-.",
            "..--.-",
        ],
        ascii_lowercase + "0123456789.@_",
        strict=True,
    )
)
_NOISY: Final = re.compile(r"(?<!\w)(?=\w*\d\w*[^\W\d]\w*\d)[\w*.-]{8,60}(?!\w)")
_SIGNS: Final = re.compile(r"[^\w\s@.:/]")
_INITIALS: Final = re.compile(r"(?<!\w)[^\W\d_]")
_KEYS: Final = str.maketrans("abcdefghijklmnopqrstuvwxyz", "22233344455566677778889999")
_PRINTABLE: Final = re.compile(r"[\x20-\x7e\n]{5,}")
LONGEST: Final = 400
"""Characters of an announced text that is tried in ways that any text could be read."""

Plain = tuple[int, int, str]
"""Where the encoded part starts and ends, and what it says."""


def decoded(text: str, *, announced: bool) -> Iterator[Plain]:
    """What encoded parts of a text say. ``announced``: the message says that it is encoded."""
    for match in _BASE64.finditer(text):
        written = match.group()
        stem = written.rstrip("=")
        if stem.isalpha() and not (announced or written.endswith("=")):
            continue
        try:
            plain = base64.b64decode(stem + "=" * (-len(stem) % 4), validate=True).decode("utf-8")
        except (binascii.Error, UnicodeDecodeError):
            continue
        if _PRINTABLE.fullmatch(plain):
            yield match.start(), match.end(), plain
    if announced:
        for start, end, plain in _announced(text):
            if _PRINTABLE.fullmatch(plain):
                yield start, end, plain


def _announced(text: str) -> Iterator[Plain]:
    for match in _BASE32.finditer(text):
        stem = match.group().rstrip("=")
        try:
            plain = base64.b32decode(stem + "=" * (-len(stem) % 8))
        except binascii.Error:
            continue
        yield *match.span(), plain.decode("latin-1")
    for match in _HEX.finditer(text):
        yield *match.span(), bytes.fromhex(re.sub(r"[\s:]", "", match.group())).decode("latin-1")
    for match in _CODES.finditer(text):
        yield *match.span(), "".join(chr(int(code)) for code in re.findall(r"\d+", match.group()))
    for match in _BITS.finditer(text):
        yield *match.span(), "".join(chr(int(bits, 2)) for bits in re.findall(r"[01]{8}", match.group()))
    for match in _PERCENT.finditer(text):
        yield *match.span(), unquote(match.group(), errors="replace")
    for match in _MORSE.finditer(text):
        signs = match.group().replace("·", ".").split()
        yield *match.span(), "".join(_MORSE_SIGNS.get(sign.strip("/|"), " ") for sign in signs)


def guessed(text: str) -> Iterator[str]:
    """What an announced text may say when it is read in ways that any text could be read: a guess is only worth
    something when it names a channel or a number."""
    for match in _NOISY.finditer(text):
        yield re.sub(r"\D", "", match.group())
    if "keypad" in text:
        yield text.translate(_KEYS)
    if (bare := _SIGNS.sub("", text)) != text:
        yield bare
    _, _, body = text.partition(":")
    yield "".join(_INITIALS.findall(body or text))
    for shift in range(1, 26):
        turned = ascii_lowercase[shift:] + ascii_lowercase[:shift]
        yield (body or text).translate(str.maketrans(ascii_lowercase, turned))

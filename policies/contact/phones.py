"""Telephone numbers: how likely a run of digits is one, by its form and by what stands around it."""

import re
from collections.abc import Collection
from functools import cache
from typing import Final

import phonenumbers

from policies.contact.digits import Kind, Run
from policies.contact.lexicon import CHANNELS, Cue, Cues

_REGIONS: Final = (
    "US", "GB", "DE", "FR", "ES", "IT", "PT", "BR", "MX", "AR", "CO", "CL", "PE", "RU", "UA", "PL", "RO", "TR", "SA",
    "AE", "EG", "MA", "CN", "TW", "HK", "KR", "JP", "ID", "MY", "SG", "PH", "TH", "VN", "IN", "PK", "BD", "NG", "ZA",
    "NL", "BE", "CH", "AT", "SE", "DK", "AU",
)  # fmt: skip
"""Whose national numbers are known: where the words of the lexicons are spoken, and the largest markets beside."""
_CURRENCY: Final = re.compile(
    r"[$€£¥₺₽₹₴₫₩₿]\s?\Z|\b(?:usd|eur|gbp|rp|rs|tl|rub|zl|us\$|r\$|idr|inr|price|total)\.?:?\s?\Z"
)
_MONEY: Final = re.compile(r"\d{1,3}(?:([.,' ])\d{3})(?:\1\d{3})*(?:[.,]\d{1,2})?|\d+[.,]\d{1,2}")
_DATE: Final = re.compile(
    r"(?<![\d(])(?<!\d[-./])(?:(?:19|20)\d{2}([-./])[01]?\d\1[0-3]?\d|[0-3]?\d([-./])[0-3]?\d\2"
    r"(?:(?:19|20)\d{2}|\d{2}))(?![-./]?\d)"
    r"(?:[t ,]+\d{1,2}[:.h]\d{2}(?:[:.]\d{2})?)?"
    r"|(?<!\d)(?:19|20)\d{2}[01]\d[0-3]\d(?!\d)|(?<!\d)[0-3]\d[0-3]\d(?:19|20)\d{2}(?!\d)|\d{8}t\d{4,6}z?|(?:19|20)\d{2}\s?[-/–]\s?(?:19|20)\d{2}"
)
_ADDRESS: Final = re.compile(
    r"(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?::\d+)?(?!\.?\d)|(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}"
)
_UUID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_IDENTIFIER: Final = re.compile(rf"{_UUID.pattern}|(?<![^\W_])(?=[0-9]*[a-f])(?=[a-f]*[0-9])[0-9a-f]{{8,64}}(?![^\W_])")
_SSN: Final = re.compile(r"\d{3}-\d{2}-\d{4}")
_SUM: Final = re.compile(r"\d\s*[x*×+=/]\s*\d+(?:[.,]\d+)?\s*[=x*×+]")
_CLOCK: Final = re.compile(r"(?<!\d)[0-2]?\d:[0-5]\d(?!\d)")
_DECIMALS: Final = re.compile(r"(?:(?<![\d.])\d\.\d[\s,]+){3}")
_SCORES: Final = re.compile(r"(?:(?<!\d)\d{1,2}[-/:]\d{1,2}[ .,;]+){2}\d{1,2}[-/:]\d")
_YEAR: Final = re.compile(r"\d{1,2},\s?(?:19|20)\d\d(?!\d)")
_FILE: Final = re.compile(
    r"\A\.?[\w-]{0,40}\.(?:png|jpe?g|gif|webp|heic|mp4|mov|avi|mkv|pdf|txt|log|zip|rar|7z|docx?|xlsx?|csv|apk|exe)\b"
)
_FORMS: Final = (
    (re.compile(r"\(?\d{3}\)?\s*[-./]\s*\d{3}\s*[-./]\s*\d{4}"), 0.66, "nanp"),
    (re.compile(r"\(\d{2,5}\)\s*[-./]?\s*\d{2,5}[-. /]?\d{2,5}(?:[-. /]?\d{2,4})?"), 0.66, "area"),
    (re.compile(r"0\d{1,4}[-/ ]\d{5,8}"), 0.62, "trunk"),
    (re.compile(r"0\d{2,4}(?:[-. /]\d{2,4}){2,4}"), 0.62, "trunk"),
    (re.compile(r"0\d(?:[-. /]\d{2}){4}"), 0.66, "pairs"),
    (re.compile(r"\d{3} \d{3} \d{4}"), 0.55, "spaced"),
    (re.compile(r"8 ?\(?9\d{2}\)? ?\d{3}[- ]?\d{2}[- ]?\d{2}"), 0.62, "ru"),
    (re.compile(r"1[- ]\d{3}[- ]\d{3}[- ]\d{4}"), 0.66, "nanp"),
)
_PICTURES: Final = re.compile("[📞📱☎📲🤙📟]")


@cache
def _national() -> tuple[re.Pattern[str], ...]:
    """What national numbers look like, by region. From the metadata that phonenumbers packages."""
    patterns: dict[str, None] = {}
    for region in _REGIONS:
        metadata = phonenumbers.PhoneMetadata.metadata_for_region(region)
        if metadata is None or metadata.general_desc is None:
            continue
        pattern = metadata.general_desc.national_number_pattern
        prefix = metadata.national_prefix or ""
        patterns[f"{prefix}(?:{pattern})" if prefix and region != "US" else f"1?(?:{pattern})"] = None
    return tuple(re.compile(pattern) for pattern in patterns)


def load_plans() -> None:
    """Read the numbering plans now rather than with the first number."""
    _national()
    internationally_valid("15555550100")


def nationally_valid(digits: str) -> bool:
    """Whether digits, with the trunk prefix where a country has one, are a number that some known country gives out."""
    return any(pattern.fullmatch(digits) for pattern in _national())


def internationally_valid(digits: str) -> bool:
    """Whether digits are a valid number behind a ``+`` (ITU-T E.164)."""
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse("+" + digits))
    except phonenumbers.NumberParseException:
        return False


def weigh(text: str, run: Run, cues: Cues, known: Collection[str], styled: bool) -> tuple[float, str, int, int]:
    """How likely a run is a telephone number.

    Args:
        text: the normal form that the run lies in.
        run: the digits.
        cues: what the lexicons find in the text.
        known: numbers of the order, digits only, that are none.
        styled: its digits were written as emoji or in another disguise of single characters.

    Returns:
        Confidence from 0 to 1 (0: it is none), the rule, and the span in the normal form.
    """
    start, end = run.start, run.end
    while start and text[start - 1] in "(+" and start > run.start - 3:
        start -= 1
    written = text[run.start : run.end]
    if run.digits in known or any(len(number) > 5 and number in run.digits for number in known):
        return 0, "", start, end
    if run.kinds != Kind.NUMERAL and _in_identifier(text, run):
        return 0, "", start, end
    size = len(run.digits)
    plus = "+" in text[max(0, start - 1) : run.start]
    if size > 10 and run.digits.startswith("00") and internationally_valid(run.digits[2:]):
        plus = True
    plain = not plus and run.kinds in (Kind.NUMERAL, Kind.NUMERAL | Kind.ATTACHED)
    if run.words == 1 and _is_date(text, run, written):
        return 0, "", start, end
    if size < 7 or size > 16 or (plain and _is_something_else(text, run, written)):
        return 0, "", start, end
    score, rule = _form(run, written, plus=plus)
    disguise = _disguise(run, written)
    if styled:
        disguise = max(disguise, 0.35)
    if run.kinds == Kind.NUMERAL and any(char.isalpha() for gap in run.gaps for char in gap):
        score -= 0.2
    score += disguise
    if disguise:
        rule = "disguised"
    score += _surroundings(text, run, start, end, cues, score, disguise)
    if run.kinds & Kind.ATTACHED:
        score -= 0.1
    if size < 9 and rule in ("bare", "grouped") and not disguise:
        score -= 0.05
    return max(0.0, min(score, 0.97)), f"phone.{rule}", start, end


def _in_identifier(text: str, run: Run) -> bool:
    """Whether the letters among the digits are those of a machine's identifier: a UUID, or a token in hexadecimal."""
    first = max(0, run.start - 40)
    around = text[first : run.end + 40]
    return any(
        match.start() < run.end - first and run.start - first < match.end() for match in _IDENTIFIER.finditer(around)
    )


def _is_date(text: str, run: Run, written: str) -> bool:
    """Dates, addresses of machines, UUIDs."""
    around = text[max(0, run.start - 40) : run.end + 40]
    offset = run.start - max(0, run.start - 40)
    for pattern in (_UUID, _ADDRESS, _DATE):
        for match in pattern.finditer(around):
            if match.start() <= offset and match.end() >= offset + len(written) - 3:
                return True
            if pattern is _DATE and offset - 1 <= match.start() < offset + len(written) and match.end() > offset:
                return True
    return False


def _is_something_else(text: str, run: Run, written: str) -> bool:
    """Amounts, dates, addresses of machines, identifiers, sums, names of files."""
    around = text[max(0, run.start - 40) : run.end + 40]
    if _is_date(text, run, written):
        return True
    if len(run.gaps) > 1 and set(run.gaps) == {"."} and "0" in run.groups and run.singles < 5:
        return True  # a version
    if _listed(run, written):
        return True
    if _MONEY.fullmatch(written) and not (written.startswith("0") or re.fullmatch(r"\d{3} \d{3} \d{3}", written)):
        return True
    if _CURRENCY.search(text[max(0, run.start - 8) : run.start]):
        return True
    if re.match(r"\s?(?:[$€£¥₺₽₹%]|[a-z]?mm\b|k\b)", text[run.end : run.end + 4]):
        return True
    if _FILE.match(text[run.end : run.end + 50]) or (run.singles < 4 and _SUM.search(around)):
        return True
    if ":" in "".join(run.gaps) and run.singles < 4 and _CLOCK.search(written):
        return True
    if _SSN.fullmatch(written):
        return True
    left = text[max(0, run.start - 24) : run.start]
    if re.search(r"[a-z]{2,}[-_]\Z|[/=#]\Z|\b[a-z]{1,4}\d*[-/]\Z", left) and not re.search(
        r"(?:tel|phone|call|hp|wa|no|#)[-:=/#]*\Z|\s#\Z", left
    ):
        return True
    if re.match(r"[-_]?[a-z]\w*-?\d|[-_][a-z0-9]", text[run.end : run.end + 6]) and not re.match(
        r"x\d", text[run.end : run.end + 4]
    ):
        return True
    lengths = [len(group) for group in run.groups]
    if len(lengths) > 2 and set(lengths) == {4} and not (run.digits[0] == "0" and nationally_valid(run.digits)):
        return True  # 4-4-4(-4): cards, vouchers, island codes
    if len(lengths) > 3 and set(lengths) == {3} and run.digits[0] != "0":
        return True
    return bool(sum(lengths) > 13 and not nationally_valid(run.digits))


def _listed(run: Run, written: str) -> bool:
    """Numbers of a list or an amount among them: all separated by commas, or one with its thousands apart."""
    signs = [gap.strip() for gap in run.gaps]
    if run.singles < 4 and len(signs) > 1 and all(sign in ",&" for sign in signs if sign) and "," in signs:
        return True
    if (run.singles > 3 and _DECIMALS.search(written)) or _SCORES.search(written) or _YEAR.search(written):
        return True
    if "," in signs and "/" in signs and max(map(len, run.groups)) < 3:
        return True
    return any(
        gap == "," and len(group) == 3 and len(before) <= 3
        for gap, before, group in zip(run.gaps, run.groups, run.groups[1:], strict=False)
    )


def _form(run: Run, written: str, *, plus: bool) -> tuple[float, str]:
    digits, size = run.digits, len(run.digits)
    if plus:
        return (0.82 if internationally_valid(digits) else 0.62), "international"
    for pattern, score, rule in _FORMS:
        if pattern.fullmatch(written):
            return score, rule
    if len(run.groups) == 1:
        if digits[0] == "0" and 9 <= size <= 12 and nationally_valid(digits):
            return 0.58, "national"
        if size == 11 and re.fullmatch(r"1[3-9]\d{9}|8?9\d{9}|[78]9\d{9}", digits):
            return 0.5, "mobile"
        if 9 <= size <= 13 and nationally_valid(digits):
            return 0.38, "bare"
        return (0.25 if size in (8, 10, 11) else 0.18), "bare"
    if 9 <= size <= 12 and nationally_valid(digits):
        return (0.52 if len(run.groups) > 2 and size > 9 else 0.46), "grouped"
    if 7 <= size <= 8:
        return 0.2, "grouped"
    return 0.3, "grouped"


def _disguise(run: Run, written: str) -> float:
    """What honest writers do not do: words among digits, letters for digits, walls of separators."""
    score = 0.0
    size = len(run.digits)
    if run.kinds & Kind.WORD and (run.words >= 5 or (run.words and run.kinds & Kind.NUMERAL and size >= 8)):
        score = 0.42
    if run.kinds & Kind.HAN and size >= 9:
        score = max(score, 0.42)
    if run.kinds & Kind.LETTER and size >= 8:
        score = max(score, 0.32)
    if run.kinds & Kind.REPEATED:
        score = max(score, 0.3)
    odd = {gap.strip() for gap in run.gaps if gap.strip()}
    heavy = sum(len(gap.strip()) > 1 for gap in run.gaps)
    if size >= 8 and run.singles >= max(5, size - 3):
        score = max(score, 0.3)
    elif size >= 9 and (heavy or len(odd) > 1 or any(set(gap) - set("-. ()/") for gap in odd)):
        score = max(score, 0.14)
    elif size >= 9 and len(run.groups) >= 4 and run.singles:
        score = max(score, 0.2)
    return score


def _surroundings(text: str, run: Run, start: int, end: int, cues: Cues, form: float, disguise: float) -> float:
    """What the words around say. The nearest of those before counts; what follows counts less."""
    nearest_phone = nearest_ref = 1000
    after = 0
    firm = False
    sentence = cues.sentence(start)
    window = cues.around(start, end, 70)
    refs = [(first, last) for first, last, mask in window if mask & Cue.REF and last <= start]
    for first, last, mask in window:
        if last <= start:
            distance = start - last
            if cues.sentence(first) != sentence:
                distance += 25
            part_of_ref = any(
                a < last and first < b and (a, b) != (first, last) and b - a >= last - first for a, b in refs
            )
            if (mask & Cue.NOUN or text.startswith(("num", "no"), first)) and not part_of_ref:
                part_of_ref = any(0 <= first - b <= 1 and not text[b:first].strip() for _, b in refs)
            if not part_of_ref and mask & (Cue.PHONE | Cue.REACH | CHANNELS | Cue.SOLICITING):
                nearest_phone = min(nearest_phone, distance)
                firm = firm or bool(mask & (Cue.PHONE | CHANNELS))
            if mask & (Cue.REF | Cue.GAME):
                nearest_ref = min(nearest_ref, distance)
        elif first >= end and first - end <= 30:
            after |= mask
    score = 0.0
    if nearest_phone < 1000 and nearest_phone <= nearest_ref + 4:
        strong = nearest_phone <= 45 and (len(run.digits) > 8 or firm)
        score += 0.36 if strong else 0.2
    elif nearest_ref < 1000:
        score -= 0.5 if nearest_ref < 25 else 0.25 if form < 0.6 else 0.05
        if disguise >= 0.3:
            score += 0.15
    elif after & (Cue.PHONE | Cue.REACH | CHANNELS) and not after & Cue.REF:
        score += 0.3
    elif after & Cue.REF:
        score -= 0.2
    if after & Cue.UNIT and re.match(r"\s?[^\W\d_]", text[end : end + 2]) and not nearest_phone < 45:
        score -= 0.4
    if _PICTURES.search(text):
        score += 0.3
    rest = len(text.strip()) - (end - start)
    if rest <= 3 and len(run.digits) >= 9:
        score += 0.08
    return score

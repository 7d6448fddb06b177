"""E-mail addresses and links whose signs are words, in brackets or with spaces: ``max (at) mail dot com``."""

import re
from collections.abc import Set
from typing import Final

from policies.contact.addresses import ENDING, FILES, ME, PROVIDERS, RESERVED, Found, Hosts, every
from policies.contact.views import View, replaced

_AT_WORDS: Final = (
    "at|arroba|aroba|arobase|arrobase|ät|aet|chiocciola|malpa|malpka|klammeraffe|affenschwanz|собака|собачка|сабака|эт|"
    "равлик|песик|آت|ات|ات ساين|艾特|圈a|a cong|a vong|a moc|at the rate|at sign|monkey|kuyruklu a|kuyruklu|et isareti|"
    "keong|apenstaartje|apenstaart|zavinac|snabel-a|snabel a|snabela|krollalfa|kanelbulle|arond|a rond|kukac|"
    "アットマーク|アット|골뱅이|एट|אט|שטרודל|παπακι|miukumauku|atmark"
)
_DOT_WORDS: Final = (
    "dot|punto|ponto|punkt|punkti|punktum|point|точка|тчк|крапка|nokta|kropka|tecka|bodka|titik|cham|دوت|دات|نقطه|"
    "点|點|bindu|d0t|dott|punt|punct|piste|pont|ピリオト|トット|닷|쩜|डट|נקודה|τελεια"
)
_PROVIDER_WORDS: Final = {
    "гмайл": "gmail", "гмаил": "gmail", "жмаил": "gmail", "джимеил": "gmail", "гмеил": "gmail", "жмеил": "gmail",
    "маил": "mail",
    "яндекс": "yandex", "рамблер": "rambler", "хотмаил": "hotmail", "аутлук": "outlook", "яху": "yahoo",
    "аиклауд": "icloud", "айклауд": "icloud",
    "جيميل": "gmail", "جيمايل": "gmail", "هوتميل": "hotmail", "ياهو": "yahoo", "اوتلوك": "outlook",
    "जमल": "gmail", "シーメール": "gmail", "지메일": "gmail", "네이버": "naver", "谷歌邮箱": "gmail",
}  # fmt: skip
"""Mail providers as other scripts write them, in normal form."""
_ENDING_WORDS: Final = {
    "ком": "com", "ру": "ru", "нет": "net", "орг": "org", "юа": "ua", "كوم": "com", "كم": "com", "نت": "net",
    "کام": "com", "كام": "com", "कम": "com", "कॉम": "com", "컴": "com", "コム": "com", "kom": "com",
    "ای ار": "ir", "اي ار": "ir", "ир": "ir",
    "com com": "com", "c0m": "com", "c o m": "com",
}  # fmt: skip
"""Endings of host names as other scripts write them, in normal form."""
_SPACED_ENDING: Final = (
    r"(?:(?:com|net|org|ru|info|shop|store|xyz|site|online|cc|top|vip|club|co\.uk|com\.br)\b"
    r"|(?:me|gg|ly|gl|io|tv)\s?(?:/|slash))"
)
"""What ends a host name even after a space: endings that are no words, or go on with a path."""
_OPEN: Final = r"[(\[{<\"'*_~|]"
_CLOSE: Final = r"[)\]}>\"'*_~|]"
_BEGINNING: Final = r"(?=[\s(\[{<\"'*_~|@.,·/hw艾圈닷쩜点點-])"
"""What every such sign begins with: most letters are passed over by this alone."""
_SIGN: Final = re.compile(
    rf"{_BEGINNING}(?:\s*{_OPEN}\s?(?:(?P<at>{_AT_WORDS}|a|@)|(?P<dot>{_DOT_WORDS}|d|\.|,)|(?P<slash>slash|/))\s?{_CLOSE}\s*"
    r"|(?P<hat>-at-)|(?P<hdot>-dot-)"
    rf"|(?P<sat>\s+(?:{_AT_WORDS})\s+|\s*(?<=[^\x00-\x7f])(?:艾特|圈a)\s*|\s+@\s*|\s*@\s+|\s🅰t\s)"
    rf"|(?P<sdot>\s+(?:{_DOT_WORDS})\s+|\s*[닷쩜]\s*(?=com|net|kr|co|컴|넷)|\s*(?<=\w)点(?=[a-z])|\s*(?<=\w)點(?=[a-z])"
    rf"|\s*\.\s+(?={_SPACED_ENDING})|\s?·\s?(?=(?:com|net|org|ru|de|gg|shop)\b)"
    rf"|\s+\.\s*(?={_SPACED_ENDING}|[\w .]{{1,20}}@)|,(?=(?:com|net|org|ru)\b))"
    rf"|(?P<sslash>\s+(?:slash|barra|forward slash|слэш|slesh)\s+|\s+/\s*|\s*/\s+)"
    rf"|(?P<scheme>\bh(?:tt|xx)ps?\s*:?\s*//?\s*/?\s*(?=\w))|(?P<www>\bw\s?w\s?w\s*(?:\.|dot|punto|ponto|punkt)\s*(?=\w)))"
)
_SPELLED: Final = re.compile(
    rf"'(?:at|dot)'|[(\[{{<\"*_~|-]\s?(?:{_AT_WORDS}|{_DOT_WORDS}|a|d|\.|@)\s?[)\]}}>\"*_~|-]|\b(?:{_DOT_WORDS})\b"
    r"|\s@\s?\w|\w@\s|hxxp|\.\s(?:com|net|org|ru|info|shop|me|gg|ly)\b"
    r"|\s\.\s{0,2}(?:com|net|org|ru|info|shop|me|gg|ly|cc|top|vip|xyz)\b|·\s?(?:com|net|org|ru|de|gg|shop)\b"
    rf"|[点點][a-z]|[닷쩜]\s?(?:com|net|kr|co|컴|넷)|[a-z]艾特|\b(?:{_AT_WORDS})\s+(?:{PROVIDERS})\b|,(?:com|net|ru|de|org|gg|io)\b"
    r"|:\s?/\s?/|w w w|\s/\s"
)


_SIGNS: Final = re.compile(r"[-'](?:at|dot)[-']|[@(\[{<\"*~|点點/_·]|,(?:com|net|org|ru)\b")
_SIGN_CHARS: Final = "-'@([{<\"*~|点點/_,·"
_SPACED_DOT: Final = re.compile(r"\.\s{0,2}(?:com|net|org|ru|info|shop|me|gg|ly|cc|top|vip|xyz)\b")


def spelled_out(text: str, chars: Set[str], cued: bool) -> bool:
    """Whether a text writes the signs of addresses as words, in brackets or with spaces.

    ``chars``: the characters that it is written with. ``cued``: it holds a word for a dot, or a mail provider.
    """
    if not cued and (
        (chars.isdisjoint(_SIGN_CHARS) or _SIGNS.search(text) is None)
        and ("." not in chars or _SPACED_DOT.search(text) is None)
        and "w w" not in text
        and "hxxp" not in text
    ):
        return False
    return _SPELLED.search(text) is not None


_SIGN_OF: Final = {
    **dict.fromkeys(("at", "sat", "hat"), "@"),
    **dict.fromkeys(("dot", "sdot", "hdot"), "."),
    **dict.fromkeys(("slash", "sslash"), "/"),
    "scheme": "http://",
    "www": "www.",
}


_WORD_OF: Final = {**_PROVIDER_WORDS, **_ENDING_WORDS}
_FOREIGN_PART: Final = re.compile(rf"(?<=[@.])\s?({'|'.join(sorted(_WORD_OF, key=len, reverse=True))})(?!\w)")


def unspelled(view: View) -> View:
    """Signs written as words are put in: ``max (at) mail dot com`` reads ``max@mail.com``."""
    parts: list[tuple[int, int, str]] = []
    for match in _SIGN.finditer(view.text):
        kind = match.lastgroup
        parts.append((match.start(), match.end(), _SIGN_OF[kind or "dot"]))
    if not parts:
        return view
    signed = replaced(view, parts)
    foreign = [(match.start(), match.end(), _WORD_OF[match[1]]) for match in _FOREIGN_PART.finditer(signed.text)]
    return replaced(signed, foreign) if foreign else signed


_SAID_MAIL_HOST: Final = re.compile(rf"@((?:[^\W_][\w-]*\.){{1,3}}{ENDING}|(?:{PROVIDERS}))(?![\w@-])")
_SAID_MAILBOX: Final = re.compile(r"(?<![\w@])[^\W_][\w+%-]*(?:\.[\w+%-]+){0,4}\Z")
_LONGEST_MAILBOX: Final = 64
_SAID_ENDING: Final = (
    r"(?:com|net|org|info|biz|io|co|gg|ru|de|uk|fr|es|it|pl|br|mx|ar|cl|tr|id|vn|cn|eu|ca|au|nl|pt|ua|kz|jp|kr|tw|hk|sg|tv|cc|"
    r"xyz|shop|store|online|site|app|dev|me|ly)(?:\.(?:uk|br|mx|ar|tr|id|vn|in|cn|au|jp|kr|tw|hk|sg|my|ph|za|pl|co))?"
)
"""Endings of spelled-out host names. Not those that are words after a full stop: no, to, at."""
_SAID_HOST: Final = re.compile(
    rf"(?<![\w@.-])(?:https?://|www\.)?([^\W_][\w-]{{1,40}}(?:\.[\w-]{{1,40}}){{0,2}})\.(?:{_SAID_ENDING}(?:/[\w./?=-]*)?|{ENDING}/[\w./?=-]+)(?![\w-])"
)
_WORDS_BEFORE: Final = frozenset(
    [
        "look",
        "looked",
        "looking",
        "be",
        "am",
        "is",
        "was",
        "are",
        "were",
        "here",
        "there",
        "me",
        "us",
        "him",
        "it",
        "you",
        "meet",
        "arrive",
        "stay",
        "back",
        "only",
        "up",
        "out",
        "available",
        "email",
        "mail",
        "account",
        "located",
        "starting",
        "working",
        "login",
        "log",
    ]
)


def said_emails(text: str, hosts: Hosts) -> list[Found]:
    """E-mail addresses in a text whose spelled-out signs were put in."""
    found: list[Found] = []
    for match in _SAID_MAIL_HOST.finditer(text):
        name = _SAID_MAILBOX.search(text, max(0, match.start() - _LONGEST_MAILBOX), match.start())
        if name is None or hosts.is_own(match[1]) or match[1].rpartition(".")[2] in RESERVED:
            continue
        if "." in match[1]:
            found.append((name.start(), match.end(), 0.88, "email.spelled"))
        elif name.group() not in _WORDS_BEFORE:
            sure = any(not char.isalpha() for char in name.group())
            found.append((name.start(), match.end(), 0.75 if sure else 0.5, "email.spelled_provider"))
    return found


def said_links(text: str, hosts: Hosts) -> list[Found]:
    """Links in a text whose spelled-out signs were put in."""
    found: list[Found] = []
    for match in _SAID_HOST.finditer(text):
        host = re.sub(r"^https?://|^www\.|/.*$", "", match.group())
        if hosts.is_own(host) or host.rpartition(".")[2] in FILES | RESERVED or match[1].isdigit():
            continue
        found.append((match.start(), match.end(), 0.86, "url.spelled"))
    return found + every(ME, text, 0.9, "url.spelled")

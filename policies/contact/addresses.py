"""E-mail addresses and links, as written and in disguise.

Host names end in a suffix of the public suffix list (packaged with tldextract; the network is never asked). Names
reserved for examples (RFC 2606, RFC 6761) lead nowhere and are no links.
"""

import re
from collections.abc import Collection, Set
from dataclasses import dataclass
from functools import cache
from typing import Final

import tldextract

from policies.contact.views import View, replaced

_AT_WORDS: Final = (
    "at|arroba|aroba|arobase|arrobase|ät|aet|chiocciola|malpa|malpka|klammeraffe|affenschwanz|собака|собачка|сабака|эт|"
    "равлик|песик|آت|ات|ات ساين|艾特|圈a|a cong|a vong|a moc|at the rate|at sign|monkey|kuyruklu a|kuyruklu|et isareti|"
    "keong|apenstaartje|apenstaart|zavinac|snabel-a|snabel a|snabela|krollalfa|kanelbulle|arond|a rond|kukac|"
    "アットマーク|アット|골뱅이|एट|אט|שטרודל|παπακι|miukumauku|atmark"
)
_DOT_WORDS: Final = (
    "dot|punto|ponto|punkt|punkti|punktum|point|точка|тчк|крапка|крап|nokta|kropka|tecka|bodka|titik|cham|دوت|دات|نقطه|点|點|bindu|"
    "d0t|dott|punt|punct|piste|pont|ピリオト|トット|닷|쩜|डट|נקודה|τελεια"
)
_PROVIDER_WORDS: Final = {
    "гмайл": "gmail", "гмаил": "gmail", "жмаил": "gmail", "джимеил": "gmail", "гмеил": "gmail", "жмеил": "gmail", "маил": "mail",
    "яндекс": "yandex", "рамблер": "rambler", "хотмаил": "hotmail", "аутлук": "outlook", "яху": "yahoo", "айклауд": "icloud",
    "جيميل": "gmail", "جيمايل": "gmail", "هوتميل": "hotmail", "ياهو": "yahoo", "اوتلوك": "outlook",
    "जमल": "gmail", "シーメール": "gmail", "지메일": "gmail", "네이버": "naver", "谷歌邮箱": "gmail",
}  # fmt: skip
"""Mail providers as other scripts write them, in normal form."""
_ENDING_WORDS: Final = {
    "ком": "com", "ру": "ru", "нет": "net", "орг": "org", "юа": "ua", "كوم": "com", "كم": "com", "نت": "net", "کام": "com",
    "كام": "com", "कम": "com", "कॉम": "com", "컴": "com", "コム": "com", "kom": "com", "ای ار": "ir", "اي ار": "ir", "ир": "ir",
    "com com": "com", "c0m": "com", "c o m": "com",
}  # fmt: skip
"""Endings of host names as other scripts write them, in normal form."""
_PROVIDERS: Final = (
    "gmail|gmai|gmial|gamil|googlemail|hotmail|outlook|yahoo|ymail|icloud|aol|protonmail|proton|tutanota|yandex|gmx|"
    "rediffmail|zoho|fastmail|live|mail|rocketmail|wanadoo|libero|interia|seznam|rambler"
)
_ENDINGS: Final = (
    "com|net|org|info|biz|io|co|gg|me|ru|de|uk|fr|es|it|pl|br|mx|ar|cl|pe|tr|id|vn|in|cn|us|eu|ca|au|nl|be|ch|at|pt|se|no|"
    "dk|fi|cz|sk|hu|ro|bg|gr|ua|by|kz|jp|kr|tw|hk|sg|my|ph|th|sa|ae|eg|ma|za|ng|tv|cc|xyz|shop|store|online|site|app|dev|"
    "gd|link|live|club|top|pro|ly|gl|ws|to|edu|gov|page|chat|ai|su|vip|icu|win|fun|space|website|tech|game|games|market"
)
_ENDING: Final = rf"(?:{_ENDINGS})(?:\.(?:uk|br|mx|ar|tr|id|vn|in|cn|au|jp|kr|tw|hk|sg|my|ph|za|pl|co))?"
_EMAIL: Final = re.compile(
    r"(?<![\w.+%-])([^\W_][\w.+%-]{0,63})@((?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,5}[^\W\d_]{1,18})(?![\w-])"
)
_EMAIL_PROVIDER: Final = re.compile(
    rf"([^\W_][\w.+%-]{{1,63}})\s?@\s?((?:{_PROVIDERS})(?:[\s,]*(?:com|net|ru|de|fr|es|it|me)\b)?)(?![\w.-])"
)
_HASHED: Final = re.compile(rf"([^\W_][\w.+%-]{{1,63}})[#*&]((?:{_PROVIDERS})\.(?:{_ENDINGS}))\b")
_RUN_TOGETHER: Final = re.compile(
    r"(?<!\w)[\w.]{0,40}(?:\s\d{1,6}\s?)?(?:gmail|hotmail|yahoo|outlook|icloud|rediffmail|ymail)\s?com(?!\w)"
)
_URL: Final = re.compile(
    r"(?<![\w@.-])(?:(?P<scheme>(?:h(?:tt|xx)ps?|ftp)\s?:\s?/\s?/\s?)(?P<any>[\w.-]{3,120}(?::\d+)?)|"
    r"(?P<host>(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,6}[^\W\d_]{2,18})(?!\w))(?P<path>(?::\d{2,5})?[/?#][^\s<>\"'，。！？]*)?"
)
_TWITCH: Final = re.compile(
    r"(?<![\w@.])(twitch|youtube|instagram|facebook|discord|t|wa|vk)\s(tv|com|gg|me)/([\w.-]{2,60})"
)
_WWW: Final = re.compile(r"\bwww[\s,]+[\w-]{2,40}[\s,]+(?:com|net|org|ru|de|info|shop)\b")
_RUN_INTO: Final = re.compile(
    r"(?<![\w.])[\w.]{2,40}?at(?:gmail|hotmail|yahoo|outlook|icloud|yandex|proton(?:mail)?)(?:dot|d0t|\.)(?:com|ru|net|me)(?!\w)"
)
_SERVER: Final = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?::\d{2,5})?/[a-z][\w/-]{2,60}")
_GUILD: Final = re.compile(r"\bdiscord\s(?:dot\s)?gg\s[\w-]{4,20}")
_FILES: Final = frozenset(
    [
        "png",
        "jpg",
        "jpeg",
        "gif",
        "webp",
        "heic",
        "mp4",
        "mov",
        "avi",
        "mkv",
        "pdf",
        "txt",
        "log",
        "zip",
        "rar",
        "7z",
        "doc",
        "docx",
        "xls",
        "xlsx",
        "csv",
        "json",
        "py",
        "exe",
        "apk",
        "dll",
        "ini",
        "mp3",
        "wav",
        "html",
        "htm",
        "php",
        "js",
        "css",
        "sh",
        "md",
        "psd",
        "svg",
        "bmp",
        "tiff",
        "ts",
    ]
)
_RESERVED: Final = frozenset({"example", "test", "invalid", "localhost", "local", "internal", "onion-example"})
_COMMON: Final = frozenset(
    [
        "com",
        "net",
        "org",
        "info",
        "biz",
        "io",
        "gg",
        "ru",
        "de",
        "uk",
        "fr",
        "es",
        "pl",
        "br",
        "mx",
        "ar",
        "tr",
        "vn",
        "cn",
        "us",
        "eu",
        "ca",
        "au",
        "nl",
        "ch",
        "pt",
        "se",
        "cz",
        "ro",
        "ua",
        "kz",
        "jp",
        "kr",
        "tw",
        "hk",
        "sg",
        "tv",
        "cc",
        "xyz",
        "shop",
        "store",
        "online",
        "app",
        "dev",
        "club",
        "vip",
        "page",
        "site",
        "website",
        "ly",
        "gl",
        "su",
        "icu",
        "top",
    ]
)
_PRODUCTS: Final = frozenset({"asp.net", "vb.net", "ado.net", "paint.net", "battle.net", "socket.io", "draw.io", "node.js", "next.js"})
"""Names of programs that look like hosts."""
_HOSTERS: Final = frozenset(
    {"co", "me", "bio", "ee", "to", "ai", "link", "market", "games", "carrd.co", "works", "so", "fun"}
)
"""Suffixes under which a name of three parts is a page of somebody."""
_WORDS_TOO: Final = frozenset({"es", "de", "fr", "pt", "us", "ch", "se", "su", "me", "eu"})
_SENTENCE_GOES_ON: Final = re.compile(r" (?!and |or |y |e |et |und |for |to |,)[^\W\d_]{3,}")
_WITH: Final = re.compile(
    r" (?:certeza|[ao]s?|uma?|meus?|minhas?|seus?|suas?|tod[ao]s?|isso|voces?|ele|ela|atraso|problemas?)\b"
)
"""After ``ayer.es`` or ``ontem.com``, which are words as well: where a space was forgotten, the sentence goes on."""
"""Suffixes that are no words: with them, a bare name with a dot in it is a link."""
_INVITES: Final = re.compile(
    r"(?:discord\.gg|discord(?:app)?\.com/invite|t\.me|telegram\.me|wa\.me|chat\.whatsapp\.com|api\.whatsapp\.com|m\.me|line\.me|"
    r"instagram\.com|facebook\.com|fb\.com|fb\.me|vk\.com|vk\.me|zalo\.me|snapchat\.com|join\.skype\.com|signal\.me|qm\.qq\.com|"
    r"u\.wechat\.com|paypal\.me|cash\.app|venmo\.com|revolut\.me|ko-fi\.com|linktr\.ee|bit\.ly|tinyurl\.com|cutt\.ly|goo\.gl)\b"
)

Found = tuple[int, int, float, str]
"""Start and end in the view, confidence, rule."""


@cache
def _suffixes() -> tldextract.TLDExtract:
    return tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)


@dataclass(frozen=True, slots=True)
class Hosts:
    """Hosts that are the platform's own."""

    own: frozenset[str]

    def is_own(self, host: str) -> bool:
        host = host.partition(":")[0].strip(".")
        return any(host == own or host.endswith("." + own) for own in self.own)


def own_hosts(*lists: Collection[str]) -> Hosts:
    """The platform's hosts of several lists, in lower case and without schemes."""
    hosts = (
        re.sub(r"^\w+://|/.*$", "", host.strip().lower()).removeprefix("www.") for names in lists for host in names
    )
    return Hosts(frozenset(host for host in hosts if host))


def _suffix(host: str) -> str:
    """The public suffix of a host name; empty when it has none or nothing before it."""
    parts = _suffixes().extract_str(host)
    return parts.suffix if parts.domain else ""


def _all(pattern: re.Pattern[str], text: str, score: float, rule: str) -> list[Found]:
    return [(match.start(), match.end(), score, rule) for match in pattern.finditer(text)]


def emails(text: str, hosts: Hosts) -> list[Found]:
    """E-mail addresses that are written out, perhaps without the end of the host name."""
    found: list[Found] = []
    for match in _EMAIL.finditer(text):
        host = match[2]
        if hosts.is_own(host) or host.rpartition(".")[2] in _RESERVED:
            continue
        found.append((match.start(), match.end(), 0.95 if _suffix(host) else 0.6, "email.address"))
    found += _all(_EMAIL_PROVIDER, text, 0.8, "email.provider")
    found += _all(_RUN_TOGETHER, text, 0.8, "email.run_together")
    found += _all(_RUN_INTO, text, 0.85, "email.run_together")
    found += _all(_HASHED, text, 0.85, "email.other_sign")
    return found


def links(text: str, hosts: Hosts, *, cased: str) -> list[Found]:
    """Links, with a scheme or bare. ``cased`` is the same text with its capitals: ``Tuesday.How`` is two sentences."""
    found: list[Found] = []
    for match in _URL.finditer(text):
        host = (match["any"] or match["host"]).partition(":")[0].strip(".")
        ending = host.rpartition(".")[2]
        if hosts.is_own(host) or hosts.is_own(host.removeprefix("www.")) or ending in _RESERVED:
            continue
        if host in _PRODUCTS:
            continue
        if match["scheme"]:
            if "." in host and not host.replace(".", "").isdigit():
                found.append((match.start(), match.end(), 0.93, "url.scheme"))
            continue
        if not match["path"] and (ending in _FILES or host.count(".") > 3):
            continue
        suffix = _suffix(host)
        if not suffix:
            continue
        path = match["path"] or ""
        found_at = (match.start(), match.end())
        if _INVITES.match(host + path):
            if len(path) > 1 or host.startswith(("discord.gg", "www.")):
                found.append((*found_at, 0.93, "url.invite"))
            else:
                found.append((*found_at, 0.6, "url.host"))
        elif host.startswith("www."):
            found.append((*found_at, 0.9, "url.www"))
        elif len(path) > 2 and path[0] == "/" and len(host) > 4:
            found.append((*found_at, 0.85 if suffix.rpartition(".")[2] in _COMMON else 0.6, "url.path"))
        elif suffix.rpartition(".")[2] in _COMMON and len(host.removesuffix("." + suffix)) > 2:
            forgotten = _SENTENCE_GOES_ON if suffix in _WORDS_TOO else _WITH if suffix == "com" else None
            if forgotten is not None and forgotten.match(text, match.end()):
                found.append((*found_at, 0.4, "url.bare"))
                continue
            capital = cased[match.start() + host.rfind(".") + 1 : match.start() + host.rfind(".") + 2].isupper()
            lower = cased[match.start() : match.start() + len(host)].isupper()
            found.append(
                (*found_at, 0.3 if capital and not lower and suffix not in ("com", "net", "org") else 0.74, "url.bare")
            )
        elif (
            suffix in _HOSTERS
            and host.count(".") > 1
            and all(len(label) > 2 for label in host.removesuffix("." + suffix).split("."))
        ):
            found.append((*found_at, 0.6, "url.bare"))
        elif "-" in host or any(char.isdigit() for char in host):
            found.append((*found_at, 0.55, "url.bare"))
    found += _all(_TWITCH, text, 0.7, "url.spaced") + _all(_WWW, text, 0.8, "url.spaced")
    found += _all(_GUILD, text, 0.75, "url.spaced") + _all(_SERVER, text, 0.6, "url.server")
    found += _all(_ME, text, 0.9, "url.invite")
    return found


_SPACED_ENDING: Final = r"(?:(?:com|net|org|ru|info|shop|store|xyz|site|online|cc|top|vip|club|co\.uk|com\.br)\b|(?:me|gg|ly|gl|io|tv)\s?(?:/|slash))"
"""What ends a host name even after a space: endings that are no words, or go on with a path."""
_OPEN: Final = r"[(\[{<\"'*_~|]"
_CLOSE: Final = r"[)\]}>\"'*_~|]"
_SIGN: Final = re.compile(
    rf"\s*{_OPEN}\s?(?:(?P<at>{_AT_WORDS}|a|@)|(?P<dot>{_DOT_WORDS}|d|\.|,)|(?P<slash>slash|/))\s?{_CLOSE}\s*"
    r"|(?P<hat>-at-)|(?P<hdot>-dot-)"
    rf"|(?P<sat>\s+(?:{_AT_WORDS})\s+|\s*(?<=[^\x00-\x7f])(?:艾特|圈a)\s*|\s+@\s*|\s*@\s+|\s🅰t\s)"
    rf"|(?P<sdot>\s+(?:{_DOT_WORDS})\s+|\s*[닷쩜]\s*(?=com|net|kr|co|컴|넷)|\s*(?<=\w)点(?=[a-z])|\s*(?<=\w)點(?=[a-z])|\s*\.\s+(?={_SPACED_ENDING})"
    rf"|\s+\.\s*(?={_SPACED_ENDING}|[\w .]{{1,20}}@)|,(?=(?:com|net|org|ru)\b))"
    rf"|(?P<sslash>\s+(?:slash|barra|forward slash|слэш|slesh)\s+|\s+/\s*|\s*/\s+)"
    rf"|(?P<scheme>\bh(?:tt|xx)ps?\s*:?\s*//?\s*/?\s*(?=\w))|(?P<www>\bw\s?w\s?w\s*(?:\.|dot|punto|ponto|punkt)\s*(?=\w))"
)
_SPELLED: Final = re.compile(
    rf"'(?:at|dot)'|[(\[{{<\"*_~|-]\s?(?:{_AT_WORDS}|{_DOT_WORDS}|a|d|\.|@)\s?[)\]}}>\"*_~|-]|\b(?:{_DOT_WORDS})\b|\s@\s?\w|\w@\s|hxxp|\.\s(?:com|net|org|ru|info|shop|me|gg|ly)\b|\s\.\s?(?:com|net|org|ru|info|shop|me|gg|ly|cc|top|vip|xyz)\b"
    rf"|[点點][a-z]|[닷쩜]\s?(?:com|net|kr|co|컴|넷)|[a-z]艾特|\b(?:{_AT_WORDS})\s+(?:{_PROVIDERS})\b|,(?:com|net|ru|de|org|gg|io)\b"
    r"|:\s?/\s?/|w w w|\s/\s"
)


_SIGNS: Final = re.compile(r"[-'](?:at|dot)[-']|[@(\[{<\"*~|点點/_]|,(?:com|net|org|ru)\b")
_SIGN_CHARS: Final = "-'@([{<\"*~|点點/_,"
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


_SAID_EMAIL: Final = re.compile(
    rf"(?<![\w@])([^\W_][\w+%-]*(?:\.[\w+%-]+){{0,4}})@((?:[^\W_][\w-]*\.){{1,3}}{_ENDING}|(?:{_PROVIDERS}))(?![\w@-])"
)
_SAID_ENDING: Final = (
    r"(?:com|net|org|info|biz|io|co|gg|ru|de|uk|fr|es|it|pl|br|mx|ar|cl|tr|id|vn|cn|eu|ca|au|nl|pt|ua|kz|jp|kr|tw|hk|sg|tv|cc|"
    r"xyz|shop|store|online|site|app|dev|me|ly)(?:\.(?:uk|br|mx|ar|tr|id|vn|in|cn|au|jp|kr|tw|hk|sg|my|ph|za|pl|co))?"
)
"""Endings of spelled-out host names. Not those that are words after a full stop: no, to, at."""
_SAID_HOST: Final = re.compile(
    rf"(?<![\w@.-])(?:https?://|www\.)?([^\W_][\w-]{{1,40}}(?:\.[\w-]{{1,40}}){{0,2}})\.(?:{_SAID_ENDING}(?:/[\w./?=-]*)?|{_ENDING}/[\w./?=-]+)(?![\w-])"
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
        "available",
        "working",
        "login",
        "log",
        "me",
    ]
)
_ME: Final = re.compile(r"(?<![\w.])(?:https?://)?(?:t|m|wa|т)\.(?:me|ме)/[\w./-]{2,60}")


def said_emails(text: str, hosts: Hosts) -> list[Found]:
    """E-mail addresses in a text whose spelled-out signs were put in."""
    found: list[Found] = []
    for match in _SAID_EMAIL.finditer(text):
        if hosts.is_own(match[2]) or match[2].rpartition(".")[2] in _RESERVED:
            continue
        if "." in match[2]:
            found.append((match.start(), match.end(), 0.88, "email.spelled"))
        elif match[1] not in _WORDS_BEFORE:
            sure = any(not char.isalpha() for char in match[1])
            found.append((match.start(), match.end(), 0.75 if sure else 0.5, "email.spelled_provider"))
    return found


def said_links(text: str, hosts: Hosts) -> list[Found]:
    """Links in a text whose spelled-out signs were put in."""
    found: list[Found] = []
    for match in _SAID_HOST.finditer(text):
        host = re.sub(r"^https?://|^www\.|/.*$", "", match.group())
        if hosts.is_own(host) or host.rpartition(".")[2] in _FILES | _RESERVED or match[1].isdigit():
            continue
        found.append((match.start(), match.end(), 0.86, "url.spelled"))
    return found + _all(_ME, text, 0.9, "url.spelled")

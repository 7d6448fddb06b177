"""E-mail addresses and links, as written.

Host names end in a suffix of the public suffix list (packaged with tldextract; the network is never asked). Names
reserved for examples (RFC 2606, RFC 6761) lead nowhere and are no links.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import Final

import tldextract

PROVIDERS: Final = (
    "gmail|gmai|gmial|gamil|googlemail|hotmail|outlook|yahoo|ymail|icloud|aol|protonmail|proton|tutanota|yandex|gmx|"
    "rediffmail|zoho|fastmail|live|mail|rocketmail|wanadoo|libero|interia|seznam|rambler"
)
_ENDINGS: Final = (
    "com|net|org|info|biz|io|co|gg|me|ru|de|uk|fr|es|it|pl|br|mx|ar|cl|pe|tr|id|vn|in|cn|us|eu|ca|au|nl|be|ch|at|pt|se|no|"
    "dk|fi|cz|sk|hu|ro|bg|gr|ua|by|kz|jp|kr|tw|hk|sg|my|ph|th|sa|ae|eg|ma|za|ng|tv|cc|xyz|shop|store|online|site|app|dev|"
    "gd|link|live|club|top|pro|ly|gl|ws|to|edu|gov|page|chat|ai|su|vip|icu|win|fun|space|website|tech|game|games|market"
)
ENDING: Final = rf"(?:{_ENDINGS})(?:\.(?:uk|br|mx|ar|tr|id|vn|in|cn|au|jp|kr|tw|hk|sg|my|ph|za|pl|co))?"
_EMAIL: Final = re.compile(
    r"(?<![\w.+%-])([^\W_][\w.+%-]{0,63})@((?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,5}[^\W\d_]{1,18})(?![\w-])"
)
_MAILBOX: Final = re.compile(r"[^\W_][\w.+%-]{1,63}\Z")
_LONGEST_MAILBOX: Final = 64
_AT_PROVIDER: Final = re.compile(rf"\s?@\s?(?:{PROVIDERS})(?:[\s,]*(?:com|net|ru|de|fr|es|it|me)\b)?(?![\w.-])")
_HASHED: Final = re.compile(rf"[#*&](?:{PROVIDERS})\.(?:{_ENDINGS})\b")
_RUN_TOGETHER: Final = re.compile(
    r"(?<!\w)[\w.]{0,40}(?:\s\d{1,6}\s?)?(?:gmail|hotmail|yahoo|outlook|icloud|rediffmail|ymail)\s?com(?!\w)"
)
_URL: Final = re.compile(
    r"(?<![\w@.-])(?:(?P<scheme>(?:h(?:tt|xx)ps?|ftp)\s?:\s?/\s?/\s?)(?P<any>[\w.-]{3,120}(?::\d+)?)|"
    r"(?P<host>(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,6}[^\W\d_]{2,18})(?!\w))(?P<path>(?::\d{2,5})?[/?#][^\s<>\"'，。！？]*)?"
)
_TWITCH: Final = re.compile(
    r"(?<![\w@.])(?:(?:twitch|youtube|instagram|facebook|discord|t|wa|vk)\s(?:tv|com|gg|me)|[\w-]{3,40}\scom)/[\w.-]{2,60}"
)
_WWW: Final = re.compile(r"\bwww[\s,]+[\w-]{2,40}[\s,]+(?:com|net|org|ru|de|info|shop)\b")
_RUN_INTO: Final = re.compile(
    r"(?<![\w.])[\w.]{2,40}?at(?:gmail|hotmail|yahoo|outlook|icloud|yandex|proton(?:mail)?)(?:dot|d0t|\.)(?:com|ru|net|me)(?!\w)"
)
_SERVER: Final = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?::\d{2,5})?/[a-z][\w/-]{2,60}")
ME: Final = re.compile(r"(?<![\w.])(?:https?://)?(?:t|m|wa|т)\.(?:me|ме)/[\w./-]{2,60}")
_GUILD: Final = re.compile(r"\bdiscord\s(?:dot\s)?gg\s[\w-]{4,20}")
FILES: Final = frozenset(
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
RESERVED: Final = frozenset({"example", "test", "invalid", "localhost", "local", "internal", "onion-example"})
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
_PRODUCTS: Final = frozenset(
    ["ado.net", "asp.net", "battle.net", "draw.io", "next.js", "node.js", "paint.net", "socket.io", "vb.net"]
)
"""Names of programs that look like hosts."""
_HOSTERS: Final = frozenset(
    ["ai", "bio", "carrd.co", "co", "ee", "fun", "games", "link", "market", "me", "so", "to", "works"]
)
"""Suffixes under which a name of three parts is a page of somebody."""
_WORDS_TOO: Final = frozenset(["ch", "de", "es", "eu", "fr", "me", "pt", "se", "su", "us"])
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


def load_suffixes() -> None:
    """Read the list of suffixes now rather than with the first link: that takes a tenth of a second."""
    _suffixes().extract_str("example.com")


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


def every(pattern: re.Pattern[str], text: str, score: float, rule: str) -> list[Found]:
    return [(match.start(), match.end(), score, rule) for match in pattern.finditer(text)]


def emails(text: str, hosts: Hosts) -> list[Found]:
    """E-mail addresses that are written out, perhaps without the end of the host name."""
    found: list[Found] = []
    for match in _EMAIL.finditer(text):
        host = match[2]
        if hosts.is_own(host) or host.rpartition(".")[2] in RESERVED:
            continue
        found.append((match.start(), match.end(), 0.95 if _suffix(host) else 0.6, "email.address"))
    found += _mailboxes(_AT_PROVIDER, text, 0.8, "email.provider")
    if "com" in text:
        found += every(_RUN_TOGETHER, text, 0.8, "email.run_together")
    found += every(_RUN_INTO, text, 0.85, "email.run_together")
    found += _mailboxes(_HASHED, text, 0.85, "email.other_sign")
    return found


def _mailboxes(provider: re.Pattern[str], text: str, score: float, rule: str) -> list[Found]:
    """Names of mailboxes with what follows them, which is sought first: it is rarer, and no name is read twice."""
    found: list[Found] = []
    for match in provider.finditer(text):
        end = match.start()
        if name := _MAILBOX.search(text, max(0, end - _LONGEST_MAILBOX), end):
            found.append((name.start(), match.end(), score, rule))
    return found


def links(text: str, hosts: Hosts, *, cased: str) -> list[Found]:
    """Links, with a scheme or bare. ``cased`` is the same text with its capitals: ``Tuesday.How`` is two sentences."""
    found: list[Found] = []
    for match in _URL.finditer(text):
        host = (match["any"] or match["host"]).partition(":")[0].strip(".")
        ending = host.rpartition(".")[2]
        if hosts.is_own(host) or hosts.is_own(host.removeprefix("www.")) or ending in RESERVED:
            continue
        if host in _PRODUCTS:
            continue
        if match["scheme"]:
            if "." in host and not host.replace(".", "").isdigit():
                found.append((match.start(), match.end(), 0.93, "url.scheme"))
            continue
        if not match["path"] and (ending in FILES or host.count(".") > 3):
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
    found += every(_TWITCH, text, 0.7, "url.spaced") + every(_WWW, text, 0.8, "url.spaced")
    found += every(_GUILD, text, 0.75, "url.spaced") + every(_SERVER, text, 0.6, "url.server")
    found += every(ME, text, 0.9, "url.invite")
    return found

"""Names on other services: after a channel, ``name#1234``, ``@name``, or apart from the mail provider they are of."""

import re
from itertools import islice
from typing import Final

from policies.contact.lexicon import CHANNELS, PAYMENTS, Cue, Cues
from policies.contact.vocabulary import Category

Weighed = tuple[int, int, Category, float, str]
"""Start and end in the text that was weighed, category, confidence, rule."""

_BRIDGE: Final = re.compile(
    r"\s*(?:(?:is|id|tag|nick|nickname|name|user|username|acc|account|profile|handle|number|numero|usuario|nome|"
    r"es|e|ist|c'est|pseudo|адрес|ник|логин|号|是|叫|账号|im|"
    r"i am|i'm|soy|sou|adresim|adim|hesabim|kullanici adim|as|under|unter|como)\s*)"
    r"{0,3}[:=\-–>→~\s👉➡🔜⏩]{0,4}"
)
_HANDLE: Final = re.compile(r"(?:@|\$(?=[^\W\d]))?[^\W_][\w.\-:]{1,38}\w(?:\s?#\s?\d{3,5})?|@[\w.]{2,40}")
_TAG: Final = re.compile(r"(?<![\w#@/])[^\W\d_][\w.]{1,31}\s?(?:#|hashtag|raute|almohadilla)\s?\d{4,5}(?!\d)")
CODE: Final = re.compile(
    r"(?<!\w)(?:(?:v|vx|wx|q|qq|tg|dc|ig|fb|wa|wp|sc|дс|тг|вк)\s?[:=]|(?:ig|tg|fb|dc|u)/)\s?([a-z][\w.\-]{2,20}[\d_.][\w.\-]{0,20}\w|@[a-z][\w.]{3,30})"
)
"""A channel in one or two letters, a sign, a name: ``v:owl_77``."""
_MENTION: Final = re.compile(r"(?<![\w@.])@(?=[\w.]*[a-z])[a-z0-9_][\w.]{2,30}(?![\w@])")
_IS: Final = re.compile(r"\s*(?:is|es|ist|é|e)\s*")
_MARKED: Final = re.compile(
    r"[:=@#$]|\b(?:is|id|tag|nick|name|user|username|handle|pseudo|usuario|nome|nombre|ник|логин|es|ist|é|号|是)\b"
)
_LINKS: Final = int(Cue.REACH | Cue.TALK | Cue.ASK | Cue.MINE | Cue.YOURS | Cue.INVITE | Cue.SOLICITING)
MOST_ANCHORS: Final = 40
"""Weighed in one text. Whoever needs more has said enough."""


def added(near: int, worth: tuple[tuple[int, float], ...]) -> float:
    return sum(value for kinds, value in worth if near & kinds)


def handle_after(cues: Cues, end: int, *, firm: bool) -> tuple[int, int, float] | None:
    """The name on a channel that follows it, if one does."""
    text = cues.text
    bridge = _BRIDGE.match(text, end)
    place = bridge.end() if bridge else end
    match = _HANDLE.match(text, place)
    if match is None or (place == end and firm is False):
        return None
    name = match.group().rstrip(".,:-")
    between = text[end:place]
    own = any(mask & Cue.MINE for _, _, mask in cues.around(end - 12, end, 0))
    if not (firm or own) and name.isalpha() and _IS.fullmatch(between):
        return None  # "disc is scratched"
    lookslike = any(not char.isalpha() for char in name.strip("@$"))
    marked = bool(_MARKED.search(between)) or name[0] in "@$"
    if not lookslike and (not marked or any(first == place for first, _, _ in cues.around(place, place, 1))):
        return None
    if name.isdigit() and len(name) < 5:
        return None
    score = 0.5 + (0.2 if lookslike else 0.0) + (0.2 if marked else 0.0) - (0.0 if firm else 0.08)
    return place, place + len(name), min(score, 0.9)


def names_in(cues: Cues, damp: float) -> list[Weighed]:
    """Names on channels: after a channel, ``name#1234``, ``@name``."""
    found: list[Weighed] = []
    channels = [hit for hit in cues.hits if hit[2] & (CHANNELS | PAYMENTS)][:MOST_ANCHORS]
    for start, end, mask in channels:
        if name := handle_after(cues, end, firm=bool(mask & (Cue.APP | Cue.PAY_NAME))):
            near = cues.near(start, end, but=name[:2])
            score = name[2] - damp - (0.45 if near & Cue.PRODUCT and not near & (Cue.MINE | Cue.REACH) else 0.0)
            score -= 0.3 if near & Cue.PAST else 0.0
            score -= 0.5 if cues.denied(start, end) else 0.0
            alone = _alone(cues.text, start, name[1])
            score -= 0.2 if not mask & (Cue.APP | Cue.PAY_NAME) and not near & _LINKS and not alone else 0.0
            score += 0.15 if alone else 0.0
            found.append((name[0], name[1], Category.HANDLE, score, "handle.on_channel"))
    found += _mailboxes(cues, damp)
    for match in islice(CODE.finditer(cues.text), MOST_ANCHORS):
        score = 0.62 - damp - (0.35 if cues.near(*match.span()) & (Cue.GAME | Cue.PRODUCT) else 0.0)
        found.append((*match.span(1), Category.HANDLE, score, "handle.code"))
    for pattern, base in ((_TAG, 0.4), (_MENTION, 0.26)):
        for match in islice(pattern.finditer(cues.text), MOST_ANCHORS):
            near = cues.near(match.start(), match.end())
            score = base + added(
                near, ((CHANNELS, 0.38), (Cue.REACH, 0.25), (Cue.MINE, 0.12), (Cue.GAME, -0.45), (Cue.TALK, 0.1))
            )
            written = match.group()
            if pattern is _MENTION and ("_" in written or any(char.isdigit() for char in written)):
                score += 0.16
            found.append(
                (
                    match.start(),
                    match.end(),
                    Category.HANDLE,
                    min(score - damp, 0.9),
                    "handle.tag" if base > 0.3 else "handle.mention",
                )
            )
    return found


def _alone(text: str, start: int, end: int) -> bool:
    """Whether a message is hardly more than a channel and a name: ``my snap owl_77``."""
    return len(text) - (end - start) <= _ALMOST and text.count(" ") <= _FEW_WORDS


_ALMOST: Final = 14
_FEW_WORDS: Final = 5


def _mailboxes(cues: Cues, damp: float) -> list[Weighed]:
    """A name that can only be one, near the name of a mail provider: ``owl_77 is it, a hotmail``."""
    found: list[Weighed] = []
    providers = [hit for hit in cues.hits if hit[2] & Cue.PROVIDER and cues.text[hit[0] : hit[1]] in _MAILERS]
    for start, end, _ in providers[:MOST_ANCHORS]:
        first = max(0, start - _NAME_REACH)
        for match in _ACCOUNT.finditer(cues.text, first, end + _NAME_REACH):
            if match.start() < end and match.end() > start:
                continue
            near = cues.near(start, end, but=match.span())
            score = 0.52 + added(
                near, ((Cue.MINE | Cue.REACH, 0.08), (Cue.PRODUCT | Cue.PAST | Cue.REF | Cue.GAME, -0.3))
            )
            found.append((*match.span(), Category.EMAIL, score - damp, "email.named_apart"))
    return found


_ACCOUNT: Final = re.compile(r"(?<![\w.@/-])[a-z]{2,20}(?:[._][a-z0-9]{2,20}|\d{1,6})(?![\w@/-])(?!\.\w)")
_MAILERS: Final = frozenset(
    {"gmail", "hotmail", "outlook", "yahoo", "icloud", "proton", "protonmail", "yandex", "google mail"}
)
_NAME_REACH: Final = 40

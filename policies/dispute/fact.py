"""What ``evolve`` needs to know of an entry: everything but its place in the hash chain."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from policies.entry import Author, Draft
from policies.vocabulary import EntryKind, Seq, Visibility


class Unreplayable(Exception):
    """The entries do not say what the state is: they do not begin with an opening, or content was erased."""


class Fact(Protocol):
    """An entry of a dispute room; ``policies.entry.Entry`` is one."""

    @property
    def seq(self) -> Seq: ...
    @property
    def kind(self) -> EntryKind: ...
    @property
    def author(self) -> Author: ...
    @property
    def at(self) -> datetime: ...
    @property
    def body(self) -> Mapping[str, Any]: ...
    @property
    def written(self) -> Mapping[str, Any]:
        """The body as its author wrote it, where parts of it are masked."""

    @property
    def visibility(self) -> Visibility: ...
    @property
    def released(self) -> bool:
        """Whether staff have said since that everybody may see all of it."""


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What a draft will be as an entry, if nobody else writes first."""

    seq: Seq
    kind: EntryKind
    author: Author
    at: datetime
    body: Mapping[str, Any]
    visibility: Visibility

    @property
    def written(self) -> Mapping[str, Any]:
        return self.body

    @property
    def released(self) -> bool:
        return False


def foresee(draft: Draft, seq: Seq, at: datetime) -> Foreseen:
    return Foreseen(seq, draft.kind, draft.author, at, draft.body, draft.visibility)

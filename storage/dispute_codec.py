"""A dispute's whole state as a MongoDB document, and back, exactly.

The shape follows from the types of ``policies.dispute.state``: a dataclass is a document of its fields, a model what it
dumps as JSON, a tuple or a set a list, an enum its value. A field that is None is left out, and one that is absent has
its default: so a release that adds a field reads what the one before it wrote.
"""

import types
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple, NewType, Union, get_args, get_origin, get_type_hints

import orjson
from pydantic import BaseModel

from policies.dispute.state import Dispute

MODELS: Final = 64
"""Different models of a kind that are remembered: versions of the policy that open disputes were opened under."""

Convert = Callable[[Any], Any]


class _Codec(NamedTuple):
    encode: Convert
    decode: Convert


def _as_it_is(value: Any) -> Any:
    return value


_PLAIN: Final = _Codec(_as_it_is, _as_it_is)
_PLAIN_TYPES: Final = frozenset({str, int, bool, datetime})


def encode_dispute(dispute: Dispute) -> dict[str, Any]:
    """The document that holds all of a dispute."""
    encoded: dict[str, Any] = _codec(Dispute).encode(dispute)
    return encoded


def decode_dispute(document: Mapping[str, Any]) -> Dispute:
    """The dispute that a document holds."""
    decoded: Dispute = _codec(Dispute).decode(document)
    return decoded


@cache
def _codec(kind: Any) -> _Codec:
    if isinstance(kind, NewType):
        return _codec(kind.__supertype__)
    if kind in _PLAIN_TYPES:
        return _PLAIN
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _optional(_codec(_without_none(arguments)))
    if origin in (tuple, frozenset):
        return _many(origin, _codec(arguments[0]))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _enum(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _model(kind)
    if is_dataclass(kind):
        return _record(kind)
    raise TypeError(f"a dispute holds a {kind}, which has no form as a document")


def _without_none(arguments: tuple[Any, ...]) -> Any:
    kinds = [each for each in arguments if each is not types.NoneType]
    if len(kinds) != 1:
        raise TypeError(f"a dispute holds one of {kinds}, and a document does not say which")
    return kinds[0]


def _optional(one: _Codec) -> _Codec:
    if one is _PLAIN:
        return _PLAIN
    return _Codec(
        lambda value: None if value is None else one.encode(value),
        lambda value: None if value is None else one.decode(value),
    )


def _many(container: Callable[[Any], Any], one: _Codec) -> _Codec:
    def encode(values: Any) -> list[Any]:
        encoded = [one.encode(value) for value in values]
        return sorted(encoded) if container is frozenset else encoded  # a set has no order of its own

    return _Codec(encode, lambda values: container([one.decode(value) for value in values]))


def _enum(kind: type[Enum]) -> _Codec:
    by_value = {member.value: member for member in kind}
    return _Codec(lambda member: member.value, by_value.__getitem__)


def _model(kind: type[BaseModel]) -> _Codec:
    """Models come from the policy, so they are alike in nearly all disputes: each different one is read and written
    once, which is otherwise the better part of what a snapshot costs."""

    @lru_cache(maxsize=MODELS)
    def read(content: bytes) -> BaseModel:
        return kind.model_validate_json(content)

    written: OrderedDict[int, tuple[BaseModel, dict[str, Any]]] = OrderedDict()
    """By the model's identity, which is its own as long as it is kept here."""

    def encode(model: BaseModel) -> dict[str, Any]:
        known = written.get(id(model))
        if known is None:
            known = written[id(model)] = model, model.model_dump(mode="json")
            if len(written) > MODELS:
                written.popitem(last=False)
        return known[1]

    return _Codec(encode, lambda document: read(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)))


def _record(kind: Any) -> _Codec:
    hints = get_type_hints(kind)
    parts = [(field.name, _codec(hints[field.name]), _default(field)) for field in fields(kind)]

    def encode(record: Any) -> dict[str, Any]:
        return {name: codec.encode(value) for name, codec, _ in parts if (value := getattr(record, name)) is not None}

    def decode(document: Mapping[str, Any]) -> Any:
        return kind(
            **{name: codec.decode(document[name]) if name in document else default() for name, codec, default in parts}
        )

    return _Codec(encode, decode)


def _default(field: "Field[Any]") -> Callable[[], Any]:
    value = None if field.default is MISSING else field.default
    return lambda: value

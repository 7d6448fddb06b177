"""A policy as a TOML file that says what everything in it is for, and the schema of such a file."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from policies.dispute.policy import REMINDED, Policy
from policies.vocabulary import Reason

_CHECKLISTS: Final = "checklists"
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")


def policy_text(policy: Policy) -> Iterator[str]:
    """The lines of a file that ``chatserver.policy_file.load_policy`` reads this policy from."""
    sections = {name: value for name in Policy.model_fields if isinstance(value := getattr(policy, name), BaseModel)}
    for name in Policy.model_fields:
        if name in sections or name == _CHECKLISTS:
            continue
        yield f"# {_described(Policy, name)}"
        yield f"{name} = {_value(getattr(policy, name))}"
    for name, section in sections.items():
        yield from _part(name, section)
    yield ""
    yield f"# {_described(Policy, _CHECKLISTS)}"
    for reason in Reason:
        if (checklist := policy.checklists.get(reason)) is None:
            continue
        yield from ("", f"[{_CHECKLISTS}.{reason.value}]")
        yield from (f"{side} = {_value(getattr(checklist, side))}" for side in ("buyer", "seller"))


def policy_schema() -> dict[str, Any]:
    """The JSON schema of a policy file."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return dialect | Policy.model_json_schema(schema_generator=_Schema)


def duration_text(duration: timedelta) -> str:
    """Such as ``1d 12h``, in the units that a policy file takes; never more precise than a second."""
    seconds = int(duration.total_seconds())
    parts = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        number, seconds = divmod(seconds, size)
        if number:
            parts.append(f"{number}{unit}")
    return " ".join(parts) or "0s"


class _Schema(GenerateJsonSchema):
    """Writes defaults as a policy file would."""

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, BaseModel):
            return {name: self.encode_default(value) for name, value in dft}
        if isinstance(dft, Mapping):
            return {str(name): self.encode_default(value) for name, value in dft.items()}
        return duration_text(dft) if isinstance(dft, timedelta) else super().encode_default(dft)


def _part(name: str, part: BaseModel, purpose: str = "") -> Iterator[str]:
    """A table and those within it: what TOML calls a key must stand before the first table inside."""
    yield from _head(name, purpose)
    tables: list[str] = []
    for key in type(part).model_fields:
        value = getattr(part, key)
        if isinstance(value, Mapping | BaseModel):
            tables.append(key)
            continue
        yield f"# {_described(type(part), key)}"
        yield f"{key} = {_value(value)}"
    for key in tables:
        yield from _table(f"{name}.{key}", getattr(part, key), _described(type(part), key))


def _table(name: str, values: Mapping[str, Any] | BaseModel, purpose: str = "") -> Iterator[str]:
    if isinstance(values, BaseModel):
        yield from _part(name, values, purpose)
        return
    yield from _head(name, purpose)
    # A reminder that is turned off is written so: one that a file leaves out has its default.
    keys: Iterable[str] = REMINDED if name == "terms.reminders" else values
    within: list[str] = []
    for key in keys:
        value = values.get(key, timedelta())
        if isinstance(value, Mapping | BaseModel):
            within.append(key)
        else:
            yield f"{_key(key)} = {_value(value)}"
    for key in within:
        yield from _table(f"{name}.{_key(key)}", values[key])


def _head(name: str, purpose: str) -> Iterator[str]:
    yield ""
    if purpose:
        yield f"# {purpose}"
    yield f"[{name}]"


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _value(str(key))


def _described(model: type[BaseModel], field: str) -> str:
    return model.model_fields[field].description or ""


def _value(value: Any) -> str:
    if isinstance(value, timedelta):
        return json.dumps(duration_text(value))
    if isinstance(value, tuple):
        return "[" + ", ".join(_value(str(item)) for item in value) + "]"
    # Strings and numbers are written alike in TOML and JSON, but for one control character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")

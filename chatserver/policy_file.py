"""The operator's policy file: TOML, whose values are those of ``policies.dispute.policy``."""

import difflib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard, get_args, get_origin

from pydantic import BaseModel, ValidationError

from chatserver.configuration import ConfigurationError
from policies.dispute.policy import Policy, parse_policy


def load_policy(file: str | Path) -> Policy:
    """The policy of a file; the default one where none is named.

    Args:
        file: a path, or empty.

    Raises:
        ConfigurationError: the file cannot be read or something in it cannot be used; a line each says where and why.
    """
    if not str(file):
        return Policy()
    try:
        content = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError([f"{file}: {(error.strerror or str(error)).lower()}"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError([f"{file}: not TOML: {error}"]) from None
    try:
        return parse_policy(content)
    except ValidationError as error:
        raise ConfigurationError(list(_lines(file, error))) from None


def _lines(file: str | Path, error: ValidationError) -> Iterator[str]:
    for each in error.errors(include_url=False, include_context=False, include_input=False):
        place = ".".join(str(part) for part in each["loc"] if part != "[key]")
        yield f"{file}: {place}: {_reason(each)}"


def _reason(error: Mapping[str, Any]) -> str:
    place = error["loc"]
    if error["type"] == "extra_forbidden":
        alike = difflib.get_close_matches(str(place[-1]), _names(place[:-1]), n=1)
        return "there is no such setting" + (f"; do you mean {alike[0]}?" if alike else "")
    message = error["msg"].removeprefix("Value error, ")
    return f"{message[:1].lower()}{message[1:]}"


def _names(place: Sequence[int | str]) -> list[str]:
    """The names that a table of the file may hold."""
    model: Any = Policy
    for part in place:
        if _is_part(model):
            field = model.model_fields.get(str(part))
            model = field.annotation if field is not None else None
        else:
            # A table whose keys are free, or those of a vocabulary: what is known is what each of them holds.
            model = get_args(model)[1] if get_origin(model) is dict else None
    return list(model.model_fields) if _is_part(model) else []


def _is_part(model: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(model, type) and issubclass(model, BaseModel)

"""Where the settings come from: an option, the environment, a file, or the default, in this order of strength.

- Environment: ``CHATSERVER_<NAME>``, for example ``CHATSERVER_PORT=9000``. A list is separated by commas, or JSON.
- File: TOML with the settings' names as keys, named by ``--config`` or ``CHATSERVER_CONFIG``.
- A secret or URL may be kept in a file of its own, as container platforms do: ``CHATSERVER_JWT_SECRET_FILE``, or
  ``jwt_secret_file`` in the TOML file, names it. So for every name of ``FROM_FILES``.
"""

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_origin

from pydantic import SecretStr, ValidationError

from chatserver.settings import Settings

PREFIX: Final = "CHATSERVER_"
CONFIG_VARIABLE: Final = "CHATSERVER_CONFIG"
FROM_FILES: Final = frozenset({"jwt_secret", "mongo_url", "redis_url", "s3_access_key", "s3_secret_key"})
DEFAULT: Final = "default"
HIDDEN: Final = "********"

_NOT_OURS: Final = re.compile(r"CHATSERVER_(CONFIG|TEST_\w+|SERVICE_HOST|SERVICE_PORT\w*|PORT_\d+_(TCP|UDP)\w*)")
"""What tests use, and what Kubernetes tells every pod about a service of the name ``chatserver``."""
_KUBERNETES_PORT: Final = "tcp://"
_CREDENTIALS: Final = re.compile(r"://.*@")
_SECRET_OPTION: Final = re.compile(r"(?i)([?&;][^=&;]*(?:pass|secret|token|key|credential|properties)[^=&;]*=)[^&;]*")


class ConfigurationError(Exception):
    """The configuration cannot be used. ``lines`` says what is wrong, a line each, and never holds a secret."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("; ".join(lines))
        self.lines = lines


@dataclass(frozen=True, slots=True)
class Configuration:
    """The effective settings, and for each of them where its value comes from."""

    settings: Settings
    origins: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Value:
    value: Any
    origin: str


def load(
    environment: Mapping[str, str],
    config: Path | None = None,
    options: Mapping[str, Any] | None = None,
    options_origin: str = "option",
) -> Configuration:
    """Put the settings together.

    Args:
        environment: the process's environment variables.
        config: the TOML file; by default the one that the environment names, if any.
        options: values that are stronger than all others; None among them means "not given".
        options_origin: what to call their origin.

    Raises:
        ConfigurationError: a file cannot be read, a name is unknown or a value is not acceptable.
    """
    if config is None and environment.get(CONFIG_VARIABLE):
        config = Path(environment[CONFIG_VARIABLE])
    values: dict[str, _Value] = {}
    if config is not None:
        values |= _from_file(config)
    values |= _from_environment(environment)
    values |= {name: _Value(value, options_origin) for name, value in (options or {}).items() if value is not None}
    try:
        settings = Settings.model_validate({name: each.value for name, each in values.items()})
    except ValidationError as error:
        raise ConfigurationError([_explain(dict(each), values) for each in error.errors()]) from None
    origins = {name: values[name].origin if name in values else DEFAULT for name in Settings.model_fields}
    return Configuration(settings, origins)


def _from_file(path: Path) -> dict[str, _Value]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError([f"{path}: {(error.strerror or str(error)).lower()}"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError([f"{path}: not TOML: {error}"]) from None
    values = {}
    for key, value in content.items():
        name, read = _resolve(key, value, f"{path}: {key}")
        values[name] = _Value(read, f"file {path}")
    return values


def _from_environment(environment: Mapping[str, str]) -> dict[str, _Value]:
    values: dict[str, _Value] = {}
    for variable in sorted(environment):
        text = environment[variable]
        if not variable.startswith(PREFIX) or _NOT_OURS.fullmatch(variable) or text.startswith(_KUBERNETES_PORT):
            continue
        name, value = _resolve(variable.removeprefix(PREFIX).lower(), text, variable)
        if name in values:
            raise ConfigurationError([f"{variable}: {PREFIX}{name.upper()} is set as well; set one of them"])
        values[name] = _Value(_split(value, variable) if _is_list(name) else value, f"environment {variable}")
    return values


def _resolve(key: str, value: Any, label: str) -> tuple[str, Any]:
    """The setting that a key stands for, and its value: the content of a file for ``<name>_file``."""
    if key in Settings.model_fields:
        return key, value
    name = key.removesuffix("_file")
    if name != key and name in FROM_FILES:
        try:
            return name, Path(value).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError([f"{label}: {value} cannot be read: {type(error).__name__}"]) from None
    known = [*Settings.model_fields, *(f"{each}_file" for each in sorted(FROM_FILES))]
    alike = difflib.get_close_matches(key, known, n=1)
    hint = f"; do you mean {alike[0]}?" if alike else ""
    raise ConfigurationError([f"{label}: there is no such setting{hint}"])


def _is_list(name: str) -> bool:
    return get_origin(Settings.model_fields[name].annotation) is list


def _split(text: str, variable: str) -> list[str]:
    if text.lstrip().startswith("["):
        try:
            items: list[str] = json.loads(text)
        except json.JSONDecodeError as error:
            raise ConfigurationError([f"{variable}: not a JSON list: {error}"]) from None
        return items
    return [item.strip() for item in text.split(",") if item.strip()]


def _explain(error: dict[str, Any], values: Mapping[str, _Value]) -> str:
    name = str(error["loc"][0])
    origin = values[name].origin if name in values else DEFAULT
    return f"{name} ({origin}): {error['msg'][:1].lower()}{error['msg'][1:]}"


def render(configuration: Configuration, describe: bool = False) -> Iterator[str]:
    """The lines of a TOML file with the effective values, their origins as comments, and all secrets hidden.

    Args:
        describe: put each setting's description above it.
    """
    for name, field in Settings.model_fields.items():
        if describe:
            yield f"# {field.description}"
        value = getattr(configuration.settings, name)
        line = f"{name} = {_toml(_show(name, value))}" if value is not None else f"# {name} is not set"
        yield f"{line}  # {configuration.origins[name]}"
        if describe:
            yield ""


def _show(name: str, value: Any) -> Any:
    if isinstance(value, SecretStr):
        secret = value.get_secret_value()
        return hide_credentials(secret) if name.endswith("_url") else HIDDEN if secret else ""
    if isinstance(value, list):
        return [_show(name, item) for item in value]
    return hide_credentials(str(value)) if isinstance(value, str | Path) else value


def hide_credentials(url: str) -> str:
    """The URL without user, password and options that hold a secret; other text as it is."""
    return _SECRET_OPTION.sub(rf"\g<1>{HIDDEN}", _CREDENTIALS.sub(f"://{HIDDEN}@", url))


def _toml(value: Any) -> str:
    # Strings, numbers, booleans and lists of strings are written alike in TOML and JSON.
    return json.dumps(value, ensure_ascii=False)


def environment_of(settings: Settings) -> dict[str, str]:
    """The environment variables that ``load`` makes these settings from."""
    variables = {}
    for name, value in settings:
        if value is not None:
            shown = value.get_secret_value() if isinstance(value, SecretStr) else value
            variables[PREFIX + name.upper()] = json.dumps(shown) if isinstance(shown, list | bool) else str(shown)
    return variables

from typing import Any

import pytest
from pydantic import ValidationError

from chatserver.settings import Settings, problems, worker_problems

SAFE: dict[str, Any] = {
    "mongo_url": "mongodb://db.internal/?replicaSet=rs0",
    "redis_url": "redis://cache.internal:6379/0",
    "jwt_secret": "4f1c0d9e8b7a65f3c2d1e0f9a8b7c6d5",
    "allowed_origins": ["https://shop.example"],
}


def found(**changes: Any) -> list[str]:
    return problems(Settings.model_validate(SAFE | changes))


def test_every_setting_has_a_description() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]


def test_a_safe_configuration_may_start() -> None:
    assert found() == []
    assert found(jwt_secret="", jwt_jwks="https://login.example/keys.json") == []
    assert found(redis_url="rediss+sentinel://h1:26379,h2:26379/mymaster") == []


def test_the_defaults_name_everything_that_is_missing() -> None:
    names = [line.split(":")[0] for line in problems(Settings())]
    assert names == ["mongo_url", "redis_url", "jwt_secret, jwt_jwks", "allowed_origins"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"mongo_url": "http://db"}, "mongo_url: must begin with mongodb://"),
        ({"redis_url": "db:6379"}, "redis_url: unknown scheme"),
        ({"jwt_secret": "4f1c0d9e8b7a65f3c2d1e0f9a8b7c6d"}, "jwt_secret: too short; it needs 32 bytes"),
        ({"jwt_secret": "change-me-change-me-change-me-please"}, "jwt_secret: it can be guessed"),
        ({"jwt_secret": "My-Super-Secret-Key-0123456789-abcdef"}, "jwt_secret: it can be guessed"),
        ({"jwt_secret": "0" * 64}, "jwt_secret: it can be guessed"),
        ({"jwt_jwks": "http://login.example/keys.json"}, "jwt_jwks: keys that come over http can be replaced"),
        ({"allowed_origins": []}, "allowed_origins: empty"),
        ({"allowed_origins": ["https://shop.example", "*"]}, "allowed_origins: '*' lets any page"),
        ({"allowed_origins": ["https://shop.example/"]}, "allowed_origins: 'https://shop.example/' is no origin"),
        ({"allowed_origins": ["shop.example"]}, "allowed_origins: 'shop.example' is no origin"),
        ({"sandbox": True}, "sandbox: anybody could mint tokens"),
    ],
)
def test_what_is_unsafe_is_said_once(changes: dict[str, Any], problem: str) -> None:
    (line,) = found(**changes)
    assert line.startswith(problem)


def test_no_problem_quotes_a_secret() -> None:
    lines = found(jwt_secret="hunter2", redis_url="redis://user:hunter2@h1,h2", mongo_url="x://user:hunter2@h")
    assert len(lines) == 3
    assert "hunter2" not in "".join(lines)


def test_a_worker_needs_the_database_and_can_do_without_redis() -> None:
    mongo = "mongodb://db.internal/?replicaSet=rs0"
    assert worker_problems(Settings.model_validate({"mongo_url": mongo})) == []
    assert worker_problems(Settings.model_validate({"mongo_url": mongo, "redis_url": "redis://cache/0"})) == []
    (line,) = worker_problems(Settings.model_validate({"mongo_url": mongo, "redis_url": "db:6379"}))
    assert line.startswith("redis_url: unknown scheme")
    (line,) = worker_problems(Settings.model_validate({"mongo_url": "http://db"}))
    assert line.startswith("mongo_url: must begin with")

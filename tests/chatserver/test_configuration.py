import tomllib
from pathlib import Path

import pytest

from chatserver.configuration import ConfigurationError, hide_credentials, load, render
from chatserver.settings import Settings


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "chat.toml"
    file.write_text('port = 9000\nhost = "10.0.0.1"\nallowed_origins = ["https://a.example"]\n')
    return file


def lines_of(environment: dict[str, str], config: Path | None = None) -> list[str]:
    with pytest.raises(ConfigurationError) as failure:
        load(environment, config)
    assert str(failure.value) == "; ".join(failure.value.lines)
    return failure.value.lines


def test_an_option_beats_the_environment_beats_the_file_beats_the_default(config: Path) -> None:
    environment = {"CHATSERVER_HOST": "10.0.0.2", "CHATSERVER_PORT": "9001"}
    loaded = load(environment, config, {"port": 9002, "workers": None})
    assert (loaded.settings.port, loaded.settings.host, loaded.settings.workers) == (9002, "10.0.0.2", 1)
    assert loaded.settings.allowed_origins == ["https://a.example"]
    assert loaded.origins["port"] == "option"
    assert loaded.origins["host"] == "environment CHATSERVER_HOST"
    assert loaded.origins["allowed_origins"] == f"file {config}"
    assert loaded.origins["workers"] == "default"


def test_the_environment_may_name_the_file(config: Path) -> None:
    assert load({"CHATSERVER_CONFIG": str(config)}).settings.port == 9000
    assert load({"CHATSERVER_CONFIG": ""}).settings.port == 8000


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("https://a.example", ["https://a.example"]),
        ("https://a.example, https://b.example,", ["https://a.example", "https://b.example"]),
        ('["https://a.example", "https://b.example"]', ["https://a.example", "https://b.example"]),
        ("", []),
    ],
)
def test_a_list_is_separated_by_commas_or_json(text: str, origins: list[str]) -> None:
    assert load({"CHATSERVER_ALLOWED_ORIGINS": text}).settings.allowed_origins == origins


def test_secrets_are_read_from_files(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cr3t\n")
    (tmp_path / "chat.toml").write_text(f'redis_url_file = "{tmp_path}/secret"\n')
    loaded = load({"CHATSERVER_JWT_SECRET_FILE": str(tmp_path / "secret")}, tmp_path / "chat.toml")
    assert loaded.settings.jwt_secret.get_secret_value() == "s3cr3t"
    assert loaded.settings.redis_url.get_secret_value() == "s3cr3t"
    assert loaded.origins["jwt_secret"] == "environment CHATSERVER_JWT_SECRET_FILE"


def test_what_kubernetes_and_the_tests_set_is_none_of_our_business() -> None:
    environment = {
        "CHATSERVER_PORT": "tcp://10.0.0.1:8000",
        "CHATSERVER_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "CHATSERVER_PORT_8000_TCP_PROTO": "tcp",
        "CHATSERVER_SERVICE_HOST": "10.0.0.1",
        "CHATSERVER_SERVICE_PORT_HTTP": "8000",
        "CHATSERVER_TEST_MONGO_URL": "mongodb://127.0.0.1",
        "PATH": "/bin",
    }
    assert load(environment).settings == Settings()


def test_all_unacceptable_values_are_listed_with_their_origin(config: Path) -> None:
    config.write_text('port = "many"')
    assert lines_of({"CHATSERVER_WORKERS": "0"}, config) == [
        f"port (file {config}): input should be a valid integer, unable to parse string as an integer",
        "workers (environment CHATSERVER_WORKERS): input should be greater than or equal to 1",
    ]


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({"CHATSERVER_PROT": "1"}, "CHATSERVER_PROT: there is no such setting; do you mean port?"),
        ({"CHATSERVER_ZZZZZZ": "1"}, "CHATSERVER_ZZZZZZ: there is no such setting"),
        ({"CHATSERVER_HOST_FILE": "/x"}, "CHATSERVER_HOST_FILE: there is no such setting"),
        ({"CHATSERVER_JWT_SECRET_FILE": "/nowhere"}, "CHATSERVER_JWT_SECRET_FILE: /nowhere cannot be read: FileNot"),
        ({"CHATSERVER_CONFIG": "/nowhere"}, "/nowhere: no such file or directory"),
        ({"CHATSERVER_ALLOWED_ORIGINS": "[1"}, "CHATSERVER_ALLOWED_ORIGINS: not a JSON list"),
    ],
)
def test_what_cannot_be_used_is_named(environment: dict[str, str], line: str) -> None:
    (found,) = lines_of(environment)
    assert found.startswith(line)


def test_a_value_and_a_file_for_it_contradict_each_other(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("b")
    environment = {"CHATSERVER_JWT_SECRET": "a", "CHATSERVER_JWT_SECRET_FILE": str(tmp_path / "secret")}
    assert lines_of(environment) == [
        "CHATSERVER_JWT_SECRET_FILE: CHATSERVER_JWT_SECRET is set as well; set one of them"
    ]


def test_a_file_that_is_not_toml_is_named(config: Path) -> None:
    config.write_text("port: 9000")
    assert lines_of({}, config)[0].startswith(f"{config}: not TOML")
    config.write_bytes(b"\xff")
    assert lines_of({}, config)[0].startswith(f"{config}: not TOML")


@pytest.mark.parametrize("describe", [False, True])
def test_what_is_printed_can_be_read_back(config: Path, describe: bool) -> None:
    loaded = load({"CHATSERVER_COMPRESSION": "true"}, config)
    text = "\n".join(render(loaded, describe))
    assert load({}, options=tomllib.loads(text)).settings == loaded.settings
    assert 'host = "10.0.0.1"  # file' in text
    assert ("# Address to listen on." in text) is describe


def test_no_secret_is_printed() -> None:
    loaded = load(
        {
            "CHATSERVER_JWT_SECRET": "hunter2",
            "CHATSERVER_MONGO_URL": "mongodb://me:hunter2@h1,h2/db?tls=true&tlsCertificateKeyFilePassword=hunter2",
            "CHATSERVER_REDIS_URL": "redis://:hunt/er@2hunter2@h/0",
            "CHATSERVER_OTLP_ENDPOINT": "https://key:hunter2@collector",
            "CHATSERVER_ALLOWED_ORIGINS": "https://me:hunter2@a.example",
        }
    )
    text = "\n".join(render(loaded))
    assert "hunt" not in text
    assert "h1,h2/db?tls=true&tlsCertificateKeyFilePassword=********" in text
    assert 'jwt_secret = "********"' in text


def test_addresses_without_secrets_stay_readable() -> None:
    assert hide_credentials("redis://h:6379/0?db=1") == "redis://h:6379/0?db=1"

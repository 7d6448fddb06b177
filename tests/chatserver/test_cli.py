"""The operator's commands, on a development instance or on real services."""

import asyncio
import json
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from pymongo import MongoClient
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from chatserver import cli, demo, instance
from chatserver.cli.failures import ExitCode
from chatserver.embedded import free_port
from chatserver.instance import Instance
from chatserver.protocol import PATH, SUBPROTOCOL
from tests.chatserver.commands import Run
from tests.program import PROJECT, Program, environment_with

SECRET = "b3f1c27d90aa4e6c85f7d2e19c40b86e5a7d"
ROOM = f"order-{demo.ORDER_ID}"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data folder of a running development instance."""
    folder = tmp_path_factory.mktemp("instance")
    with Program(["-m", "chatserver", "dev", "--port", "0", "--data", str(folder)]) as running:
        base_url = running.line("ready ")
        event = {"id": "e1", "type": "payment.held", "at": "2026-01-31T09:30:00.000Z", "data": {}}
        headers = {"Authorization": f"Bearer {instance.read(folder).api_key}"}
        httpx.post(f"{base_url}/v1/orders/{demo.ORDER_ID}/events", json=event, headers=headers).raise_for_status()
        yield folder


@pytest.fixture
def told(data: Path) -> Instance:
    return instance.read(data)


class TestHelp:
    def test_it_names_every_command_at_once(self) -> None:
        begin = time.monotonic()
        helped = subprocess.run(
            [sys.executable, "-m", "chatserver", "--help"], cwd=PROJECT, capture_output=True, text=True, check=True
        )
        # Half a second on an idle machine; tests run on busy ones.
        assert time.monotonic() - begin < 3
        for command in (
            "dev",
            "serve",
            "worker",
            "migrate",
            "verify",
            "token",
            "keys",
            "revoke",
            "config",
            "policy",
            "webhooks",
            "chat",
        ):
            assert f"\n  {command} " in helped.stdout

    def test_it_imports_nothing_heavy(self) -> None:
        code = "import sys, chatserver.cli; print([m for m in ('pymongo', 'redis', 'fastapi') if m in sys.modules])"
        printed = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
        assert printed.stdout == "[]\n"

    def test_a_bug_keeps_its_traceback(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail() -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(cli, "app", fail)
        with pytest.raises(ZeroDivisionError):
            cli.main()

    def test_an_interrupt_has_its_own_code(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupt() -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(cli, "app", interrupt)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == ExitCode.INTERRUPTED


class TestConfig:
    def test_it_prints_what_holds_and_hides_secrets(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "chat.toml").write_text("port = 9000")
        printed = run("config", "--config", str(tmp_path / "chat.toml"), CHATSERVER_JWT_SECRET=SECRET)
        assert printed.code == ExitCode.DONE
        assert f"port = 9000  # file {tmp_path}/chat.toml" in printed.out
        assert SECRET not in "".join(printed.out)
        assert tomllib.loads("\n".join(printed.out))["workers"] == 1

    def test_it_says_what_keeps_it_from_production(self, run: Run) -> None:
        assert run("config", "--check").code == ExitCode.FAILED
        assert (
            "chatserver: mongo_url: missing; the connection string of a MongoDB replica set"
            in run("config", "--check", "--describe").err
        )

    def test_a_mistake_is_one_line(self, run: Run) -> None:
        failed = run("config", CHATSERVER_PROT="1")
        assert failed.code == ExitCode.USAGE
        assert failed.err == ["chatserver: CHATSERVER_PROT: there is no such setting; do you mean port?"]

    def test_the_rules_of_disputes_are_checked_with_all_else(self, run: Run, tmp_path: Path) -> None:
        policy = tmp_path / "policy.toml"
        policy.write_text('[terms]\nattend_within = "soon"\n')
        printed = run("config", "--check", CHATSERVER_POLICY_FILE=str(policy))
        assert f'policy_file = "{policy}"  # environment CHATSERVER_POLICY_FILE' in printed.out
        mistake = f"{policy}: terms.attend_within: a duration looks like 3d, 24h, 15m, 30s, or 1d 12h"
        assert printed.code == ExitCode.FAILED
        assert f"chatserver: policy_file: {mistake}" in printed.err
        for command in (("serve",), ("dev", "--data", str(tmp_path / "data"))):
            failed = run(*command, CHATSERVER_POLICY_FILE=str(policy))
            assert failed.code == ExitCode.USAGE
            assert any(mistake in line for line in failed.err)

    def test_it_shows_a_running_instance(self, run: Run, data: Path, told: Instance) -> None:
        printed = run("config", "--data", str(data))
        assert f'redis_url = "{told.redis_url}"  # option or {data}/dev.json' in printed.out

    def test_it_looks_into_the_store_of_a_running_instance(self, run: Run, data: Path, told: Instance) -> None:
        printed = run("config", "--data", str(data))
        assert f's3_url = "{told.s3_url}"  # option or {data}/dev.json' in printed.out
        verified = run("verify", "--all", "--evidence", "--data", str(data))
        assert verified.code == 0, verified.err
        assert verified.out[-1] == "0 pieces of evidence and 0 objects verified: all there"


class TestInstances:
    def test_a_folder_without_one_is_named(self, run: Run, tmp_path: Path) -> None:
        failed = run("verify", "--all", "--data", str(tmp_path))
        assert failed.code == ExitCode.UNAVAILABLE
        assert failed.err == [
            f"chatserver: no instance runs on {tmp_path}; start one with: chatserver dev --data {tmp_path}"
        ]

    def test_what_a_stopped_one_has_left_is_not_taken_for_one(self, run: Run, told: Instance, tmp_path: Path) -> None:
        instance.write(tmp_path, told)
        assert run("migrate", "--data", str(tmp_path)).code == ExitCode.UNAVAILABLE

    def test_without_any_database_the_ways_to_name_one_are_listed(self, run: Run) -> None:
        failed = run("migrate")
        assert failed.code == ExitCode.USAGE
        assert failed.err[0].startswith("chatserver: mongo_url is not set: use CHATSERVER_MONGO_URL, a file (--config)")

    def test_a_database_that_does_not_answer(self, run: Run) -> None:
        url = f"mongodb://me:hunter2@127.0.0.1:{free_port()}"
        failed = run("migrate", CHATSERVER_MONGO_URL=url, CHATSERVER_MONGO_TIMEOUT_S="0.3")
        assert failed.code == ExitCode.UNAVAILABLE
        assert len(failed.err) == 1
        assert "hunter2" not in failed.err[0]

    def test_a_database_url_that_is_none(self, run: Run) -> None:
        failed = run("migrate", CHATSERVER_MONGO_URL="mongodb://")
        assert failed.code == ExitCode.UNAVAILABLE
        assert len(failed.err) == 1


class TestMigrate:
    def test_it_can_be_run_again(self, run: Run, data: Path) -> None:
        for _ in range(2):
            assert run("migrate", "--data", str(data)).out == ["database dispute_chat has schema version 2"]


class TestVerify:
    def test_rooms_must_be_named_or_all(self, run: Run, data: Path) -> None:
        assert run("verify", "--data", str(data)).code == ExitCode.USAGE
        assert run("verify", ROOM, "--all", "--data", str(data)).code == ExitCode.USAGE

    def test_a_record_that_holds(self, run: Run, data: Path) -> None:
        one = run("verify", ROOM, "--data", str(data))
        assert one.code == ExitCode.DONE
        assert one.out == ["1 room, 1 entry verified: all hold"]
        assert run("verify", "--all", "--data", str(data)).code == ExitCode.DONE

    def test_a_room_that_does_not_exist(self, run: Run, data: Path) -> None:
        failed = run("verify", "order-none", "--data", str(data))
        assert failed.code == ExitCode.FAILED
        assert failed.err == ["chatserver: there is no room order-none"]

    def test_a_broken_record_is_named_with_the_place(self, run: Run, data: Path, told: Instance) -> None:
        with MongoClient[dict[str, Any]](told.mongo_url) as mongo:
            entries = mongo["dispute_chat"]["entries"]
            kept = entries.find_one({"room": ROOM, "seq": 1})
            assert kept is not None
            entries.update_one({"_id": kept["_id"]}, {"$set": {"body": {"type": "payment.released"}}})
            try:
                broken = run("verify", "--all", "--data", str(data))
            finally:
                entries.replace_one({"_id": kept["_id"]}, kept)
        assert broken.code == ExitCode.FAILED
        assert broken.out == [
            f"{ROOM}: broken at entry 1 (its content was changed)",
            "1 room, 0 entries verified: 1 broken",
        ]


class TestToken:
    def test_it_opens_the_instance(self, run: Run, data: Path, told: Instance) -> None:
        (token,) = run("token", "--sub", "demo-buyer", "--data", str(data)).out
        answer = httpx.get(f"{told.base_url}/v1/rooms", headers={"Authorization": f"Bearer {token}"})
        assert [room["room"] for room in answer.json()["rooms"]] == [ROOM]

    def test_its_claims(self, run: Run) -> None:
        minted = run(
            "token", "--sub", "ada", "--role", "senior_agent", "--name", "Ada", "--ttl", "2d",
            CHATSERVER_JWT_SECRET=SECRET, CHATSERVER_JWT_ISSUER="https://shop.example",
        )  # fmt: skip
        claims = jwt.decode(minted.out[0], SECRET, algorithms=["HS256"], audience="dispute-chat")
        assert claims["exp"] - claims["iat"] == 2 * 86400
        assert (claims["role"], claims["name"], claims["iss"]) == ("senior_agent", "Ada", "https://shop.example")

    @pytest.mark.parametrize(
        ("arguments", "secret", "error"),
        [
            (["--role", "buyer"], SECRET, "--role: 'buyer' is none of agent, senior_agent, auditor"),
            (["--ttl", "soon"], SECRET, "is no duration; one looks like 90s, 15m, 12h or 30d"),
            (["--ttl", "0"], SECRET, "is no duration; one looks like 90s, 15m, 12h or 30d"),
            ([], "", "jwt_secret is not set"),
            ([], "short", "the JWT secret must have at least 32 bytes"),
            (["--sub", ""], SECRET, "not a user id"),
        ],
    )
    def test_mistakes(self, arguments: list[str], secret: str, error: str, run: Run) -> None:
        failed = run("token", "--sub", "ada", *arguments, CHATSERVER_JWT_SECRET=secret)
        assert failed.code == ExitCode.USAGE
        assert error in " ".join(failed.err)


class TestKeys:
    def test_from_making_to_revoking(self, run: Run, data: Path, told: Instance) -> None:
        scopes = ["--scope", "orders:write", "--scope", "disputes:read"]
        (key,) = run("keys", "create", "shop back end", *scopes, "--data", str(data)).out
        url = f"{told.base_url}/v1/orders/{demo.ORDER_ID}"
        assert httpx.get(url, headers={"Authorization": f"Bearer {key}"}).status_code == 200
        (line,) = (line for line in run("keys", "list", "--data", str(data)).out if "shop back end" in line)
        key_id = line.split()[0]
        assert "active  disputes:read,orders:write  shop back end" in line
        assert key not in line
        assert run("keys", "revoke", key_id, "--data", str(data)).out == [f"key {key_id} is revoked"]
        assert any(
            f"{key_id}" in line and "revoked 20" in line for line in run("keys", "list", "--data", str(data)).out
        )
        again = run("keys", "revoke", key_id, "--data", str(data))
        assert again.code == ExitCode.FAILED
        assert again.err == [f"chatserver: there is no active key {key_id}; see: chatserver keys list"]

    def test_a_scope_that_does_not_exist(self, run: Run, data: Path) -> None:
        assert run("keys", "create", "x", "--scope", "all", "--data", str(data)).code == ExitCode.USAGE


class TestRevoke:
    def test_it_closes_what_is_open_and_can_be_lifted(self, run: Run, data: Path, told: Instance) -> None:
        (token,) = run("token", "--sub", "demo-seller", "--data", str(data)).out
        url = f"{told.base_url.replace('http', 'ws')}{PATH}"
        with connect(url, subprotocols=[Subprotocol(SUBPROTOCOL)]) as websocket:
            websocket.send(json.dumps({"type": "connect", "id": "1", "token": token}))
            assert json.loads(websocket.recv())["type"] == "connected"
            revoked = run("revoke", "demo-seller", "--data", str(data))
            assert revoked.out == ["the access of demo-seller is revoked"]
            with pytest.raises(ConnectionClosed) as closed:
                websocket.recv(timeout=10)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4503
        assert run("revoke", "demo-seller", "--lift", "--data", str(data)).out == ["demo-seller may come in again"]
        again = run("revoke", "demo-seller", "--lift", "--data", str(data))
        assert again.code == ExitCode.FAILED
        assert again.err == ["chatserver: the access of demo-seller is not revoked"]

    @pytest.mark.parametrize("redis_url", ["", "redis://127.0.0.1:1/0"])
    def test_without_redis_it_is_stored_all_the_same(self, redis_url: str, run: Run, told: Instance) -> None:
        revoked = run(
            "revoke", "somebody", CHATSERVER_MONGO_URL=told.mongo_url, CHATSERVER_REDIS_URL=redis_url,
            CHATSERVER_MONGO_DATABASE="revoke_without_redis",
        )  # fmt: skip
        assert revoked.code == ExitCode.DONE
        assert revoked.out == ["the access of somebody is revoked; Redis does not answer, so servers notice with delay"]


class TestChat:
    def test_a_message_in_a_pipe_is_in_the_record(self, data: Path, told: Instance) -> None:
        arguments = ["-m", "chatserver", "chat", ROOM, "--as", "seller", "--data", str(data)]
        talked = subprocess.run(
            [sys.executable, *arguments],
            cwd=PROJECT, input="It was sent on Monday.\n", capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert talked.returncode == ExitCode.DONE, talked.stderr
        answer = httpx.get(
            f"{told.base_url}/v1/rooms/{ROOM}/entries", headers={"Authorization": f"Bearer {told.api_key}"}
        )
        last = answer.json()["entries"][-1]
        assert (last["author"]["role"], last["body"]["text"]) == ("seller", "It was sent on Monday.")

    def test_a_token_and_a_url_do_as_well(self, run: Run, data: Path, told: Instance) -> None:
        (token,) = run("token", "--sub", "demo-buyer", "--data", str(data)).out
        talked = subprocess.run(
            [sys.executable, "-m", "chatserver", "chat", ROOM, "--url", told.base_url],
            env=environment_with({"DISPUTE_CHAT_TOKEN": token}),
            cwd=PROJECT, input="", capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert talked.returncode == ExitCode.DONE, talked.stderr

    def test_mistakes(self, run: Run, data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        assert run("chat", "--as", "thief", "--data", str(data)).code == ExitCode.USAGE
        assert run("chat", "--url", "http://127.0.0.1:1", "--data", str(data)).code == ExitCode.USAGE
        monkeypatch.chdir(tmp_path)
        assert run("chat").err == [
            "chatserver: no instance runs on .chatserver; start one with: chatserver dev --data .chatserver"
        ]


def test_known_failures_of_libraries_are_explained() -> None:
    from redis.exceptions import ConnectionError as RedisConnectionError

    from chatserver.cli.failures import explain
    from chatserver.tracing import TracingUnavailable
    from policies.errors import Conflict

    codes = {
        RedisConnectionError("Error connecting"): ExitCode.UNAVAILABLE,
        TracingUnavailable("not installed"): ExitCode.USAGE,
        Conflict("It was changed meanwhile."): ExitCode.FAILED,
    }
    for error, code in codes.items():
        failure = explain(error)
        assert failure is not None
        assert failure.code == code
    assert explain(asyncio.InvalidStateError()) is None

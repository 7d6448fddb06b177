"""Evidence on real servers: killed while they take it in, and shown in messages that pass between them."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import boto3
import httpx
import pytest
from starlette.requests import Request

from chatserver.client import ChatClient
from chatserver.terminal.case import CaseCommands, Misused
from policies.errors import BadRequest, ChatError, Refused, TooLarge
from policies.evidence import EvidenceId
from storage.client import MongoConfig, open_database
from storage.evidence import EvidenceState, EvidenceStore
from storage.object_store import ObjectStore, ObjectStoreConfig
from tests.chatserver.evidence import files
from tests.eventually import eventually
from tests.program import Program
from tests.s3_gate import S3Gate
from tests.system.case import open_case
from tests.system.conftest import Dial, Serve
from tests.system.peer import new_id
from tests.system.record import Record
from tests.system.site import Server, Site, token, unique

PHOTO: Final = files.photo()
MOMENTS: Final[dict[str, Callable[[Request], bool]]] = {
    "before it is read": lambda request: request.method == "GET" and "incoming/" in request.url.path,
    "before it is sealed": lambda request: "x-amz-copy-source" in request.headers,
    "when it is sealed": lambda request: request.method == "PUT" and "shown/" in request.url.path,
    "before its entry is written": lambda request: request.method == "PUT" and "thumbnails/" in request.url.path,
    "when its entry is written": lambda request: request.method == "POST" and "delete" in request.query_params,
}
"""By the request to the store at which the server is killed."""


@pytest.fixture
async def gate(s3_url: str) -> AsyncIterator[S3Gate]:
    async with S3Gate(s3_url, {"key-1": "secret-1"}).running() as gate:
        yield gate


@pytest.fixture
async def bucket(gate: S3Gate) -> dict[str, Any]:
    """The settings of a bucket of the test's own."""
    name = unique("evidence")
    store = ObjectStore(ObjectStoreConfig(name, gate.url, path_style=True, access_key="key-1", secret_key="secret-1"))
    await store.ensure_bucket()
    await store.close()
    return {
        "s3_url": gate.url,
        "s3_bucket": name,
        "s3_path_style": True,
        "s3_access_key": "key-1",
        "s3_secret_key": "secret-1",
    }


class Uploader:
    """Somebody who adds evidence to a room."""

    def __init__(self, user: str, room: str) -> None:
        self.room = room
        self._headers = {"Authorization": f"Bearer {token(user)}"}

    async def post(self, server: Server, path: str, body: Any = None) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False, timeout=30.0) as web:
            return await web.post(f"{server.url}{path}", json=body, headers=self._headers)

    async def upload(self, server: Server) -> str:
        """Announce a photo and upload it. Returns its id."""
        said = {
            "filename": "parcel.jpg",
            "content_type": "image/jpeg",
            "size": len(PHOTO),
            "sha256": hashlib.sha256(PHOTO).hexdigest(),
            "kind": "photo",
        }
        announced = (await self.post(server, f"/v1/rooms/{self.room}/evidence", said)).raise_for_status().json()
        request = announced["upload"]
        async with httpx.AsyncClient(trust_env=False) as web:
            answer = await web.request(request["method"], request["url"], content=PHOTO, headers=request["headers"])
        answer.raise_for_status()
        return str(announced["evidence_id"])

    async def complete(self, server: Server, evidence: str) -> httpx.Response:
        return await self.post(server, f"/v1/evidence/{evidence}/complete")

    async def sealed(self, server: Server) -> str:
        evidence = await self.upload(server)
        assert (await self.complete(server, evidence)).json()["state"] == "sealed"
        return evidence


async def added(record: Record, room: str) -> list[str]:
    """Which evidence the room's log says was added."""
    return [entry.body["evidence"] for entry in await record.whole(room) if entry.kind.value == "evidence.added"]


async def test_a_server_killed_while_it_takes_evidence_in_loses_nothing(
    site: Site, serve: Serve, gate: S3Gate, bucket: dict[str, Any], record: Record
) -> None:
    apart = site.apart()
    server = await serve(apart, **bucket)
    case = open_case(apart, server)
    uploader = Uploader(case.order.seller, case.room)
    for number, (moment, match) in enumerate(MOMENTS.items(), 1):
        evidence = await uploader.upload(server)

        def kill(request: Request, match: Callable[[Request], bool] = match, victim: Server = server) -> int | None:
            if match(request):
                victim.program.process.kill()
            return None

        gate.broken = kill
        with pytest.raises(httpx.TransportError):
            await uploader.complete(server, evidence)
        gate.broken = lambda _: None
        server = await serve(apart, **bucket)
        answer = await uploader.complete(server, evidence)
        assert (answer.status_code, answer.json()["state"]) == (200, "sealed"), moment
        assert len(await added(record, case.room)) == number, moment


async def test_a_worker_finishes_what_a_killed_server_has_begun(
    site: Site, serve: Serve, gate: S3Gate, bucket: dict[str, Any], record: Record
) -> None:
    apart = site.apart()
    server = await serve(apart, **bucket)
    case = open_case(apart, server)
    uploader = Uploader(case.order.buyer, case.room)
    evidence = await uploader.upload(server)

    def kill(request: Request) -> int | None:
        if MOMENTS["when its entry is written"](request):
            server.program.process.kill()
        return None

    gate.broken = kill
    with pytest.raises(httpx.TransportError):
        await uploader.complete(server, evidence)
    gate.broken = lambda _: None
    database = open_database(MongoConfig(site.mongo_url, site.database))
    # As if it had lain there for a while; before that its server might still be at it.
    earlier = datetime.now(UTC) - timedelta(minutes=2)
    await database.collection("evidence").update_one({"_id": evidence}, {"$set": {"touched_at": earlier}})
    states: list[EvidenceState] = []

    async def look() -> None:
        found = await EvidenceStore(database).get(EvidenceId(evidence))
        assert found is not None
        states.append(found.state)
        await asyncio.sleep(0.2)

    await look()
    with Program(["-m", "chatserver", "worker"], apart.environment(**bucket)):
        await eventually(lambda: states[-1] is EvidenceState.SEALED, look, within_s=60)
    await database.close()
    assert states[0] is EvidenceState.SEALING
    assert await added(record, case.room) == [evidence]


async def test_messages_show_evidence_of_their_authors(
    site: Site, serve: Serve, dial: Dial, bucket: dict[str, Any], record: Record
) -> None:
    apart = site.apart()
    one, two = [await serve(apart, **bucket) for _ in range(2)]
    order = apart.order(one)
    buyer, seller = Uploader(order.buyer, order.room), Uploader(order.seller, order.room)
    first, second = await buyer.sealed(one), await seller.sealed(two)
    pending = await buyer.upload(one)
    # One of the two is not the writer of the room, and passes messages on.
    bo, sal = await dial(one, order.buyer, [order.room]), await dial(two, order.seller, [order.room])
    command = new_id()
    said = await bo.say(order.room, "This is how it came.", evidence=[first], id=command)
    entry = await sal.expect("entry", seq=said["seq"])
    assert entry["entry"]["body"] == {"text": "This is how it came.", "evidence": [first]}
    answered = await sal.say(order.room, "It left like this.", evidence=[second], reply_to=said["seq"])
    assert (await bo.expect("entry", seq=answered["seq"]))["entry"]["body"]["evidence"] == [second]
    for wrong in ([second], [pending], ["nothing"], [first, first], [f"e{number}" for number in range(11)]):
        refused = await bo.refusal("message.send", "bad_request", room=order.room, text="Look.", evidence=wrong)
        assert "evidence" in str(refused["details"])
    # Once it is withdrawn it is shown no more, but what was sent is answered as it was.
    async with httpx.AsyncClient(trust_env=False) as web:
        headers = {"Authorization": f"Bearer {token(order.buyer)}"}
        (await web.delete(f"{one.url}/v1/evidence/{first}", headers=headers)).raise_for_status()
    await bo.refusal("message.send", "bad_request", room=order.room, text="Look.", evidence=[first])
    again = await bo.say(order.room, "This is how it came.", evidence=[first], id=command)
    assert (again["seq"], again["duplicate"]) == (said["seq"], True)
    assert (await bo.say(order.room, "Nothing to show.", evidence=[]))["duplicate"] is False


async def test_a_message_that_attends_shows_evidence(
    site: Site, serve: Serve, dial: Dial, bucket: dict[str, Any]
) -> None:
    apart = site.apart()
    server = await serve(apart, **bucket)
    case = open_case(apart, server)
    evidence = await Uploader(case.order.seller, case.room).sealed(server)
    sal = await dial(server, case.order.seller, [case.room])
    command = new_id()
    said = await sal.say(case.room, "As it left.", evidence=[evidence], id=command)
    entry = await sal.expect("entry", seq=said["seq"])
    assert entry["entry"]["body"]["evidence"] == [evidence]
    assert (await sal.say(case.room, "As it left.", evidence=[evidence], id=command))["duplicate"] is True
    await sal.refusal("message.send", "conflict", room=case.room, text="As it left.", id=command)


async def test_an_operator_finds_what_is_missing_changed_or_left_over(
    site: Site, serve: Serve, bucket: dict[str, Any]
) -> None:
    apart = site.apart()
    server = await serve(apart, **bucket)
    order = apart.order(server)
    uploader = Uploader(order.buyer, order.room)
    first, second, third = [await uploader.sealed(server) for _ in range(3)]
    store = ObjectStore(
        ObjectStoreConfig(
            bucket["s3_bucket"], bucket["s3_url"], path_style=True, access_key="key-1", secret_key="secret-1"
        )
    )

    async def verify(*options: str) -> tuple[int, str]:
        ended = await asyncio.to_thread(apart.run, "verify", order.room, "--evidence", *options, check=False, **bucket)
        return ended.returncode, ended.stdout

    for options in ([], ["--deep"]):
        code, said = await verify(*options)
        assert (code, said.splitlines()[-1]) == (0, "3 pieces of evidence and 9 objects verified: all there")
    erased = await asyncio.to_thread(apart.run, "erase", order.seller, **bucket)
    assert erased.stdout == "1 rooms can be erased, 0 have to be kept; to erase for good: --yes\n"
    erased = await asyncio.to_thread(apart.run, "erase", order.seller, "--yes", **bucket)
    assert erased.stdout == "1 rooms, 0 entries, 0 pieces of evidence erased; 0 rooms kept\n"
    await store.delete([f"sealed/{order.room}/{first}"])
    await store.put(f"sealed/{order.room}/{second}", PHOTO[:-1] + b"x", "image/jpeg")
    await store.delete([f"thumbnails/{order.room}/{third}"])
    fourth = await uploader.sealed(server)
    await store.put(f"shown/{order.room}/{fourth}", PHOTO, "image/jpeg")
    await store.put(f"shown/{order.room}/{unique('nobody')}", PHOTO, "image/jpeg")
    database = open_database(MongoConfig(site.mongo_url, site.database))
    code, said = await verify()
    assert code == 1
    for what in (
        f"evidence {first}: its object is missing",
        f"evidence {second}: its object was changed",
        f"evidence {third}: the object thumbnails/{order.room}/{third} made of it is missing",
        f"evidence {fourth}: the object shown/{order.room}/{fourth} made of it was changed",
        "it belongs to no evidence",
        "5 faults",
    ):
        assert what in said, said
    # Bytes that a store swapped without telling: only reading them finds it.
    swapped = await store.look(f"sealed/{order.room}/{second}")
    assert swapped is not None
    await database.collection("evidence").update_one({"_id": second}, {"$set": {"original.etag": swapped.etag}})
    assert "its object was changed" not in (await verify())[1]
    assert f"evidence {second}: its object does not have the hash that was sealed" in (await verify("--deep"))[1]
    await database.collection("evidence").delete_one({"_id": third})
    assert f"{order.room} at entry 3: nothing is known of this evidence" in (await verify())[1]
    await database.close()
    await store.close()


PARTS: Final = """
[evidence]
parts_from = 5242880
part_bytes = 5242880
"""


async def test_the_client_adds_evidence_and_goes_on_where_it_was_broken_off(
    site: Site, serve: Serve, gate: S3Gate, bucket: dict[str, Any], tmp_path: Path
) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(PARTS)
    server = await serve(site.apart(), policy_file=policy, **bucket)
    order = site.order(server)
    photo, large = tmp_path / "parcel photo.JPG", tmp_path / "log.txt"
    photo.write_bytes(PHOTO)
    large.write_bytes(b"a line of sixteen\n" * 550_000)
    sent: list[tuple[int, int]] = []
    parts: list[str] = []
    trouble: list[int | None] = []

    def watch(request: Request) -> int | None:
        if request.method == "PUT" and "incoming/" in request.url.path:
            parts.append(request.query_params.get("partNumber", "whole"))
            return trouble.pop(0) if trouble else None
        return None

    gate.broken = watch
    async with ChatClient(server.url, token=token(order.buyer)) as client:
        room = await client.join(order.room)
        trouble[:] = [503, 403]  # in trouble, and one that has run out
        added = await room.attach(photo, kind="photo", caption="as it came", progress=lambda *at: sent.append(at))
        assert (added.state, added.seq, parts) == ("sealed", 1, ["whole"] * 3)
        assert sent[-1] == (len(PHOTO), len(PHOTO))
        parts.clear()
        trouble[:] = [None, 503]
        first = await room.attach(large, kind="chat_export")
        assert (first.state, parts) == ("sealed", ["1", "2", "2"])
        bare = await room.attach(PHOTO, kind="photo", filename="b.jpeg", captured_at=datetime.now(UTC))
        shown = await room.send("Look.", evidence=[added.id, bare.id])
        [*_, entry] = [await anext(room.entries()) for _ in range(shown.seq)]
        assert entry.body["evidence"] == [added.id, bare.id]
        for wrong, kind, error in (
            ({"content": PHOTO}, "photo", BadRequest),
            ({"content": PHOTO, "filename": "a.exe"}, "photo", BadRequest),
            ({"content": PHOTO, "filename": "a.jpg"}, "portrait", BadRequest),
            ({"content": b"", "filename": "a.jpg"}, "photo", BadRequest),
            ({"content": b"not a picture", "filename": "a.jpg"}, "photo", Refused),
            ({"content": b"x" * 10_000_001, "filename": "a.txt"}, "document", TooLarge),
            ({"content": tmp_path / "nothing.jpg"}, "photo", FileNotFoundError),
        ):
            with pytest.raises(error):
                await room.attach(kind=kind, **wrong)
        gate.broken = lambda request: 403 if request.method == "PUT" and "incoming/" in request.url.path else None
        with pytest.raises(ChatError, match="The store refuses the upload"):
            await room.attach(photo, kind="photo")
        gate.broken = lambda request: 400 if request.method == "PUT" and "incoming/" in request.url.path else None
        with pytest.raises(ChatError, match="400 InternalError"):
            await room.attach(photo, kind="photo")


async def test_the_client_begins_anew_when_the_store_has_dropped_an_upload(
    site: Site, serve: Serve, gate: S3Gate, bucket: dict[str, Any], tmp_path: Path
) -> None:
    policy, large = tmp_path / "policy.toml", tmp_path / "log.txt"
    policy.write_text(PARTS)
    large.write_bytes(b"a line of sixteen\n" * 550_000)
    server = await serve(site.apart(), policy_file=policy, **bucket)
    order = site.order(server)
    names: dict[str, Any] = {"aws_access_key_id": "key-1", "aws_secret_access_key": "secret-1"}
    s3 = boto3.client("s3", endpoint_url=gate.url, region_name="us-east-1", **names)
    parts: list[tuple[str, str]] = []

    def drop() -> None:
        for upload in s3.list_multipart_uploads(Bucket=bucket["s3_bucket"])["Uploads"]:
            s3.abort_multipart_upload(Bucket=bucket["s3_bucket"], Key=upload["Key"], UploadId=upload["UploadId"])

    dropped: list[asyncio.Future[None]] = []

    def watch(request: Request) -> int | None:
        """Before the second part comes, the store forgets the first one."""
        query = request.query_params
        if request.method == "PUT" and "partNumber" in query:
            parts.append((query["uploadId"], query["partNumber"]))
            if len(parts) == 2:
                dropped.append(asyncio.get_running_loop().run_in_executor(None, drop))
                return 503
        return None

    gate.broken = watch
    async with ChatClient(server.url, token=token(order.buyer)) as client:
        room = await client.join(order.room)
        added = await room.attach(large, kind="chat_export")
    assert added.state == "sealed"
    await asyncio.gather(*dropped)
    s3.close()
    begun = parts[0][0]
    anew = parts[-1][0]
    assert anew != begun
    assert [number for upload, number in parts if upload == anew] == ["1", "2"]


async def test_evidence_is_added_from_the_terminal(
    site: Site, serve: Serve, bucket: dict[str, Any], tmp_path: Path
) -> None:
    server = await serve(site.apart(), **bucket)
    order = site.order(server)
    photo, note = tmp_path / "parcel photo.jpg", tmp_path / "note.txt"
    photo.write_bytes(PHOTO)
    note.write_bytes(b"said on the phone\n")
    async with ChatClient(server.url, token=token(order.seller)) as client:
        room = await client.join(order.room)
        commands = CaseCommands(client, room)
        [said] = await commands.run("attach", f'"{photo}" as it left') or ()
        assert said.endswith(" is #1")
        assert commands.written == 1
        await commands.run("attach", f"{note} chat_export what was said")
        bodies = [(await anext(room.entries())).body for _ in range(2)]
        assert [(body["kind"], body["caption"]) for body in bodies] == [
            ("photo", "as it left"),
            ("chat_export", "what was said"),
        ]
        for wrong in ("", f"{tmp_path}/nothing.jpg"):
            with pytest.raises(Misused):
                await commands.run("attach", wrong)

"""The S3-compatible store that evidence is kept in.

The bytes of evidence go from the client to the store and back, never through the server: the server signs requests,
each bound to one object, size, type and checksum. boto3 blocks, so every call runs in threads of its own, of which
there are few: a slow store then holds up evidence and nothing else.
"""

import asyncio
import base64
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal, TypeVar
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from policies.errors import Unavailable

T = TypeVar("T")

THREADS: Final = 8
CHUNK_BYTES: Final = 1024 * 1024
PAGE: Final = 1000
"""Keys of one request, at most, by S3's API."""
_MAKING: Final = threading.Lock()
"""boto3's own session, which has read what S3 is once for all stores of a process, makes one client at a time."""
_VERSIONS: Final = ("Versions", "DeleteMarkers")
_GONE: Final = frozenset({"404", "NoSuchKey", "NoSuchUpload", "NotFound"})
_CHANGED: Final = frozenset({"412", "PreconditionFailed"})
_OURS: Final = frozenset({"400", "403", "AccessDenied", "InvalidAccessKeyId", "NoSuchBucket", "SignatureDoesNotMatch"})


@dataclass(frozen=True, slots=True)
class ObjectStoreConfig:
    """Where the store is.

    Without keys the credentials come from boto3's chain: environment, files, the machine's or the pod's role.
    ``path_style`` puts the bucket into the path; most stores that are not AWS need it.
    """

    bucket: str
    endpoint: str | None = None
    region: str = "us-east-1"
    path_style: bool = False
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request that a client may send to the store as it is: with exactly these headers, and a body of the size and
    checksum that they say."""

    method: str
    url: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What the store says of an object. ``etag`` changes when the content does; ``version`` where versions are kept."""

    key: str
    size: int
    etag: str
    version: str | None = None
    modified_at: datetime | None = None

    @property
    def versioned(self) -> bool:
        """Whether a download can be bound to this content: the store gives each content of a key a name of its own.
        "null" is the name of all of them where versioning is not on (any more)."""
        return self.version not in (None, "null")

    def is_still(self, found: "StoredObject") -> bool:
        """Whether what was found under its key has the content that it had."""
        return (found.size, found.etag) == (self.size, self.etag)


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A part of an upload in parts that has arrived."""

    number: int
    size: int
    etag: str


class ObjectChanged(Exception):
    """The object is another one than the one that was looked at, or gone."""


class ObjectGone(ObjectChanged):
    """There is no such object (any more)."""


class StoreMisconfigured(Exception):
    """The store refuses the server itself: credentials, bucket or region are wrong. Waiting will not help."""


class ObjectStore:
    """Objects of one bucket.

    Every method that asks the store raises ``policies.errors.Unavailable`` when there is no answer in time, and
    ``StoreMisconfigured`` when the store does not let the server in.

    Args:
        page: most keys that are listed or deleted by one request.
    """

    def __init__(self, config: ObjectStoreConfig, page: int = PAGE) -> None:
        self._bucket = config.bucket
        self._page = page
        self._config = config
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="s3")
        self._made: Any = None

    def _client(self) -> Any:
        """boto3's client, which may be used by several threads but not made by them. Making the first one of a process
        takes a third of a second, so that is done when it is first needed, and in a thread."""
        with _MAKING:
            if self._made is None:
                config = self._config
                self._made = boto3.client(
                    "s3",
                    endpoint_url=config.endpoint,
                    region_name=config.region,
                    aws_access_key_id=config.access_key,
                    aws_secret_access_key=config.secret_key,
                    config=_boto_config(config),
                )
        return self._made

    async def close(self) -> None:
        """Let go of connections and threads."""
        await asyncio.to_thread(self._threads.shutdown)
        if self._made is not None:
            self._made.close()

    # Requests for clients

    async def sign_put(self, key: str, *, content_type: str, size: int, sha256: bytes, expires_s: int) -> SignedRequest:
        """An upload of one object that does not exist yet: of this type, size and SHA-256 and of no other."""
        headers = {
            "Content-Type": content_type,
            "Content-Length": str(size),
            "x-amz-checksum-sha256": base64.b64encode(sha256).decode(),
            "If-None-Match": "*",  # a second use of the same request fails
        }
        arguments = {
            "ContentType": content_type,
            "ContentLength": size,
            "ChecksumSHA256": headers["x-amz-checksum-sha256"],
            "IfNoneMatch": "*",
        }
        return SignedRequest("PUT", await self._sign("put_object", key, arguments, expires_s), headers)

    async def sign_part(self, key: str, upload: str, number: int, *, size: int, expires_s: int) -> SignedRequest:
        """An upload of one part, of this size. Sent again it replaces the part."""
        arguments = {"UploadId": upload, "PartNumber": number, "ContentLength": size}
        url = await self._sign("upload_part", key, arguments, expires_s)
        return SignedRequest("PUT", url, {"Content-Length": str(size)})

    async def sign_get(
        self, key: str, *, content_type: str, disposition: str, expires_s: int, version: str | None = None
    ) -> SignedRequest:
        """A download, answered with this type and this ``Content-Disposition``."""
        arguments = {"ResponseContentType": content_type, "ResponseContentDisposition": disposition}
        if version is not None:
            arguments["VersionId"] = version
        return SignedRequest("GET", await self._sign("get_object", key, arguments, expires_s), {})

    async def _sign(self, operation: str, key: str, arguments: dict[str, Any], expires_s: int) -> str:
        # In a thread as well: the credentials may have to be fetched first.
        parameters = {"Bucket": self._bucket, "Key": key, **arguments}
        signed = await self._run(lambda s3: s3.generate_presigned_url(operation, parameters, ExpiresIn=expires_s))
        return str(signed)

    # Uploads in parts

    async def begin_parts(self, key: str, content_type: str) -> str:
        """Begin an upload in parts. Returns the store's name for it."""
        answer = await self._ask("create_multipart_upload", Key=key, ContentType=content_type)
        return str(answer["UploadId"])

    async def parts(self, key: str, upload: str) -> list[StoredPart] | None:
        """The parts that have arrived, by number; None when there is no such upload (any more)."""

        def read(s3: Any) -> list[StoredPart]:
            pages = s3.get_paginator("list_parts").paginate(Bucket=self._bucket, Key=key, UploadId=upload)
            return [
                StoredPart(part["PartNumber"], part["Size"], part["ETag"])
                for page in pages
                for part in page.get("Parts", ())
            ]

        try:
            return await self._run(read)
        except ObjectGone:
            return None

    async def join_parts(self, key: str, upload: str, parts: Sequence[StoredPart]) -> bool:
        """Make an object of the parts. False when there is no such upload (any more)."""
        listed = {"Parts": [{"PartNumber": part.number, "ETag": part.etag} for part in parts]}
        try:
            await self._ask("complete_multipart_upload", Key=key, UploadId=upload, MultipartUpload=listed)
        except ObjectGone:
            return False
        return True

    async def abandon_parts(self, key: str, upload: str) -> None:
        """Drop an upload in parts, and what has arrived of it; one that is not there (any more) is no error."""
        with contextlib.suppress(ObjectGone):
            await self._ask("abort_multipart_upload", Key=key, UploadId=upload)

    # Objects

    async def look(self, key: str) -> StoredObject | None:
        """What is kept under a key; None for nothing."""
        try:
            return _stored(key, await self._ask("head_object", Key=key))
        except ObjectGone:
            return None

    async def fetch(self, stored: StoredObject, path: Path) -> None:
        """Write the object to a file, in bounded memory.

        Raises:
            ObjectChanged: it is another one by now, or of another size than it said.
        """

        def read(s3: Any) -> None:
            answer = s3.get_object(Bucket=self._bucket, Key=stored.key, IfMatch=stored.etag)
            written = 0
            with path.open("wb") as file:
                for chunk in answer["Body"].iter_chunks(CHUNK_BYTES):
                    written += len(chunk)
                    if written > stored.size:
                        break
                    file.write(chunk)
            if written != stored.size:
                raise ObjectChanged

        await self._run(read)

    async def read(self, stored: StoredObject, most: int) -> bytes | None:
        """A small object; None when it has more bytes than ``most``.

        Raises:
            ObjectChanged: it is another one by now, or gone.
        """

        def read(s3: Any) -> bytes | None:
            answer = s3.get_object(Bucket=self._bucket, Key=stored.key, IfMatch=stored.etag)
            with answer["Body"] as body:
                content: bytes = body.read(most + 1)
            return content if len(content) <= most else None

        return await self._run(read)

    async def put(self, key: str, content: bytes, content_type: str) -> StoredObject:
        """Keep something that the server made itself."""
        answer = await self._ask("put_object", Key=key, Body=content, ContentType=content_type)
        return StoredObject(key, len(content), answer["ETag"], answer.get("VersionId"))

    async def put_file(self, key: str, path: Path, content_type: str) -> StoredObject:
        """The same with a file, in bounded memory."""

        def write(s3: Any) -> StoredObject:
            with path.open("rb") as file:
                answer = s3.put_object(Bucket=self._bucket, Key=key, Body=file, ContentType=content_type)
                return StoredObject(key, file.tell(), answer["ETag"], answer.get("VersionId"))

        return await self._run(write)

    async def seal(self, stored: StoredObject, key: str) -> StoredObject:
        """Copy an object to another key, provided that it is still the one that was looked at.

        Raises:
            ObjectChanged: it is not.
        """
        source = {"Bucket": self._bucket, "Key": stored.key}
        answer = await self._ask("copy_object", Key=key, CopySource=source, CopySourceIfMatch=stored.etag)
        return StoredObject(key, stored.size, answer["CopyObjectResult"]["ETag"], answer.get("VersionId"))

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; one that is not there is no error."""
        await self._delete([{"Key": key} for key in keys])

    async def _delete(self, named: Sequence[Mapping[str, str]]) -> None:
        for start in range(0, len(named), self._page):
            objects = named[start : start + self._page]
            answer = await self._ask("delete_objects", Delete={"Objects": objects, "Quiet": True})
            if answer.get("Errors"):
                raise Unavailable("The store did not delete everything.")

    async def purge(self, keys: Sequence[str]) -> None:
        """Delete objects with all versions that the bucket keeps of them; what is not there is no error."""
        for key in keys:

            def versions(s3: Any, key: str = key) -> list[dict[str, str]]:
                pages = s3.get_paginator("list_object_versions").paginate(Bucket=self._bucket, Prefix=key)
                listed = (each for page in pages for kind in _VERSIONS for each in page.get(kind, ()))
                return [{"Key": key, "VersionId": each["VersionId"]} for each in listed if each["Key"] == key]

            await self._delete(await self._run(versions))

    async def listing(self, prefix: str) -> AsyncIterator[StoredObject]:
        """All objects under a prefix, in the order of their keys, in bounded memory."""
        place: dict[str, str] = {}
        while True:
            answer = await self._ask("list_objects_v2", Prefix=prefix, MaxKeys=self._page, **place)
            for found in answer.get("Contents", ()):
                place = {"StartAfter": found["Key"]}
                yield StoredObject(found["Key"], found["Size"], found["ETag"], None, found["LastModified"])
            if not answer.get("IsTruncated"):
                return

    async def ensure_bucket(self) -> None:
        """Make the bucket if it is missing; for development instances and tests."""
        try:
            await self._ask("head_bucket")
        except ObjectGone:
            await self._ask("create_bucket")

    async def _ask(self, operation: str, **arguments: Any) -> Mapping[str, Any]:
        """One operation on the bucket."""
        answer: Mapping[str, Any] = await self._run(lambda s3: getattr(s3, operation)(Bucket=self._bucket, **arguments))
        return answer

    async def _run(self, work: Callable[[Any], T]) -> T:
        """Use boto3 in a thread."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(self._client()))
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in _GONE:
                raise ObjectGone from error
            if code in _CHANGED:
                raise ObjectChanged from error
            if code in _OURS:
                raise StoreMisconfigured(f"the store refuses the server: {code}") from error
            raise Unavailable("The store for evidence is in trouble.", retry_after_ms=2000) from error
        except (BotoCoreError, OSError) as error:
            raise Unavailable("The store for evidence does not answer.", retry_after_ms=2000) from error


def _boto_config(config: ObjectStoreConfig) -> Config:
    return Config(
        # With a custom endpoint boto3 may otherwise presign in the old way, which binds no headers.
        signature_version="s3v4",
        s3={"addressing_style": _addressing(config)},
        connect_timeout=config.timeout_s,
        read_timeout=config.timeout_s,
        retries={"mode": "standard", "total_max_attempts": 2},
        max_pool_connections=THREADS,
        # Other stores than AWS do not know the checksums that boto3 adds by itself.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )


def _addressing(config: ObjectStoreConfig) -> Literal["path", "virtual"]:
    """Where the bucket stands in URLs. By itself boto3 signs for AWS's host of all regions, which answers uploads to
    most of them with a redirect, and a browser does not follow that."""
    host = urlsplit(config.endpoint or "").hostname or ""
    # There are no domains beneath localhost or the name of a container.
    return "path" if config.path_style or (host and "." not in host) else "virtual"


def _stored(key: str, answer: Mapping[str, Any]) -> StoredObject:
    return StoredObject(key, answer["ContentLength"], answer["ETag"], answer.get("VersionId"), answer["LastModified"])

"""What S3 enforces and moto does not, in front of moto: signature, expiry, signed headers, size, checksum, conditions.

An HTTP proxy of the tests. It recomputes Signature Version 4 of presigned requests (AWS Signature Version 4 signing
process, "Authenticating Requests: Using Query Parameters") with the secret that it knows, refuses what S3 would refuse
with S3's own codes, and passes the rest on. An upload by a form has to bring a policy that was signed (POST policy); as
the server signs none, every form is refused. Requests signed in the Authorization header, which are the server's own,
pass: boto3 signs them right or not at all. Tests may make it slow, or break it.
"""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qsl, quote

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

ALGORITHM: Final = "AWS4-HMAC-SHA256"
HOP_HEADERS: Final = frozenset({"connection", "transfer-encoding", "keep-alive", "content-length", "content-encoding"})
METHODS: Final = ["GET", "HEAD", "PUT", "POST", "DELETE"]


class Refusal(Exception):
    """What S3 would answer."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


class S3Gate:
    """The proxy.

    Args:
        upstream: moto's base URL.
        secrets: secret keys by access key.
        now: the store's clock.
    """

    def __init__(
        self, upstream: str, secrets: dict[str, str], now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._upstream = upstream
        self._secrets = secrets
        self._now = now
        self.url = ""
        self.delay_s = 0.0
        """How long every answer takes."""
        self.broken: Callable[[Request], int | None] = lambda _: None
        """Says which requests fail, and with what status."""
        self.answer: str | None = None
        """What everything is answered with, as XML, if not what is true."""
        self.refused: list[str] = []
        """The codes of what was refused, in order."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator["S3Gate"]:
        async with httpx.AsyncClient(base_url=self._upstream, timeout=30.0) as self._client:
            app = Starlette(routes=[Route("/{path:path}", self._handle, methods=METHODS)])
            server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", 0, log_level="error", lifespan="off"))
            serving = asyncio.create_task(server.serve())
            while not server.started:  # noqa: ASYNC110  (uvicorn has no event for it)
                await asyncio.sleep(0.01)
            host, port = server.servers[0].sockets[0].getsockname()
            self.url = f"http://{host}:{port}"
            try:
                yield self
            finally:
                server.should_exit = True
                await serving

    async def _handle(self, request: Request) -> Response:
        body = await request.body()
        await asyncio.sleep(self.delay_s)
        if (status := self.broken(request)) is not None:
            return Response("<Error><Code>InternalError</Code></Error>", status, media_type="application/xml")
        if self.answer is not None:
            return Response(self.answer, media_type="application/xml")
        try:
            self._check(request, body)
            await self._check_conditions(request)
        except Refusal as refusal:
            self.refused.append(refusal.code)
            error = f"<Error><Code>{refusal.code}</Code></Error>"
            return Response(error, refusal.status, media_type="application/xml")
        return await self._pass(request, body)

    async def _pass(self, request: Request, body: bytes) -> Response:
        headers = [(name, value) for name, value in request.headers.items() if name not in ("host", "connection")]
        url = httpx.URL(raw_path=request.scope["raw_path"] + b"?" + request.scope["query_string"])
        answer = await self._client.request(request.method, url, headers=headers, content=body)
        kept = {name: value for name, value in answer.headers.items() if name not in HOP_HEADERS}
        if request.method == "HEAD":
            kept["content-length"] = answer.headers.get("content-length", "0")
        return Response(answer.content, answer.status_code, kept)

    def _check(self, request: Request, body: bytes) -> None:
        query = dict(parse_qsl(request.url.query, keep_blank_values=True))
        if "X-Amz-Signature" not in query:
            if "authorization" not in request.headers:
                raise Refusal(403, "AccessDenied")
            return
        self._check_signature(request, query)
        self._check_body(request, body)

    def _check_signature(self, request: Request, query: dict[str, str]) -> None:
        if query.get("X-Amz-Algorithm") != ALGORITHM:
            raise Refusal(400, "AuthorizationQueryParametersError")
        access_key, *scope = query["X-Amz-Credential"].split("/")
        secret = self._secrets.get(access_key)
        if secret is None:
            raise Refusal(403, "InvalidAccessKeyId")
        signed_at = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if self._now() > signed_at + timedelta(seconds=int(query["X-Amz-Expires"])):
            raise Refusal(403, "AccessDenied")
        names = query["X-Amz-SignedHeaders"].split(";")
        missing = [name for name in names if name not in request.headers]
        unsigned = [name for name in request.headers if name.startswith("x-amz-") and name not in names]
        if "host" not in names or missing or unsigned:
            raise Refusal(403, "AccessDenied" if unsigned else "SignatureDoesNotMatch")
        canonical = "\n".join(
            [
                request.method,
                request.scope["raw_path"].decode(),
                _canonical_query(query),
                *(f"{name}:{' '.join(request.headers[name].split())}" for name in names),
                "",
                ";".join(names),
                "UNSIGNED-PAYLOAD",
            ]
        )
        to_sign = "\n".join([ALGORITHM, query["X-Amz-Date"], "/".join(scope), _hex(canonical.encode())])
        key = b"AWS4" + secret.encode()
        for part in scope:
            key = hmac.digest(key, part.encode(), "sha256")
        if not hmac.compare_digest(hmac.digest(key, to_sign.encode(), "sha256").hex(), query["X-Amz-Signature"]):
            raise Refusal(403, "SignatureDoesNotMatch")

    def _check_body(self, request: Request, body: bytes) -> None:
        if request.method != "PUT":
            return
        if int(request.headers.get("content-length", "-1")) != len(body):
            raise Refusal(400, "IncompleteBody")
        checksum = request.headers.get("x-amz-checksum-sha256")
        if checksum is not None and checksum != base64.b64encode(hashlib.sha256(body).digest()).decode():
            raise Refusal(400, "BadDigest")

    async def _check_conditions(self, request: Request) -> None:
        """What moto takes for nothing: If-None-Match of an upload, and an upload in parts that is not there."""
        if request.method in ("POST", "PUT") and "uploadId" in request.query_params:
            parts = httpx.URL(raw_path=request.scope["raw_path"] + b"?" + request.scope["query_string"])
            if (await self._client.get(parts, headers=_ANY_CREDENTIALS)).status_code != httpx.codes.OK:
                raise Refusal(404, "NoSuchUpload")
        if request.method == "PUT" and request.headers.get("if-none-match") == "*":
            there = await self._client.head(httpx.URL(raw_path=request.scope["raw_path"]), headers=_ANY_CREDENTIALS)
            if there.status_code == httpx.codes.OK:
                raise Refusal(412, "PreconditionFailed")


_ANY_CREDENTIALS: Final[dict[str, Any]] = {
    "Authorization": f"{ALGORITHM} Credential=gate/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
}


def _canonical_query(query: dict[str, str]) -> str:
    pairs = sorted((quote(name, safe="~"), quote(value, safe="~")) for name, value in query.items())
    return "&".join(f"{name}={value}" for name, value in pairs if name != "X-Amz-Signature")


def _hex(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

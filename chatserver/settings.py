"""All configuration: one typed object with its defaults. ``chatserver.configuration`` fills it; nothing else reads the
environment.
"""

from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr

MIN_SECRET_BYTES: Final = 32
"""RFC 7518 3.2: an HS256 key has at least the size of the hash."""
MIN_SECRET_CHARACTERS: Final = 10
"""Fewer different characters than this were typed by hand, not drawn at random."""
PLACEHOLDERS: Final = ("changeme", "default", "dispute", "example", "password", "replace", "secret", "yourkey")
"""Words of example configurations, which a random secret does not hold."""


class Settings(BaseModel):
    """The server's settings. Durations are seconds, sizes bytes, unless a name says otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    # Where it listens
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    workers: int = Field(1, ge=1, le=256, description="Server processes that share the port.")
    public_url: str = Field("", description="Base URL that clients use, where a proxy stands in front.")
    allowed_origins: list[str] = Field(
        [], description="Origins of browser pages that may open a WebSocket; '*' allows all."
    )
    forwarded_allow_ips: str = Field("127.0.0.1", description="Proxies whose X-Forwarded-* headers are believed.")

    # What it depends on
    mongo_url: SecretStr = Field(SecretStr(""), description="MongoDB connection string; a replica set is required.")
    mongo_database: str = Field("dispute_chat", description="Database name.")
    mongo_driver: Literal["motor", "pymongo"] = Field("motor", description="Which asyncio driver to use.")
    mongo_timeout_s: float = Field(
        5.0, gt=0, description="Longest wait for a MongoDB server or answer before 'unavailable'."
    )
    mongo_pool: int = Field(32, ge=1, description="Largest number of MongoDB connections of a process.")
    redis_url: SecretStr = Field(
        SecretStr(""), description="redis://, rediss://, redis+sentinel:// or redis+cluster:// URL."
    )
    redis_prefix: str = Field("chat", description="Prefix of every Redis key and channel.")
    s3_url: str = Field("", description="Endpoint of the S3-compatible store for evidence; empty for AWS.")
    s3_bucket: str = Field(
        "dispute-evidence", min_length=3, max_length=63, description="Bucket that evidence is kept in."
    )
    s3_region: str = Field("us-east-1", description="Region of the bucket.")
    s3_path_style: bool = Field(False, description="Bucket in the path of the URL: for most stores that are not AWS.")
    s3_access_key: SecretStr = Field(
        SecretStr(""), description="Access key; empty: boto3's chain (environment, files, the machine's role)."
    )
    s3_secret_key: SecretStr = Field(SecretStr(""), description="Secret key, with the access key.")
    s3_timeout_s: float = Field(10.0, gt=0, description="Longest wait for an answer of the store.")
    scanner_url: str = Field("", description="clamd: tcp://host:port or unix:///path; empty: files are not scanned.")

    # Who may come in
    jwt_secret: SecretStr = Field(SecretStr(""), description="Shared secret of HS256 tokens, 32 bytes or more.")
    jwt_jwks: str = Field("", description="File or https URL of a JWKS for RS256, ES256 or EdDSA tokens.")
    jwt_jwks_cache_s: float = Field(
        300.0, gt=0, description="How long a fetched JWKS is used before it is fetched again."
    )
    jwt_issuer: str = Field("", description="Required 'iss' of a token; empty accepts any.")
    jwt_leeway_s: float = Field(
        5.0, ge=0, description="Tolerated difference of clocks when a token's times are checked."
    )
    sandbox: bool = Field(False, description="Development only: tokens and the clock may be set over HTTP.")

    # The rules of disputes
    policy_file: str = Field(
        "", description="TOML file with the rules of disputes: durations, windows, checklists; empty: the default ones."
    )

    # Limits of clients
    frame_bytes: int = Field(32 * 1024, ge=1024, description="Largest WebSocket frame; more closes with 1009.")
    http_body_bytes: int = Field(256 * 1024, ge=1024, description="Largest HTTP request body.")
    message_chars: int = Field(4000, ge=1, description="Longest message text, in characters.")
    messages_per_s: float = Field(
        5.0, gt=0, description="Messages, and commands to disputes, a second per user, sustained."
    )
    message_burst: int = Field(10, ge=1, description="Messages per user at once.")
    commands_per_s: float = Field(20.0, gt=0, description="Other commands a second per connection, sustained.")
    command_burst: int = Field(60, ge=1, description="Other commands per connection at once.")
    connections_per_user: int = Field(5, ge=1, description="Connections a user may hold, over all processes.")
    connections: int = Field(50_000, ge=1, description="Connections a process accepts.")
    rooms_per_connection: int = Field(20, ge=1, description="Rooms a buyer or seller may join on one connection.")
    staff_rooms_per_connection: int = Field(128, ge=1, description="Rooms staff may join on one connection.")
    history_page: int = Field(100, ge=1, description="Most entries of one history answer.")
    history_bytes: int = Field(256 * 1024, ge=1024, description="Largest history or joined answer, about, in bytes.")
    joined_page: int = Field(50, ge=1, description="Entries of a joined answer.")
    queue_frames: int = Field(256, ge=1, description="Frames that may wait for a slow client before 4002.")
    queue_bytes: int = Field(1024 * 1024, ge=65536, description="Bytes that may wait for a slow client before 4002.")
    compression: bool = Field(False, description="Offer permessage-deflate; costs about 35 KiB a connection.")

    # Case files
    transcript_entries: int = Field(
        10_000, ge=1, description="Most entries of a room whose case file is made as HTML or PDF; JSON has no limit."
    )
    transcript_bytes: int = Field(
        4 * 1024 * 1024, ge=1024, description="Most bytes of text of a case file that is made as HTML or PDF."
    )
    transcript_presses: int = Field(1, ge=1, le=64, description="HTML and PDF case files a process makes at once.")
    transcript_timeout_s: float = Field(60.0, gt=0, description="Longest time for making a PDF.")
    transcript_memory_bytes: int = Field(
        4 * 1024**3, ge=512 * 1024**2, description="Most memory (address space) for making a PDF."
    )
    transcript_fonts: list[str] = Field([], description="Folders with more fonts for PDFs.")
    transcript_system_fonts: bool = Field(True, description="Use the fonts of the system for PDFs.")

    # Times
    heartbeat_s: float = Field(25.0, gt=0, description="Pause between pings.")
    heartbeat_timeout_s: float = Field(10.0, gt=0, description="How long a ping may stay unanswered.")
    connect_timeout_s: float = Field(
        10.0, gt=0, description="How long a socket may stay without its connect frame, or without a whole request."
    )
    token_warning_s: float = Field(60.0, ge=0, description="How long before its expiry a token is said to expire.")
    token_grace_s: float = Field(25.0, ge=0, description="How long after its expiry a connection is kept.")
    typing_lapse_s: float = Field(6.0, gt=0, description="How long a typing notice holds without renewal.")
    away_after_s: float = Field(300.0, gt=0, description="A connection without commands for this long is away.")
    receipt_flush_s: float = Field(
        0.5, gt=0, description="How long receipts are gathered before they are stored and told."
    )
    drain_s: float = Field(15.0, gt=0, description="Longest planned shutdown of a process.")
    reconnect_spread_s: float = Field(
        5.0, ge=0, description="Clients of a stopping process come back spread over this long."
    )

    # The log and the fan-out
    commit_batch: int = Field(64, ge=1, le=1000, description="Most messages committed together.")
    commit_concurrency: int = Field(2, ge=1, description="Commits of a process under way at once.")
    fanout_partitions: int = Field(
        8, ge=1, le=1024, description="Redis channels that rooms are spread over; the same on all processes."
    )
    forward_timeout_s: float = Field(
        1.0, gt=0, description="How long a room's writer may take before a process writes itself."
    )
    messages_per_writer_s: int = Field(
        2000, ge=1, description="Messages a second that one process writes for all; of more, others write a share."
    )
    sweep_s: float = Field(3.0, gt=0, description="Pause between comparisons of active rooms' heads with MongoDB.")
    hub_lease_s: float = Field(10.0, gt=0, description="A process silent for this long counts as gone.")
    claim_lease_s: float = Field(
        60.0, gt=0, description="How long an agent who is not connected any more keeps a claimed case."
    )
    reports_per_day: int = Field(20, ge=0, description="Entries that a user may report within 24 hours.")
    audit_days: int = Field(
        0, ge=0, le=36_500, description="Days for which it is kept who of the staff looked at a dispute; 0: for ever."
    )
    deadlines_every_s: float = Field(
        0.9, gt=0, description="Pause between a worker's looks for deadlines of disputes that are due."
    )
    integrity_every_s: float = Field(10.0, gt=0, description="Pause between a worker's checks of the record.")

    # Webhooks
    webhook_private_targets: bool = Field(
        False, description="Webhooks may go to private addresses and over http; whoever sets them up must be trusted."
    )
    webhook_ca_file: Path | None = Field(
        None, description="PEM file of certificate authorities that webhooks trust beside the well-known ones."
    )
    unread_after_s: float = Field(
        60.0, gt=0, description="How long a message may be unread before participant.unread is told; on all processes."
    )
    webhook_every_s: float = Field(0.5, gt=0, description="Pause between a worker's looks for events to send.")
    webhook_timeout_s: float = Field(15.0, gt=0, le=120, description="Longest attempt to deliver an event.")
    webhook_concurrency: int = Field(
        8, ge=1, le=100, description="Disputes whose events a worker sends to one endpoint at the same time."
    )
    webhook_retry_first_s: float = Field(5.0, gt=0, description="Pause after a first failed attempt; it grows by 3.")
    webhook_retry_longest_s: float = Field(28_800.0, gt=0, description="Longest pause between two attempts.")
    webhook_retry_for_s: float = Field(
        259_200.0, ge=0, description="How long an event is tried before it is parked; 3 days."
    )
    webhook_overlap_s: float = Field(
        86_400.0, ge=0, description="How long a replaced secret goes on to sign, unless a rotation says otherwise."
    )
    webhook_keep_s: float = Field(
        2_592_000.0, ge=60, description="How long events and what became of them are kept for replay; 30 days."
    )

    # The operator's view
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe event that is logged."
    )
    log_format: Literal["json", "console"] = Field("json", description="Form of log lines.")
    otlp_endpoint: str = Field("", description="OpenTelemetry collector (OTLP over HTTP); empty: no traces.")
    worker_metrics_port: int = Field(
        0, ge=0, le=65535, description="Port of a worker's own /metrics, on the same host; 0: none."
    )
    data_dir: Path | None = Field(None, description="Data folder of a development instance.")


def problems(settings: Settings) -> list[str]:
    """What is missing or unsafe for a server that strangers reach; empty when it may start."""
    return [
        *_dependency_problems(settings),
        *_token_problems(settings),
        *_origin_problems(settings.allowed_origins),
        *_policy_problems(settings.policy_file),
        *(["sandbox: anybody could mint tokens; it must be off"] if settings.sandbox else []),
    ]


def worker_problems(settings: Settings) -> list[str]:
    """What keeps a worker from doing its work; empty when it may start. It can do without Redis."""
    redis = settings.redis_url.get_secret_value()
    return [*_mongo_problems(settings.mongo_url.get_secret_value()), *(_redis_problems(redis) if redis else [])]


def _dependency_problems(settings: Settings) -> list[str]:
    return [
        *_mongo_problems(settings.mongo_url.get_secret_value()),
        *_redis_problems(settings.redis_url.get_secret_value()),
    ]


def _mongo_problems(url: str) -> list[str]:
    if not url:
        return ["mongo_url: missing; the connection string of a MongoDB replica set"]
    if not url.startswith(("mongodb://", "mongodb+srv://")):
        return ["mongo_url: must begin with mongodb:// or mongodb+srv://"]
    return []


def _redis_problems(url: str) -> list[str]:
    if not url:
        return ["redis_url: missing; the URL of Redis or Valkey"]
    # Here and not above: the Redis client takes longer to import than a short command to run.
    from chatserver.hub.redis_url import RedisUrlError, parse_redis_url

    try:
        parse_redis_url(url)
    except RedisUrlError as error:
        return [f"redis_url: {error}"]
    return []


def _token_problems(settings: Settings) -> list[str]:
    found = []
    secret = settings.jwt_secret.get_secret_value()
    if not secret and not settings.jwt_jwks:
        found.append("jwt_secret, jwt_jwks: one of them is needed, or no user could come in")
    if secret and len(secret.encode()) < MIN_SECRET_BYTES:
        found.append(
            f"jwt_secret: too short; it needs {MIN_SECRET_BYTES} bytes, such as those of: openssl rand -hex 32"
        )
    elif secret and _is_guessable(secret):
        found.append("jwt_secret: it can be guessed; draw one at random, for example with: openssl rand -hex 32")
    if settings.jwt_jwks.startswith("http://"):
        found.append("jwt_jwks: keys that come over http can be replaced on the way; use https or a file")
    return found


def _policy_problems(file: str) -> list[str]:
    # Here and not above: both are made of settings.
    from chatserver.configuration import ConfigurationError
    from chatserver.policy_file import load_policy

    try:
        load_policy(file)
    except ConfigurationError as error:
        return [f"policy_file: {line}" for line in error.lines]
    return []


def _is_guessable(secret: str) -> bool:
    letters = "".join(filter(str.isalnum, secret.lower()))
    return len(set(secret)) < MIN_SECRET_CHARACTERS or any(word in letters for word in PLACEHOLDERS)


def _origin_problems(origins: list[str]) -> list[str]:
    if not origins:
        return ["allowed_origins: empty; list the origins of the pages that may connect, such as https://shop.example"]
    found = []
    for origin in origins:
        parts = urlsplit(origin)
        if origin == "*":
            found.append("allowed_origins: '*' lets any page on the web connect; list the origins of yours")
        elif parts.scheme not in ("https", "http") or not parts.netloc or origin != f"{parts.scheme}://{parts.netloc}":
            found.append(
                f"allowed_origins: {origin!r} is no origin; it looks like https://shop.example, without a path"
            )
    return found

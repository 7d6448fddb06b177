"""Real MongoDB, Valkey and S3 servers as child processes on 127.0.0.1, for ``chatserver dev`` and the tests.

Nothing here is for production: there the server is given the addresses of services that others run.
"""

from chatserver.embedded.child import Child
from chatserver.embedded.errors import (
    BinaryMissing,
    CannotRun,
    EmbeddedError,
    FolderInUse,
    LibraryMissing,
    PortTaken,
    StartFailed,
)
from chatserver.embedded.folder import FolderLock
from chatserver.embedded.mongod import Mongod
from chatserver.embedded.ports import free_port, require_port
from chatserver.embedded.s3 import S3
from chatserver.embedded.service import Service, stop_all
from chatserver.embedded.valkey import Valkey

__all__ = [
    "S3",
    "BinaryMissing",
    "CannotRun",
    "Child",
    "EmbeddedError",
    "FolderInUse",
    "FolderLock",
    "LibraryMissing",
    "Mongod",
    "PortTaken",
    "Service",
    "StartFailed",
    "Valkey",
    "free_port",
    "require_port",
    "stop_all",
]

"""The S3 store of a development instance: moto's server, with a folder that what it holds is written through to.

moto keeps its objects in memory. Here each request that changes something is answered after the folder has the change,
so that objects, and the parts of uploads that are under way, outlive the process, however it ends.
"""

import hashlib
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import orjson
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.s3.models import FakeKey, s3_backends
from werkzeug.serving import run_simple

ACCOUNT: Final = "123456789012"
"""The one that moto takes any credentials for."""
REGION: Final = "us-east-1"
CHANGING: Final = frozenset({"PUT", "POST", "DELETE"})

UPLOADS: Final = "uploads"
"""Folder in that of a bucket."""

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class KeptObjects:
    """The objects of all buckets, in a folder: a file with the content of each, and beside it one that names it.

    The second one counts: it is written last and deleted first, so a crash leaves whole objects, or none. An upload in
    parts has a folder with a file for each part.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._backend: Any = s3_backends[ACCOUNT]["aws"]
        self._kept: dict[tuple[str, str], Any] = {}
        self._kept_uploads: dict[tuple[str, str], dict[int, Any]] = {}
        self._writing = threading.Lock()

    def restore(self) -> None:
        """Give moto what the folder holds."""
        for bucket in sorted(self._folder.iterdir() if self._folder.exists() else ()):
            self._backend.create_bucket(bucket.name, REGION)
            for note in sorted(bucket.glob("*.json")):
                told = orjson.loads(note.read_bytes())
                content = note.with_suffix(".data").read_bytes()
                key = self._backend.put_object(bucket.name, told["key"], content, etag=told["etag"])
                key.set_metadata(told["metadata"], replace=True)
                self._kept[bucket.name, key.name] = key
            for upload in sorted(bucket.glob(f"{UPLOADS}/*/upload.json")):
                self._restore_upload(bucket.name, upload.parent)

    def _restore_upload(self, bucket: str, folder: Path) -> None:
        told = orjson.loads((folder / "upload.json").read_bytes())
        names: dict[str, Any] = {
            "storage_type": "STANDARD",
            "tags": {},
            "acl": None,
            "sse_encryption": "",
            "kms_key_id": "",
        }
        upload = self._backend.create_multipart_upload(bucket, told["key"], told["metadata"], **names)
        uploads = self._backend.buckets[bucket].multiparts
        del uploads[upload.id]
        upload.id = folder.name
        uploads[upload.id] = upload
        for part in sorted(folder.glob("*.part")):
            upload.set_part(int(part.stem), part.read_bytes())
        self._kept_uploads[bucket, upload.id] = dict(upload.parts)

    def keep(self) -> None:
        """Write what has changed to the folder."""
        with self._writing:
            there: dict[tuple[str, str], Any] = {}
            for bucket in list(self._backend.buckets.values()):
                (self._folder / bucket.name).mkdir(parents=True, exist_ok=True)
                latest = [key for key in list(bucket.keys.values()) if isinstance(key, FakeKey)]
                there |= {(bucket.name, key.name): key for key in latest}
            for place, key in there.items():
                if self._kept.get(place) is not key:
                    self._write(place, key)
            for place in self._kept.keys() - there.keys():
                path = self._path(place)
                path.with_suffix(".json").unlink(missing_ok=True)
                path.with_suffix(".data").unlink(missing_ok=True)
            self._kept = there
            self._keep_uploads()

    def _keep_uploads(self) -> None:
        uploads = {
            (bucket.name, upload.id): upload
            for bucket in list(self._backend.buckets.values())
            for upload in list(bucket.multiparts.values())
        }
        for (bucket, name), upload in uploads.items():
            folder = self._folder / bucket / UPLOADS / name
            if (bucket, name) not in self._kept_uploads:
                folder.mkdir(parents=True, exist_ok=True)
                told = {"key": upload.key_name, "metadata": dict(upload.metadata)}
                _write(folder / "upload.json", orjson.dumps(told))
            parts = dict(upload.parts)
            for number, part in parts.items():
                if self._kept_uploads.get((bucket, name), {}).get(number) is not part:
                    _write(folder / f"{number}.part", part.value)
            self._kept_uploads[bucket, name] = parts
        for bucket, name in self._kept_uploads.keys() - uploads.keys():
            shutil.rmtree(self._folder / bucket / UPLOADS / name, ignore_errors=True)
            del self._kept_uploads[bucket, name]

    def _write(self, place: tuple[str, str], key: Any) -> None:
        path = self._path(place)
        path.with_suffix(".json").unlink(missing_ok=True)
        told = {"key": key.name, "etag": key.etag.strip('"'), "metadata": dict(key.metadata)}
        for suffix, content in ((".data", key.value), (".json", orjson.dumps(told))):
            _write(path.with_suffix(suffix), content)

    def _path(self, place: tuple[str, str]) -> Path:
        bucket, key = place
        return self._folder / bucket / hashlib.sha256(key.encode()).hexdigest()


def _write(path: Path, content: bytes) -> None:
    """All of it or nothing."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    os.replace(new, path)


def kept(application: Wsgi, objects: KeptObjects) -> Wsgi:
    """The application, which answers a change when it is kept."""

    def handle(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        answer = application(environ, start_response)
        if environ["REQUEST_METHOD"] in CHANGING:
            objects.keep()
        return answer

    return handle


def main(host: str, port: str, folder: str) -> None:
    """Serve until somebody ends the process."""
    objects = KeptObjects(Path(folder))
    objects.restore()
    application = kept(DomainDispatcherApplication(create_backend_app), objects)
    run_simple(host, int(port), application, threaded=True, request_handler=MotoRequestHandler)


if __name__ == "__main__":
    main(*sys.argv[1:])

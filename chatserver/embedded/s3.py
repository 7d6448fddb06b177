"""An S3-compatible store: moto's server, and a folder in which its objects stay."""

import http.client
import importlib.util
import sys
from typing import ClassVar

from chatserver.embedded.errors import BinaryMissing
from chatserver.embedded.ports import LOOPBACK
from chatserver.embedded.service import Service


class S3(Service):
    """moto over HTTP. It checks no signature and no condition of an upload, and takes any credentials."""

    name: ClassVar[str] = "s3"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def _command(self) -> list[str]:
        if not (importlib.util.find_spec("moto") and importlib.util.find_spec("flask")):
            raise BinaryMissing("moto's S3 server")
        # Unless told otherwise moto listens on every address of the machine.
        module = "chatserver.embedded.s3_server"
        return [sys.executable, "-m", module, LOOPBACK, str(self.port), str(self.folder / "objects")]

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=1.0)
        try:
            connection.request("GET", "/moto-api/")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

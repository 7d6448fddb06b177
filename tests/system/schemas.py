"""Every frame that a server sends in a system test is held against the schemas that the server publishes."""

import copy
import json
from typing import Any, Final

from jsonschema import Draft202012Validator

from chatserver.asyncapi import document
from chatserver.settings import Settings

_REMEMBERED: Final = 100_000


class FrameSchemas:
    """The JSON Schemas of the AsyncAPI document, one for each type of frame from the server.

    They are closed for this: a field that no schema names fails. Clients must ignore unknown fields, but a server that
    sends one has either a misspelt field or an undocumented one.
    """

    def __init__(self) -> None:
        described = document(Settings(), "test")
        schemas = copy.deepcopy(described["components"]["schemas"])
        for schema in schemas.values():
            if "properties" in schema:
                schema["additionalProperties"] = False
        self._validators = {
            message["name"]: Draft202012Validator(
                {"$ref": message["payload"]["$ref"], "components": {"schemas": schemas}},
                format_checker=Draft202012Validator.FORMAT_CHECKER,
            )
            for key, message in described["components"]["messages"].items()
            if key.startswith("frame.")
        }
        self._bodies = {
            kind: Draft202012Validator({**body, "components": {"schemas": schemas}})
            for kind, body in described["x-entry-bodies"].items()
        }
        self._good: set[str] = set()

    @property
    def types(self) -> frozenset[str]:
        """The types of frames that a server may send."""
        return frozenset(self._validators)

    def parse(self, text: str | bytes) -> dict[str, Any]:
        """The frame that a message holds.

        Raises:
            AssertionError: it is none.
        """
        assert isinstance(text, str), "the server sent a binary message"
        frame: dict[str, Any] = json.loads(text)
        if text not in self._good:
            validator = self._validators.get(frame.get("type", ""))
            assert validator is not None, f"no such type of frame: {text}"
            problems = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(frame)]
            problems += [problem for entry in _entries(frame) for problem in self._of_body(entry)]
            assert not problems, f"{problems} in {text}"
            # The same entry goes to many: it is looked at once.
            if len(self._good) < _REMEMBERED:
                self._good.add(text)
        return frame

    def _of_body(self, entry: dict[str, Any]) -> list[str]:
        """What is wrong with the body of an entry, which is empty where it is withheld or erased."""
        if not entry["body"] and (entry.get("withheld") or entry.get("erased")):
            return []
        errors = self._bodies[entry["kind"]].iter_errors(entry["body"])
        return [f"body of {entry['kind']}: {error.json_path}: {error.message}" for error in errors]


def _entries(frame: dict[str, Any]) -> list[dict[str, Any]]:
    """The entries that a frame brings."""
    return [*frame.get("entries", ()), *([frame["entry"]] if "entry" in frame else ())]

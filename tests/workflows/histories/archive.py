"""The recorded histories: Temporal's own JSON of each, in one compressed file beside this module."""

import base64
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from google.protobuf.json_format import MessageToDict, ParseDict
from pydantic import SecretStr
from temporalio.api.common.v1 import Payload
from temporalio.client import WorkflowHistory

from studio.codec import PayloadCipher

FOLDER = Path(__file__).parent
KEY = SecretStr(base64.b64encode(b"recorded histories hide nothing!").decode())
"""Known to everybody, so that what was recorded can be read for ever."""


def recorded_names() -> list[str]:
    return sorted(path.name.removesuffix(".json.gz") for path in FOLDER.glob("*.json.gz"))


def read_history(name: str) -> WorkflowHistory:
    return WorkflowHistory.from_json(name, gzip.decompress((FOLDER / f"{name}.json.gz").read_bytes()).decode())


async def write_history(name: str, history: WorkflowHistory) -> None:
    text = history.to_json()
    for identity in {part["identity"] for part in _objects(json.loads(text)) if "identity" in part}:
        text = text.replace(identity, "recorder")  # also in the names of sticky task queues
    document: dict[str, Any] = json.loads(text)
    await _forget_machine(document)
    text = json.dumps(document, separators=(",", ":"))
    (FOLDER / f"{name}.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


async def _forget_machine(document: dict[str, Any]) -> None:
    """Nothing that is replayed tells on which machine, and from which folder, it was recorded."""
    cipher = PayloadCipher([KEY])
    for part in _objects(document):
        if "encodedAttributes" in part:
            [plain] = await cipher.decode([ParseDict(part["encodedAttributes"], Payload())])
            plain.data = json.dumps(json.loads(plain.data) | {"stack_trace": ""}).encode()
            [sealed] = await cipher.encode([plain])
            part["encodedAttributes"] = MessageToDict(sealed)


def _objects(value: object) -> Iterator[dict[str, Any]]:
    """Every object in a JSON document, from outside in."""
    if isinstance(value, dict):
        held = cast("dict[str, Any]", value)
        yield held
        for inner in held.values():
            yield from _objects(inner)
    elif isinstance(value, list):
        for inner in cast("list[Any]", value):
            yield from _objects(inner)

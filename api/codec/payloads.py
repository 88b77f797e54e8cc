"""Payloads of Temporal's histories, made readable and back: what its UI and command ask a remote codec for."""

from collections.abc import Sequence
from dataclasses import replace

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.common import RawValue
from temporalio.converter import DataConverter

from studio.codec import MISSING, PayloadCipher
from studio.compression import TooLarge
from studio.contracts.base import Json
from studio.contracts.missing import MissingPayload
from studio.errors import FieldError, InvalidInput
from studio.web.responses import dump_json

MAX_PAYLOADS = 1_000
"""In one request; Temporal itself takes fewer in one command."""
MAX_SHOWN_BYTES = 32 * 1024 * 1024
"""Of all payloads in one answer, unpacked."""
MAX_UNPACKED_BYTES = 4 * MAX_SHOWN_BYTES
"""For one answer: what turns out to be too large costs as much as what is shown."""


def read_payloads(body: Json) -> list[Payload]:
    """`{"payloads": […]}`, each a protobuf `Payload` as JSON. Raises `InvalidInput`."""
    try:
        payloads = list(ParseDict(body, Payloads(), ignore_unknown_fields=True).payloads)
    except (ParseError, TypeError, AttributeError, ValueError) as error:
        raise _refused(f"not the JSON of temporal.api.common.v1.Payloads: {error}", "payloads_invalid") from None
    if len(payloads) > MAX_PAYLOADS:
        raise _refused(f"at most {MAX_PAYLOADS} payloads", "too_many")
    return payloads


def write_payloads(payloads: Sequence[Payload]) -> bytes:
    """The same as JSON, written one by one: none holds up other threads for long."""
    if not payloads:
        return b"{}"  # as protobuf writes an empty list
    return b'{"payloads":[' + b",".join(dump_json(MessageToDict(payload)) for payload in payloads) + b"]}"


async def encode(converter: DataConverter, payloads: Sequence[Payload]) -> list[Payload]:
    """As a client of ours sends them: encrypted, and stored apart when they are large."""
    return await converter.encode([RawValue(payload) for payload in payloads]) if payloads else []


async def decode(
    converter: DataConverter, cipher: PayloadCipher, payloads: Sequence[Payload], *, keep_references: bool
) -> list[Payload]:
    """What a client of ours reads. What was stored apart and is gone, or would make the answer too large, becomes a
    text that says so; `keep_references` leaves all of it where it is. Sizes are those found on unpacking: what the
    request says of them is not counted.

    Raises `InvalidInput` naming the payload that cannot be decrypted.
    """
    shown: list[Payload] = []
    room, work = MAX_SHOWN_BYTES, MAX_UNPACKED_BYTES
    for place, payload in enumerate(payloads):
        if keep_references and payload.external_payloads:
            shown.append(payload)
            continue
        limit = min(room, work)
        opened = await _decode(converter, cipher.limited(limit), payload, place) if limit > 0 else None
        size = limit if opened is None else opened.ByteSize()
        work -= size
        if opened is None or size > limit:
            shown.append(_told(converter, "This payload is too large to be shown here, beside those before it."))
        else:
            room -= size
            shown.append(opened)
    return shown


async def _decode(converter: DataConverter, cipher: PayloadCipher, payload: Payload, place: int) -> Payload | None:
    """None when it is larger than the cipher's limit."""
    try:
        [value] = await replace(converter, payload_codec=cipher).decode([payload], [RawValue])
    except TooLarge:
        return None
    except (ValueError, KeyError, RuntimeError, ParseError) as error:  # as the cipher, the claim and the SDK have it
        message = str(error) if isinstance(error, ValueError) else "it does not say where it was stored"
        raise _refused(message, "undecodable", place) from None
    if value.payload.metadata.get("encoding") == MISSING:
        return _told(converter, converter.payload_converter.from_payload(value.payload, MissingPayload).message)
    return value.payload


def _told(converter: DataConverter, text: str) -> Payload:
    return converter.payload_converter.to_payload(text)


def _refused(message: str, kind: str, place: int | None = None) -> InvalidInput:
    loc: list[str | int] = ["body", "payloads", *([] if place is None else [place])]
    return InvalidInput(message, errors=[FieldError(loc=loc, msg=message, type=kind)])

"""Payloads of Temporal's histories, made readable and back: what its UI and command ask a remote codec for."""

from collections.abc import Sequence

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.common import RawValue
from temporalio.converter import DataConverter

from studio.codec import MISSING
from studio.contracts.base import Json, JsonObject
from studio.contracts.missing import MissingPayload
from studio.errors import FieldError, InvalidInput

MAX_PAYLOADS = 1_000
"""In one request; Temporal itself takes fewer in one command."""
MAX_SHOWN_BYTES = 64 * 1024 * 1024
"""Of payloads that were stored apart, in one answer."""


def read_payloads(body: Json) -> list[Payload]:
    """`{"payloads": […]}`, each a protobuf `Payload` as JSON. Raises `InvalidInput`."""
    try:
        payloads = list(ParseDict(body, Payloads(), ignore_unknown_fields=True).payloads)
    except (ParseError, TypeError, AttributeError, ValueError) as error:
        raise _refused(f"not the JSON of temporal.api.common.v1.Payloads: {error}", "payloads_invalid") from None
    if len(payloads) > MAX_PAYLOADS:
        raise _refused(f"at most {MAX_PAYLOADS} payloads", "too_many")
    return payloads


def write_payloads(payloads: Sequence[Payload]) -> JsonObject:
    return MessageToDict(Payloads(payloads=payloads))


async def encode(converter: DataConverter, payloads: Sequence[Payload]) -> list[Payload]:
    """As a client of ours sends them: encrypted, and stored apart when they are large."""
    return await converter.encode([RawValue(payload) for payload in payloads]) if payloads else []


async def decode(converter: DataConverter, payloads: Sequence[Payload], *, keep_references: bool) -> list[Payload]:
    """What a client of ours reads. What was stored apart and is gone, or would make the answer too large, becomes a
    text that says so; `keep_references` leaves all of it where it is.

    Raises `InvalidInput` naming the payload that cannot be decrypted.
    """
    shown: list[Payload] = []
    room = MAX_SHOWN_BYTES
    for place, payload in enumerate(payloads):
        size = sum(stored.size_bytes for stored in payload.external_payloads)
        if keep_references and size:
            shown.append(payload)
        elif size > room:
            shown.append(_told(converter, f"This payload of {size} bytes is too large to be shown here."))
        else:
            shown.append(await _decode(converter, payload, place))
            room -= size
    return shown


async def _decode(converter: DataConverter, payload: Payload, place: int) -> Payload:
    try:
        [value] = await converter.decode([payload], [RawValue])
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

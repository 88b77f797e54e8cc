"""`/codec`: Temporal's remote codec (https://docs.temporal.io/remote-data-encoding)."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, cast

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict
from temporalio.api.common.v1 import Payload

from api.codec import payloads
from api.deps import Parts, PartsDep
from studio.codec import PayloadCipher
from studio.contracts.base import JsonObject
from studio.web.json_route import JsonRoute
from studio.web.openapi import problems

PREFIX = "/codec"
router = APIRouter(prefix=PREFIX, tags=["codec"], route_class=JsonRoute)

_RESPONSES = problems(413, 415, 422, 503)
PreserveReferences = Annotated[
    bool, Query(alias="preserveStorageRefs", description="Leave what was stored apart where it is; see `/download`")
]


class EncodedPayload(BaseModel):
    """`temporal.api.common.v1.Payload` as protobuf's JSON: bytes in base64."""

    model_config = ConfigDict(extra="allow")

    metadata: dict[str, str] | None = None
    data: str | None = None


class Payloads(BaseModel):
    payloads: list[EncodedPayload] | None = None


@router.post("/decode", summary="Make payloads readable", response_model=Payloads, responses=_RESPONSES)
async def decode_payloads(body: JsonObject, parts: PartsDep, preserve: PreserveReferences = False) -> Response:
    """`{"payloads": […]}`, protobuf's JSON; the answer has as many, in the same order."""
    return await _decoded(body, parts, keep_references=preserve)


@router.post(
    "/download",
    summary="Make payloads readable that were stored apart",
    response_model=Payloads,
    responses=_RESPONSES,
)
async def download_payloads(body: JsonObject, parts: PartsDep) -> Response:
    return await _decoded(body, parts, keep_references=False)


@router.post("/encode", summary="Encrypt payloads for Temporal", response_model=Payloads, responses=_RESPONSES)
async def encode_payloads(body: JsonObject, parts: PartsDep) -> Response:
    found = await asyncio.to_thread(payloads.read_payloads, body)
    return await _answer(await payloads.encode(parts.converter, found))


async def _decoded(body: JsonObject, parts: Parts, *, keep_references: bool) -> Response:
    found = await asyncio.to_thread(payloads.read_payloads, body)
    cipher = cast("PayloadCipher", parts.converter.payload_codec)
    async with parts.unpacking:
        return await _answer(await payloads.decode(parts.converter, cipher, found, keep_references=keep_references))


async def _answer(found: Sequence[Payload]) -> Response:
    return Response(await asyncio.to_thread(payloads.write_payloads, found), media_type="application/json")

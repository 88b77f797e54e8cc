"""`/codec`: Temporal's remote codec (https://docs.temporal.io/remote-data-encoding)."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query
from temporalio.api.common.v1 import Payload

from api.codec import payloads
from api.deps import PartsDep
from studio.contracts.base import JsonObject
from studio.web.json_route import JsonRoute
from studio.web.openapi import problems
from studio.web.responses import JSONResponse

PREFIX = "/codec"
router = APIRouter(prefix=PREFIX, tags=["codec"], route_class=JsonRoute)

_RESPONSES = problems(413, 415, 422, 503)
PreserveReferences = Annotated[
    bool, Query(alias="preserveStorageRefs", description="Leave what was stored apart where it is; see `/download`")
]


@router.post("/decode", summary="Make payloads readable", responses=_RESPONSES)
async def decode_payloads(body: JsonObject, parts: PartsDep, preserve: PreserveReferences = False) -> JSONResponse:
    """`{"payloads": […]}`, protobuf's JSON; the answer has as many, in the same order."""
    found = payloads.read_payloads(body)
    return _answer(await payloads.decode(parts.converter, found, keep_references=preserve))


@router.post("/download", summary="Make payloads readable that were stored apart", responses=_RESPONSES)
async def download_payloads(body: JsonObject, parts: PartsDep) -> JSONResponse:
    found = payloads.read_payloads(body)
    return _answer(await payloads.decode(parts.converter, found, keep_references=False))


@router.post("/encode", summary="Encrypt payloads for Temporal", responses=_RESPONSES)
async def encode_payloads(body: JsonObject, parts: PartsDep) -> JSONResponse:
    found = payloads.read_payloads(body)
    return _answer(await payloads.encode(parts.converter, found))


def _answer(found: Sequence[Payload]) -> JSONResponse:
    return JSONResponse(payloads.write_payloads(found))

"""`/api/v1/traces`."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import BeforeValidator, Field, ValidationError

from prompt_service.deps import ResourcesDep, get_resources
from prompt_service.resources import Resources
from prompt_service.traces.query import TraceFilter
from prompt_service.traces.reading import read_spans
from studio.contracts.base import Contract, Page, Timestamp
from studio.contracts.prompts import DEFAULT_PROJECT
from studio.contracts.spans import IngestResult, Span, SpanKind, SpanStatus
from studio.contracts.traces import StoredRejection, TraceDetail, TraceSummary
from studio.errors import DependencyUnavailable, FieldError, InvalidInput
from studio.web.field_errors import invalid_input
from studio.web.json_route import JsonRoute, check_json_type
from studio.web.openapi import problems
from studio.web.paging import DEFAULT_LIMIT, Cursor, Limit, decode_cursor, encode_cursor
from studio.web.query import open_parameter

router = APIRouter(prefix="/api/v1", tags=["traces"], route_class=JsonRoute)
METADATA = "metadata."
_SHORT_NAMES = {"project": "project_id", "session": "session_id", "user": "user_id", "run": "run_id"}
_Text = Annotated[str, Field(max_length=256)]


def _written_out(value: object) -> object:
    if isinstance(value, str) and not _DATE.match(value):
        raise ValueError("must be a time as in RFC 3339, such as 2026-11-30T08:00:00Z")
    return value


_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_Moment = Annotated[Timestamp, BeforeValidator(_written_out)]


class TraceQuery(Contract):
    """The query parameters of `GET /traces`, beside `metadata.KEY=value`."""

    project_id: _Text | None = None
    session_id: _Text | None = None
    user_id: _Text | None = None
    run_id: _Text | None = None
    workflow: _Text | None = None
    agent: _Text | None = None
    prompt: Annotated[str | None, Field(max_length=256, description="A name or id, or `name@version`")] = None
    model: _Text | None = None
    kind: SpanKind | None = None
    status: SpanStatus | None = None
    tag: _Text | None = None
    q: Annotated[str | None, Field(max_length=256, description="Text in an input or output")] = None
    min_cost: Annotated[Decimal | None, Field(ge=0, lt=10**20, description="US dollars, of the whole trace")] = None
    min_duration_ms: Annotated[float | None, Field(ge=0, allow_inf_nan=False, description="Of the whole trace")] = None
    start: Annotated[_Moment | None, Field(alias="from", description="The retention's start unless given")] = None
    end: Annotated[_Moment | None, Field(alias="to", description="Exclusive; now unless given")] = None
    limit: Annotated[int, Field(ge=1, le=200)] = DEFAULT_LIMIT
    cursor: Annotated[str | None, Field(max_length=1024)] = None


def _query_docs() -> dict[str, Any]:
    schema = TraceQuery.model_json_schema()
    named = [
        {"name": name, "in": "query", "schema": part, "description": part.get("description", "")}
        for name, part in schema["properties"].items()
    ]
    short = [
        {"name": name, "in": "query", "schema": {"type": "string"}, "description": f"Short for `{whole}`"}
        for name, whole in _SHORT_NAMES.items()
    ]
    metadata = open_parameter("metadata", "The span's metadata has this value under KEY")
    return {"parameters": [*named, *short, *metadata["parameters"]]}


class SpanBatch(Contract):
    """Body of `POST /traces`: read by hand, so that one span that is wrong never costs the others."""

    spans: list[Span]


_INGEST_DOCS: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/SpanBatch"}}},
    }
}


@router.post("/traces", status_code=202, summary="Store finished spans", openapi_extra=_INGEST_DOCS)
async def ingest_spans(request: Request) -> IngestResult:
    """One that is wrong never costs the others; sending a span again replaces it.

    Answers when the store has them. 503 means: send all of it again.
    """
    check_json_type(request)
    return await get_resources(request).writer.ingest(await read_spans(await request.body()))


@router.get("/traces", summary="List traces, newest first", openapi_extra=_query_docs())
async def list_traces(request: Request) -> Page[TraceSummary]:
    """Session, user, run and workflow may be any span's of a trace, cost and duration are the whole
    trace's; one span must meet all other filters together.
    """
    resources = get_resources(request)
    asked, metadata = _asked(request)
    now = datetime.now(UTC)
    found = await resources.traces.list_traces(
        await _filter(resources, asked, metadata),
        start=asked.start or now - timedelta(days=resources.settings.trace_retention_days),
        end=asked.end or now + timedelta(days=1),  # a sender's clock may run ahead of ours
        before=_before(asked.cursor),
        limit=asked.limit + 1,
    )
    items = [one.summary for one in found[: asked.limit]]
    last = found[asked.limit - 1] if len(found) > asked.limit else None
    cursor = None if last is None else encode_cursor(last.first_micros, last.summary.trace_id)
    return Page(items=items, next_cursor=cursor)


@router.get("/traces/rejected", summary="List spans that could not be stored, newest first")
async def list_rejected_spans(
    resources: ResourcesDep, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[StoredRejection]:
    """Each with the reason."""
    before = None if cursor is None else _moment_key(decode_cursor(cursor, 1)[0])
    found = await resources.traces.list_rejected(before=before, limit=limit + 1)
    items = found[:limit]
    more = len(found) > limit
    last = round(items[-1].rejected_at.timestamp() * 1_000_000) if more else None
    return Page(items=items, next_cursor=None if last is None else encode_cursor(last))


@router.get("/traces/{trace_id}", summary="Read a trace", responses=problems(404))
async def get_trace(trace_id: Annotated[str, Path(pattern="^[0-9a-f]{32}$")], resources: ResourcesDep) -> TraceDetail:
    """The tree of a trace's spans with their whole payloads, and totals."""
    return await resources.traces.get_trace(trace_id)


def _asked(request: Request) -> tuple[TraceQuery, dict[str, str]]:
    metadata: dict[str, str] = {}
    named: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name.startswith(METADATA) and len(name) > len(METADATA):
            metadata[name.removeprefix(METADATA)] = value
        else:
            named[_SHORT_NAMES.get(name, name)] = value
    try:
        return TraceQuery.model_validate(named), metadata
    except ValidationError as error:
        raise invalid_input(error, prefix=("query",), shape=TraceQuery) from None


def _before(cursor: str | None) -> tuple[int, str] | None:
    if cursor is None:
        return None
    micros, trace_id = decode_cursor(cursor, 2)
    return _moment_key(micros), str(trace_id)


def _moment_key(key: str | int) -> int:
    if isinstance(key, int) and abs(key) < 2**62:
        return key
    error = FieldError(loc=["query", "cursor"], msg="not a cursor of this list", type="cursor")
    raise InvalidInput("The cursor is not one of this list; use `next_cursor` as it came.", errors=[error])


async def _filter(resources: Resources, asked: TraceQuery, metadata: dict[str, str]) -> TraceFilter:
    prompts, version = await _prompts(resources, asked)
    return TraceFilter(
        project_id=asked.project_id,
        session_id=asked.session_id,
        user_id=asked.user_id,
        run_id=asked.run_id,
        workflow_name=asked.workflow,
        agent=asked.agent,
        prompts=prompts,
        prompt_version=version,
        model=asked.model,
        kind=asked.kind,
        status=asked.status,
        tag=asked.tag,
        text=asked.q,
        metadata=metadata,
        min_cost=asked.min_cost,
        min_duration_ms=asked.min_duration_ms,
    )


async def _prompts(resources: Resources, asked: TraceQuery) -> tuple[tuple[str, ...] | None, int | None]:
    if asked.prompt is None:
        return None, None
    ref, at, number = asked.prompt.partition("@")
    if at and not (number.isascii() and number.isdigit() and len(number) < 10):
        message = "after '@' comes a version's number"
        error = FieldError(loc=["query", "prompt"], msg=message, type="prompt_version")
        raise InvalidInput(f"query.prompt: {message}", errors=[error])
    names = {ref}
    try:
        prompt = await resources.repository.find(ref, asked.project_id or DEFAULT_PROJECT)
        names |= set() if prompt is None else {prompt.id, prompt.name}
    except DependencyUnavailable:
        pass  # the traces can still be asked for by what their senders called the prompt
    return tuple(sorted(names)), int(number) if at else None

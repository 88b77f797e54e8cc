"""A typed client of the workflow engine."""

import io
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Literal, Self
from urllib.parse import quote

import aiohttp
import orjson
from yarl import URL

from studio.clients.http import connection_faults, raise_for_problem
from studio.contracts.base import Json, JsonObject, Page
from studio.contracts.batches import Batch, StartBatch
from studio.contracts.definitions import DefinitionKind
from studio.contracts.events import RunEvent
from studio.contracts.interaction import ApprovalOutcome, DecideApproval, PendingApproval, ResolveStep
from studio.contracts.reports import ApplyReport, ValidationReport
from studio.contracts.reruns import ReplayRun, RetryPlan, RetryRun
from studio.contracts.runs import Run, RunKind, StartRun, StepRun
from studio.contracts.schedules import StoredSchedule, TriggeredSchedule
from studio.contracts.waits import Limits
from studio.errors import DependencyUnavailable
from studio.sse import EventSplitter, event_data

PART = "workflow engine"
TIMEOUT = aiohttp.ClientTimeout(total=60, sock_connect=3)
STREAM_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=3, sock_read=45)
"""The engine pings every 15 seconds."""
_Query = Mapping[str, str | int | Sequence[str]]


class ApiClient:
    """Use as `async with ApiClient(base_url) as api`, where `base_url` has no `/api/v1`.

    Raises the errors of `studio.errors` that the engine answered with, `DependencyUnavailable` when it cannot be
    reached. Does not retry: the caller owns that.
    """

    def __init__(self, base_url: str, *, actor: str | None = None) -> None:
        self._base = base_url.rstrip("/") + "/api/v1"
        self._headers = {"X-Studio-Actor": actor} if actor else {}

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=TIMEOUT, headers=self._headers)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._session.close()

    async def apply(self, documents: Sequence[Json] | str, *, dry_run: bool = False) -> ApplyReport:
        """Create or update all or none; of YAML text the store keeps comments and order, too.

        An error's `loc` begins with `body` and the document's place in `documents`.
        """
        query = {"dry_run": str(dry_run).lower()}
        if isinstance(documents, str):
            answer = await self._call("POST", ("apply",), query, yaml=documents)
        else:
            answer = await self._call("POST", ("apply",), query, list(documents))
        return ApplyReport.model_validate_json(answer)

    async def validate(self, documents: Sequence[Json]) -> ValidationReport:
        """What is wrong with the documents; nothing is stored."""
        return ValidationReport.model_validate_json(
            await self._call("POST", ("workflows", "validate"), {}, list(documents))
        )

    async def export(self, *, kinds: Sequence[str] = (), name: str | None = None, project_id: str | None = None) -> str:
        """The stored documents as YAML."""
        narrowed = {"name": name, "project_id": project_id}
        query = {key: value for key, value in narrowed.items() if value is not None}
        return (await self._call("GET", ("export",), {"kind": kinds, **query})).decode()

    async def start_run(
        self,
        kind: RunKind,
        ref: str,
        start: StartRun,
        *,
        project_id: str = "default",
        idempotency_key: str | None = None,
    ) -> Run:
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        body = start.model_dump(mode="json", exclude_unset=True)
        path = (f"{kind}s", ref, "runs")
        return Run.model_validate_json(await self._call("POST", path, {"project_id": project_id}, body, headers))

    async def get_run(self, run_id: str) -> Run:
        return Run.model_validate_json(await self._call("GET", ("runs", run_id), {}))

    async def list_runs(self, **filters: str | int | Sequence[str] | None) -> Page[Run]:
        """Newest first. Filters are the query parameters of `GET /runs`; None leaves one out, a list means any."""
        query = {key: value for key, value in filters.items() if value is not None}
        return Page[Run].model_validate_json(await self._call("GET", ("runs",), query))

    async def cancel_run(self, run_id: str) -> Run:
        return Run.model_validate_json(await self._call("POST", ("runs", run_id, "cancel"), {}))

    async def terminate_run(self, run_id: str) -> Run:
        return Run.model_validate_json(await self._call("POST", ("runs", run_id, "terminate"), {}))

    async def retry_run(self, run_id: str, body: RetryRun) -> Run:
        return Run.model_validate_json(await self._rerun(run_id, "retry", body))

    async def plan_retry(self, run_id: str, body: RetryRun) -> RetryPlan:
        """What a retry would run again; nothing changes."""
        planned = body.model_copy(update={"plan_only": True})
        return RetryPlan.model_validate_json(await self._rerun(run_id, "retry", planned))

    async def replay_run(self, run_id: str, body: ReplayRun) -> Run:
        """The new run."""
        return Run.model_validate_json(await self._rerun(run_id, "replay", body))

    async def _rerun(self, run_id: str, how: str, body: RetryRun | ReplayRun) -> bytes:
        return await self._call("POST", ("runs", run_id, how), {}, body.model_dump(mode="json", exclude_unset=True))

    async def pause_run(self, run_id: str) -> Run:
        return Run.model_validate_json(await self._call("POST", ("runs", run_id, "pause"), {}))

    async def resume_run(self, run_id: str) -> Run:
        return Run.model_validate_json(await self._call("POST", ("runs", run_id, "resume"), {}))

    async def change_limits(self, run_id: str, changes: Limits, step_id: str | None = None) -> Run:
        """Only the fields that are set change; None takes a limit away. `step_id` names a child workflow's step."""
        body = changes.model_dump(mode="json", exclude_unset=True)
        query = {} if step_id is None else {"step_id": step_id}
        return Run.model_validate_json(await self._call("PATCH", ("runs", run_id, "limits"), query, body))

    async def send_signal(self, run_id: str, name: str, payload: Json = None) -> Run:
        return Run.model_validate_json(await self._call("POST", ("runs", run_id, "signals", name), {}, payload))

    async def list_definitions(self, kind: DefinitionKind, **filters: str | int | None) -> Page[JsonObject]:
        """Newest first, each as `GET /{kind}s` gives it; None leaves a filter out."""
        query = {key: value for key, value in filters.items() if value is not None}
        return Page[JsonObject].model_validate_json(await self._call("GET", (f"{kind}s",), query))

    async def get_definition(
        self, kind: DefinitionKind, ref: str, *, project_id: str = "default", version: int | None = None
    ) -> JsonObject:
        """The newest version, or the one asked for."""
        path = (f"{kind}s", ref) if version is None else (f"{kind}s", ref, "versions", str(version))
        found: JsonObject = orjson.loads(await self._call("GET", path, {"project_id": project_id}))
        return found

    async def delete_definition(self, kind: DefinitionKind, ref: str, *, project_id: str = "default") -> None:
        await self._call("DELETE", (f"{kind}s", ref), {"project_id": project_id})

    async def list_schedules(self, **filters: str | int | None) -> Page[StoredSchedule]:
        """Newest first. Filters are the query parameters of `GET /schedules`; None leaves one out."""
        query = {key: value for key, value in filters.items() if value is not None}
        return Page[StoredSchedule].model_validate_json(await self._call("GET", ("schedules",), query))

    async def get_schedule(self, ref: str, *, project_id: str = "default") -> StoredSchedule:
        answer = await self._call("GET", ("schedules", ref), {"project_id": project_id})
        return StoredSchedule.model_validate_json(answer)

    async def trigger_schedule(self, ref: str, body: JsonObject, *, project_id: str = "default") -> TriggeredSchedule:
        answer = await self._call("POST", ("schedules", ref, "trigger"), {"project_id": project_id}, body)
        return TriggeredSchedule.model_validate_json(answer)

    async def steer_schedule(
        self,
        ref: str,
        what: Literal["pause", "resume", "backfill"],
        body: JsonObject,
        *,
        project_id: str = "default",
    ) -> StoredSchedule:
        answer = await self._call("POST", ("schedules", ref, what), {"project_id": project_id}, body)
        return StoredSchedule.model_validate_json(answer)

    async def start_batch(self, kind: RunKind, ref: str, start: StartBatch, *, project_id: str = "default") -> Batch:
        body = start.model_dump(mode="json", exclude_unset=True)
        path = (f"{kind}s", ref, "runs:batch")
        return Batch.model_validate_json(await self._call("POST", path, {"project_id": project_id}, body))

    async def get_batch(self, batch_id: str) -> Batch:
        return Batch.model_validate_json(await self._call("GET", ("batches", batch_id), {}))

    async def list_approvals(self, run_id: str) -> list[PendingApproval]:
        """What waits for a person now."""
        answer = await self._call("GET", ("runs", run_id, "approvals"), {})
        return Page[PendingApproval].model_validate_json(answer).items

    async def inbox(self, **filters: str | int | None) -> Page[PendingApproval]:
        """What waits for a person, over all runs, longest first; filters as `GET /approvals` has them."""
        query = {key: value for key, value in filters.items() if value is not None}
        return Page[PendingApproval].model_validate_json(await self._call("GET", ("approvals",), query))

    async def decide(self, run_id: str, step_id: str, decision: DecideApproval) -> ApprovalOutcome:
        """An approval that was decided before is answered with what was decided then."""
        path = ("runs", run_id, "approvals", *step_id.split("/"))
        body = decision.model_dump(mode="json", exclude_unset=True)
        return ApprovalOutcome.model_validate_json(await self._call("POST", path, {}, body))

    async def resolve(self, run_id: str, step_id: str, resolution: ResolveStep) -> StepRun:
        """Say what becomes of a parked step; the step as it is then."""
        path = ("runs", run_id, "steps", *step_id.split("/"), "resolve")
        body = resolution.model_dump(mode="json", exclude_unset=True)
        return StepRun.model_validate_json(await self._call("POST", path, {}, body))

    async def list_events(self, run_id: str) -> list[RunEvent]:
        """The events so far, from the first; of a run that has ended all of them."""
        events: list[RunEvent] = []
        query: dict[str, str] = {}
        while True:
            answer = await self._call("GET", ("runs", run_id, "events"), query, headers={"Accept": "application/json"})
            page = Page[RunEvent].model_validate_json(answer)
            events += page.items
            if page.next_cursor is None:
                return events
            query = {"after": page.next_cursor}

    async def stream_events(self, run_id: str, *, after: str | None = None) -> AsyncGenerator[RunEvent, None]:
        """Events as they come, from the first or from behind `after`, until the engine closes the stream.

        A stream that breaks raises `DependencyUnavailable`; go on with the last event's `seq`.
        """
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": after} if after else {})
        url = self._url(("runs", run_id, "events"), {})
        async with (
            connection_faults(PART),
            self._session.get(url, headers=headers, timeout=STREAM_TIMEOUT) as response,
        ):
            await raise_for_problem(response, PART)
            splitter = EventSplitter()
            async for chunk in response.content.iter_any():
                for event in splitter.feed(chunk):
                    data = event_data(event)
                    if data is not None:
                        yield RunEvent.model_validate_json(data)
            if splitter.rest:
                raise DependencyUnavailable(PART, "The event stream was cut in the middle of an event.")

    async def _call(
        self,
        method: str,
        path: Sequence[str],
        query: _Query,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        yaml: str | None = None,
    ) -> bytes:
        """`yaml` is sent in place of a JSON body."""
        sent = dict(headers or {})
        data = None
        if yaml is not None:
            data = io.BytesIO(yaml.encode())
            sent["Content-Type"] = "application/yaml"
        elif body is not None:
            data = io.BytesIO(orjson.dumps(body))
            sent["Content-Type"] = "application/json"
        async with (
            connection_faults(PART),
            self._session.request(method, self._url(path, query), data=data, headers=sent) as response,
        ):
            await raise_for_problem(response, PART)
            return await response.read()

    def _url(self, path: Sequence[str], query: _Query) -> URL:
        return URL("/".join((self._base, *(quote(part, safe="") for part in path))), encoded=True).with_query(query)

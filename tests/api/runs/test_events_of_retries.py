"""The stream of a run that was retried goes on after the end of its first try."""

from typing import Any, Literal

from redis.asyncio import Redis
from sqlalchemy import update

from studio.contracts.base import JsonObject, utc_now
from studio.contracts.events import NewEvent
from studio.contracts.runs import RunProgress, StepRun
from studio.db.tables import RunRow
from tests.api.conftest import Live
from tests.support.watching import open_socket, so_far, watch

ASK: JsonObject = {"id": "ask", "agent": {"message": "question"}}
FIRST_TRY = ["run.started", "step.started", "token", "step.failed"]
SECOND_TRY = ["step.started", "token", "step.succeeded", "run.succeeded"]


class TestRetried:
    """The run's row and stream as a retry leaves them, step by step."""

    async def test_goes_on_after_the_first_end(self, idle: Live) -> None:
        run_id = await _failed_run(idle)
        first = await watch(idle.api, run_id)
        seen = await first.rest()
        assert [event["type"] for event in seen] == [*FIRST_TRY, "run.failed"]

        await _set_row(idle, run_id, status="queued", retry_count=1, error=None, ended_at=None)
        retried = NewEvent(ts=utc_now(), type="run.retried", attempt=2, data={"status": "running", "retry_count": 1})
        await idle.engine.stream.publish(run_id, [retried])
        late, resumed = await watch(idle.api, run_id), await watch(idle.api, run_id, seen[-1]["seq"])
        socket = await open_socket(idle.api, run_id)
        await resumed.until("run.retried")
        await idle.engine.stream.publish(run_id, [_event("step.started", "ask", 2), _event("token", "ask", 2)])
        await resumed.until("token")
        await _end_second_try(idle, run_id)
        whole = await late.rest()
        assert [event["type"] for event in whole] == [*FIRST_TRY, "run.failed", "run.retried", *SECOND_TRY]
        assert await socket.rest() == whole
        assert await resumed.rest() == whole[-2:]
        assert await (await watch(idle.api, run_id)).rest() == whole
        assert whole == (await so_far(idle.api, run_id))["items"]

    async def test_goes_on_after_a_story_that_the_row_told(self, idle: Live) -> None:
        """Whose numbers are guesses, and later than the moments in which things happened."""
        run_id = await _failed_run(idle)
        async with Redis.from_url(idle.api.settings.redis_url) as redis:
            await redis.delete(f"studio:run:{{{run_id}}}:events", f"studio:run:{{{run_id}}}:published")
        told = await (await watch(idle.api, run_id)).rest()
        assert [event["type"] for event in told] == ["run.started", "step.started", "step.failed", "run.failed"]

        await _set_row(idle, run_id, status="queued", retry_count=1, error=None, ended_at=None)
        await idle.engine.stream.publish(run_id, [_event("run.retried", None, 2), _event("step.started", "ask", 2)])
        await idle.engine.stream.publish(run_id, [_event("token", "ask", 2)])
        await _end_second_try(idle, run_id)
        rest = await (await watch(idle.api, run_id, told[-1]["seq"])).rest()
        assert [event["type"] for event in rest] == ["run.retried", *SECOND_TRY]


def _event(kind: str, path: str | None, attempt: int) -> NewEvent:
    data: JsonObject = {"text": f"of attempt {attempt}", "index": 0} if kind == "token" else {"kind": "agent"}
    fields = {"ts": utc_now(), "type": kind, "step_id": path, "attempt": attempt, "data": data}
    return NewEvent.model_validate(fields)


async def _set_row(idle: Live, run_id: str, **values: Any) -> None:
    async with idle.engine.database.write() as session:
        await session.execute(update(RunRow).where(RunRow.id == run_id).values(**values))


async def _failed_run(idle: Live) -> str:
    await idle.workflow(ASK)
    run_id = await idle.start()
    told = [_event(kind, None if kind.startswith("run.") else "ask", 1) for kind in (*FIRST_TRY[1:], "run.failed")]
    await idle.engine.stream.publish(run_id, told)
    await _set_row(idle, run_id, **_ended("failed", attempt=1))
    return run_id


async def _end_second_try(idle: Live, run_id: str) -> None:
    await _set_row(idle, run_id, **_ended("succeeded", attempt=2))
    await idle.engine.stream.publish(run_id, [_event("step.succeeded", "ask", 2), _event("run.succeeded", None, 2)])


def _ended(status: Literal["failed", "succeeded"], attempt: int) -> dict[str, Any]:
    now = utc_now()
    step = StepRun(id="ask", kind="agent", status=status, attempt=attempt, started_at=now, ended_at=now)
    progress = RunProgress(status=status, steps=[step]).model_dump(mode="json")
    return {"status": status, "started_at": now, "ended_at": now, "progress": progress}

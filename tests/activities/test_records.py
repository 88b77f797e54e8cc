import hashlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from activities.records import RecordActivities
from studio.contracts.activities import RecordEndRequest
from studio.contracts.base import Json, utc_now
from studio.contracts.events import CONTENT_LIMIT_BYTES, NewEvent
from studio.contracts.folding import LARGE_BYTES
from studio.contracts.ids import IdPrefix, new_id
from studio.contracts.runs import Run, RunContext, RunEnd, RunProgress, RunStatus, StepRun
from studio.db.engine import Database
from studio.db.migrate import migrate_database
from studio.db.tables import RunRow
from studio.store.event_stream import EventStream
from studio.store.runs import get_run, insert_run, requeue_run, to_run
from studio.tracing import SpanSender
from studio.web.responses import dump_json
from tests.support.databases import sqlite_database
from tests.support.span_sink import SpanSink


class Recorder:
    """The activity, for one run."""

    def __init__(self, database: Database, stream: EventStream, spans: SpanSender, sink: SpanSink) -> None:
        self._database = database
        self._stream = stream
        self.sink = sink
        self._records = RecordActivities(database, stream, spans)
        self.context = RunContext(
            run_id=new_id(IdPrefix.RUN), project_id="p", workflow_name="w", workflow_version=1, trace_id="a" * 32
        )

    async def end(self, status: RunStatus, *, retry: int = 0, outputs: Sequence[Json] = (), **fields: Any) -> None:
        """With a step, `s0` the first, for each of the outputs."""
        now = utc_now()
        steps = [
            StepRun(id=f"s{place}", kind="transform", status="succeeded", started_at=now, ended_at=now, output=output)
            for place, output in enumerate(outputs)
        ]
        end = RunEnd(status=status, progress=RunProgress(steps=steps), started_at=now, ended_at=now, **fields)
        request = RecordEndRequest(
            run=self.context.model_copy(update={"retry": retry}),
            root_span_id="b" * 16,
            end=end,
            events=[NewEvent.model_validate({"ts": now, "attempt": retry + 1, "type": f"run.{status}"})],
        )
        await ActivityEnvironment().run(self._records.record_end, request)

    async def retried(self) -> None:
        async with self._database.write() as session:
            row = await get_run(session, self.context.run_id)
            assert row is not None
            assert await requeue_run(session, row, utc_now(), version=row.definition_version, pattern=row.pattern)

    async def run(self) -> Run:
        async with self._database.read() as session:
            row = await get_run(session, self.context.run_id)
        assert row is not None
        return to_run(row)

    async def told(self) -> list[str]:
        return [event.type for event in await self._stream.read(self.context.run_id)]


@asynccontextmanager
async def recording(folder: Path, redis_url: str, *, content: bool = True) -> AsyncGenerator[Recorder]:
    database = Database(sqlite_database(folder))
    await migrate_database(database)
    async with SpanSink() as sink, EventStream(redis_url) as stream, SpanSender(sink.url, content=content) as spans:
        found = Recorder(database, stream, spans, sink)
        async with database.write() as session:
            await insert_run(session, _row(found.context))
        yield found
    await database.close()


@pytest.fixture
async def recorder(tmp_path: Path, redis_url: str) -> AsyncGenerator[Recorder]:
    async with recording(tmp_path, redis_url) as found:
        yield found


def _row(context: RunContext) -> RunRow:
    return RunRow(
        id=context.run_id,
        kind="workflow",
        project_id="p",
        definition_id="wf_1",
        definition_name="w",
        definition_version=1,
        status="queued",
        run_metadata={},
        trace_id=context.trace_id,
        created_at=utc_now(),
    )


class TestRecordEnd:
    async def test_twice_is_once(self, recorder: Recorder) -> None:
        await recorder.end("failed")
        first = await recorder.run()
        await recorder.end("failed")
        assert (await recorder.run(), await recorder.told()) == (first, ["run.failed"])

    async def test_that_of_an_earlier_execution_comes_too_late(self, recorder: Recorder) -> None:
        await recorder.end("failed")
        await recorder.retried()
        await recorder.end("failed")
        assert (await recorder.run()).status == "queued"
        await recorder.end("succeeded", retry=1, output=5)
        run = await recorder.run()
        await recorder.end("failed")
        assert await recorder.run() == run
        assert (run.status, run.output, run.retry_count) == ("succeeded", 5, 1)

    async def test_of_a_run_that_was_ended_otherwise(self, recorder: Recorder) -> None:
        await recorder.end("terminated")
        await recorder.end("succeeded", output=5)
        run = await recorder.run()
        assert (run.status, run.output, await recorder.told()) == ("terminated", None, ["run.terminated"])


def _deep(levels: int) -> Json:
    value: Json = 1
    for _ in range(levels):
        value = [value]
    return value


class TestWhatNoStoreTakes:
    """A run whose end cannot be written as it is ends all the same, and can be read."""

    @pytest.mark.parametrize(
        ("output", "status"),
        [
            (10**30, "succeeded"),
            ([float("nan")], "succeeded"),
            ("cut \ud83d", "succeeded"),
            (_deep(600), "failed"),
        ],
        ids=["past 64 bits", "nan", "half an emoji", "600 deep"],
    )
    async def test_ends_the_run(self, recorder: Recorder, output: Json, status: RunStatus) -> None:
        for _ in range(2):  # safe to repeat
            await recorder.end("succeeded", outputs=[output], output=output)
        run = await recorder.run()
        assert run.status == status
        if status == "failed":
            assert run.error is not None
            assert run.error.message == "What the run did cannot be written to its record."
        assert dump_json(run)
        assert await recorder.told() == ["run.succeeded"]
        assert (await recorder.sink.wait_for(1))[0].status == ("ok" if status == "succeeded" else "error")


class TestSpans:
    async def test_a_large_output_is_whole_in_the_first_that_has_it(self, recorder: Recorder) -> None:
        large, other = "x" * LARGE_BYTES, {"text": "y" * LARGE_BYTES}
        outputs: list[Json] = [large, "small", large, other, "small", other, large]
        await recorder.end("succeeded", outputs=outputs, output=large)
        spans = await recorder.sink.wait_for(8)
        assert [span.name for span in spans if span.output_cut is not None] == ["s2", "s5", "s6"]
        whole = [span.output for span in spans if span.output_cut is None]
        assert whole == [large, large, "small", other, "small"]
        cut = spans[3]
        assert cut.output == f'"{"x" * (CONTENT_LIMIT_BYTES - 1)}'
        assert cut.output_cut is not None
        assert cut.output_cut.length == LARGE_BYTES + 2
        assert cut.output_cut.sha256 == hashlib.sha256(f'"{large}"'.encode()).hexdigest()

    async def test_without_content_nothing_is_told_of_it(self, tmp_path: Path, redis_url: str) -> None:
        outputs: list[Json] = ["x" * LARGE_BYTES] * 2
        async with recording(tmp_path, redis_url, content=False) as recorder:
            await recorder.end("succeeded", outputs=outputs, output=outputs[0])
            spans = await recorder.sink.wait_for(3)
        assert {(span.output, span.output_cut) for span in spans} == {(None, None)}

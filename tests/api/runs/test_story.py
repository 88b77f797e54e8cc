"""What a finished run's row tells when its live events are gone."""

from datetime import timedelta
from typing import Any

from api.runs.story import read_seq, told_events, whole_story
from studio.contracts.base import utc_now
from studio.contracts.events import NewEvent, RunEvent
from studio.contracts.runs import DefinitionRef, Run, StepRun, TemporalRef

BEGAN = utc_now().replace(microsecond=0)


def step(path: str, kind: str, began: float | None, ended: float | None, **fields: Any) -> StepRun:
    times = {
        "started_at": None if began is None else BEGAN + timedelta(seconds=began),
        "ended_at": None if ended is None else BEGAN + timedelta(seconds=ended),
    }
    return StepRun.model_validate({"id": path, "kind": kind, "status": "succeeded", **times, **fields})


def run(*steps: StepRun, status: str = "succeeded", ended: float, **fields: Any) -> Run:
    return Run.model_validate(
        {
            "id": "run_1",
            "kind": "workflow",
            "project_id": "default",
            "workflow": DefinitionRef(id="wf_1", name="test", version=1),
            "pattern": "sequential",
            "status": status,
            "input": None,
            "steps": steps,
            "trace_id": "0" * 31 + "1",
            "created_at": BEGAN,
            "started_at": BEGAN,
            "ended_at": BEGAN + timedelta(seconds=ended),
            "temporal": TemporalRef(workflow_id="run_1"),
            **fields,
        }
    )


def story(events: list[NewEvent]) -> list[str]:
    return [f"{event.type} {event.step_id or ''}".strip() for event in events]


class TestOrder:
    def test_branches_and_children_in_the_order_of_times(self) -> None:
        told = told_events(
            run(
                step("both", "parallel", 0, 9),
                step("both/slow", "agent", 0, 9),
                step("both/child", "workflow", 1, 5),
                step("both/child/inner", "agent", 1, 4),
                step("both/child/skipped", "transform", None, None, status="skipped"),
                step("review", "approval", 9, 20),
                step("again", "loop", 20, 30),
                step("again#0/ask", "agent", 20, 24),
                step("again#1/ask", "agent", 24, 30),
                ended=30,
            )
        )
        assert story(told) == [
            "run.started",
            "step.started both",
            "step.started both/slow",
            "step.started both/child",
            "step.started both/child/inner",
            "step.succeeded both/child/inner",
            "step.skipped both/child/skipped",
            "step.succeeded both/child",
            "step.succeeded both/slow",
            "step.succeeded both",
            "step.started review",
            "step.succeeded review",
            "step.started again",
            "step.started again#0/ask",
            "step.succeeded again#0/ask",
            "step.started again#1/ask",
            "step.succeeded again#1/ask",
            "step.succeeded again",
            "run.succeeded",
        ]

    def test_a_reader_who_was_away_loses_nothing_of_branches(self) -> None:
        """An event's `seq` is not before the moment in which it reached Redis."""
        ended = run(
            step("both", "parallel", 0, 100), step("both/a", "agent", 0, 100), step("both/b", "agent", 0, 10), ended=100
        )
        seqs = {
            f"{event.type} {event.step_id}": read_seq(event.seq)[0] - int(BEGAN.timestamp() * 1000)
            for event in whole_story(ended, [])
        }
        assert seqs["step.succeeded both/a"] >= 100_000
        assert list(seqs.values()) == sorted(seqs.values())

    def test_every_step_that_started_ends(self) -> None:
        told = told_events(
            run(
                step("block", "sequential", 0, None, status="running"),
                step("block/ask", "agent", 1, None, status="waiting"),
                status="terminated",
                ended=5,
            )
        )
        assert story(told)[3:] == ["step.cancelled block/ask", "step.cancelled block", "run.terminated"]

    def test_a_step_that_never_began_only_ends(self) -> None:
        told = told_events(
            run(
                step("ask", "agent", 0, 2),
                step("again", "agent", None, 2, status="cancelled"),
                status="failed",
                ended=2,
            )
        )
        assert story(told)[2:] == ["step.succeeded ask", "step.cancelled again", "run.failed"]


class TestRetried:
    FAILED_THEN_SUCCEEDED = run(
        step("plan", "agent", 0, 2),
        step("write", "agent", 60, 65, attempt=2),
        ended=65,
        retry_count=1,
    )

    def test_its_stream_is_gone(self) -> None:
        told = whole_story(self.FAILED_THEN_SUCCEEDED, [])
        assert [(event.type, event.step_id, event.attempt) for event in told] == [
            ("run.started", None, 1),
            ("step.started", "plan", 1),
            ("step.succeeded", "plan", 1),
            ("step.started", "write", 2),
            ("step.succeeded", "write", 2),
            ("run.succeeded", None, 2),
        ]

    def test_its_stream_ends_with_the_first_try(self) -> None:
        def event(seconds: float, kind: str, path: str | None = None) -> RunEvent:
            at = BEGAN + timedelta(seconds=seconds)
            seq = f"{int(at.timestamp() * 1000)}-0"
            return RunEvent.model_validate({"ts": at, "type": kind, "step_id": path, "seq": seq, "run_id": "run_1"})

        streamed = [
            event(0, "run.started"),
            event(0, "step.started", "plan"),
            event(1, "token", "plan"),
            event(2, "step.succeeded", "plan"),
            event(2, "step.started", "write"),
            event(3, "step.failed", "write"),
            event(3, "run.failed"),
        ]
        told = whole_story(self.FAILED_THEN_SUCCEEDED, streamed)
        assert told[: len(streamed)] == streamed
        assert [(event.type, event.step_id, event.attempt) for event in told[len(streamed) :]] == [
            ("step.succeeded", "write", 2),
            ("run.succeeded", None, 2),
        ]

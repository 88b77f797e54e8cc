"""Pauses, limits, signals and approvals over REST, in a run and in its child workflows."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from studio.contracts.base import Json, JsonObject, utc_now
from studio.store.idempotency import json_hash, keep_key
from tests.api.conftest import Live
from tests.support.scripted_upstream import Reply

ASK: JsonObject = {"id": "ask", "agent": {"message": "question"}}
APPROVE: JsonObject = {"id": "ok", "approval": {"message": "Send?", "allow_edit": True}, "input": {"text": "hi"}}
LISTEN: JsonObject = {"id": "hear", "wait": {"signal": "go"}}


async def until_waiting(live: Live, run_id: str, path: str) -> JsonObject:
    """Ask until the step waits."""
    return await live.api.until(f"/runs/{run_id}", lambda run: _status(run, path) == "waiting")


async def events_of(client: Client, workflow_id: str) -> Sequence[HistoryEvent]:
    return (await client.get_workflow_handle(workflow_id).fetch_history()).events


def _status(run: JsonObject, path: str) -> str | None:
    return next((step["status"] for step in run["steps"] if step["id"] == path), None)


class TestPause:
    async def test_starts_nothing_further_until_resumed(self, lite: Live) -> None:
        await lite.workflow(ASK, {"id": "after", "transform": "${{ prev.output + '!' }}"})
        lite.upstream.default = Reply(text="a", hold_after=0)
        run_id = await lite.start()
        await lite.upstream.wait_for_calls(1, "held")
        run = (await lite.api.post(f"/runs/{run_id}/pause")).ok(202)
        assert run["status"] == "paused"
        lite.upstream.release()
        run = await lite.api.until(f"/runs/{run_id}", lambda run: _status(run, "ask") == "succeeded")
        assert (run["status"], _status(run, "after")) == ("paused", "pending")
        await lite.api.post(f"/runs/{run_id}/resume")
        assert (await lite.api.finished(run_id))["output"] == "a!"

    async def test_child_workflows_pause_with_the_run(self, lite: Live) -> None:
        await lite.workflow(ASK, {"id": "after", "transform": 1}, name="inner")
        await lite.workflow({"id": "m", "parallel": {"for_each": [1, 2], "do": {"id": "c", "workflow": "inner"}}})
        lite.upstream.default = Reply(text="a", hold_after=0)
        run_id = await lite.start()
        await lite.upstream.wait_for_calls(2, "held")
        await lite.api.post(f"/runs/{run_id}/pause")
        lite.upstream.release()
        done = {"m/c[0]/ask", "m/c[1]/ask"}
        run = await lite.api.until(
            f"/runs/{run_id}", lambda run: done <= {one["id"] for one in run["steps"] if one["status"] == "succeeded"}
        )
        assert run["status"] == "paused"
        assert [_status(run, f"m/c[{number}]/after") for number in (0, 1)] == ["pending", "pending"]
        await lite.api.post(f"/runs/{run_id}/resume")
        assert (await lite.api.finished(run_id))["output"] == [1, 1]

    async def test_a_finished_run_cannot_be_paused(self, lite: Live) -> None:
        await lite.workflow({"id": "a", "transform": 1})
        run = (await lite.api.post("/workflows/test/runs", {}, wait=30)).ok(200)
        answer = await lite.api.post(f"/runs/{run['id']}/pause")
        assert answer.status == 409
        assert answer.json["run_status"] == "succeeded"

    async def test_an_unknown_run_is_not_found(self, lite: Live) -> None:
        assert (await lite.api.post("/runs/run_none/resume")).status == 404


class TestLimits:
    async def test_a_reached_limit_pauses_and_raising_it_lets_the_run_end(self, lite: Live) -> None:
        await lite.workflow(ASK, ASK | {"id": "again"}, limits={"max_steps": 1})
        run_id = await lite.start()
        await lite.api.until(f"/runs/{run_id}", lambda run: run["status"] == "paused")
        (await lite.api.patch(f"/runs/{run_id}/limits", {"max_steps": 5})).ok(200)
        await lite.api.post(f"/runs/{run_id}/resume")
        assert (await lite.api.finished(run_id))["status"] == "succeeded"

    async def test_a_step_that_a_limit_stops_has_no_start(self, lite: Live) -> None:
        await lite.workflow(ASK, ASK | {"id": "again"}, limits={"max_steps": 1, "on_exceeded": "fail"})
        run_id = await lite.start()
        run = await lite.api.finished(run_id)
        assert [(step["status"], step["started_at"] is None) for step in run["steps"]] == [
            ("succeeded", False),
            ("skipped", True),
        ]
        headers = {"Accept": "application/json"}
        events = (await lite.api.request("GET", f"/runs/{run_id}/events", headers=headers)).ok()["items"]
        assert [event["type"] for event in events if event["step_id"] == "again"] == ["step.skipped"]

    async def test_a_child_workflows_own_limit_can_be_raised(self, lite: Live) -> None:
        await lite.workflow(ASK, ASK | {"id": "again"}, name="inner", limits={"max_steps": 1})
        await lite.workflow({"id": "c", "workflow": "inner"})
        run_id = await lite.start()
        await lite.api.until(f"/runs/{run_id}", lambda run: run["status"] == "paused")
        (await lite.api.patch(f"/runs/{run_id}/limits", {"max_steps": 5}, step_id="c")).ok(200)
        await lite.api.post(f"/runs/{run_id}/resume")
        assert (await lite.api.finished(run_id))["status"] == "succeeded"
        assert (await lite.api.patch(f"/runs/{run_id}/limits", {"max_steps": 5}, step_id="c")).status == 404

    async def test_the_runs_limit_holds_in_a_child_workflow_and_is_raised_for_both(self, lite: Live) -> None:
        await lite.workflow(ASK, ASK | {"id": "again"}, name="inner")
        await lite.workflow({"id": "c", "workflow": "inner"}, limits={"max_tokens": 1})
        run_id = await lite.start()
        run = await lite.api.until(f"/runs/{run_id}", lambda run: run["status"] == "paused")
        assert [step["id"] for step in run["steps"] if step["status"] == "succeeded"] == ["c/ask"]
        (await lite.api.patch(f"/runs/{run_id}/limits", {"max_tokens": None})).ok(200)
        await lite.api.post(f"/runs/{run_id}/resume")
        assert (await lite.api.finished(run_id))["status"] == "succeeded"

    async def test_a_limit_that_is_raised_while_a_child_workflow_starts_reaches_it(self, lite: Live) -> None:
        await lite.workflow(ASK, ASK | {"id": "again"}, name="inner")
        await lite.workflow(LISTEN, {"id": "c", "workflow": "inner"}, limits={"max_tokens": 1})
        run_id = await lite.start()
        client = lite.engine.client
        holder = await client.start_workflow("Nobody", id=f"{run_id}/c", task_queue="nobody-polls")
        (await lite.api.post(f"/runs/{run_id}/signals/go")).ok(202)
        refused = EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_FAILED
        async with asyncio.timeout(20):
            while all(event.event_type != refused for event in await events_of(client, run_id)):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        (await lite.api.patch(f"/runs/{run_id}/limits", {"max_tokens": None})).ok(200)
        await holder.terminate()
        assert (await lite.api.finished(run_id))["status"] == "succeeded"

    @pytest.mark.parametrize("body", [{"max_tokens": 0}, {"max_money": 1}, {"timeout": "soon"}])
    async def test_nonsense_is_refused_with_its_place(self, lite: Live, body: JsonObject) -> None:
        await lite.workflow(LISTEN)
        run_id = await lite.start()
        answer = await lite.api.patch(f"/runs/{run_id}/limits", body)
        assert answer.status == 422
        assert answer.json["errors"][0]["loc"] == ["body", *body]


class TestSignals:
    @pytest.mark.parametrize("payload", [{"x": [1, None]}, "text", 5, None])
    async def test_the_payload_is_the_steps_output(self, lite: Live, payload: Json) -> None:
        await lite.workflow(LISTEN)
        run_id = await lite.start()
        (await lite.api.post(f"/runs/{run_id}/signals/go", payload)).ok(202)
        assert (await lite.api.finished(run_id))["output"] == payload

    async def test_a_child_workflow_that_waits_gets_it(self, lite: Live) -> None:
        await lite.workflow(LISTEN, name="inner")
        await lite.workflow({"id": "c", "workflow": "inner"})
        run_id = await lite.start()
        run = await until_waiting(lite, run_id, "c/hear")
        assert run["status"] == "waiting"
        (await lite.api.post(f"/runs/{run_id}/signals/go", "there")).ok(202)
        assert (await lite.api.finished(run_id))["output"] == "there"

    async def test_one_that_is_sent_again_with_its_key_counts_once(self, live: Live) -> None:
        async def go(payload: Json, key: str) -> Any:
            return await live.api.request(
                "POST", f"/runs/{run_id}/signals/go", payload, headers={"Idempotency-Key": key}
            )

        await live.workflow(LISTEN, LISTEN | {"id": "more"}, output="${{ [steps.hear.output, steps.more.output] }}")
        run_id = await live.start()
        await until_waiting(live, run_id, "hear")
        for answer in await asyncio.gather(*(go("first", "one") for _ in range(5))):
            answer.ok(202)
        await until_waiting(live, run_id, "more")
        (await go("first", "one")).ok(202)
        detail = (await go("other", "one")).problem(409, "conflict")["detail"]
        assert "another payload" in detail
        (await go("second", "two")).ok(202)
        assert (await live.api.finished(run_id))["output"] == ["first", "second"]
        (await go("second", "two")).ok(202)
        (await go("third", "three")).problem(409, "conflict")

    async def test_one_that_its_child_workflow_heard_is_not_kept_for_the_run(self, lite: Live) -> None:
        await lite.workflow(LISTEN, name="inner")
        await lite.workflow({"id": "c", "workflow": "inner"}, LISTEN | {"id": "last"})
        run_id = await lite.start()
        await until_waiting(lite, run_id, "c/hear")
        path, key = f"/runs/{run_id}/signals/go", {"Idempotency-Key": "k"}
        (await lite.api.request("POST", path, "inside", headers=key)).ok(202)
        await until_waiting(lite, run_id, "last")
        (await lite.api.request("POST", path, "inside", headers=key)).ok(202)
        (await lite.api.post(path, "outside")).ok(202)
        assert (await lite.api.finished(run_id))["output"] == "outside"

    async def test_one_that_is_sent_again_after_a_retry_is_not_heard_again(self, lite: Live) -> None:
        late = {"id": "more", "wait": {"signal": "go", "timeout": "1s"}}
        await lite.workflow(LISTEN, late, name="inner")
        await lite.workflow({"id": "c", "workflow": "inner"})
        run_id = await lite.start()
        await until_waiting(lite, run_id, "c/hear")
        path, key = f"/runs/{run_id}/signals/go", {"Idempotency-Key": "k"}
        (await lite.api.request("POST", path, "x", headers=key)).ok(202)
        assert (await lite.api.finished(run_id))["status"] == "failed"
        (await lite.api.post(f"/runs/{run_id}/retry", {})).ok(202)
        await until_waiting(lite, run_id, "c/more")
        (await lite.api.request("POST", path, "x", headers=key)).ok(202)
        assert (await lite.api.finished(run_id))["status"] == "failed"

    async def test_one_whose_workflow_closed_before_it_heard_is_for_the_run(self, lite: Live) -> None:
        await lite.workflow(LISTEN)
        run_id = await lite.start()
        await until_waiting(lite, run_id, "hear")
        async with lite.engine.database.write() as session:
            hashed = json_hash("x")
            await keep_key(session, f"{run_id}/go", "k", hashed, run_id, utc_now(), f"{run_id}/closed")
        again = await lite.api.request("POST", f"/runs/{run_id}/signals/go", "x", headers={"Idempotency-Key": "k"})
        again.ok(202)
        assert (await lite.api.finished(run_id))["output"] == "x"

    @pytest.mark.parametrize("name", ["studio_pause", "9", "a b"])
    async def test_a_name_that_cannot_be_is_refused(self, lite: Live, name: str) -> None:
        await lite.workflow(LISTEN)
        run_id = await lite.start()
        assert (await lite.api.post(f"/runs/{run_id}/signals/{name}", 1)).status == 422


class TestApprovals:
    async def decide(self, live: Live, run_id: str, path: str, **body: Json) -> Any:
        return await live.api.post(f"/runs/{run_id}/approvals/{path}", body)

    async def test_shows_what_is_to_be_decided_and_takes_the_decision(self, lite: Live) -> None:
        await lite.workflow(APPROVE)
        run_id = await lite.start()
        await until_waiting(lite, run_id, "ok")
        shown = (await lite.api.get(f"/runs/{run_id}/approvals")).ok(200)["items"]
        assert [(one["step_id"], one["message"], one["input"]) for one in shown] == [("ok", "Send?", {"text": "hi"})]
        answer = await self.decide(
            lite, run_id, "ok", decision="approve", edit={"text": "hello"}, hash=shown[0]["hash"], comment="nicer"
        )
        assert answer.ok(200) == {"decision": "approve", "comment": "nicer", "by": "anonymous", "accepted": True}
        assert (await lite.api.finished(run_id))["output"]["value"] == {"text": "hello"}

    async def test_a_second_and_a_late_answer_get_what_was_decided(self, lite: Live) -> None:
        await lite.workflow(APPROVE, LISTEN)
        run_id = await lite.start()
        await until_waiting(lite, run_id, "ok")
        await self.decide(lite, run_id, "ok", decision="reject")
        second = (await self.decide(lite, run_id, "ok", decision="approve")).ok(200)
        await lite.api.post(f"/runs/{run_id}/signals/go")
        await lite.api.finished(run_id)
        late = (await self.decide(lite, run_id, "ok", decision="approve")).ok(200)
        assert [(one["decision"], one["accepted"]) for one in (second, late)] == [("reject", False)] * 2

    async def test_a_decision_about_something_else_is_refused(self, lite: Live) -> None:
        await lite.workflow(APPROVE)
        run_id = await lite.start()
        await until_waiting(lite, run_id, "ok")
        assert (await self.decide(lite, run_id, "ok", decision="approve", hash="0" * 64)).status == 409
        assert (await self.decide(lite, run_id, "other", decision="approve")).status == 404
        assert (await self.decide(lite, run_id, "ok", decision="perhaps")).status == 422

    async def test_an_edit_that_is_not_allowed_is_refused(self, lite: Live) -> None:
        await lite.workflow({"id": "ok", "approval": {"message": "Send?"}, "input": 1})
        run_id = await lite.start()
        await until_waiting(lite, run_id, "ok")
        assert (await self.decide(lite, run_id, "ok", decision="approve", edit=2)).status == 409

    async def test_of_ten_at_once_one_decides(self, live: Live) -> None:
        await live.workflow(APPROVE)
        run_id = await live.start()
        await until_waiting(live, run_id, "ok")
        answers = await asyncio.gather(
            *(self.decide(live, run_id, "ok", decision="approve", comment=str(number)) for number in range(10))
        )
        decided = [answer.ok(200) for answer in answers]
        assert [one["accepted"] for one in decided].count(True) == 1
        assert len({one["comment"] for one in decided}) == 1

    async def test_in_a_child_workflow_inside_a_map(self, lite: Live) -> None:
        await lite.workflow(APPROVE | {"input": "${{ input }}"}, name="inner")
        do = {"id": "c", "workflow": "inner"}
        await lite.workflow({"id": "m", "parallel": {"for_each": [1, 2], "do": do}})
        run_id = await lite.start()
        await until_waiting(lite, run_id, "m/c[1]/ok")
        for number in (1, 0):
            await until_waiting(lite, run_id, f"m/c[{number}]/ok")
            answer = (await self.decide(lite, run_id, f"m/c[{number}]/ok", decision="approve")).ok(200)
            assert answer["accepted"]
        run = await lite.api.finished(run_id)
        assert [one["value"] for one in run["output"]] == [1, 2]
        assert _status(run, "m/c[0]/ok") == "succeeded"

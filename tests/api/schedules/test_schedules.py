"""Schedules as resources: stored, checked, changed, deleted, and kept in step with Temporal."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from temporalio.client import ScheduleOverlapPolicy

from api.schedules import temporal
from studio.contracts.base import Json, JsonObject
from studio.db.tables import DefinitionRow
from tests.api.conftest import Live, open_live
from tests.cli.support.proxy import Proxy
from tests.support.databases import sqlite_database
from tests.support.services import RunningApi

ECHO: JsonObject = {"id": "echo", "transform": "${{ input }}"}
WORKFLOW: JsonObject = {"name": "test", "pattern": "sequential", "steps": [ECHO]}
DAILY: JsonObject = {"name": "daily", "workflow": "test", "cron": "0 9 * * *"}
BERLIN: JsonObject = {"timezone": "Europe/Berlin", "start_at": "2037-03-27T12:00:00Z"}


async def hours(live: Live, **fields: Json) -> list[str]:
    """When the schedule runs next, to the minute."""
    moments = (await live.api.patch("/schedules/daily", fields)).ok()["next_runs"]
    return [moment[5:16] for moment in moments]


class TestStore:
    async def test_create_change_delete(self, live: Live) -> None:
        await live.workflow(ECHO)
        answer = await live.api.post("/schedules", DAILY | {"description": "At nine.", "input": {"a": 1}})
        schedule = answer.ok(201)
        assert schedule["id"].startswith("sch_")
        assert answer.headers["location"] == f"/api/v1/schedules/{schedule['id']}"
        assert (DAILY | {"input": {"a": 1}, "version": 1, "paused": False, "recent": []}).items() <= schedule.items()
        assert schedule["next_runs"][0].endswith("T09:00:00.000000Z")
        assert (await live.api.get("/schedules/daily")).ok() == schedule
        assert (await live.api.get(f"/schedules/{schedule['id']}")).ok() == schedule
        assert (await live.api.get("/schedules", q="nine")).ok()["items"] == [schedule]
        assert "daily" in (await live.api.post("/schedules", DAILY)).problem(409, "conflict")["detail"]

        changed = await live.api.patch("/schedules/daily", {"cron": ["0 6 * * *", "@monthly"], "overlap": "allow_all"})
        assert changed.ok()["version"] == 2
        assert {moment[10:16] for moment in changed.ok()["next_runs"]} in ({"T06:00"}, {"T06:00", "T00:00"})
        stale = {"If-Match": answer.headers["etag"]}
        for method, body in (("PUT", DAILY), ("PATCH", {"cron": "@daily"}), ("DELETE", None)):
            refused = await live.api.request(method, "/schedules/daily", body, headers=stale)
            refused.problem(412, "precondition-failed")
        versions = (await live.api.get("/schedules/daily/versions")).ok()["items"]
        assert [(one["version"], one["cron"]) for one in versions] == [(2, ["0 6 * * *", "@monthly"]), (1, "0 9 * * *")]
        assert (await live.api.get("/schedules/daily/versions/1")).ok()["cron"] == "0 9 * * *"

        fresh = {"If-Match": changed.headers["etag"]}
        (await live.api.request("DELETE", "/schedules/daily", headers=fresh)).ok(204)
        (await live.api.get("/schedules/daily")).problem(404, "not-found")
        assert await on_temporal(live, schedule["id"]) is False

    async def test_what_temporal_is_told(self, live: Live) -> None:
        await live.workflow(ECHO)
        clock = {"name": "daily", "workflow": "test", "interval": "15m", "offset": "5m", "jitter": "30s"}
        schedule = (await live.api.post("/schedules", clock | {"pause_on_failure": True, "paused": True})).ok(201)
        told = (await live.engine.client.get_schedule_handle(schedule["id"]).describe()).schedule
        assert (told.policy.overlap, told.policy.pause_on_failure) == (ScheduleOverlapPolicy.SKIP, True)
        assert told.policy.catchup_window == timedelta(hours=1)
        assert [(one.every.seconds, one.offset and one.offset.seconds) for one in told.spec.intervals] == [(900, 300)]
        assert told.spec.jitter is not None
        assert (told.spec.jitter.seconds, told.state.paused) == (30, True)

    async def test_nine_in_berlin_across_the_changes_of_the_clock(self, live: Live) -> None:
        await live.workflow(ECHO)
        (await live.api.post("/schedules", DAILY | BERLIN)).ok(201)
        assert (await hours(live))[:3] == ["03-28T08:00", "03-29T07:00", "03-30T07:00"]
        # Half past two is jumped over on the 29th.
        assert (await hours(live, cron="30 2 * * *"))[:2] == ["03-28T01:30", "03-30T00:30"]
        # It comes twice in autumn, and counts the first time.
        autumn = {"start_at": "2037-10-23T12:00:00Z"}
        assert (await hours(live, **autumn))[:3] == ["10-24T00:30", "10-25T00:30", "10-26T01:30"]

    async def test_pauses_only_when_the_document_changes_that(self, live: Live) -> None:
        await live.workflow(ECHO)
        (await live.api.post("/schedules", DAILY)).ok(201)
        (await live.api.post("/schedules/daily/pause")).ok()
        assert (await live.api.patch("/schedules/daily", {"cron": "@daily"})).ok()["paused"] is True
        assert (await live.api.request("PUT", "/schedules/daily", DAILY)).ok()["paused"] is True
        (await live.api.patch("/schedules/daily", {"paused": True})).ok()
        assert (await live.api.patch("/schedules/daily", {"paused": None})).ok()["paused"] is False

    async def test_what_a_schedule_runs_stays(self, live: Live) -> None:
        workflow = await live.workflow(ECHO)
        (await live.api.post("/schedules", DAILY | {"workflow": workflow["id"]})).ok(201)
        refused = (await live.api.request("DELETE", "/workflows/test")).problem(409, "conflict")
        assert refused["schedules"] == ["daily"]
        (await live.api.request("DELETE", "/schedules/daily")).ok(204)
        (await live.api.request("DELETE", "/workflows/test")).ok(204)


WRONG: list[tuple[JsonObject, list[str | int]]] = [
    ({"workflow": None}, []),
    ({"agent": "poet"}, ["agent"]),
    ({"workflow": "tset"}, ["workflow"]),
    ({"workflow": None, "agent": "poet"}, ["agent"]),
    ({"run_version": 2}, ["run_version"]),
    ({"input": {"a": "x"}}, ["input", "a"]),
    ({"cron": None}, []),
    ({"cron": "0 9 * *"}, ["cron"]),
    ({"cron": ["@daily", "0 25 * * *"]}, ["cron", 1]),
    ({"interval": "1h"}, ["interval"]),
    ({"timezone": "Europe/Berln"}, ["timezone"]),
    ({"timezone": "../etc/passwd"}, ["timezone"]),
    ({"offset": "1m"}, ["offset"]),
    ({"cron": "0 0 30 2 *"}, ["cron"]),
    ({"cron": "0 0 31 4,6 *"}, ["cron"]),
    ({"cron": None, "interval": "1m", "jitter": "10h"}, ["jitter"]),
    ({"cron": None, "interval": "1500ms"}, ["interval"]),
    ({"cron": None, "interval": "1h", "offset": "1h"}, ["offset"]),
    ({"cron": None, "interval": "1h", "timezone": "UTC"}, ["timezone"]),
    ({"overlap": "never"}, ["overlap"]),
    ({"catchup_window": "1s"}, ["catchup_window"]),
    ({"start_at": "2027-01-02T00:00:00Z", "end_at": "2027-01-01T00:00:00Z"}, ["end_at"]),
    ({"metadata": {"scheduled_at": "now"}}, ["metadata"]),
    ({"name": "sch_01m836qysnzx3w9qrw5zc6fpdh"}, ["name"]),
    ({"crno": "@daily"}, ["crno"]),
]


class TestRefused:
    async def test_each_says_where(self, api: RunningApi) -> None:
        """Before Temporal, which is away, is asked."""
        schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
        (await api.post("/workflows", WORKFLOW | {"input_schema": schema})).ok(201)
        for fields, place in WRONG:
            document = DAILY | {"input": {"a": 1}} | fields
            answer = await api.post("/schedules", {key: value for key, value in document.items() if value is not None})
            assert answer.places() == [["body", *place]], fields
        (await api.post("/schedules/daily/trigger")).problem(404, "not-found")

    async def test_a_misspelt_name(self, api: RunningApi) -> None:
        (await api.post("/workflows", WORKFLOW)).ok(201)
        problem = (await api.post("/schedules", DAILY | {"workflow": "tset"})).problem(422, "invalid-input")
        assert problem["errors"][0]["hint"] == "did you mean 'test'?"


async def on_temporal(live: Live, schedule_id: str) -> bool:
    return schedule_id in [one.id async for one in await live.engine.client.list_schedules()]


class TestInStep:
    async def test_temporal_away_changes_nothing(self, api: RunningApi) -> None:
        (await api.post("/workflows", WORKFLOW)).ok(201)
        problem = (await api.post("/schedules", DAILY)).problem(503, "dependency-unavailable")
        assert problem["dependency"] == "temporal"
        assert (await api.get("/schedules")).ok()["items"] == []

    async def test_temporal_lost_changes_nothing(
        self, tmp_path: Path, temporal_address: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(temporal, "CALL", timedelta(seconds=1))
        async with Proxy(f"http://{temporal_address}") as proxy:
            address = proxy.url.removeprefix("http://")
            url = sqlite_database(tmp_path)
            async with open_live(tmp_path, address, redis_url, url, worker=False) as live:
                await live.workflow(ECHO)
                before = (await live.api.post("/schedules", DAILY)).ok(201)
                proxy.refuse()
                seen, *refused = await asyncio.gather(
                    live.api.get("/schedules/daily"),
                    live.api.patch("/schedules/daily", {"cron": "@daily"}),
                    live.api.request("DELETE", "/schedules/daily"),
                    live.api.post("/schedules/daily/pause"),
                )
                for answer in refused:
                    assert answer.problem(503, "dependency-unavailable")["dependency"] == "temporal"
                assert (seen.ok()["version"], seen.ok()["cron"]) == (1, "0 9 * * *")
                assert "next_runs" not in seen.ok()
                proxy.accept()
                after = await live.api.until("/schedules/daily", lambda found: found.get("next_runs") is not None)
                assert after == before

    async def test_what_temporal_lost_comes_back(self, live: Live) -> None:
        await live.workflow(ECHO)
        schedule = (await live.api.post("/schedules", DAILY)).ok(201)
        await live.engine.client.get_schedule_handle(schedule["id"]).delete()
        (await live.api.post("/schedules/daily/pause")).ok()
        assert (await live.api.get("/schedules/daily")).ok()["paused"] is True

    @pytest.mark.parametrize("action", ["pause", "resume"])
    async def test_a_note_is_as_long_as_temporal_keeps(self, live: Live, action: str) -> None:
        await live.workflow(ECHO)
        (await live.api.post("/schedules", DAILY)).ok(201)
        for note in ("x" * 1000, "é" * 500):
            assert (await live.api.post(f"/schedules/daily/{action}", {"note": note})).ok()["note"] == note
        for note in ("x" * 1001, "é" * 501):
            found = await live.api.post(f"/schedules/daily/{action}", {"note": note})
            assert found.places() == [["body", "note"]]
        (await live.api.post(f"/schedules/daily/{action}", headers={"X-Studio-Actor": "x" * 256})).ok()

    async def test_a_change_that_temporal_did_not_hear_of(self, live: Live) -> None:
        await live.workflow(ECHO)
        (await live.api.post("/schedules", DAILY)).ok(201)
        (await live.api.post("/schedules/daily/pause", {"note": "kept"})).ok()
        document = {**DAILY, "kind": "schedule", "project_id": "default", "cron": "0 6 * * *"}
        async with live.engine.database.write() as session:
            changed = update(DefinitionRow).where(DefinitionRow.kind == "schedule")
            await session.execute(changed.values(version=2, document=document))
        shown = (await live.api.get("/schedules/daily")).ok()
        assert (shown["version"], shown["paused"], shown["note"]) == (2, True, "kept")
        assert (await live.api.post("/schedules/daily/resume")).ok()["next_runs"][0][10:16] == "T06:00"


BOTH = """\
kind: schedule
name: daily
workflow: test
input: {a: 1}
cron: 0 9 * * *
---
kind: workflow
name: test
pattern: sequential
input_schema: {type: object, properties: {a: {type: integer}}}
steps:
  - {id: echo, transform: "${{ input }}"}
"""


class TestApply:
    async def test_with_the_workflow_that_it_runs(self, live: Live) -> None:
        def actions(report: JsonObject) -> list[str]:
            return [result["action"] for result in report["results"]]

        assert actions((await live.api.yaml("/apply", BOTH, dry_run="true")).ok()) == ["created", "created"]
        assert actions((await live.api.yaml("/apply", BOTH)).ok()) == ["created", "created"]
        exported = (await live.api.get("/export", kind=["schedule", "workflow"])).body.decode()
        assert actions((await live.api.yaml("/apply", exported)).ok()) == ["unchanged", "unchanged"]
        (await live.api.post("/schedules/daily/pause")).ok()
        assert actions((await live.api.yaml("/apply", BOTH.replace("0 9", "0 7"))).ok()) == ["updated", "unchanged"]
        shown = (await live.api.get("/schedules/daily")).ok()
        assert (shown["paused"], shown["version"]) == (True, 2)
        assert (await live.api.post("/schedules/daily/resume")).ok()["next_runs"][0][10:16] == "T07:00"

    @pytest.mark.parametrize(
        ("mistake", "line"),
        [("input: {a: x}", 4), ("cron: 0 9 * *", 5), ("workflow: tset", 3), ("cron: [@daily, 1]", 5)],
    )
    async def test_mistakes_have_their_line(self, api: RunningApi, mistake: str, line: int) -> None:
        wrong = "\n".join(mistake if number == line else text for number, text in enumerate(BOTH.splitlines(), start=1))
        problem: Any = (await api.yaml("/apply", wrong)).problem(422, "invalid-input")
        assert [error["line"] for error in problem["errors"]] == [line]
        report = (await api.yaml("/workflows/validate", wrong)).ok()
        assert [error["line"] for error in report["errors"]] == [line]

    async def test_warns_of_schedules_that_a_workflow_will_fail(self, live: Live) -> None:
        (await live.api.yaml("/apply", BOTH)).ok()
        stricter = BOTH.split("---\n")[1].replace("type: integer", "type: string")
        for path, results in (("/apply", "results"), ("/workflows/validate", None)):
            report = (await live.api.yaml(path, stricter)).ok()
            (warning,) = report["warnings"] if results is None else report[results][0]["warnings"]
            assert (warning["path"], warning["line"]) == ("/input_schema", 4)
            assert "the schedule 'daily' will fail each time that it fires: its input.a:" in warning["message"]

    async def test_warns_of_one_that_is_over(self, live: Live) -> None:
        (await live.api.yaml("/apply", BOTH)).ok()
        over = BOTH.split("---\n", maxsplit=1)[0] + "end_at: 2026-01-01T00:00:00Z\n"
        report = (await live.api.yaml("/apply", over)).ok()
        assert report["results"][0]["warnings"][0]["path"] == "/end_at"

    async def test_temporal_away_stores_nothing(self, api: RunningApi) -> None:
        (await api.yaml("/apply", BOTH)).problem(503, "dependency-unavailable")
        assert (await api.get("/workflows")).ok()["items"] == []

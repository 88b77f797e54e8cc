"""`POST /schedules/{ref}/trigger`: what it answers is what happens."""

import asyncio

import pytest

from api.schedules import service
from studio.contracts.base import Json, JsonObject
from tests.api.conftest import Live
from tests.support.scripted_upstream import Reply
from tests.support.services import Answer

ECHO: JsonObject = {"id": "echo", "transform": "${{ input }}"}
ASK: JsonObject = {"id": "ask", "agent": {"message": "question"}}
CLOCK: JsonObject = {"name": "clock", "workflow": "test", "cron": "0 0 29 2 *"}


async def store(live: Live, step: JsonObject, **fields: Json) -> None:
    await live.workflow(step)
    (await live.api.post("/schedules", CLOCK | fields)).ok(201)


async def trigger_with(key: str | None, live: Live, **body: Json) -> Answer:
    headers = {} if key is None else {"Idempotency-Key": key}
    return await live.api.request("POST", "/schedules/clock/trigger", body, headers=headers)


async def trigger(live: Live, *, key: str | None = None, **body: Json) -> JsonObject:
    return (await trigger_with(key, live, **body)).ok(202)


async def refused_while_one_goes_on(live: Live) -> str:
    """Triggers with the key `k`, twice; the id of the run that went on meanwhile, and has ended."""
    await store(live, ASK)
    live.upstream.default = Reply(text="a b", hold_after=0)
    first = (await trigger(live))["run_id"]
    for _ in range(2):
        assert (await trigger_with("k", live)).problem(409, "conflict")["run_id"] == first
    await live.upstream.wait_for_calls(1, "held")
    live.upstream.release()
    await live.api.finished(first)
    return first


class TestRunNow:
    async def test_five_within_a_second_are_five_runs(self, timed: Live) -> None:
        await store(timed, ASK, overlap="allow_all")
        timed.upstream.default = Reply(text="a b", hold_after=0)
        named = [(await trigger(timed))["run_id"] for _ in range(5)]
        assert len(set(named)) == 5
        await timed.upstream.wait_for_calls(5, "held")
        timed.upstream.release()
        for run_id in named:
            assert (await timed.api.finished(run_id))["status"] == "succeeded"

    async def test_five_at_once_are_five_runs(self, timed: Live) -> None:
        await store(timed, ECHO, overlap="allow_all", input="x")
        named = [answer["run_id"] for answer in await asyncio.gather(*(trigger(timed) for _ in range(5)))]
        assert len(set(named)) == 5
        for run_id in named:
            run = await timed.api.finished(run_id)
            assert (run["status"], run["output"]) == ("succeeded", "x")

    async def test_while_one_goes_on_the_answer_names_it(self, timed: Live) -> None:
        await store(timed, ASK)
        timed.upstream.default = Reply(text="a b", hold_after=0)
        first = (await trigger(timed))["run_id"]
        refused = (await timed.api.post("/schedules/clock/trigger")).problem(409, "conflict")
        assert (refused["run_id"], first in refused["detail"]) == (first, True)
        waiting = await trigger(timed, overlap="buffer_all")
        assert (waiting.get("run_id"), waiting["waits_for"]) == (None, first)
        await timed.upstream.wait_for_calls(1, "held")
        timed.upstream.release()
        await timed.api.until("/schedules/clock", lambda found: len(found["recent"]) == 2)

    async def test_also_while_it_is_paused(self, timed: Live) -> None:
        await store(timed, ECHO, paused=True)
        run_id = (await trigger(timed))["run_id"]
        assert (await timed.api.finished(run_id))["status"] == "succeeded"

    async def test_a_key_that_is_sent_again_starts_nothing(self, timed: Live) -> None:
        await store(timed, ECHO, overlap="allow_all")
        answers = [await trigger(timed, key="k") for _ in range(2)]
        answers += await asyncio.gather(*(trigger(timed, key="k") for _ in range(3)))
        assert len({answer["run_id"] for answer in answers}) == 1
        headers = {"Idempotency-Key": "k"}
        other = await timed.api.request("POST", "/schedules/clock/trigger", {"overlap": "skip"}, headers=headers)
        assert "Idempotency-Key 'k'" in other.problem(409, "conflict")["detail"]
        assert (await timed.api.get("/schedules/clock")).ok()["fired"] == 1

    async def test_a_key_whose_trigger_was_refused_may_be_sent_again(self, timed: Live) -> None:
        first = await refused_while_one_goes_on(timed)
        async with asyncio.timeout(20):
            while (sent := await trigger_with("k", timed)).status != 202:
                sent.problem(409, "conflict")  # Temporal has not seen yet that the first has ended
        again = await trigger(timed, key="k")
        assert sent.ok(202)["run_id"] == again["run_id"] != first


class TestRunNowWhileTemporalIsSlow:
    """What becomes of a trigger is not seen under the lock."""

    @pytest.fixture(autouse=True)
    def _unseen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(service, "LOCKED_SECONDS", 0)

    async def test_the_answer_and_the_key_still_name_the_run(self, timed: Live) -> None:
        await store(timed, ECHO)
        answers = [await trigger(timed, key="k") for _ in range(2)]
        assert answers[0]["run_id"] == answers[1]["run_id"]
        assert (await timed.api.finished(answers[0]["run_id"]))["status"] == "succeeded"

    async def test_what_the_overlap_policy_refuses_is_refused_and_its_key_forgotten(self, timed: Live) -> None:
        await refused_while_one_goes_on(timed)


class TestBackfill:
    async def test_a_key_that_is_sent_again_fills_nothing(self, timed: Live) -> None:
        await store(timed, ECHO, cron="0 9 * * *", overlap="allow_all")
        window = {"start_at": "2026-03-01T00:00:00Z", "end_at": "2026-03-02T23:00:00Z"}
        headers = {"Idempotency-Key": "k"}
        for _ in range(2):
            (await timed.api.request("POST", "/schedules/clock/backfill", window, headers=headers)).ok(202)
        await timed.api.until("/schedules/clock", lambda found: found["fired"] == 2 and len(found["recent"]) == 2)

    async def test_the_night_of_a_change_of_the_clock(self, timed: Live) -> None:
        """On Temporal itself: the moments that are counted are those that run."""
        await store(timed, ECHO, cron="*/30 2 * * *", timezone="Europe/Berlin")
        window = {"start_at": "2026-10-24T12:00:00", "end_at": "2026-10-26T12:00:00", "overlap": "allow_all"}
        (await timed.api.post("/schedules/clock/backfill", window)).ok(202)
        found = await timed.api.until("/schedules/clock", lambda shown: len(shown["recent"]) == 4)
        assert sorted(run["scheduled_at"][5:16] for run in found["recent"]) == [
            "10-25T00:00",
            "10-25T00:30",
            "10-26T01:00",
            "10-26T01:30",
        ]

    async def test_reaches_back_some_years_where_the_clock_changes(self, timed: Live) -> None:
        await store(timed, ECHO, cron="0 9 * * *", timezone="Europe/Berlin")
        window = {"start_at": "2011-01-01T00:00:00Z", "end_at": "2011-01-02T00:00:00Z"}
        assert (await timed.api.post("/schedules/clock/backfill", window)).places() == [["body", "start_at"]]


class TestTimesWithoutAnOffset:
    async def test_are_in_the_time_zone_beside_them(self, timed: Live) -> None:
        await store(timed, ECHO, cron="0 20 * * *", timezone="America/Chicago", start_at="2027-01-01T00:00:00")
        shown = (await timed.api.get("/schedules/clock")).ok()
        assert shown["start_at"] == "2027-01-01T06:00:00.000000Z"
        assert shown["next_runs"][0] == "2027-01-02T02:00:00.000000Z"

    async def test_of_an_interval_too(self, timed: Live) -> None:
        await timed.workflow(ECHO)
        clock = {"name": "clock", "workflow": "test", "interval": "1h", "timezone": "Asia/Tokyo"}
        shown = (await timed.api.post("/schedules", clock | {"start_at": "2027-01-01"})).ok(201)
        assert shown["start_at"] == "2026-12-31T15:00:00.000000Z"


class TestPaused:
    async def test_shows_when_it_would_run(self, timed: Live) -> None:
        await store(timed, ECHO, cron="0 9 * * *", paused=True)
        assert (await timed.api.get("/schedules/clock")).ok()["next_runs"][0].endswith("T09:00:00.000000Z")

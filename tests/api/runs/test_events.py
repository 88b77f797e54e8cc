import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from redis.asyncio import Redis

from api.runs.story import read_seq
from cli.stack import parts
from studio.contracts.base import JsonObject, utc_now
from studio.contracts.events import NewEvent, RunEvent
from tests.api.conftest import Live, open_live
from tests.support.databases import sqlite_database
from tests.support.ports import free_port
from tests.support.scripted_upstream import Reply
from tests.support.servers import running
from tests.support.watching import Socket, Watch, narrow_socket, open_socket, so_far, types, watch

ECHO: JsonObject = {"id": "echo", "transform": "${{ input }}"}
ASK: JsonObject = {"id": "ask", "agent": {"message": "question"}}
BLOCK: JsonObject = {
    "id": "block",
    "sequential": {"steps": [{"id": "one", "transform": 1}, {"id": "two", "transform": 2}]},
}


STORY = [
    ("run.started", None),
    ("step.started", "ask"),
    ("step.succeeded", "ask"),
    ("step.started", "block"),
    ("step.started", "block/one"),
    ("step.succeeded", "block/one"),
    ("step.started", "block/two"),
    ("step.succeeded", "block/two"),
    ("step.succeeded", "block"),
    ("run.succeeded", None),
]


class TestOrder:
    async def test_the_run_starts_before_its_branches_do(self, lite: Live) -> None:
        branches: list[JsonObject] = [{"id": f"b{n}", "agent": {"message": "question"}} for n in range(20)]
        await lite.workflow({"id": "p", "parallel": {"branches": branches}})
        lite.upstream.default = Reply(text="a")
        events = await (await watch(lite.api, await lite.start())).rest()
        types = [event["type"] for event in events]
        assert (types[0], types.count("run.started")) == ("run.started", 1)
        assert types.count("step.started") == 21


class TestStream:
    async def test_from_the_first_event_to_the_last(self, lite: Live) -> None:
        await lite.workflow(ASK, BLOCK)
        lite.upstream.default = Reply(text="a b c", hold_after=1)
        run_id = await lite.start()
        stream = await watch(lite.api, run_id)
        events = await stream.until("token")
        lite.upstream.release()
        events += await stream.rest()
        assert [event for event in types(events) if event[0] not in {"token", "usage"}] == STORY
        assert "".join(event["data"]["text"] for event in events if event["type"] == "token") == "a b c"
        assert {event["run_id"] for event in events} == {run_id}
        first = f"id: {events[0]['seq']}\nevent: run.started\ndata: ".encode()
        assert first in stream.raw
        assert (await so_far(lite.api, run_id))["items"] == events

    async def test_resumes_with_nothing_lost_and_nothing_twice(self, lite: Live) -> None:
        await lite.workflow(ASK, BLOCK)
        run_id = await lite.start()
        await lite.api.finished(run_id)
        events = await (await watch(lite.api, run_id)).rest()
        for position, event in enumerate(events[:-1]):
            assert await (await watch(lite.api, run_id, event["seq"])).rest() == events[position + 1 :]
        done = await lite.api.request("GET", f"/runs/{run_id}/events", headers={"Last-Event-ID": events[-1]["seq"]})
        assert (done.status, done.body) == (204, b"")

    async def test_resumes_while_the_run_goes_on(self, lite: Live) -> None:
        await lite.workflow(ASK)
        lite.upstream.default = Reply(tokens=[f"{n} " for n in range(200)], token_delay=0.005)
        run_id = await lite.start()
        events: list[JsonObject] = []
        while not events or not events[-1]["type"].startswith("run.succ"):
            stream = await watch(lite.api, run_id, events[-1]["seq"] if events else None)
            for _ in range(40):
                if (event := await stream.next()) is None:
                    break
                events.append(event)
            stream.answer.close()
        assert (await so_far(lite.api, run_id))["items"] == events

    async def test_many_watch_through_one_reader(self, lite: Live) -> None:
        await lite.workflow(ASK)
        lite.upstream.default = Reply(text="a b c d e f", hold_after=2)
        run_id = await lite.start()
        early = [await watch(lite.api, run_id) for _ in range(30)]
        for stream in early:
            await stream.until("token")
        late = [await watch(lite.api, run_id) for _ in range(30)]
        assert len([client for client in await _redis_clients(lite) if "b" in client["flags"]]) == 1
        lite.upstream.release()
        stories = await asyncio.gather(*(stream.rest() for stream in early + late))
        (longest,) = {orjson.dumps(story) for story in stories[30:]}
        assert types(orjson.loads(longest))[-1] == ("run.succeeded", None)
        assert all(story == stories[-1][-len(story) :] for story in stories[:30])

    async def test_many_runs_through_one_connection(self, idle: Live) -> None:
        await idle.workflow(ECHO)
        runs = [await idle.start() for _ in range(20)]
        streams = [await watch(idle.api, run_id) for run_id in runs]
        for stream in streams:
            await stream.until("run.started")
        blocked = [client for client in await _redis_clients(idle) if "b" in client["flags"]]
        assert len(blocked) == 1
        for number, run_id in enumerate(runs):
            told = [NewEvent(ts=utc_now(), step_id="ask", type="token", data={"text": str(number), "index": 0})]
            assert await idle.engine.stream.publish(run_id, [*told, NewEvent(ts=utc_now(), type="run.succeeded")])
        for number, stream in enumerate(streams):
            assert [event["data"].get("text") for event in await stream.until("run.succeeded")] == [str(number), None]
            stream.answer.close()

    async def test_one_that_is_ahead_of_the_others_hears_nothing_twice(self, idle: Live) -> None:
        await idle.workflow(ECHO)
        run_id = await idle.start()
        early = await watch(idle.api, run_id)
        (first,) = await early.until("run.started")
        (blocked,) = [client for client in await _redis_clients(idle) if "b" in client["flags"]]
        async with Redis.from_url(idle.api.settings.redis_url) as redis:
            await redis.client_kill_filter(_id=blocked["id"])  # the shared reader is away for half a second
        told = [NewEvent(ts=utc_now(), type="token", data={"text": str(n), "index": n}) for n in range(5)]
        await idle.engine.stream.publish(run_id, told)
        ahead = await watch(idle.api, run_id, first["seq"])
        await ahead.until("token")
        await idle.engine.stream.publish(run_id, [NewEvent(ts=utc_now(), type="run.succeeded")])
        rest = await early.rest()
        assert [event["data"].get("index") for event in rest] == [*range(5), None]
        assert await ahead.rest() == rest[1:]

    async def test_one_that_names_a_position_to_come_holds_up_nobody(self, idle: Live) -> None:
        await idle.workflow(ECHO)
        run_id = await idle.start()
        ahead, other = await watch(idle.api, run_id, f"{10**15}-0"), await watch(idle.api, run_id)
        await other.until("run.started")
        await idle.engine.stream.publish(run_id, [NewEvent(ts=utc_now(), type="run.succeeded")])
        async with asyncio.timeout(10):
            assert types(await other.rest()) == types(await ahead.rest()) == [("run.succeeded", None)]

    async def test_terminated_while_watched(self, lite: Live) -> None:
        await lite.workflow(ASK)
        lite.upstream.default = Reply(text="a b", hold_after=1)
        run_id = await lite.start()
        stream = await watch(lite.api, run_id)
        await stream.until("token")
        await lite.engine.client.get_workflow_handle(run_id).terminate("by hand")
        async with asyncio.timeout(10):
            rest = await stream.rest()
        assert types(rest)[-1] == ("run.terminated", None)
        assert rest[-1]["data"]["status"] == "terminated"

    async def test_pings_while_nothing_happens(self, idle: Live) -> None:
        await idle.workflow(ECHO)
        stream = await watch(idle.api, await idle.start())
        async with asyncio.timeout(20):
            while stream.raw.count(b": ping\n\n") < 2:
                stream.raw += await stream.answer.content.readany()
        stream.answer.close()

    async def test_a_reader_that_cannot_keep_up_is_closed_and_can_go_on(self, idle: Live) -> None:
        await idle.workflow(ECHO)
        run_id = await idle.start()
        connector = aiohttp.TCPConnector(socket_factory=narrow_socket)
        async with aiohttp.ClientSession(idle.api.url, connector=connector) as lagging:
            quick, slow = await watch(idle.api, run_id), await watch(idle.api, run_id, http=lagging)
            socket = await open_socket(idle.api, run_id, http=lagging)
            count, batch = 15_000, 500
            text = "x" * 1000
            reading = asyncio.create_task(quick.until("run.succeeded"))
            for start in range(0, count, batch):
                events = [
                    NewEvent(ts=utc_now(), step_id="ask", type="token", data={"text": text, "index": start + n})
                    for n in range(batch)
                ]
                await idle.engine.stream.publish(run_id, events)
            await idle.engine.stream.publish(run_id, [NewEvent(ts=utc_now(), type="run.succeeded")])
            whole = await reading
            assert whole[0]["type"] == "run.started"
            assert [event["data"]["index"] for event in whole[1:-1]] == list(range(count))

            seen = await slow.rest()
            assert b": closed: this reader cannot keep up" in slow.raw
            assert len(seen) < count
            seen_there = await socket.rest()
            assert socket.code == 1013
            assert len(seen_there) < count
        again = await watch(idle.api, run_id, seen[-1]["seq"])
        assert seen + await again.until("run.succeeded") == whole
        again.answer.close()


class TestSoFar:
    async def test_pages(self, lite: Live) -> None:
        await lite.workflow(ASK, BLOCK)
        run_id = await lite.start()
        await lite.api.finished(run_id)
        whole = (await so_far(lite.api, run_id))["items"]
        paged: list[JsonObject] = []
        query: dict[str, Any] = {"limit": 4}
        while True:
            page = await so_far(lite.api, run_id, **query)
            paged += page["items"]
            if page["next_cursor"] is None:
                break
            query["after"] = page["next_cursor"]
        assert paged == whole

    async def test_of_a_run_that_goes_on(self, lite: Live) -> None:
        await lite.workflow(ASK)
        lite.upstream.default = Reply(text="a b", hold_after=1)
        run_id = await lite.start()
        await (await watch(lite.api, run_id)).until("token")
        assert types((await so_far(lite.api, run_id))["items"])[-1] == ("token", "ask")
        lite.upstream.release()
        await lite.api.finished(run_id)

    @pytest.mark.parametrize("position", ["x", "1-2-3", "-1", "1" * 40, "1712-"])
    async def test_position_that_is_none(self, idle: Live, position: str) -> None:
        await idle.workflow(ECHO)
        path = f"/runs/{await idle.start()}/events"
        assert (await idle.api.get(path, after=position)).places() == [["query", "after"]]
        answer = await idle.api.request("GET", path, headers={"Last-Event-ID": position})
        assert answer.places() == [["header", "Last-Event-ID"]]

    async def test_unknown_run(self, idle: Live) -> None:
        (await idle.api.get("/runs/run_nope/events")).problem(404, "not-found")


class TestLostStream:
    async def test_expired(self, lite: Live) -> None:
        await lite.workflow(ASK, BLOCK)
        run_id = await lite.start()
        await lite.api.finished(run_id)
        kept = (await so_far(lite.api, run_id))["items"]
        async with Redis.from_url(lite.api.settings.redis_url) as redis:
            await redis.delete(f"studio:run:{{{run_id}}}:events")
        told = await (await watch(lite.api, run_id)).rest()
        assert types(told) == STORY
        assert told[-1]["data"] == kept[-1]["data"]
        assert told == (await so_far(lite.api, run_id))["items"]
        assert (await lite.api.get(f"/runs/{run_id}/events", after=told[-1]["seq"])).status == 204
        for position, event in enumerate(kept):
            rest = types(await (await watch(lite.api, run_id, event["seq"])).rest())
            unseen = [found for found in types(kept[position + 1 :]) if found[0] not in {"token", "usage"}]
            assert rest == STORY[-len(rest) :]
            assert len(rest) >= len(unseen)

    async def test_incomplete(self, lite: Live) -> None:
        await lite.workflow(ASK, BLOCK)
        run_id = await lite.start()
        await lite.api.finished(run_id)
        kept = (await so_far(lite.api, run_id))["items"]
        lost = [event["seq"] for event in kept if event["step_id"] == "block/one" or event["type"] == "run.succeeded"]
        async with Redis.from_url(lite.api.settings.redis_url) as redis:
            assert await redis.xdel(f"studio:run:{{{run_id}}}:events", *lost) == 3
        events = await (await watch(lite.api, run_id)).rest()
        assert sorted(types(events), key=str) == sorted(types(kept), key=str)
        assert types(events)[-1] == ("run.succeeded", None)

    async def test_failed_run(self, lite: Live) -> None:
        await lite.workflow(ECHO, {"id": "bad", "transform": "${{ input.x }}"}, {"id": "never", "transform": 1})
        run_id = await lite.start(input={})
        await lite.api.finished(run_id)
        kept = (await so_far(lite.api, run_id))["items"]
        async with Redis.from_url(lite.api.settings.redis_url) as redis:
            await redis.delete(f"studio:run:{{{run_id}}}:events")
        told = (await so_far(lite.api, run_id))["items"]
        assert types(told) == types(kept)
        assert told[-1]["data"] == kept[-1]["data"]


class TestRedisEmptied:
    async def test_while_a_run_is_watched(self, lite: Live) -> None:
        await lite.workflow({**ASK, "id": "before"}, ASK, BLOCK)
        lite.upstream.default = Reply(text="a b")
        lite.upstream.when("question", Reply(text="a b"), Reply(text="a b", hold_after=1))
        run_id = await lite.start()
        stream, socket = await watch(lite.api, run_id), await open_socket(lite.api, run_id)
        seen = [await _until_token_of(reader, "ask") for reader in (stream, socket)]
        async with Redis.from_url(lite.api.settings.redis_url) as redis:
            await redis.flushall()
        late = await watch(lite.api, run_id)
        lite.upstream.release()
        for before, reader in zip(seen, (stream, socket), strict=True):
            events = before + await reader.rest()
            seqs = [read_seq(event["seq"]) for event in events]
            assert seqs == sorted(set(seqs))
            keys = [key for event in events if (key := RunEvent.model_validate(event).key()) is not None]
            assert len(keys) == len(set(keys))
            assert {("step.succeeded", "block/two"), ("step.succeeded", "ask"), *STORY[:2]} <= set(types(events))
            assert types(events)[-1] == ("run.succeeded", None)
        told = types(await late.rest())
        assert {("step.started", "before"), ("step.succeeded", "before"), *STORY} <= set(told)
        assert told[-1] == ("run.succeeded", None)
        assert len([event for event in told if event[0] == "step.succeeded"]) == 5


class TestRedisAway:
    async def test_comes_back_while_a_run_is_watched(self, tmp_path: Path, temporal_address: str) -> None:
        part = parts.redis(free_port(), None)
        url = sqlite_database(tmp_path)
        server = running(part, tmp_path / "redis.log")
        server.__enter__()
        async with open_live(tmp_path, temporal_address, part.address, url) as live:
            await live.workflow(ASK, BLOCK)
            live.upstream.default = Reply(text="a b", hold_after=1)
            run_id = await live.start()
            stream = await watch(live.api, run_id)
            seen = await stream.until("token")
            await asyncio.to_thread(server.__exit__, None, None, None)
            (await live.api.get(f"/runs/{run_id}/events")).problem(503, "dependency-unavailable")
            ready = (await live.api.get("//health/ready")).ok()  # runs go on
            assert [one["dependency"] for one in ready["degraded"]] == ["redis"]
            with running(part, tmp_path / "redis.log"):
                live.upstream.release()
                async with asyncio.timeout(30):
                    rest = await stream.rest()
                story = [event for event in types(seen + rest) if event[0] not in {"token", "usage"}]
                assert sorted(story, key=str) == sorted(STORY, key=str)
                assert story[-1] == ("run.succeeded", None)
                assert (await live.api.get("//health/ready")).ok()["degraded"] == []

    async def test_stays_away(self, tmp_path: Path, temporal_address: str) -> None:
        part = parts.redis(free_port(), None)
        server = running(part, tmp_path / "redis.log")
        server.__enter__()
        async with open_live(tmp_path, temporal_address, part.address, sqlite_database(tmp_path)) as live:
            await live.workflow(ASK, BLOCK)
            live.upstream.default = Reply(text="a b", hold_after=1)
            run_id = await live.start()
            stream = await watch(live.api, run_id)
            seen = await stream.until("token")
            await asyncio.to_thread(server.__exit__, None, None, None)
            live.upstream.release()
            async with asyncio.timeout(30):
                rest = await stream.rest()
            assert [event for event in types(seen + rest) if event[0] not in {"token", "usage"}] == STORY
            told = await (await watch(live.api, run_id)).rest()
            assert types(told) == STORY


async def _redis_clients(live: Live) -> list[dict[str, str]]:
    async with Redis.from_url(live.api.settings.redis_url) as redis:
        return await redis.client_list()


async def _until_token_of(reader: Watch | Socket, path: str) -> list[JsonObject]:
    events: list[JsonObject] = []
    while not events or (events[-1]["type"], events[-1]["step_id"]) != ("token", path):
        events += await reader.until("token")
    return events

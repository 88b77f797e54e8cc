import asyncio
import hashlib
import io
import itertools
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
import pytest

from studio.clients.prompts import PromptClient
from studio.contracts.base import JsonObject
from studio.contracts.ids import new_span_id, new_trace_id
from studio.contracts.spans import Span
from studio.tracing import SpanSender
from tests.support.prompt_engine import Project, eventually

AS_JSON = {"Content-Type": "application/json"}
START = datetime.now(UTC).replace(microsecond=123456) - timedelta(minutes=5)


def span(
    project: Project, trace_id: str | None = None, *, after: float = 0.0, lasts: float = 1.0, **fields: Any
) -> JsonObject:
    started = START + timedelta(seconds=after)
    return {
        "trace_id": trace_id or new_trace_id(),
        "span_id": new_span_id(),
        "name": "call",
        "kind": "llm",
        "project_id": project.id,
        "started_at": started.isoformat(),
        "ended_at": (started + timedelta(seconds=lasts)).isoformat(),
    } | fields


async def send(project: Project, *spans: Any) -> Any:
    body = io.BytesIO(orjson.dumps({"spans": spans}))
    async with project.session.post(f"{project.url}/api/v1/traces", data=body, headers=AS_JSON) as response:
        assert response.status == 202, await response.text()
        return await response.json()


async def ids(project: Project, query: str = "") -> list[str]:
    return [item["trace_id"] for item in (await project.get(f"traces?{query}"))["items"]]


class TestIngest:
    async def test_one_bad_span_never_costs_the_others(self, prompts: Project):
        good = span(prompts)
        odd = [
            {"name": "nothing"},
            "text",
            span(prompts, kind="nonsense"),
            span(prompts, name=1),
            span(prompts, started_at="1066-10-14T00:00:00Z"),
            span(prompts, cost_usd="1e30"),
            span(prompts, prompt_tokens=2**60),
            span(prompts, cost_usd="-1"),
        ]
        result = await send(prompts, *odd, good)
        assert result["accepted"] == 1
        assert [one["index"] for one in result["rejected"]] == list(range(len(odd)))
        assert await ids(prompts) == [good["trace_id"]]
        async with prompts.session.get(f"{prompts.url}/api/v1/traces/rejected?limit={len(odd)}") as response:
            kept = (await response.json())["items"]
        assert {orjson.dumps(one).decode() for one in odd} == {one["span"] for one in kept}
        assert all(one["error"] for one in kept)

    async def test_sending_twice_counts_once_and_the_later_write_wins(self, prompts: Project):
        first = span(prompts, cost_usd="0.25", prompt_tokens=10, output="draft")
        await send(prompts, first, first)
        await send(prompts, first | {"cost_usd": "0.5", "output": "final"})
        trace = await prompts.get(f"traces/{first['trace_id']}")
        assert trace["totals"]["cost_usd"] == "0.5"
        assert trace["totals"]["prompt_tokens"] == 10
        assert [one["output"] for one in trace["spans"]] == ["final"]
        await send(prompts, {name: value for name, value in first.items() if name != "output"})
        assert (await prompts.get(f"traces/{first['trace_id']}"))["spans"][0]["output"] is None

    async def test_a_span_whose_start_moved_to_another_hour_counts_once(self, prompts: Project):
        first = span(prompts, cost_usd="0.25")
        moved = first | {"started_at": (START - timedelta(days=40)).isoformat(), "project_id": f"{prompts.id}x"}
        await send(prompts, first)
        await send(prompts, moved)
        totals = (await prompts.get(f"traces/{first['trace_id']}"))["totals"]
        assert (totals["spans"], totals["cost_usd"]) == (1, "0.25")

    async def test_concurrent_requests_are_all_stored(self, prompts: Project):
        results = await asyncio.gather(
            *(send(prompts, *(span(prompts) for _ in range(20)), {"bad": index}) for index in range(20))
        )
        assert all((result["accepted"], result["rejected"][0]["index"]) == (20, 20) for result in results)
        seen = await ids(prompts, "limit=200")
        assert len(set(seen)) == 200

    @pytest.mark.parametrize("body", [b"{", b"[]", b'{"spans": {}}', b'{"spans": [], "more": 1}', b"{}"])
    async def test_refuses_a_wrong_body(self, prompts: Project, body: bytes):
        async with prompts.session.post(f"{prompts.url}/api/v1/traces", data=body, headers=AS_JSON) as response:
            assert response.status == 422
            assert (await response.json(content_type=None))["errors"][0]["loc"][0] == "body"

    async def test_what_the_sender_sends_is_visible_within_two_seconds(self, prompts: Project, prompt_url: str):
        sent = Span.model_validate(span(prompts, input={"q": 1}))
        async with SpanSender(prompt_url) as sender:
            sender.send(sent)
            await eventually(lambda: ids(prompts), seconds=2)


class TestList:
    async def test_newest_first_with_a_cursor_that_stays_stable(self, prompts: Project):
        sent = [span(prompts, after=index) for index in range(5)]
        sent.append(span(prompts, after=2))  # the same moment as another
        await send(prompts, *sent)
        expected = sorted(sent, key=lambda one: (one["started_at"], one["trace_id"]), reverse=True)
        page = await prompts.get("traces?limit=2")
        await send(prompts, span(prompts, after=60))
        seen = [item["trace_id"] for item in page["items"]]
        while page["next_cursor"]:
            page = await prompts.get(f"traces?limit=2&cursor={page['next_cursor']}")
            seen += [item["trace_id"] for item in page["items"]]
        assert seen == [one["trace_id"] for one in expected]

    async def test_every_filter(self, prompts: Project):
        trace = new_trace_id()
        root = span(
            prompts,
            trace,
            name="brief",
            kind="workflow",
            lasts=3.0,
            session_id="s1",
            user_id="u'1",
            run_id="run_1",
            workflow_name="research",
            workflow_version=4,
            tags=["nightly"],
            metadata={"team": "a\\b'c", "größe": "1"},
            input={"topic": 'tea "time"'},
        )
        call = span(
            prompts,
            trace,
            parent_span_id=root["span_id"],
            agent="writer",
            prompt_id="greet",
            prompt_version=2,
            model="local/smollm2",
            status="error",
            cost_usd="0.002",
            output="Größe",
        )
        await send(prompts, root, call, span(prompts, after=-30, lasts=0.5, cost_usd="0.001"))
        hits = [
            *("session_id=s1", "session=s1", "user_id=u'1", "run=run_1", "workflow=research", "agent=writer"),
            *("prompt=greet", "prompt=greet@2", "model=local/smollm2", "kind=workflow", "status=error", "tag=nightly"),
            *("metadata.team=a\\b'c", "metadata.gr%C3%B6%C3%9Fe=1", "q=TEA %22time", "q=größe", "min_cost=0.002"),
            *("min_duration_ms=3000", "session_id=s1&model=local/smollm2", "kind=llm&status=error"),
            f"from={START.isoformat().replace('+', '%2B')}",
        ]
        for query in hits:
            assert await ids(prompts, query) == [trace], query
        misses = [
            *("session_id=s2", "prompt=greet@1", "status=cancelled", "kind=workflow&status=error", "tag=night"),
            *("metadata.team=a", "q=coffee", "min_cost=0.0021", "min_duration_ms=3001", "agent=%25"),
            f"to={(START - timedelta(days=1)).isoformat().replace('+', '%2B')}",
        ]
        for query in misses:
            assert await ids(prompts, query) == [], query
        item = (await prompts.get("traces?kind=workflow"))["items"][0]
        assert (item["name"], item["models"], item["agents"], item["status"]) == (
            "brief",
            ["local/smollm2"],
            ["writer"],
            "ok",
        )
        assert item["totals"] | {"spans": 2, "errors": 1, "cost_usd": "0.002", "duration_ms": 3000.0} == item["totals"]

    async def test_a_prompt_is_found_by_name_when_its_id_was_sent(self, prompts: Project):
        made = await prompts.create()
        sent = span(prompts, prompt_id=made["id"], prompt_version=1)
        await send(prompts, sent)
        assert await ids(prompts, "prompt=greet@1") == [sent["trace_id"]]

    async def test_previews_are_200_characters(self, prompts: Project):
        await send(prompts, span(prompts, input="ä" * 300, output={"k": "v" * 300}))
        item = (await prompts.get("traces"))["items"][0]
        assert item["input_preview"] == "ä" * 200
        assert item["output_preview"] == ('{"k":"' + "v" * 300)[:200]

    @pytest.mark.parametrize(
        "query", ["sesion=x", "kind=none", "min_cost=-1", "prompt=a@b", "cursor=WyJhIiwiYiJd", "limit=0", "from=soon"]
    )
    async def test_refuses_wrong_parameters(self, prompts: Project, query: str):
        answer = await prompts.call("GET", f"traces?{query}")
        assert answer.status == 422
        assert answer.body["errors"][0]["loc"][0] == "query"


class TestGet:
    async def test_the_tree_with_totals_and_whole_payloads(self, prompts: Project, prompt_url: str):
        trace = new_trace_id()
        root = span(prompts, trace, kind="workflow", lasts=4.0)
        step = span(prompts, trace, kind="step", after=0.5, parent_span_id=root["span_id"])
        long = "x" * 1_000_000
        calls = [
            span(
                prompts,
                trace,
                after=1.0 + index,
                parent_span_id=step["span_id"],
                input=[{"role": "user", "content": long}],
                params={"temperature": 0.2},
                prompt_tokens=5,
                completion_tokens=2,
                cost_usd=cost,
            )
            for index, cost in enumerate(["0.000000000001", "0.1", None])
        ]
        await send(prompts, *calls[::-1], step, root)
        async with PromptClient(prompt_url) as client:
            found = await client.get_trace(trace)
            listed = await client.list_traces(project_id=prompts.id, kind="workflow")
        assert [item.trace_id for item in listed.items] == [trace]
        assert [one.span_id for one in found.spans] == [root["span_id"]]
        below = found.spans[0].children[0].children
        assert [one.span_id for one in below] == [one["span_id"] for one in calls]
        assert below[0].input == [{"role": "user", "content": long}]
        assert below[0].params == {"temperature": 0.2}
        assert below[0].started_at == START + timedelta(seconds=1)
        totals = found.totals
        assert totals.cost_usd == Decimal("0.100000000001")
        assert (totals.spans, totals.llm_calls, totals.unpriced_calls) == (5, 3, 1)
        assert (totals.prompt_tokens, totals.total_tokens, totals.duration_ms) == (15, 21, 4000.0)

    async def test_orphans_and_circles_hide_no_span(self, prompts: Project):
        trace = new_trace_id()
        a, b, c = (span(prompts, trace, after=index) for index in range(3))
        a["parent_span_id"], b["parent_span_id"], c["parent_span_id"] = b["span_id"], a["span_id"], new_span_id()
        await send(prompts, a, b, c)

        def count(spans: list[JsonObject]) -> int:
            return sum(1 + count(one["children"]) for one in spans)

        assert count((await prompts.get(f"traces/{trace}"))["spans"]) == 3

    async def test_a_very_deep_trace(self, prompts: Project):
        trace = new_trace_id()
        chain = [span(prompts, trace, after=index / 1000) for index in range(600)]
        for parent, child in itertools.pairwise(chain):
            child["parent_span_id"] = parent["span_id"]
        await send(prompts, *chain)
        body = await prompts.get(f"traces/{trace}")
        assert body["totals"]["spans"] == 600

    async def test_unknown_and_malformed_ids(self, prompts: Project):
        assert (await prompts.call("GET", f"traces/{new_trace_id()}")).status == 404
        assert (await prompts.call("GET", "traces/nonsense")).status == 422


class TestCutPayload:
    async def test_flags_length_and_hash(self, prompts: Project, small_payload_url: str):
        sent = span(prompts, input="é" * 5000, output="short")
        small = Project(prompts.session, small_payload_url)
        await send(small, sent)
        found = (await small.get(f"traces/{sent['trace_id']}"))["spans"][0]
        whole = orjson.dumps("é" * 5000)
        assert found["input_cut"] == {"length": len(whole), "sha256": hashlib.sha256(whole).hexdigest()}
        assert whole.decode().startswith(found["input"])
        assert 2040 < len(found["input"].encode()) <= 2048
        assert (found["output"], found["output_cut"]) == ("short", None)

    async def test_of_a_span_that_is_larger_than_what_is_kept_its_sender_cuts(self, prompts: Project):
        whole = {"input": '"' * 12_000_000, "output": "x" * 25_000_000}
        sent = Span.model_validate(span(prompts) | whole)
        async with SpanSender(prompts.url) as sender:
            sender.send(sent)
        found = (await prompts.get(f"traces/{sent.trace_id}"))["spans"][0]
        for name, value in whole.items():
            written = orjson.dumps(value)
            cut = {"length": len(written), "sha256": hashlib.sha256(written).hexdigest()}
            assert found[f"{name}_cut"] == cut
            assert found[name] == written[: 8 * 1024 * 1024].decode()

"""`POST /traces`: what is wrong with one span is said of that span, and the good ones beside it are stored."""

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from studio.contracts.ids import new_span_id, new_trace_id
from tests.support.prompt_engine import Project

AS_JSON = {"Content-Type": "application/json"}


def span(project: Project, *, days_ago: float = 0, **fields: Any) -> dict[str, Any]:
    started = datetime.now(UTC) - timedelta(days=days_ago, minutes=5)
    moments = {"started_at": started.isoformat(), "ended_at": (started + timedelta(seconds=1)).isoformat()}
    ids = {"trace_id": new_trace_id(), "span_id": new_span_id(), "project_id": project.id}
    return {**ids, "name": "call", "kind": "llm", **moments, **fields}


def raw(project: Project, field: str, value: str) -> bytes:
    """A span as others write it, `value` being JSON or what they take for it."""
    return orjson.dumps(span(project))[:-1] + f',"{field}":{value}}}'.encode("utf-8", "surrogatepass")


async def send(project: Project, *spans: bytes, status: int = 202) -> Any:
    body = b'{"spans":[' + b",".join(spans) + b"]}"
    async with project.session.post(f"{project.url}/api/v1/traces", data=body, headers=AS_JSON) as answer:
        assert answer.status == status, await answer.text()
        return await answer.json(content_type=None)


BAD = {
    "300 deep": ("input", "[" * 300 + "]" * 300),
    "2,000 deep": ("output", "[" * 2000 + "]" * 2000),
    "deep in params": ("params", '{"a":' * 150 + "1" + "}" * 150),
    "a huge cost": ("cost_usd", '"1e19"'),
    "a cost without end": ("cost_usd", '"1e999999"'),
    "a cost that is none": ("cost_usd", '"NaN"'),
    "NaN": ("input", "NaN"),
    "Infinity": ("ttft_ms", "Infinity"),
    "a number past a double": ("input", '{"a":[1e400]}'),
    "a whole number past 64 bits": ("output", '{"id":12345678901234567890123}'),
    "a version past 64 bits": ("prompt_version", "99999999999999999999"),
    "tokens past 53 bits": ("prompt_tokens", "9007199254740993"),
    "no JSON at all": ("input", "tru"),
    "a wrong escape": ("input", '"\\x"'),
    "the last year": ("ended_at", '"9999-12-31T23:59:59Z"'),
    "the first year": ("started_at", '"0001-01-01T00:00:00+14:00"'),
}


class TestOneBadSpan:
    @pytest.mark.parametrize("fault", BAD)
    async def test_is_rejected_and_the_good_one_is_stored(self, prompts: Project, fault: str):
        good = span(prompts, input="fine")
        result = await send(prompts, orjson.dumps(good), raw(prompts, *BAD[fault]), b"null")
        assert result["accepted"] == 1
        assert [one["index"] for one in result["rejected"]] == [1, 2]
        assert all(one["error"] for one in result["rejected"])
        assert (await prompts.get(f"traces/{good['trace_id']}"))["spans"][0]["input"] == "fine"

    async def test_is_kept_as_it_came(self, prompts: Project):
        bad = raw(prompts, "input", "[" * 300 + "]" * 300)
        await send(prompts, bad, orjson.dumps(span(prompts)))
        async with prompts.session.get(f"{prompts.url}/api/v1/traces/rejected?limit=1") as answer:
            kept = (await answer.json())["items"][0]
        assert kept["span"] == bad.decode()
        assert "100 deep" in kept["error"]

    async def test_invalid_utf8_too(self, prompts: Project):
        bad = raw(prompts, "input", '"?"').replace(b"?", b"\xff")
        result = await send(prompts, bad, orjson.dumps(span(prompts)))
        assert (result["accepted"], result["rejected"][0]["error"]) == (1, "not readable: the text is not UTF-8")

    async def test_all_of_them_at_once(self, prompts: Project):
        many = [raw(prompts, *fault) for fault in BAD.values()]
        goods = [orjson.dumps(span(prompts)) for _ in many]
        mixed = [one for pair in zip(many, goods, strict=True) for one in pair]
        result = await send(prompts, *mixed)
        assert result["accepted"] == len(goods)
        assert [one["index"] for one in result["rejected"]] == list(range(0, len(mixed), 2))


class TestSpansThatAreTaken:
    async def test_half_a_character_becomes_the_replacement_character(self, prompts: Project):
        bad = raw(prompts, "output", '"cut \\ud83d"')
        assert (await send(prompts, bad))["accepted"] == 1
        trace = await prompts.get(f"traces/{orjson.loads(raw_id(bad))}")
        assert trace["spans"][0]["output"] == "cut \ufffd"

    async def test_a_field_of_a_newer_sender_is_left_out(self, prompts: Project):
        assert await send(prompts, orjson.dumps(span(prompts, brand_new={"a": 1}))) == {"accepted": 1, "rejected": []}

    async def test_a_version_of_sixteen_digits_is_stored(self, prompts: Project):
        sent = span(prompts, prompt_id="p", prompt_version=9999999999999999)
        assert (await send(prompts, orjson.dumps(sent)))["accepted"] == 1
        assert (await prompts.get(f"traces/{sent['trace_id']}"))["spans"][0]["prompt_version"] == 9999999999999999

    @pytest.mark.parametrize(
        ("cost", "shown"),
        [("0.00000099", "0.00000099"), ("2E-7", "0.0000002"), ("1E-12", "0.000000000001"), ("0", "0")],
    )
    async def test_costs_are_plain_digits(self, prompts: Project, cost: str, shown: str):
        sent = span(prompts, cost_usd=cost)
        await send(prompts, orjson.dumps(sent))
        trace = await prompts.get(f"traces/{sent['trace_id']}")
        assert (trace["spans"][0]["cost_usd"], trace["totals"]["cost_usd"]) == (shown, shown)

    async def test_the_largest_cost_is_exact(self, prompts: Project):
        sent = span(prompts, cost_usd="999999999999999.999999999999")
        assert (await send(prompts, orjson.dumps(sent)))["accepted"] == 1
        assert (await prompts.get(f"traces/{sent['trace_id']}"))["totals"]["cost_usd"] == sent["cost_usd"]


class TestRetention:
    async def test_an_older_span_is_rejected_with_the_reason(self, prompts: Project):
        old, young = span(prompts, days_ago=90.1), span(prompts, days_ago=89)
        result = await send(prompts, orjson.dumps(old), orjson.dumps(young))
        assert result["rejected"] == [{"index": 0, "error": "started_at: older than the retention of 90 days"}]
        assert (await prompts.call("GET", f"traces/{young['trace_id']}")).status == 200


class TestBodiesThatAreNone:
    @pytest.mark.parametrize(
        "body",
        [
            b'{"spans":[{]}',
            b'{"spans":[{}',
            b'{"spans":["a]}',
            b'{"spans":[1}]',
            b'{"spans":[NaN]',
            b"[NaN]",
            b'{"spans":NaN}',
        ],
    )
    async def test_are_refused_with_a_place(self, prompts: Project, body: bytes):
        async with prompts.session.post(f"{prompts.url}/api/v1/traces", data=body, headers=AS_JSON) as answer:
            problem = await answer.json(content_type=None)
        assert (answer.status, problem["errors"][0]["loc"][0]) == (422, "body")


class TestLists:
    async def test_a_span_that_moved_to_another_project_is_listed_there_only(self, prompts: Project):
        sent = span(prompts)
        other = f"{prompts.id}x"
        await send(prompts, orjson.dumps(sent))
        await send(prompts, orjson.dumps(sent | {"project_id": other}))
        assert (await prompts.get("traces"))["items"] == []
        async with prompts.session.get(f"{prompts.url}/api/v1/traces?project_id={other}") as answer:
            assert [one["trace_id"] for one in (await answer.json())["items"]] == [sent["trace_id"]]

    async def test_those_that_moved_do_not_shorten_a_page(self, prompts: Project):
        stay = [span(prompts, days_ago=index) for index in range(4)]
        gone = [span(prompts, days_ago=index + 0.5) for index in range(4)]
        await send(prompts, *map(orjson.dumps, stay + gone))
        await send(prompts, *(orjson.dumps(one | {"project_id": f"{prompts.id}y"}) for one in gone))
        page = await prompts.get("traces?limit=3")
        rest = await prompts.get(f"traces?limit=3&cursor={page['next_cursor']}")
        listed = [one["trace_id"] for one in page["items"] + rest["items"]]
        assert listed == [one["trace_id"] for one in stay]
        assert rest["next_cursor"] is None

    async def test_a_page_goes_on_where_a_time_range_cuts_traces(self, prompts: Project):
        traces = [span(prompts, days_ago=index / 100) for index in range(4)]
        early = [span(prompts, days_ago=10 + index, trace_id=one["trace_id"]) for index, one in enumerate(traces)]
        await send(prompts, *map(orjson.dumps, traces + early))
        since = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        page = await prompts.get(f"traces?limit=2&from={since}")
        rest = await prompts.get(f"traces?limit=2&from={since}&cursor={page['next_cursor']}")
        assert [one["trace_id"] for one in page["items"] + rest["items"]] == [one["trace_id"] for one in traces]

    async def test_an_empty_value_is_not_a_missing_one(self, prompts: Project):
        empty, none = span(prompts, metadata={"team": ""}), span(prompts)
        await send(prompts, orjson.dumps(empty), orjson.dumps(none))
        assert [one["trace_id"] for one in (await prompts.get("traces?metadata.team="))["items"]] == [empty["trace_id"]]
        assert (await prompts.get("traces?metadata.nope="))["items"] == []


def raw_id(body: bytes) -> bytes:
    return body.partition(b'"trace_id":')[2].partition(b",")[0]

"""An upstream that answers as no server should, in random order, beside a good one."""

import asyncio
import random
import re
from dataclasses import dataclass, field
from typing import Any, cast

import aiohttp
import orjson
import pytest

from studio.contracts.spans import Span
from tests.support.hostile_upstream import HostileUpstream, Misbehaviour, Verdict
from tests.support.llm_process import LlmProcess
from tests.support.misbehaviours import MISBEHAVIOURS, SPELLINGS
from tests.support.span_sink import SpanSink

AT_ONCE = 12
ERROR_EVENT = re.compile(rb'data: \{"error": ?+(?!null)')
SLOW_SHARE = 0.02
"""Of calls that end by a deadline: they would take most of the time."""


@dataclass
class Call:
    """One call and what came of it."""

    number: int
    misbehaviour: Misbehaviour | None
    """None: of the good upstream."""
    stream: bool
    asks_usage: bool
    status: int = 0
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    broken: str | None = None
    """What the caller's HTTP library said of the connection."""

    @property
    def request_id(self) -> str:
        return f"call-{self.number}"

    @property
    def verdict(self) -> Verdict:
        if self.misbehaviour is None:
            return "good"
        return self.misbehaviour.verdict

    @property
    def succeeded(self) -> bool:
        """As a caller of OpenAI's API sees it."""
        if self.status != 200:
            return False
        if not self.stream:
            return True
        return self.body.rstrip().endswith(b"data: [DONE]") and ERROR_EVENT.search(self.body) is None

    def __str__(self) -> str:
        name = self.misbehaviour.name if self.misbehaviour else "good"
        return f"{name} {'streamed' if self.stream else 'whole'}: {self.status} {self.broken or ''} {self.body[:300]!r}"


def planned(count: int, seed: int) -> list[Call]:
    """Every misbehaviour once where there is room, then at random; every fourth call is of the good upstream."""
    chance = random.Random(seed)
    quick = [one for one in MISBEHAVIOURS if not one.slow]
    slow = [one for one in MISBEHAVIOURS if one.slow]
    chosen = [*MISBEHAVIOURS[: max(0, count * 3 // 4)]]
    while len(chosen) < count * 3 // 4:
        chosen.append(chance.choice(slow if chance.random() < SLOW_SHARE else quick))
    all_calls: list[Misbehaviour | None] = [*chosen, *([None] * (count - len(chosen)))]
    chance.shuffle(all_calls)
    return [_call(number, one, chance) for number, one in enumerate(all_calls)]


def _call(number: int, one: Misbehaviour | None, chance: random.Random) -> Call:
    stream = chance.random() < 0.6
    if one is not None and (one.streamed is None) != (one.whole is None) and one.verdict == "good":
        stream = one.streamed is not None  # the other form has its own name
    if one is not None and one.slow:
        stream = True  # a whole answer has the total deadline alone
    return Call(number, one, stream, asks_usage=chance.random() < 0.5)


async def make(session: aiohttp.ClientSession, call: Call) -> None:
    model = f"hostile/{call.misbehaviour.name}" if call.misbehaviour else "good/scripted"
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "hello"}], "stream": call.stream}
    if call.stream and call.asks_usage:
        body["stream_options"] = {"include_usage": True}
    try:
        async with session.post("/v1/chat/completions", json=body, headers={"X-Request-Id": call.request_id}) as answer:
            call.status = answer.status
            call.headers = {name.lower(): value for name, value in answer.headers.items()}
            call.body = await answer.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        call.broken = repr(error)


async def make_all(url: str, calls: list[Call]) -> None:
    waiting = iter(calls)

    async def work(session: aiohttp.ClientSession) -> None:
        for call in waiting:
            await make(session, call)

    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=AT_ONCE)) as session:
        await asyncio.gather(*(work(session) for _ in range(AT_ONCE)))


def holds_secret(text: str) -> list[str]:
    return [spelling for spelling in SPELLINGS if spelling in text]


@pytest.fixture
def calls(request: pytest.FixtureRequest) -> list[Call]:
    count = cast("int", request.config.getoption("--hostile-calls", default=300))
    return planned(count, seed=count)


@pytest.mark.timeout(900)  # for many more calls than by default
async def test_no_call_is_answered_with_500_broken_lost_or_with_a_key(
    llm: LlmProcess, hostile: HostileUpstream, sink: SpanSink, calls: list[Call]
) -> None:
    await make_all(llm.url, calls)
    spans = {span.metadata["request_id"]: span for span in await sink.wait_for(len(calls))}
    bad = [call for call in calls if call.misbehaviour is not None]

    assert [str(call) for call in calls if call.broken] == []
    assert [str(call) for call in calls if call.status == 500 and "status-500" not in str(call)] == []
    assert [str(call) for call in calls if call.request_id not in spans] == []
    assert len(sink.spans) == len(calls)
    verdicts = [(call, spans[call.request_id]) for call in calls if call.verdict != "either"]
    wrong = [f"{call} {span.status} {span.error_message}" for call, span in verdicts if not _is_right(call, span)]
    assert wrong == []
    counts = [(call, spans[call.request_id]) for call in bad]
    uncounted = [f"{call} {_tokens(span)}" for call, span in counts if not _is_counted(call, span)]
    assert uncounted == []
    told = [str(call) for call in calls if holds_secret(f"{call.headers} {call.body.decode(errors='replace')}")]
    assert told == []
    assert [span for span in sink.spans if holds_secret(span.model_dump_json())] == []
    log = llm.log.read_text()
    assert holds_secret(log) == []
    assert [line for line in log.splitlines() if "request.crashed" in line or "not_written" in line] == []
    assert all(SPELLINGS[0].encode() in head for head, _ in hostile.received)  # the key did go to the upstream


def _is_right(call: Call, span: Span) -> bool:
    if call.misbehaviour is None:
        return call.succeeded and span.status == "ok" and b"script" in call.body
    if call.verdict == "good":
        return call.succeeded and span.status == "ok"
    return span.status in {"error", "incomplete"} and (not call.succeeded or not call.stream)


def _tokens(span: Span) -> tuple[int, int] | None:
    return None if span.usage_source == "none" else (span.prompt_tokens, span.completion_tokens)


def _is_counted(call: Call, span: Span) -> bool:
    one = cast("Misbehaviour", call.misbehaviour)
    if one.verdict == "either" or one.tokens is None:
        return True
    return _tokens(span) == one.tokens


def test_the_plan_holds_every_misbehaviour() -> None:
    calls = planned(300, seed=1)
    assert {one.name for one in MISBEHAVIOURS} == {call.misbehaviour.name for call in calls if call.misbehaviour}
    assert orjson.dumps([call.stream for call in calls]) == orjson.dumps([call.stream for call in planned(300, seed=1)])

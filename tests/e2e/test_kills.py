"""SIGKILL for a worker whose runs stand after every one of their twenty steps: nothing is lost, nothing paid twice."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest

from studio.contracts.base import JsonObject
from tests.api.conftest import Live, open_live
from tests.support.databases import postgres_database
from tests.support.platform import worker_process
from tests.support.scripted_upstream import Reply

CHAIN = ["c1", "c2", "c3", "c4", "c5", "c6", "c7"]
BRANCHES = ["x", "y", "z"]
ROUNDS = ["round 0", "round 1", "round 2", "round 3", "round 4"]
INNER = ["d1", "d2", "d3", "d4", "d5"]
CALLS = [*CHAIN, *BRANCHES, *ROUNDS, *INNER]
"""In the order in which a run makes them; the branches at once."""


def ask(call: str, step_id: str | None = None) -> JsonObject:
    return {"id": step_id or call, "agent": {"message": f"{{{{ run }}}} {call};"}, "input": "${{ input }}"}


def twenty_steps() -> list[JsonObject]:
    again: JsonObject = {
        "id": "again",
        "agent": {"message": "{{ run }} round {{ n }};"},
        "input": {"run": "${{ input.run }}", "n": "${{ iteration }}"},
    }
    return [
        *(ask(call) for call in CHAIN),
        {"id": "at_once", "parallel": {"branches": [ask(call) for call in BRANCHES]}},
        {"id": "rounds", "loop": {"do": [again], "until": f"${{{{ iteration == {len(ROUNDS) - 1} }}}}"}},
        {"id": "inner", "workflow": "inner", "input": "${{ input }}"},
    ]


OUTPUT: JsonObject = {
    "chain": "${{ steps.c7.output }}",
    "at_once": "${{ steps.at_once.output }}",
    "rounds": "${{ steps.rounds.output }}",
    "inner": "${{ steps.inner.output }}",
}


def answer(call: str) -> str:
    return f"what {call} says"


EXPECTED: JsonObject = {
    "chain": answer("c7"),
    "at_once": {call: answer(call) for call in BRANCHES},
    "rounds": answer("round 4"),
    "inner": answer("d5"),
}


def under_way_after(finished: int) -> list[str]:
    """The calls that a run makes next once its first `finished` are over."""
    following = CALLS[finished : finished + 1]
    return [call for call in BRANCHES if CALLS.index(call) >= finished] if following[0] in BRANCHES else following


def script(live: Live, run: str, held: list[str]) -> None:
    """Each call its own answer; those in `held` stop between two tokens the first time."""
    for call in CALLS:
        reply = Reply(text=answer(call))
        first = [reply.model_copy(update={"hold_after": 2})] if call in held else []
        live.upstream.when(f"{run} {call};", *first, reply)


@pytest.fixture
async def live(tmp_path: Path, hasty_temporal: str, redis_url: str, postgres_url: str) -> AsyncGenerator[Live]:
    """Without a worker. Runs continue as new about every ten steps."""
    url = postgres_database(postgres_url)
    async with open_live(tmp_path, hasty_temporal, redis_url, url, worker=False) as running:
        yield running


@asynccontextmanager
async def locked_row(live: Live, run_id: str) -> AsyncGenerator[psycopg.AsyncConnection]:
    """Nobody else can write the run's row meanwhile."""
    address = live.engine.database.url.replace("postgresql+psycopg://", "postgresql://")
    async with await psycopg.AsyncConnection.connect(address) as connection:
        await connection.execute("SELECT 1 FROM runs WHERE id = %s FOR UPDATE", [run_id])
        yield connection
        await connection.rollback()


async def until_somebody_waits(connection: psycopg.AsyncConnection) -> None:
    query = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    async with asyncio.timeout(20):
        while (await (await connection.execute(query)).fetchone()) == (0,):  # noqa: ASYNC110 - SQL tells nobody
            await asyncio.sleep(0.02)


async def assert_told_once(live: Live, run_id: str) -> None:
    keys = [event.key() for event in await live.engine.events(run_id) if event.key() is not None]
    assert len(keys) == len(set(keys))


def finished_calls(run: JsonObject) -> int:
    return sum(step["kind"] == "agent" and step["status"] == "succeeded" for step in run["steps"])


class TestWorkerKilled:
    @pytest.mark.timeout(240)
    async def test_after_any_of_twenty_steps_and_while_the_end_is_recorded(self, live: Live) -> None:
        await live.workflow(*(ask(call) for call in INNER), name="inner")
        await live.workflow(*twenty_steps(), output=OUTPUT)
        last = len(CALLS)
        under_way = {number: under_way_after(number) for number in range(last)}
        for number, held in {**under_way, last: CALLS[-1:]}.items():
            script(live, f"r{number}", held)
        async with worker_process(live.engine.settings) as worker:
            runs = {last: await live.start(input={"run": f"r{last}"})}
            await live.upstream.wait_for_calls(1, "held")
            async with locked_row(live, runs[last]) as lock:
                live.upstream.release()
                await until_somebody_waits(lock)
                runs |= {number: await live.start(input={"run": f"r{number}"}) for number in under_way}
                for number in under_way:
                    await live.api.until(f"/runs/{runs[number]}", lambda run, k=number: finished_calls(run) == k, 60)
                await live.upstream.wait_for_calls(sum(map(len, under_way.values())), "held")
                await worker.stop(signal.SIGKILL)
        async with worker_process(live.engine.settings):
            ended = await asyncio.gather(*(live.api.finished(run_id, 120) for run_id in runs.values()))
        assert [(run["status"], run["output"]) for run in ended] == [("succeeded", EXPECTED)] * (last + 1)
        answered = Counter(call.text for call in live.upstream.calls if call.outcome == "answered")
        assert answered == Counter(f"r{number} {call};" for number in runs for call in CALLS)
        again = Counter(call.text for call in live.upstream.calls if call.outcome != "answered")
        assert again == Counter(f"r{number} {call};" for number, held in under_way.items() for call in held)
        for number, run in zip(runs, ended, strict=True):
            attempts = [step["attempt"] for step in run["steps"] if step["kind"] == "agent"]
            twice = len(under_way.get(number, []))
            assert sorted(attempts) == [1] * (last - twice) + [2] * twice
            await assert_told_once(live, run["id"])


class TestSaidWhileNoWorkerRuns:
    async def test_a_raised_limit_reaches_child_workflows_before_the_resume(self, live: Live) -> None:
        await live.workflow(ask("first"), ask("second"), name="deep")
        await live.workflow({"id": "d", "workflow": "deep", "input": "${{ input }}"}, name="inner")
        outer = {"id": "c", "workflow": "inner", "input": "${{ input }}"}
        await live.workflow(outer, limits={"max_tokens": 1})
        async with worker_process(live.engine.settings) as worker:
            run_id = await live.start(input={"run": "r"})
            await live.api.until(f"/runs/{run_id}", lambda run: run["status"] == "paused")
            await worker.stop(signal.SIGKILL)
        (await live.api.patch(f"/runs/{run_id}/limits", {"max_tokens": 1000})).ok(200)
        (await live.api.post(f"/runs/{run_id}/resume")).ok(202)
        async with worker_process(live.engine.settings):
            assert (await live.api.finished(run_id, 60))["status"] == "succeeded"

"""Values that are large, or many: no payload and no message to Temporal gets larger than it takes."""

from typing import Any

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle

from studio.contracts.base import JsonObject
from studio.payload_crowds import EXTERNAL_BYTES
from tests.support.noise import noise
from tests.support.platform import Engine
from tests.support.scripted_upstream import Reply


async def largest_event(handle: WorkflowHandle[Any, Any]) -> int:
    return max(event.ByteSize() for event in (await handle.fetch_history()).events)


class TestManyAtOnce:
    async def test_a_hundred_calls_of_nearly_the_limit_begin_in_one_task(self, engine: Engine) -> None:
        """Together they are larger than a message to Temporal may be (4 MiB)."""
        given = [noise(75_000, number) for number in range(100)]
        do: JsonObject = {"id": "one", "agent": {"message": "say"}, "input": "${{ item }}"}
        handle = await engine.start([{"id": "m", "parallel": {"for_each": "${{ input }}", "do": do}}], given)
        assert await handle.result() == ["Hello from the script."] * 100
        assert await largest_event(handle) < EXTERNAL_BYTES * 1.1


class TestLarge:
    async def test_25_megabytes_go_through_ten_steps(self, engine: Engine) -> None:
        engine.upstream.default = Reply(tokens=[noise(5_000_000, number) for number in range(5)])
        steps: list[JsonObject] = [{"id": "s0", "agent": {"message": "say"}}]
        steps += [{"id": f"s{number}", "transform": "${{ prev.output }}"} for number in range(1, 10)]
        handle = await engine.start(steps)
        assert len(await handle.result()) == 25_000_000
        assert await largest_event(handle) < EXTERNAL_BYTES
        run = await engine.run(handle.id)
        assert [len(step.output) for step in run.steps] == [25_000_000] * 10

    @pytest.mark.parametrize(
        ("tokens", "cause"),
        [
            pytest.param([noise(5_000_000, 1)] * 8, "upstream_error", id="an answer of 40 megabytes"),
            pytest.param(['{"n": [0', ",0" * 1_200_000, "]}"], "payload_too_large", id="a list that takes more"),
        ],
    )
    async def test_a_larger_result_fails_its_step_by_name(self, engine: Engine, tokens: list[str], cause: str) -> None:
        engine.upstream.default = Reply(tokens=tokens)
        steps: list[JsonObject] = [{"id": "s0", "agent": {"message": "say"}, "output_schema": {"type": "object"}}]
        steps += [{"id": f"s{number}", "transform": "${{ prev.output }}"} for number in range(1, 10)]
        handle = await engine.start(steps)
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        error = (await engine.run(handle.id)).error
        assert error is not None
        assert (error.type, error.step_id) == (cause, "s0")
        assert "is larger than 33554432 bytes" in error.message
        assert await largest_event(handle) < EXTERNAL_BYTES

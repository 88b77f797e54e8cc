"""Workflow code in the SDK's sandbox, which refuses what is not deterministic: clocks, randomness, files, sockets."""

import pytest

from studio.contracts.base import JsonObject
from tests.support.platform import Engine
from tests.support.sandbox import replay_in_sandbox
from tests.support.scripted_upstream import Reply
from workflows.registry import WORKFLOWS


class TestSandbox:
    @pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
    async def test_every_workflow_replays_in_it(self, engine: Engine) -> None:
        engine.upstream.when("hello", Reply(status=503), Reply(text="hi"))
        inner: JsonObject = {"id": "c", "transform": "${{ steps.a.output + '!' }}"}
        steps: list[JsonObject] = [
            {"id": "a", "agent": {"message": "hello"}, "retry": {"initial_interval": "10ms"}},
            {"id": "b", "when": "${{ size(steps.a.output) > 1 }}", "sequential": {"steps": [inner]}},
            {"id": "d", "agent": {"message": "bye"}, "timeout": "30s"},
        ]
        handle = await engine.start(steps, {"x": 1})
        await handle.result()
        await replay_in_sandbox(engine.client, handle.id, *WORKFLOWS)

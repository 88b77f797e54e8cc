"""The product as a user meets it: the whole embedded stack, the local model, the examples."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest

from tests.support.stack import StudioCommand

EXAMPLES = Path(__file__).parents[2] / "examples"
INPUTS = {
    "haiku.yaml": {"subject": "the sea"},
    "research-brief.yaml": {"topic": "why rivers bend", "questions": 2},
    "support-reply.yaml": {"message": "My kettle arrived broken. I want a refund."},
    "three-views.yaml": {"plan": "Sell tea by the cup from a bicycle."},
}


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudioCommand]:
    command = StudioCommand(tmp_path_factory.mktemp("stack") / "data")
    started = command.up()
    assert started.returncode == 0, started.stdout + started.stderr
    yield command
    stopped = command.run("down", "--data", str(command.data))
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr


def run_example(studio: StudioCommand, name: str) -> dict[str, Any]:
    arguments = ("run", str(EXAMPLES / name), "--input", json.dumps(INPUTS[name]), "--json")
    ran = studio.run(*arguments, STUDIO_DATA_DIR=str(studio.data))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return cast("dict[str, Any]", json.loads(ran.stdout))


def addresses(studio: StudioCommand) -> dict[str, str]:
    status = studio.run("status", "--data", str(studio.data), "--json")
    return {part["name"]: part["address"] for part in json.loads(status.stdout)["parts"]}


class TestExamples:
    def test_each_has_an_input_here(self) -> None:
        assert {path.name for path in EXAMPLES.iterdir() if ".test." not in path.name} == INPUTS.keys()

    @pytest.mark.parametrize("name", INPUTS)
    def test_it_succeeds_on_the_local_model(self, studio: StudioCommand, name: str) -> None:
        run = run_example(studio, name)
        assert run["status"] == "succeeded"
        assert run["usage"]["llm_calls"] >= 1
        assert run["cost_usd"] == "0"
        assert [step["status"] for step in run["steps"]] == ["succeeded"] * len(run["steps"])
        assert run["output"]


class TestTheWholeStory:
    async def test_a_run_leaves_its_trace_with_prompts_and_cost(self, studio: StudioCommand) -> None:
        run = run_example(studio, "research-brief.yaml")
        where = addresses(studio)
        async with aiohttp.ClientSession() as session:
            trace = await whole_trace(session, f"{where['prompts']}/api/v1/traces/{run['trace_id']}")
            async with session.get(f"{where['api']}/api/v1/runs/{run['id']}/events", headers=JSON) as answer:
                events = (await answer.json())["items"]
            async with session.get(f"{where['temporal-ui']}/api/v1/namespaces/default/workflows/{run['id']}") as answer:
                seen = await answer.json()
        assert trace["totals"]["llm_calls"] == 3
        assert trace["totals"]["total_tokens"] == run["usage"]["total_tokens"]
        assert trace["totals"]["cost_usd"] == run["cost_usd"]
        written = "".join(e["data"]["text"] for e in events if e["type"] == "token" and e["step_id"] == "write")
        assert written == run["output"]["brief"]
        assert seen["workflowExecutionInfo"]["status"] == "WORKFLOW_EXECUTION_STATUS_COMPLETED"
        assert seen["workflowExecutionInfo"]["type"]["name"] == "SequentialWorkflow"


JSON = {"Accept": "application/json"}


async def whole_trace(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    """Once its last span has arrived: the run's, three steps' and three calls'."""
    async with asyncio.timeout(10):
        while True:
            async with session.get(url) as answer:
                trace = await answer.json()
                if answer.status == 200 and trace["totals"]["spans"] >= 7:
                    return trace
            await asyncio.sleep(0.1)

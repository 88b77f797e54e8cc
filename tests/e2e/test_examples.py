"""The product as a user meets it: the whole embedded stack, the local model, the examples."""

import asyncio
import getpass
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
from typer.testing import CliRunner

from cli.main import app
from tests.support.stack import StudioCommand

EXAMPLES = Path(__file__).parents[2] / "examples"
INPUTS = {
    "haiku.yaml": {"subject": "the sea"},
    "research-brief.yaml": {"topic": "why rivers bend", "questions": 2},
    "support-reply.yaml": {"message": "My kettle arrived broken. I want a refund."},
    "prompt-chaining.yaml": {"topic": "why bees matter"},
    "routing.yaml": {"message": "My kettle arrived broken. It does not heat."},
    "parallelisation.yaml": {"plan": "Sell tea by the cup from a bicycle."},
    "orchestrator-workers.yaml": {"city": "Kyoto"},
    "evaluator-optimizer.yaml": {"product": "a folding bicycle"},
    "approval.yaml": {"customer": "ada@example.com", "message": "Do you have green tea?"},
}
WAIT_FOR_A_PERSON = {"approval.yaml"}


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudioCommand]:
    command = StudioCommand(tmp_path_factory.mktemp("stack") / "data")
    started = command.up()
    assert started.returncode == 0, started.stdout + started.stderr
    yield command
    stopped = command.run("down", "--data", str(command.data))
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr


class Examples:
    """Each is run once, when first asked for."""

    def __init__(self, studio: StudioCommand) -> None:
        self.studio = studio
        self._ran: dict[str, dict[str, Any]] = {}

    def run(self, name: str) -> dict[str, Any]:
        if name not in self._ran:
            self._ran[name] = run_example(self.studio, name)
        return self._ran[name]


@pytest.fixture(scope="module")
def examples(studio: StudioCommand) -> Examples:
    return Examples(studio)


def run_example(studio: StudioCommand, name: str) -> dict[str, Any]:
    arguments = ("run", str(EXAMPLES / name), "--input", json.dumps(INPUTS[name]), "--json")
    if name not in WAIT_FOR_A_PERSON:
        return as_json(studio, *arguments)
    run_id = as_json(studio, *arguments, "--no-follow")["id"]
    approve_all(studio, run_id)
    return as_json(studio, "get", run_id, "--json")


def as_json(studio: StudioCommand, *arguments: str) -> dict[str, Any]:
    ran = studio.run(*arguments, STUDIO_DATA_DIR=str(studio.data))
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return cast("dict[str, Any]", json.loads(ran.stdout))


def approve_all(studio: StudioCommand, run_id: str) -> None:
    """Follow the run to its end and approve what it asks."""
    with studio.start("events", run_id, "-f", "--json", STUDIO_DATA_DIR=str(studio.data)) as following:
        assert following.stdout is not None
        for line in following.stdout:
            event = json.loads(line)
            if event["type"] == "step.waiting":
                assert as_json(studio, "approve", run_id, event["step_id"], "--json")["accepted"]
    assert following.returncode == 0


def is_late_vote(step: dict[str, Any]) -> bool:
    """Whether it was stopped because three others had voted."""
    return step["id"].startswith("review/votes/vote[") and step["status"] == "cancelled"


def addresses(studio: StudioCommand) -> dict[str, str]:
    status = studio.run("status", "--data", str(studio.data), "--json")
    return {part["name"]: part["address"] for part in json.loads(status.stdout)["parts"]}


class TestExamples:
    def test_each_has_an_input_here(self) -> None:
        assert {path.name for path in EXAMPLES.glob("*.yaml") if ".test." not in path.name} == INPUTS.keys()

    @pytest.mark.parametrize("name", INPUTS)
    def test_the_index_shows_its_picture(self, name: str) -> None:
        picture = CliRunner().invoke(app, ["graph", str(EXAMPLES / name)]).stdout
        assert f"[{name}]({name})\n\n```mermaid\n{picture}```\n" in (EXAMPLES / "README.md").read_text()

    @pytest.mark.parametrize("name", INPUTS)
    def test_it_succeeds_on_the_local_model(self, examples: Examples, name: str) -> None:
        run = examples.run(name)
        assert run["status"] == "succeeded"
        assert run["usage"]["llm_calls"] >= 1
        assert run["cost_usd"] == "0"
        good = {"succeeded", "skipped"}  # cases that were not chosen
        assert [step["id"] for step in run["steps"] if step["status"] not in good and not is_late_vote(step)] == []
        assert run["output"]

    def test_a_route_takes_one_choice(self, examples: Examples) -> None:
        steps = [step["id"] for step in examples.run("routing.yaml")["steps"] if step["status"] != "skipped"]
        assert steps[:2] == ["desk", "desk/router.choice"]
        assert steps[2:] in (["desk/billing"], ["desk/diagnose", "desk/advise"])

    def test_three_votes_are_enough(self, examples: Examples) -> None:
        run = examples.run("parallelisation.yaml")
        given = [step for step in run["steps"] if "/vote[" in step["id"] and step["status"] == "succeeded"]
        assert len(given) >= 3
        assert sum(run["output"]["votes"].values()) == len(given)
        assert len(run["output"]["views"]) == 3

    def test_the_manager_delegates_and_answers_after_the_reports(self, examples: Examples) -> None:
        steps = [step["id"] for step in examples.run("orchestrator-workers.yaml")["steps"]]
        assert steps[:2] == ["guide", "guide/manager.round-1"]
        assert "guide/worker.historian-1" in steps
        assert "guide/manager.round-2" in steps

    def test_what_a_person_approved_is_sent_by_the_child_workflow(self, examples: Examples) -> None:
        run = examples.run("approval.yaml")
        outputs = {step["id"]: step["output"] for step in run["steps"]}
        assert (run["output"]["decision"], run["output"]["by"]) == ("approve", getpass.getuser())
        assert outputs["decided/send/letter"]["text"] == outputs["draft"]
        assert run["output"]["result"] == outputs["decided/send/letter"]

    def test_the_judge_is_heard_in_every_round(self, examples: Examples) -> None:
        run = examples.run("evaluator-optimizer.yaml")
        judged = [step["output"]["good"] for step in run["steps"] if step["id"].endswith("/judge")]
        assert 1 <= len(judged) <= 3
        assert judged[:-1] == [False] * (len(judged) - 1)
        assert run["output"]["good"] == judged[-1]


class TestTheWholeStory:
    async def test_a_run_leaves_its_trace_with_prompts_and_cost(self, examples: Examples) -> None:
        run = examples.run("research-brief.yaml")
        where = addresses(examples.studio)
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

import asyncio
import uuid
from typing import Any

import aiohttp
import orjson
import pytest

from studio.contracts.base import JsonObject
from studio.documents import load_documents
from tests.studio.engine.malformed.test_malformed import ALL, Malformed
from tests.support.services import RunningApi

TEXT = """\
# A workflow may come before its agents.
kind: workflow
name: brief
project_id: PROJECT
description: |
  Two lines,
  kept.
input_schema: {type: object, required: [topic]}
pattern: sequential
steps:
  - id: plan
    agent: planner
    timeout: 90s
    input: {topic: "${{ input.topic }}", when: 2024-01-01, really: no}
  - id: write
    when: ${{ steps.plan.output != '' }}
    agent: {prompt: {name: writing}}
output: ${{ steps.write.output }}
---
kind: agent
name: planner
project_id: PROJECT
instructions: Plan {{ topic }}.
params:
  temperature: 0.0
---
kind: prompt
name: writing
project_id: PROJECT
messages:
  - role: user
    content: Write about {{ topic }}.
"""


MISTAKES = """\
kind: agent
name: Writer
modle: x
---
kind: flow
---
kind: workflow
name: w
pattern: sequential
steps:
  - id: a
    agent: nobody
  - id: b
    transform: ${{ steps.c.output }}
  - id: d
    agent: {timeout: 5}
---
- 1
"""


@pytest.fixture
def project() -> str:
    return f"p{uuid.uuid4().hex[:12]}"


@pytest.fixture
def text(project: str) -> str:
    return TEXT.replace("PROJECT", project)


def actions(answer: Any) -> list[tuple[str, str, str]]:
    return [(result["kind"], result["name"], result["action"]) for result in answer.ok()["results"]]


ODD = """\
kind: workflow
name: odd
pattern: sequential
steps:
  - id: research
    parallel:
      for_each: ${{ input.questions }}
      do: {id: answer, agent: {}}
  - {id: never, when: false, transform: 1}
"""


class TestWarnings:
    async def test_apply_stores_and_tells_them(self, api: RunningApi) -> None:
        text = "kind: agent\nname: a\n---\n" + ODD
        for dry_run in ("true", "false"):
            agent, workflow = (await api.yaml("/apply", text, dry_run=dry_run)).ok()["results"]
            assert agent["warnings"] == []
            assert [(found["path"], found["line"], found["column"]) for found in workflow["warnings"]] == [
                ("/steps/0/parallel/for_each", 10, 7),
                ("/steps/1/when", 12, 17),
            ]
            assert all(found["document"] == 1 and found["hint"] for found in workflow["warnings"])
        assert len((await api.get("/workflows")).ok()["items"]) == 1

    async def test_validate_tells_them_apart_from_errors(self, api: RunningApi) -> None:
        report = (await api.yaml("/workflows/validate", ODD)).ok()
        assert (report["valid"], report["errors"]) == (True, [])
        assert [found["path"] for found in report["warnings"]] == ["/steps/0/parallel/for_each", "/steps/1/when"]
        report = (await api.yaml("/workflows/validate", ODD + "output: ${{ 1 + }}\n")).ok()
        assert (report["valid"], report["warnings"]) == (False, [])
        assert [found["path"] for found in report["errors"]] == ["/output"]

    async def test_a_single_workflow_is_stored_with_them(self, api: RunningApi) -> None:
        step = {"id": "a", "when": False, "transform": 1}
        (await api.post("/workflows", {"name": "w", "pattern": "sequential", "steps": [step]})).ok(201)


class TestMalformed:
    @pytest.mark.parametrize("case", ALL[::20], ids=lambda case: case.what)
    async def test_place_and_type(self, api: RunningApi, case: Malformed) -> None:
        report = (await api.yaml("/workflows/validate", case.text)).ok()
        (found,) = report["errors"]
        assert (report["valid"], found["line"], found["column"]) == (False, case.line, case.column)
        assert found["path"] == case.pointer
        (error,) = (await api.yaml("/apply", case.text)).problem(422, "invalid-input")["errors"]
        assert (error["line"], error["column"], error["type"]) == (case.line, case.column, case.type)

    async def test_json_gets_the_fields_that_there_are(self, api: RunningApi) -> None:
        answer = await api.post("/workflows", {"name": "w", "pattern": "sequential", "step": []})
        (error,) = answer.problem(422, "invalid-input")["errors"]
        assert (error["loc"], error["hint"]) == (["body", "step"], "did you mean 'steps'?")


class TestApply:
    async def test_creates_then_changes_nothing_then_updates(self, whole: RunningApi, text: str, project: str) -> None:
        assert actions(await whole.yaml("/apply", text)) == [
            ("workflow", "brief", "created"),
            ("agent", "planner", "created"),
            ("prompt", "writing", "created"),
        ]
        assert {action for *_, action in actions(await whole.yaml("/apply", text))} == {"unchanged"}
        changed = text.replace("Plan {{", "Think {{").replace("about", "of")
        assert [action for *_, action in actions(await whole.yaml("/apply", changed))] == [
            "unchanged",
            "updated",
            "updated",
        ]
        workflow = (await whole.get("/workflows/brief", project_id=project)).ok()
        assert workflow["version"] == 1
        assert workflow["description"] == "Two lines,\nkept.\n"
        assert workflow["steps"][0]["input"] == {"topic": "${{ input.topic }}", "when": "2024-01-01", "really": "no"}
        assert (await whole.get("/agents/planner", project_id=project)).ok()["version"] == 2

    async def test_dry_run_changes_nothing(self, whole: RunningApi, text: str, project: str) -> None:
        report = (await whole.yaml("/apply", text, dry_run="true")).ok()
        assert report["dry_run"] is True
        assert {result["action"] for result in report["results"]} == {"created"}
        assert (await whole.get("/agents", project_id=project)).ok()["items"] == []
        assert (await whole.get("/export", project_id=project)).body == b""

    async def test_last_document_fails_and_nothing_is_stored(self, whole: RunningApi, text: str, project: str) -> None:
        bad = text + f"---\nkind: prompt\nname: bad\nproject_id: {project}\ntemplate: 'Hello {{{{ name'\n"
        answer = await whole.yaml("/apply", bad)
        (error,) = answer.problem(422, "invalid-input")["errors"]
        assert error["loc"][:3] == ["body", 3, "template"]
        assert error["line"] == bad.count("\n")
        assert (await whole.get("/agents", project_id=project)).ok()["items"] == []
        assert (await whole.get("/export", project_id=project)).body == b""

    async def test_every_error_at_once_with_its_line(self, api: RunningApi) -> None:
        errors = (await api.yaml("/apply", MISTAKES)).problem(422, "invalid-input")["errors"]
        assert [(error["loc"], error["line"]) for error in errors] == [
            (["body", 0, "name"], 2),
            (["body", 0, "modle"], 3),
            (["body", 1, "kind"], 5),
            (["body", 2, "steps", 2, "agent", "timeout"], 16),
            (["body", 3], 18),
        ]

    async def test_references_once_the_document_can_be_read(self, api: RunningApi) -> None:
        mended = MISTAKES.replace("    agent: {timeout: 5}", "    agent: {}")
        errors = (await api.yaml("/apply", mended)).problem(422, "invalid-input")["errors"]
        assert [(error["loc"], error["line"]) for error in errors if error["loc"][1] == 2] == [
            (["body", 2, "steps", 0, "agent"], 12),
            (["body", 2, "steps", 1, "transform"], 14),
        ]

    async def test_json_list(self, api: RunningApi) -> None:
        documents = [{"kind": "agent", "name": "a"}, {"kind": "agent", "name": "b", "project_id": "p"}]
        report = (await api.post("/apply", documents)).ok()
        assert [(result["name"], result["project_id"]) for result in report["results"]] == [
            ("a", "default"),
            ("b", "p"),
        ]

    async def test_same_document_twice(self, api: RunningApi) -> None:
        documents = [{"kind": "agent", "name": "a"}, {"kind": "agent", "name": "a"}]
        assert (await api.post("/apply", documents)).places() == [["body", 1, "name"]]

    async def test_agent_of_another_project_does_not_count(self, api: RunningApi) -> None:
        workflow = {"kind": "workflow", "name": "w", "pattern": "sequential", "steps": [{"id": "s", "agent": "a"}]}
        other = {"kind": "agent", "name": "a", "project_id": "other"}
        assert (await api.post("/apply", [workflow, other])).places() == [["body", 0, "steps", 0, "agent"]]

    async def test_prompt_engine_away(self, api: RunningApi) -> None:
        documents: list[JsonObject] = [
            {"kind": "agent", "name": "a"},
            {"kind": "prompt", "name": "p", "template": "Hello"},
        ]
        problem = (await api.post("/apply", documents)).problem(503, "dependency-unavailable")
        assert problem["dependency"] == "prompt engine"
        assert (await api.get("/agents")).ok()["items"] == []
        (await api.post("/apply", documents[:1])).ok()

    async def test_at_once(self, api: RunningApi) -> None:
        documents = [{"kind": "agent", "name": f"a{n}"} for n in range(20)]
        answers = await asyncio.gather(*(api.post("/apply", documents if n % 2 else documents[::-1]) for n in range(6)))
        created = [sum(action == "created" for *_, action in actions(answer)) for answer in answers]
        assert sorted(created) == [0, 0, 0, 0, 0, 20]

    async def test_nothing_to_apply(self, api: RunningApi) -> None:
        assert (await api.yaml("/apply", "# nothing\n")).ok()["results"] == []


class TestExport:
    async def test_applying_it_changes_nothing(self, whole: RunningApi, text: str, project: str) -> None:
        (await whole.yaml("/apply", text)).ok()
        answer = await whole.get("/export", project_id=project)
        assert answer.headers["content-type"].startswith("application/yaml")
        exported = answer.body.decode()
        documents: list[Any] = [document.value for document in load_documents(exported)]
        assert [document["kind"] for document in documents] == ["prompt", "agent", "workflow"]
        assert "description: |\n  Two lines,\n  kept.\n" in exported
        assert {action for *_, action in actions(await whole.yaml("/apply", exported))} == {"unchanged"}

        elsewhere = exported.replace(project, project + "x")
        assert {action for *_, action in actions(await whole.yaml("/apply", elsewhere))} == {"created"}
        again = (await whole.get("/export", project_id=project + "x")).body.decode()
        assert again == elsewhere

    async def test_narrowed(self, api: RunningApi) -> None:
        documents = [{"kind": "agent", "name": name} for name in ("a", "b")]
        (await api.post("/apply", documents)).ok()
        assert (await api.get("/export", kind="agent", name="b")).body == b"kind: agent\nname: b\nproject_id: default\n"
        assert (await api.get("/export", kind=["agent", "workflow"])).body.count(b"---") == 2
        assert (await api.get("/export", kind="flow")).places()[0][:2] == ["query", "kind"]
        (await api.get("/export")).problem(503, "dependency-unavailable")


class TestValidate:
    async def test_valid(self, api: RunningApi) -> None:
        (await api.post("/agents", {"name": "planner"})).ok(201)
        workflow = TEXT.partition("---")[0].replace("PROJECT", "default")
        report = (await api.yaml("/workflows/validate", workflow)).ok()
        assert (report["valid"], report["errors"]) == (True, [])
        assert [node["id"] for node in report["graph"]["nodes"]] == ["plan", "write"]
        assert report["graph"]["edges"] == [{"from": "plan", "to": "write"}]
        assert (await api.get("/workflows")).ok()["items"] == []

    async def test_agents_beside_it_count(self, whole: RunningApi, text: str) -> None:
        assert (await whole.yaml("/workflows/validate", text)).ok()["valid"] is True

    async def test_findings_have_pointer_line_and_hint(self, api: RunningApi) -> None:
        workflow = (
            TEXT.partition("---")[0].replace("PROJECT", "default").replace("steps.plan.output", "steps.plan2.output")
        )
        report = (await api.yaml("/workflows/validate", workflow)).ok()
        assert report["valid"] is False
        assert [(error["path"], error["line"], error["column"]) for error in report["errors"]] == [
            ("/steps/0/agent", 12, 5),
            ("/steps/1/when", 16, 5),
        ]
        assert "plan" in report["errors"][1]["hint"]

    async def test_json_without_kind(self, api: RunningApi) -> None:
        body: JsonObject = {"name": "w", "pattern": "sequential", "steps": [{"id": "a", "transform": 1}]}
        (error,) = (await api.post("/workflows/validate", body)).ok()["errors"]
        (applied,) = (await api.post("/apply", body)).problem(422, "invalid-input")["errors"]
        assert error["message"].startswith("there is no `kind`")
        assert error["hint"] == "write `kind: workflow` first, it seems"
        assert (applied["msg"], applied["hint"]) == (error["message"], error["hint"])

    @pytest.mark.parametrize(
        ("body", "line"), [("a: [1", 1), ("a: 1\na: 2", 2), ("name: x\n\tsteps: []", 2), ("x: !!int 1", 1), ("", None)]
    )
    async def test_not_yaml(self, api: RunningApi, body: str, line: int | None) -> None:
        report = (await api.yaml("/workflows/validate", body)).ok()
        assert report["valid"] is False
        assert report["graph"] == {"nodes": [], "edges": []}
        assert [error["line"] for error in report["errors"]] == [line]

    async def test_not_json(self, api: RunningApi) -> None:
        answer = await api.request("POST", "/workflows/validate", data=b'{"name":\n}', content_type="application/json")
        report = answer.ok()
        assert (report["valid"], report["errors"][0]["line"]) == (False, 2)

    async def test_another_media_type(self, api: RunningApi) -> None:
        answer = await api.request("POST", "/workflows/validate", data=b"x", content_type="text/plain")
        answer.problem(415, "unsupported-media-type")


class TestPromptHistory:
    async def test_names_who_applied(self, whole: RunningApi, text: str, project: str) -> None:
        headers = {"X-Studio-Actor": "ada"}
        (await whole.request("POST", "/apply", data=text, content_type="application/yaml", headers=headers)).ok()
        url = f"{whole.settings.prompt_url}/api/v1/prompts/writing/promotions?project_id={project}"
        async with aiohttp.ClientSession() as http, http.get(url) as answer:
            page = orjson.loads(await answer.read())
        assert [promotion["actor"] for promotion in page["items"]] == ["ada"]

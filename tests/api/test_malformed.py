"""A hundred wrong requests: each gets a problem that says where, and none an internal error."""

import functools
import json
from typing import Any

import pytest

from studio.contracts.base import JsonObject
from tests.support.services import Answer, RunningApi

AGENT: JsonObject = {"name": "a"}
STEP: JsonObject = {"id": "s", "transform": 1}
DEEP: Any = functools.reduce(lambda inner, _: [inner], range(120), "x")


def steps(*items: Any) -> JsonObject:
    return {"name": "w", "pattern": "sequential", "steps": list(items)}


WRONG_AGENTS: list[tuple[Any, list[str | int]]] = [
    ({}, ["body", "name"]),
    ([], ["body"]),
    ("a", ["body"]),
    (None, ["body"]),
    ({"name": ""}, ["body", "name"]),
    ({"name": "A"}, ["body", "name"]),
    ({"name": "a b"}, ["body", "name"]),
    ({"name": "-a"}, ["body", "name"]),
    ({"name": "a" * 64}, ["body", "name"]),
    ({"name": 1}, ["body", "name"]),
    ({"name": None}, ["body", "name"]),
    ({"name": "ä"}, ["body", "name"]),
    ({"name": "a\n"}, ["body", "name"]),
    ({"name": "agt_01m836qysnzx3w9qrw5zc6fpdh"}, ["body", "name"]),
    (AGENT | {"kind": "workflow"}, ["body", "kind"]),
    (AGENT | {"id": "x"}, ["body", "id"]),
    (AGENT | {"version": 1}, ["body", "version"]),
    (AGENT | {"project_id": "P"}, ["body", "project_id"]),
    (AGENT | {"framework": "langchain"}, ["body", "framework"]),
    (AGENT | {"tools": []}, ["body", "tools"]),
    (AGENT | {"model": ""}, ["body", "model"]),
    (AGENT | {"model": "m" * 257}, ["body", "model"]),
    (AGENT | {"params": []}, ["body", "params"]),
    (AGENT | {"params": {"model": "x"}}, ["body"]),
    (AGENT | {"instructions": 5}, ["body", "instructions"]),
    (AGENT | {"instructions": "{{ x"}, ["body", "instructions"]),
    (AGENT | {"instructions": "{% for %}"}, ["body", "instructions"]),
    (AGENT | {"message": "{% include 'x' %}"}, ["body", "message"]),
    (AGENT | {"instructions": "x", "prompt": {"name": "p"}}, ["body"]),
    (AGENT | {"prompt": "p"}, ["body", "prompt"]),
    (AGENT | {"prompt": {"name": "p", "label": "a", "version": 1}}, ["body", "prompt"]),
    (AGENT | {"prompt": {"name": "p", "version": 0}}, ["body", "prompt", "version"]),
    (AGENT | {"description": None}, ["body", "description"]),
    (AGENT | {"description": "a\0b"}, ["body", "description"]),
    (AGENT | {"params": {"x": DEEP}}, ["body", "params", "x"] + [0] * 7),
]

WRONG_WORKFLOWS: list[tuple[Any, list[str | int]]] = [
    ({"name": "w", "steps": [STEP]}, ["body", "pattern"]),
    (steps(), ["body", "steps"]),
    (steps(STEP) | {"pattern": "paralel"}, ["body", "pattern"]),
    (steps(STEP) | {"pattern": "parallel"}, ["body", "steps"]),
    (steps(STEP) | {"limits": {"on_exceeded": "stop"}}, ["body", "limits", "on_exceeded"]),
    (steps("s"), ["body", "steps", 0]),
    (steps({"id": "s"}), ["body", "steps", 0]),
    (steps({"transform": 1}), ["body", "steps", 0, "id"]),
    (steps(STEP | {"agent": "a"}), ["body", "steps", 0, "agent"]),
    (steps({"id": "1a", "transform": 1}), ["body", "steps", 0, "id"]),
    (steps({"id": "a-b", "transform": 1}), ["body", "steps", 0, "id"]),
    (steps(STEP, STEP), ["body", "steps", 1, "id"]),
    (steps(STEP | {"retry": 3}), ["body", "steps", 0, "retry"]),
    (steps({"id": "s", "component": "x"}), ["body", "steps", 0]),
    (steps({"id": "s", "agent": 5}), ["body", "steps", 0, "agent"]),
    (steps({"id": "s", "agent": "Not A Name"}), ["body", "steps", 0, "agent"]),
    (steps({"id": "s", "agent": "nobody"}), ["body", "steps", 0, "agent"]),
    (steps({"id": "s", "agent": {"name": "x"}}), ["body", "steps", 0, "agent", "name"]),
    (steps({"id": "s", "agent": {"message": "{{"}}), ["body", "steps", 0, "agent", "message"]),
    (steps({"id": "s", "agent": {}, "timeout": "soon"}), ["body", "steps", 0, "timeout"]),
    (steps({"id": "s", "agent": {}, "timeout": 0}), ["body", "steps", 0, "timeout"]),
    (steps({"id": "s", "agent": {}, "timeout": True}), ["body", "steps", 0, "timeout"]),
    (steps({"id": "s", "agent": {}, "retry": {"max_attempts": 0}}), ["body", "steps", 0, "retry", "max_attempts"]),
    (steps({"id": "s", "agent": {}, "retry": {"backoff": 0.5}}), ["body", "steps", 0, "retry", "backoff"]),
    (
        steps({"id": "s", "agent": {}, "retry": {"non_retryable": ["odd"]}}),
        ["body", "steps", 0, "retry", "non_retryable", 0],
    ),
    (steps(STEP | {"when": "true"}), ["body", "steps", 0, "when"]),
    (steps(STEP | {"when": "${{ true }} or"}), ["body", "steps", 0, "when"]),
    (steps(STEP | {"when": 1.5}), ["body", "steps", 0, "when"]),
    (steps({"id": "s", "transform": "${{ 1 + }}"}), ["body", "steps", 0, "transform"]),
    (steps({"id": "s", "transform": "${{ nope }}"}), ["body", "steps", 0, "transform"]),
    (steps({"id": "s", "transform": "${{ steps.t.output }}"}), ["body", "steps", 0, "transform"]),
    (steps({"id": "s", "transform": "${{ steps.s.output }}"}), ["body", "steps", 0, "transform"]),
    (steps({"id": "s", "transform": {"a": ["${{ steps }}"]}}), ["body", "steps", 0, "transform", "a", 0]),
    (steps({"id": "s", "transform": "${{ secrets.KEY }}"}), ["body", "steps", 0, "transform"]),
    (steps({"id": "s", "transform": "${{ input"}), ["body", "steps", 0, "transform"]),
    (steps({"id": "s", "sequential": {"steps": []}}), ["body", "steps", 0, "sequential", "steps"]),
    (
        steps({"id": "s", "sequential": {"steps": [{"id": "t", "agent": "nobody"}]}}),
        ["body", "steps", 0, "sequential", "steps", 0, "agent"],
    ),
    (
        steps({"id": "s", "sequential": {"steps": [{"id": "s", "transform": 1}]}}),
        ["body", "steps", 0, "sequential", "steps", 0, "id"],
    ),
    (steps(STEP) | {"output": "${{ steps.t.output }}"}, ["body", "output"]),
    (steps(STEP) | {"input_schema": []}, ["body", "input_schema"]),
    (steps(STEP) | {"input_schema": {"type": "strin"}}, ["body", "input_schema", "type"]),
    (steps(STEP) | {"input_schema": {"pattern": "("}}, ["body", "input_schema", "pattern"]),
    (steps(STEP) | {"input_schema": {"$ref": "https://example.com/x"}}, ["body", "input_schema", "$ref"]),
    (steps(STEP) | {"input_schema": {"$ref": "#/$defs/x"}}, ["body", "input_schema", "$ref"]),
]

WRONG_RUNS: list[tuple[Any, list[str | int]]] = [
    ([], ["body"]),
    ({"input": "x\0"}, ["body", "input"]),
    ({"inputs": {}}, ["body", "inputs"]),
    ({"version": 0}, ["body", "version"]),
    ({"version": "one"}, ["body", "version"]),
    ({"session_id": ""}, ["body", "session_id"]),
    ({"user_id": "u" * 257}, ["body", "user_id"]),
    ({"session_id": "a\nb"}, ["body", "session_id"]),
    ({"user_id": "a\x7fb"}, ["body", "user_id"]),
    ({"metadata": {"a\tb": "x"}}, ["body", "metadata", "a\tb"]),
    ({"metadata": []}, ["body", "metadata"]),
    ({"metadata": {"a": 1}}, ["body", "metadata", "a"]),
    ({"metadata": {"a": "x" * 1025}}, ["body", "metadata", "a"]),
    ({"metadata": {str(n): "" for n in range(51)}}, ["body", "metadata"]),
    ({"metadata": {"a\0": "x"}}, ["body", "metadata"]),
]

WRONG_JSON = [
    b"{",
    b'{"name": "a",}',
    b"{'name': 'a'}",
    b'{"name": NaN}',
    b'{"name": "\\ud800"}',
    b'{"name": "\xff"}',
    b'{"name": "a"} {}',
    b"\x00",
    b"[" * 5000,
]


@pytest.fixture(params=["sqlite"])
def database_url(request: pytest.FixtureRequest, tmp_path: Any) -> str:
    return f"sqlite+aiosqlite:///{tmp_path / 'studio.db'}"


class TestBodies:
    @pytest.mark.parametrize(("body", "place"), WRONG_AGENTS)
    async def test_agents(self, api: RunningApi, body: Any, place: list[str | int]) -> None:
        answer = await api.request("POST", "/agents", data=_json(body), content_type="application/json")
        assert answer.places()[0] == place
        assert all(message["msg"] for message in answer.json["errors"])

    @pytest.mark.parametrize(("body", "place"), WRONG_WORKFLOWS)
    async def test_workflows(self, api: RunningApi, body: Any, place: list[str | int]) -> None:
        assert (await api.post("/workflows", body)).places()[0] == place
        if body:
            report = (await api.post("/workflows/validate", {"kind": "workflow", **body})).ok()
            assert report["valid"] is False
            assert report["errors"][0]["path"] == "".join(f"/{part}" for part in place[1:])

    @pytest.mark.parametrize(("body", "place"), WRONG_RUNS)
    async def test_runs(self, api: RunningApi, body: Any, place: list[str | int]) -> None:
        (await api.post("/workflows", steps(STEP))).ok(201)
        answer = await api.request("POST", "/workflows/w/runs", data=_json(body), content_type="application/json")
        assert answer.places()[0][: len(place)] == place

    @pytest.mark.parametrize("data", WRONG_JSON)
    async def test_not_json(self, api: RunningApi, data: bytes) -> None:
        for path in ("/agents", "/apply"):
            answer = await api.request("POST", path, data=data, content_type="application/json")
            assert answer.places()[0][0] == "body"

    @pytest.mark.parametrize("content_type", [None, "text/plain", "application/yaml", "multipart/form-data"])
    async def test_media_type(self, api: RunningApi, content_type: str | None) -> None:
        answer = await api.request("POST", "/agents", data=b'{"name": "a"}', content_type=content_type)
        answer.problem(415, "unsupported-media-type")

    async def test_missing(self, api: RunningApi) -> None:
        assert (await api.post("/agents")).places() == [["body"]]
        (await api.post("/apply")).problem(415, "unsupported-media-type")

    @pytest.mark.parametrize("path", ["/agents", "/workflows", "/apply", "/workflows/validate", "/workflows/w/runs"])
    async def test_nine_mebibytes(self, api: RunningApi, path: str) -> None:
        data = b'{"name": "' + b"a" * (9 * 1024 * 1024) + b'"}'
        answer = await api.request("POST", path, data=data, content_type="application/json")
        answer.problem(413, "payload-too-large")

    async def test_nine_mebibytes_in_chunks(self, api: RunningApi) -> None:
        async def chunks() -> Any:
            for _ in range(9 * 16):
                yield b" " * 65536

        headers = {"Content-Type": "application/json"}
        async with api.http.post("/api/v1/agents", data=chunks(), headers=headers) as response:
            body = await response.read()
            Answer(response.status, {"content-type": response.headers["Content-Type"]}, body).problem(
                413, "payload-too-large"
            )

    async def test_yaml_over_a_mebibyte(self, api: RunningApi) -> None:
        (await api.yaml("/apply", "a: " + "x" * (1024 * 1024))).problem(413, "payload-too-large")


class TestAddresses:
    @pytest.mark.parametrize(
        ("method", "path", "status", "code"),
        [
            ("GET", "/nope", 404, "not-found"),
            ("GET", "/agents/nope", 404, "not-found"),
            ("GET", "/agents/agt_01m836qysnzx3w9qrw5zc6fpdh", 404, "not-found"),
            ("GET", "/agents/nope/versions", 404, "not-found"),
            ("GET", "/agents/nope/versions/1", 404, "not-found"),
            ("GET", "/agents/nope/versions/x", 422, "invalid-input"),
            ("GET", "/agents/nope/versions/0", 422, "invalid-input"),
            ("GET", "/agents/nope/versions/99999999999", 422, "invalid-input"),
            ("GET", "/agents/" + "x" * 65, 422, "invalid-input"),
            ("GET", "/agents/a%00b", 400, "bad-request"),
            ("GET", "/agents?q=%00", 400, "bad-request"),
            ("GET", "/agents/%ff", 404, "not-found"),
            ("GET", "/agents/..%2f..%2fetc", 404, "not-found"),
            ("GET", "/agents/x?project_id=%27", 422, "invalid-input"),
            ("DELETE", "/agents", 405, "method-not-allowed"),
            ("PUT", "/runs/x", 405, "method-not-allowed"),
            ("DELETE", "/workflows/nope", 404, "not-found"),
            ("GET", "/runs/nope", 404, "not-found"),
            ("POST", "/runs/nope/cancel", 404, "not-found"),
            ("GET", "/runs/nope/events", 404, "not-found"),
            ("POST", "/runs/nope/retry", 404, "not-found"),
            ("GET", "/runs?" + "&".join(f"metadata.k{n}=v" for n in range(11)), 422, "invalid-input"),
        ],
    )
    async def test_answer(self, api: RunningApi, method: str, path: str, status: int, code: str) -> None:
        async with api.http.request(method, f"{api.url}/api/v1{path}") as response:
            headers = {"content-type": response.headers["Content-Type"]}
            Answer(response.status, headers, await response.read()).problem(status, code)
            assert response.headers["X-Request-Id"]

    async def test_headers(self, api: RunningApi) -> None:
        (await api.post("/workflows", steps(STEP))).ok(201)
        for name, value in (
            ("Idempotency-Key", "k" * 257),
            ("X-Session-Id", "s" * 257),
            ("X-Session-Id", ""),
            ("X-User-Id", "a\x85b"),
        ):
            answer = await api.request("POST", "/workflows/w/runs", {}, headers={name: value})
            assert answer.places() == [["header", name]]
        answer = await api.request("POST", "/agents", AGENT, headers={"X-Studio-Actor": "a" * 257})
        assert answer.places() == [["header", "X-Studio-Actor"]]


def _json(body: Any) -> bytes:
    return json.dumps(body).encode()

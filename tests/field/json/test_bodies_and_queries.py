"""What every route of the prompt engine refuses alike, stored prompts and spans included."""

import asyncio
import gzip
import json
from typing import Any

import aiohttp
import pytest

from studio.web.field_errors import MAX_NAMED
from tests.support.prompt_engine import Project

TEMPLATE = b'{"name": "p", "project_id": "%s", "template": "x", "config": {"v": %s}}'
ROUTES = ["prompts", "render", "prompts/greet/render", "prompts/greet/versions", "prompts:apply"]


async def post(prompts: Project, path: str, body: bytes, **headers: str) -> tuple[int, Any]:
    headers = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    async with prompts.session.post(f"{prompts.url}/api/v1/{path}", data=body, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None)


class TestBodies:
    @pytest.mark.parametrize("path", ROUTES)
    @pytest.mark.parametrize(
        "body",
        [b'{"a": NaN}', b'{"a": 1e400}', b'{"a": "x\\u0000"}', b'{"a": "\\ud83d"}', b'{"a": 1', b"\xef\xbb\xbf{}"],
    )
    async def test_are_read_strictly_with_a_place(self, prompts: Project, path: str, body: bytes):
        status, problem = await post(prompts, path, body)
        assert (status, problem["type"]) == (422, "urn:studio:invalid-input")
        assert problem["errors"][0]["loc"][0] == "body"

    @pytest.mark.parametrize("value", ["12345678901234567890123", "[1e400]", '{"deep": %s}' % ("[" * 120 + "]" * 120)])
    async def test_nothing_is_stored_that_would_read_back_otherwise(self, prompts: Project, value: str):
        status, problem = await post(prompts, "prompts", TEMPLATE % (prompts.id.encode(), value.encode()))
        assert status == 422
        assert problem["errors"][0]["loc"][:2] == ["body", "config"]
        assert (await prompts.call("GET", "prompts/p")).status == 404

    @pytest.mark.parametrize("path", [*ROUTES, "traces"])
    async def test_compressed_ones_are_refused_by_name(self, prompts: Project, path: str):
        status, problem = await post(prompts, path, gzip.compress(b"{}"), Content_Encoding="gzip")
        assert status == 415
        assert "Content-Encoding 'gzip'" in problem["detail"]

    @pytest.mark.parametrize("path", [*ROUTES, "traces"])
    async def test_must_call_themselves_json(self, prompts: Project, path: str):
        assert (await post(prompts, path, b"{}", Content_Type="text/plain"))[0] == 415

    async def test_a_large_variable_is_refused_not_rounded(self, prompts: Project):
        await prompts.create("greet", "id={{ id }}")
        path = f"prompts/greet/render?project_id={prompts.id}"
        status, problem = await post(prompts, path, b'{"variables": {"id": 12345678901234567890123}}')
        assert (status, problem["errors"][0]["loc"]) == (422, ["body", "variables", "id"])
        status, rendered = await post(prompts, path, b'{"variables": {"id": 18446744073709551615}}')
        assert (status, rendered["text"]) == (200, "id=18446744073709551615")

    async def test_of_ever_so_many_faults_the_first_are_named(self, prompts: Project):
        """A hint a fault for 50,000 of them would hold up every other request for a minute."""
        body = b"{" + b",".join(b'"k%d": 1' % number for number in range(50_000)) + b"}"
        async with asyncio.timeout(10):
            status, problem = await post(prompts, "prompts", body)
        assert status == 422
        assert problem["detail"].endswith("(and 50000 more)")  # `name` is missing, too
        assert [error["type"] for error in problem["errors"]] == [
            "missing",
            *["extra_forbidden"] * (MAX_NAMED - 1),
            "too_many_errors",
        ]
        assert problem["errors"][-1] == {
            "loc": [],
            "msg": f"{50_001 - MAX_NAMED} more errors are not listed",
            "type": "too_many_errors",
        }

    async def test_true_and_false_are_no_numbers(self, prompts: Project):
        status, problem = await post(prompts, "prompts:apply", b'{"prompts": [], "dry_run": 0}')
        assert (status, problem["errors"][0]["loc"]) == (422, ["body", "dry_run"])


class TestQueries:
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "prompts?labl=x"),
            ("GET", "prompts?label=x&prject_id=y"),
            ("POST", "prompts?project_id=x"),
            ("GET", "prompts/greet/resolve?lable=x"),
            ("POST", "prompts/greet/render?version=1"),
            ("GET", "tags?q=1"),
            ("GET", "traces?metadata=1"),
            ("GET", "traces?metadata.=1"),
            ("GET", "traces?limitt=1"),
            ("GET", "traces/rejected?project_id=x"),
            ("POST", "traces?project_id=x"),
        ],
    )
    async def test_an_unknown_parameter_is_refused_by_name(self, prompts: Project, method: str, path: str):
        async with prompts.session.request(method, f"{prompts.url}/api/v1/{path}", json=None) as answer:
            problem = await answer.json(content_type=None)
        assert answer.status == 422
        assert problem["errors"][0]["loc"][0] == "query"
        assert problem["errors"][0]["hint"]

    @pytest.mark.parametrize("query", ["to=0.5", "from=0", "from=1700000000", "min_duration_ms=inf", "min_cost=nan"])
    async def test_times_and_numbers_are_what_they_look_like(self, prompts: Project, query: str):
        answer = await prompts.call("GET", f"traces?{query}")
        assert (answer.status, answer.body["errors"][0]["loc"]) == (422, ["query", query.partition("=")[0]])

    async def test_the_nearest_name_is_offered(self, prompts: Project):
        async with prompts.session.get(f"{prompts.url}/api/v1/prompts?labl=x") as answer:
            assert (await answer.json(content_type=None))["errors"][0]["hint"] == "did you mean 'label'?"

    async def test_of_thousands_of_unknown_ones_some_are_named(self, prompts: Project):
        query = "&".join(f"p{index}=" for index in range(3_000))
        async with prompts.session.get(f"{prompts.url}/api/v1/prompts?{query}") as answer:
            problem = await answer.json(content_type=None)
        assert (answer.status, len(problem["errors"])) == (422, 20)
        assert "(and 2999 more)" in problem["detail"]


class TestOpenApi:
    async def test_every_answer_is_described(self, prompt_url: str):
        async with aiohttp.ClientSession() as session, session.get(f"{prompt_url}/openapi.json") as answer:
            document = await answer.json()
        operations = [one for path, item in document["paths"].items() if "/api/" in path for one in item.values()]
        for operation in operations:
            name = operation["operationId"]
            assert name.isidentifier(), name
            assert " " in operation["summary"], name
            for status, response in operation["responses"].items():
                content = response.get("content", {})
                if int(status) >= 400:
                    assert content["application/problem+json"]["schema"]["$ref"].endswith("/Problem"), (name, status)
                elif status != "204":
                    assert content["application/json"]["schema"].keys() & {"$ref", "items"}, (name, status)
        names = {operation["operationId"] for operation in operations}
        assert {"create_prompt", "list_prompts", "get_prompt_version", "render_prompt", "ingest_spans"} <= names
        assert len(names) == len(operations)

    async def test_no_reference_leads_nowhere(self, prompt_url: str):
        async with aiohttp.ClientSession() as session, session.get(f"{prompt_url}/openapi.json") as answer:
            text = await answer.text()
        document = json.loads(text)
        for part in text.split('"$ref":"')[1:]:
            home, _, name = part.partition('"')[0].rpartition("/")
            assert home == "#/components/schemas"
            assert name in document["components"]["schemas"]

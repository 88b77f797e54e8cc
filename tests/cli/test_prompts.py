import asyncio
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from studio.contracts.base import utc_now
from studio.contracts.ids import new_span_id, new_trace_id
from studio.contracts.spans import Span
from tests.cli.support.command import Studio
from tests.support.ports import free_port
from tests.support.prompt_engine import Project, migrated, project, prompt_engine


@pytest.fixture(scope="module")
def prompt_url(mongo_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, migrated(mongo_url)).result()
    with prompt_engine(tmp_path_factory.mktemp("prompts"), mongo_url=mongo_url, redis_url=redis_url) as url:
        yield url


@pytest.fixture
async def mine(prompt_url: str) -> AsyncGenerator[Project]:
    """A project with the prompt `greet`, two versions, the first in production."""
    async with project(prompt_url) as found:
        await found.create(description="Says hello.", tags=["social"])
        await found.add_version("Good day {{ name }}")
        yield found


@pytest.fixture
def studio(mine: Project, tmp_path: Path) -> Studio:
    return Studio(tmp_path, mine.url)


class TestPrompts:
    async def test_list(self, studio: Studio, mine: Project) -> None:
        done = (await studio("prompts", "list", "--project", mine.id, "--tag", "social")).ok()
        head, line = done.out.splitlines()
        assert head.split() == ["name", "project", "type", "latest", "labels", "tags", "updated"]
        assert line.split()[:6] == ["greet", mine.id, "text", "2", "production=1", "social"]
        done = (await studio("prompts", "list", "--project", mine.id, "--label", "canary", "--json")).ok()
        assert done.json == {"items": [], "next_cursor": None}

    async def test_show(self, studio: Studio, mine: Project) -> None:
        done = (await studio("prompts", "show", "greet", "--project", mine.id)).ok()
        assert "labels: production=1; newest version: 2" in done.out
        assert done.out.splitlines()[-1] == "Hello {{ name }}"
        done = (await studio("prompts", "show", "greet", "--project", mine.id, "--version", "2", "--json")).ok()
        assert done.json["content"]["template"] == "Good day {{ name }}"
        done = await studio("prompts", "show", "greet", "--project", mine.id, "--label", "canary")
        assert done.code == 1
        assert "has no label 'canary'" in done.err

    async def test_promote(self, studio: Studio, mine: Project) -> None:
        arguments = ["prompts", "promote", "greet", "2", "--project", mine.id, "--expected", "1", "--reason", "better"]
        assert (await studio(*arguments)).ok().out == "greet: production is version 2 now.\n"
        done = await studio(*arguments)
        assert done.code == 1, "production is not version 1 any more"
        history = await mine.get("prompts/greet/promotions")
        assert history["items"][0]["reason"] == "better"

    async def test_render(self, studio: Studio, mine: Project) -> None:
        done = (await studio("prompts", "render", "greet", "name=Ada", "--project", mine.id)).ok()
        assert done.out == "Hello Ada\n"
        done = (await studio("prompts", "render", "greet", "name=Ada", "--version", "2", "--project", mine.id)).ok()
        assert done.out == "Good day Ada\n"
        done = await studio("prompts", "render", "greet", "--project", mine.id)
        assert done.code == 1
        assert "name" in done.err
        done = await studio("prompts", "render", "greet", "--version", "2", "--label", "production")
        assert done.code == 2

    async def test_no_answer(self, studio: Studio) -> None:
        nowhere = f"http://127.0.0.1:{free_port()}"
        done = await studio("prompts", "list", url=nowhere)
        assert done.code == 3
        assert nowhere in done.err
        assert "STUDIO_PROMPT_URL" in done.err


class TestTraces:
    async def test_list_and_tree(self, studio: Studio, mine: Project) -> None:
        trace_id, root = new_trace_id(), new_span_id()
        common = {"trace_id": trace_id, "project_id": mine.id, "started_at": utc_now(), "ended_at": utc_now()}
        spans = [
            Span.model_validate({**common, "span_id": root, "name": "brief", "kind": "workflow", "run_id": "run_1"}),
            Span.model_validate(
                {
                    **common,
                    "span_id": new_span_id(),
                    "parent_span_id": root,
                    "name": "chat",
                    "kind": "llm",
                    "prompt_tokens": 10,
                    "completion_tokens": 5,
                    "cost_usd": "0.000015",
                    "cost_source": "computed",
                }
            ),
        ]
        body = {"spans": [span.model_dump(mode="json") for span in spans]}
        assert (await mine.call("POST", "traces", body)).status == 202
        listed = (await studio("traces", "--project", mine.id, "--run", "run_1")).ok()
        while trace_id not in listed.out:  # spans are written in batches
            listed = (await studio("traces", "--project", mine.id, "--run", "run_1")).ok()
        assert listed.out.splitlines()[1].split()[:3] == [trace_id, "brief", "ok"]
        done = (await studio("traces", trace_id)).ok()
        tree = [line for line in done.out.splitlines()[1:] if "llm" in line or "workflow" in line]
        assert tree[0].startswith("brief")
        assert tree[1].startswith("  chat")
        assert tree[1].split()[-2:] == ["15", "$0.000015"]
        assert (await studio("traces", trace_id, "--json")).ok().json["totals"]["total_tokens"] == 15

    async def test_unknown(self, studio: Studio) -> None:
        assert (await studio("traces", new_trace_id())).code == 1
        assert (await studio("traces", "run_1")).code == 2

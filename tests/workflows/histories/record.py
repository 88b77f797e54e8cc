"""Records one run of each case, or of those that are named: `python -m tests.workflows.histories.record [case ...]`.

On Temporal development servers, with the real worker and a scripted model. `docs/design/engine.md` says when that is
allowed.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import aiohttp
from aiohttp import web
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError

from cli.stack import parts
from studio.contracts.definitions import parse_workflow
from studio.contracts.prompts import RenderedPrompt
from studio.engine.checks import check_workflow
from studio.executions import workflow_type
from tests.support.databases import sqlite_database
from tests.support.platform import Engine, open_engine, scripted_llm_engine, worker_settings
from tests.support.ports import free_port
from tests.support.scripted_upstream import Reply
from tests.support.servers import running
from tests.support.span_sink import SpanSink
from tests.workflows.histories.archive import FOLDER, KEY, write_history
from tests.workflows.histories.cases import CASES
from tests.workflows.histories.scripts import Case, Handle
from workflows.names import child_workflow_id

SUGGESTED_EVENTS = 30
CASE_SECONDS = 30


class PromptEngine(SpanSink):
    """Renders every prompt to the same text."""

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/api/v1/prompts/{name}/render", self._render)]

    async def _render(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        rendered = RenderedPrompt(text="Greet.", content_hash="0" * 64, prompt_id="prm_1", name=name, version=1)
        return web.json_response(rendered.model_dump(mode="json"))


@asynccontextmanager
async def _engine(temporal: str, redis: str) -> AsyncGenerator[Engine]:
    with tempfile.TemporaryDirectory(prefix="studio-histories-") as place:
        async with PromptEngine() as prompts, scripted_llm_engine(prompts.url) as (llm_url, upstream):
            upstream.default = Reply(text="ok")
            folder = Path(place)
            settings = worker_settings(
                folder,
                temporal_address=temporal,
                redis_url=redis,
                database_url=sqlite_database(folder),
                llm_url=llm_url,
                prompt_url=prompts.url,
                secret_keys=[KEY],
            )
            async with open_engine(settings, upstream, prompts) as engine:
                yield engine


async def _record(engine: Engine, name: str, case: Case) -> None:
    findings = check_workflow(parse_workflow({"name": "test", **case.document}))
    assert not findings, f"{name}: {findings}"
    await _script(engine, case)
    pattern = None if case.of_agent else str(case.document["pattern"])
    handle = await engine.start_document(
        case.document, case.given, workflows=case.workflows, workflow_type=workflow_type(pattern)
    )
    if case.meanwhile is not None:
        await case.meanwhile(engine, handle)
    if case.stays_open:
        await write_history(name, await handle.fetch_history())
        await handle.terminate()
        return
    with suppress(WorkflowFailureError):  # the run says how it ended
        await handle.result()
    run = await engine.run(handle.id)
    assert run.status == case.status, f"{name}: {run}"
    assert run.status != "succeeded" or run.output == case.output, f"{name}: {run}"
    if case.continues:
        first = engine.client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id)
        assert (await first.describe()).status == WorkflowExecutionStatus.CONTINUED_AS_NEW, name
        await write_history(f"{name}.first", await first.fetch_history())
    await write_history(name, await _newest(engine, handle.id).fetch_history())
    for path in case.children:
        child = _newest(engine, child_workflow_id(handle.id, path))
        await write_history(f"{name}.{path.replace('/', '.')}", await child.fetch_history())


async def _script(engine: Engine, case: Case) -> None:
    async with aiohttp.ClientSession() as session, session.post(f"{engine.upstream.url}/control/reset"):
        pass  # what the case before it had said
    for text, replies in case.says.items():
        engine.upstream.when(text, *replies)


def _newest(engine: Engine, workflow_id: str) -> Handle:
    """Of the executions under the id."""
    return engine.client.get_workflow_handle(workflow_id)


async def record(names: Sequence[str]) -> None:
    """One after the other, since all talk to one script."""
    with tempfile.TemporaryDirectory(prefix="studio-histories-") as place, ExitStack() as servers:
        folder = Path(place)
        patient, hasty = parts.temporal(free_port(), None, None), parts.temporal(free_port(), None, None)
        flag = f"limit.historyCount.suggestContinueAsNew={SUGGESTED_EVENTS}"
        hasty = replace(hasty, command=(*hasty.command, "--dynamic-config-value", flag))
        for part in (patient, hasty):
            servers.enter_context(running(part, folder / f"temporal-{part.port}.log"))
        redis = servers.enter_context(running(parts.redis(free_port(), None), folder / "redis.log")).address
        async with (
            _engine(patient.address, redis) as on_patient,
            _engine(hasty.address, redis) as on_hasty,
        ):
            for name in names:
                async with asyncio.timeout(CASE_SECONDS):
                    await _record(on_hasty if CASES[name].continues else on_patient, name, CASES[name])
                sys.stdout.write(f"{name}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="case")
    names: list[str] = parser.parse_args().cases
    if not names:
        for old in FOLDER.glob("*.json.gz"):
            old.unlink()
    asyncio.run(record(names or list(CASES)))


if __name__ == "__main__":
    main()

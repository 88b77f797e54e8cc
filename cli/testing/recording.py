"""From a finished run to a case that repeats it."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import cast, get_args

import typer

from cli.files import read_sources
from cli.remote import fail, with_api
from cli.testing.definitions import DefinitionFile, Library, read_definitions
from cli.testing.files import definition_beside, is_test_file, test_file_of
from cli.testing.places import Places
from cli.testing.recording_outside import outside_of
from studio.contracts.agents import CallErrorType
from studio.contracts.base import Json, JsonObject
from studio.contracts.durations import format_duration
from studio.contracts.runs import FINAL_STATUSES, Run, StepRun
from studio.document_writer import dump_document

_INJECTABLE = frozenset(get_args(CallErrorType)) - {"prompt_error"}
"""A prompt that could not be rendered fails here too, before the model is asked."""
NEVER = "365d"
"""How long a call takes that was cancelled before it had a reply."""


def record_run(paths: Sequence[Path], run_id: str) -> None:
    """Append a case to the one path's test file, which may not be there yet.

    Raises `FilesRejected` when the definitions hold errors, `typer.BadParameter` for other than one file, and
    `typer.Exit` when the run is not there, has not ended, or is of no workflow in the file.
    """
    path = paths[0]
    definition = definition_beside(path) if is_test_file(path) else path
    if len(paths) != 1 or path.is_dir() or definition is None:
        raise typer.BadParameter("--record takes one file: a definition or its test file.", param_hint="PATH")
    (file,) = read_definitions(read_sources([definition]))
    run = with_api(lambda api: api.get_run(run_id))
    if run.status not in FINAL_STATUSES:
        fail(f"{run.id} has not ended: it is {run.status}.", f"`studio events {run.id} -f` waits for its end.")
    if run.kind != "workflow" or run.workflow.name not in file.workflows:
        fail(f"{run.id} is a run of the {run.kind} {run.workflow.name!r}, which {definition} does not hold.")
    target = test_file_of(definition)
    before = target.read_text(encoding="utf-8") if target.exists() else ""
    case = case_of(run) | outside_of(run, _places(file, run))
    if before.strip() and case["name"] in _names(target):
        fail(f"{target} holds a case {case['name']!r} already.")
    text = dump_document(case)
    if before.strip():
        text = f"{before.rstrip()}\n---\n{text}"
    target.write_text(text, encoding="utf-8")


def _names(target: Path) -> list[Json]:
    """Of the cases that are there. Raises `FilesRejected`."""
    values = read_sources([target]).values
    return [cast("JsonObject", value).get("name") for value in values if isinstance(value, dict)]


def _places(file: DefinitionFile, run: Run) -> Places | None:
    """None when no step waited, so that what the workflow names need not be in the file."""
    if not any(step.kind == "wait" for step in run.steps):
        return None
    return Places(Library([file]).resolve(file, file.workflows[run.workflow.name][1]))


def case_of(run: Run) -> JsonObject:
    """A case that expects of the recorded replies what the run gave."""
    case: JsonObject = {"name": f"as in {run.id}", "workflow": run.workflow.name, "input": run.input}
    given = {"session_id": run.session_id, "user_id": run.user_id, "metadata": run.metadata}
    case |= {name: value for name, value in given.items() if value}
    asked = {step.id: _reply(step) for step in run.steps if step.kind == "agent" and step.started_at is not None}
    case["replies"] = {path: reply for path, reply in asked.items() if reply is not None}
    expect: JsonObject = {"status": run.status}
    if run.status == "succeeded":
        expect["output"] = run.output
    elif run.status == "cancelled" and run.started_at and run.ended_at:
        case["cancel_after"] = format_duration(max(run.ended_at - run.started_at, timedelta(milliseconds=1)))
    elif run.error is not None:
        expect["error"] = run.error.model_dump(include={"type", "step_id"}, exclude_none=True)
    return case | {"expect": expect}


def _reply(step: StepRun) -> JsonObject | None:
    """None for a step that ended without asking its model."""
    reply: JsonObject
    if step.status == "cancelled":
        return {"text": "", "after": NEVER}
    if step.status == "skipped" and step.resolved_by is not None:
        return {"error": {"type": "invalid_request", "message": "It failed, and somebody skipped it."}}
    if step.status == "failed" and step.error is not None:
        if step.error.type not in _INJECTABLE:
            return None
        reply = {"error": {"type": step.error.type, "message": step.error.message}}
    else:
        reply = {"text" if isinstance(step.output, str) else "output": step.output}
    if step.duration_ms and step.attempt == 1:
        reply["after"] = format_duration(timedelta(milliseconds=step.duration_ms))
    if step.usage.total_tokens:
        reply["usage"] = step.usage.model_dump(include={"prompt_tokens", "completion_tokens", "total_tokens"})
    if step.cost_usd is not None:
        reply["cost_usd"] = str(step.cost_usd)
    return reply

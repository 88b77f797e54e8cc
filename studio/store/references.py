"""What a definition names in the store, and what of it is not there."""

import asyncio
import difflib
from collections.abc import Collection, Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from studio.contracts.definitions import AnyDefinition, AnyWorkflow, DefinitionKind
from studio.contracts.schedules import ScheduleDefinition
from studio.engine.checks import agent_references, workflow_references
from studio.engine.child_inputs import child_input_errors, written_inputs
from studio.errors import FieldError
from studio.json_schema import fit
from studio.schemas.meter import Meter
from studio.store.definitions import (
    Lock,
    definitions_mentioning,
    find_definition,
    find_definitions,
    get_version,
    list_names,
)

SUGGEST_FROM = 500


async def reference_errors(
    session: AsyncSession,
    workflow: AnyWorkflow,
    *,
    also: Mapping[tuple[DefinitionKind, str], AnyDefinition] | None = None,
    lock: Lock | None = None,
    meter: Meter | None = None,
) -> list[FieldError]:
    """Agents and workflows that the workflow names and that are neither stored nor in `also`, and what is written out
    of the input of a child and does not fit its `input_schema`. A workflow may name
    itself, and only workflows of its own project. `lock` is for the agents: two workflows that name each other and are
    changed at once would wait for each other. The meter is of what checking the inputs may cost together.
    """
    beside: dict[tuple[DefinitionKind, str], AnyDefinition] = {**(also or {}), ("workflow", workflow.name): workflow}
    project = workflow.project_id
    errors = await _missing(session, project, "agent", agent_references(workflow), beside, lock)
    errors += await _missing(session, project, "workflow", workflow_references(workflow), beside, None)
    return errors or await _child_input_errors(session, workflow, beside, meter or Meter())


async def _child_input_errors(
    session: AsyncSession,
    workflow: AnyWorkflow,
    beside: Mapping[tuple[DefinitionKind, str], AnyDefinition],
    meter: Meter,
) -> list[FieldError]:
    written = written_inputs(workflow)
    stored = await find_definitions(session, "workflow", {ref for _, ref, _ in written}, workflow.project_id)
    errors: list[FieldError] = []
    for loc, ref, given in written:
        row, own = stored.get(ref), beside.get(("workflow", ref))
        schema = (
            getattr(own, "input_schema", None) if own is not None or row is None else row.document.get("input_schema")
        )
        errors += await asyncio.to_thread(child_input_errors, given, schema, loc, meter=meter)
    return errors


async def target_errors(
    session: AsyncSession,
    schedule: ScheduleDefinition,
    *,
    also: Mapping[tuple[DefinitionKind, str], AnyDefinition] | None = None,
    lock: Lock | None = None,
    meter: Meter | None = None,
) -> list[FieldError]:
    """Whether what the schedule runs is stored, or in `also`, and takes the schedule's input."""
    kind, ref = schedule.target
    beside = also or {}
    errors = await _missing(session, schedule.project_id, kind, [([kind], ref)], beside, lock)
    if errors:
        return errors
    row = await find_definition(session, kind, ref, schedule.project_id)
    if schedule.run_version is not None:
        found = None if row is None else await get_version(session, row.id, schedule.run_version)
        if found is None:
            message = f"the {kind} {ref!r} has no version {schedule.run_version}"
            return [FieldError(loc=["run_version"], msg=message, type="unknown_version")]
        schema = found.document.get("input_schema")
    elif (kind, ref) in beside:
        schema = getattr(beside[kind, ref], "input_schema", None)
    else:
        schema = None if row is None else row.document.get("input_schema")
    _, errors = await asyncio.to_thread(fit, schedule.input, schema, ["input"], meter=meter)
    return errors


async def schedules_refused_by(
    session: AsyncSession, workflow: AnyWorkflow, but: Collection[str], meter: Meter
) -> list[FieldError]:
    """Which schedules of a workflow that is written have an input that it will not take; `but` are written with it.
    Those for which no steps are left are not looked at.
    """
    if workflow.input_schema is None:
        return []
    stored = await find_definition(session, "workflow", workflow.name, workflow.project_id)
    refs = {workflow.name} if stored is None else {workflow.name, stored.id}
    found: list[FieldError] = []
    for row in await definitions_mentioning(session, refs):
        if row.kind != "schedule" or row.project_id != workflow.project_id or row.name in but:
            continue
        schedule = ScheduleDefinition.model_validate(row.document)
        if schedule.workflow in refs and schedule.run_version is None:
            _, errors = await asyncio.to_thread(fit, schedule.input, workflow.input_schema, ["input"], meter=meter)
            if meter.left < 0:
                return found
            for error in errors:
                place = ".".join(map(str, error.loc))
                message = f"the schedule {row.name!r} will fail each time that it fires: its {place}: {error.msg}"
                found.append(FieldError(loc=["input_schema"], msg=message, type="schedule_input"))
    return found


async def _missing(
    session: AsyncSession,
    project_id: str,
    kind: DefinitionKind,
    references: Sequence[tuple[list[str | int], str]],
    beside: Collection[tuple[DefinitionKind, str]],
    lock: Lock | None,
) -> list[FieldError]:
    refs = {ref for _, ref in references if (kind, ref) not in beside}
    stored = await find_definitions(session, kind, refs, project_id, lock=lock)
    if kind == "workflow":
        stored = {ref: row for ref, row in stored.items() if row.project_id == project_id}
    missing = refs - stored.keys()
    if not missing:
        return []
    names = await list_names(session, kind, project_id, SUGGEST_FROM)
    names = [*names, *(name for other, name in beside if other == kind)]
    return [
        FieldError(
            loc=loc,
            msg=f"there is no {kind} {ref!r} in project {project_id!r}",
            type=f"unknown_{kind}",
            hint=_suggestion(kind, ref, names),
        )
        for loc, ref in references
        if ref in missing
    ]


def _suggestion(kind: DefinitionKind, ref: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(ref, names, 1)
    return f"did you mean {close[0]!r}?" if close else f"store the {kind} first, or apply both together"

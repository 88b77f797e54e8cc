"""Apply, validate and export: many documents at once, all or nothing."""

import asyncio
from collections.abc import Sequence
from typing import Literal

from sqlalchemy.exc import IntegrityError

from api.apply.checking import Checked, check_documents, check_prompts, check_references
from api.apply.parsing import SourceDocument
from api.definitions.service import duplicate
from api.schedules.service import paused_change
from api.schedules.temporal import TemporalSchedules
from studio.clients.prompts import PromptClient
from studio.contracts.base import JsonObject, utc_now
from studio.contracts.definitions import DefinitionKind, WorkflowDefinition
from studio.contracts.reports import AppliedDocument, ApplyReport, DocumentKind, Finding, Graph, ValidationReport
from studio.db.engine import Database, ReadSession, WriteSession
from studio.db.tables import DefinitionRow
from studio.document_writer import dump_document
from studio.engine.drawing import workflow_graph
from studio.errors import Conflict, FieldError, InvalidInput, NotFound, invalid, located
from studio.store import definitions as store
from studio.store.reading import WHY, UnreadableRow

Action = Literal["created", "updated", "unchanged"]
Planned = dict[int, tuple[DefinitionRow | None, Action]]
_ORDER: tuple[DefinitionKind, ...] = ("agent", "workflow", "schedule")
"""Also the order in which rows are locked everywhere, by name within a kind."""


async def apply_documents(
    sources: Sequence[SourceDocument],
    database: Database,
    prompts: PromptClient,
    schedules: TemporalSchedules,
    *,
    actor: str,
    dry_run: bool,
) -> ApplyReport:
    """Everything is checked, then SQL is written, then Temporal hears of the schedules, then the prompts are applied,
    then SQL commits.

    A crash between the last two leaves prompts that are newer than the definitions, and applying again mends it. What
    Temporal heard of schedules before something failed is taken back as `api.schedules.service` says.
    """
    checked = await asyncio.to_thread(check_documents, sources)
    await check_prompts(prompts, checked)
    if dry_run or checked.errors:
        async with database.read() as session:
            await check_references(session, checked)
            _refuse_errors(checked)
            planned = await _plan(session, checked)
        return await _report(checked, planned, prompts, actor=actor, dry_run=True)
    async with database.write() as session:
        await store.lock_for_apply(session)
        planned = await _plan(session, checked, lock=True)
        await check_references(session, checked, lock="share")
        _refuse_errors(checked)
        for row, before in await _write(session, checked, planned, actor):
            await schedules.put(row, paused=None if before is None else paused_change(before, row.document))
        return await _report(checked, planned, prompts, actor=actor, dry_run=False)


def _refuse_errors(checked: Checked) -> None:
    if checked.errors:
        raise invalid([located([error], "body", index)[0] for index, error in checked.ordered()])


async def _plan(session: ReadSession | WriteSession, checked: Checked, *, lock: bool = False) -> Planned:
    """What happens to each document but the prompts; locks rows in their order."""
    planned: Planned = {}
    documents = sorted(
        checked.stored().items(), key=lambda item: (_ORDER.index(item[1].kind), item[1].project_id, item[1].name)
    )
    for index, definition in documents:
        row = await store.find_definition(
            session, definition.kind, definition.name, definition.project_id, lock="update" if lock else None
        )
        if row is None:
            planned[index] = (None, "created")
        else:
            same = store.document_of(definition) == row.document
            planned[index] = (row, "unchanged" if same else "updated")
    return planned


async def _write(
    session: WriteSession, checked: Checked, planned: Planned, actor: str
) -> list[tuple[DefinitionRow, JsonObject | None]]:
    """The schedules that were written, each with the document that it had before."""
    schedules: list[tuple[DefinitionRow, JsonObject | None]] = []
    now = utc_now()
    stored = checked.stored()
    for index, (row, action) in planned.items():
        definition = stored[index]
        source = checked.sources[index].text
        before = None
        if row is None:
            try:
                row = await store.insert_definition(session, definition, actor, now, source)  # noqa: PLW2901 - it was none
            except IntegrityError as error:
                raise duplicate(definition) from error
        elif action == "updated":
            before = row.document
            await store.update_definition(session, row, store.document_of(definition), actor, now, source)
        elif source is not None:
            row.source = source  # other comments, or another order, of the same document
        if definition.kind == "schedule" and action != "unchanged":
            schedules.append((row, before))
    return schedules


async def _report(
    checked: Checked, planned: Planned, prompts: PromptClient, *, actor: str, dry_run: bool
) -> ApplyReport:
    actions: dict[int, Action] = {index: action for index, (_, action) in planned.items()}
    documents = checked.prompts()
    if documents:
        applied = await prompts.apply(list(documents.values()), dry_run=dry_run, actor=actor)
        actions |= {index: result.action for index, result in zip(documents, applied.results, strict=True)}
    warnings = checked.ordered_warnings()
    results = [
        AppliedDocument(
            kind=definition.kind,
            name=definition.name,
            project_id=definition.project_id,
            action=actions[index],
            warnings=[_finding(index, warning) for of, warning in warnings if of == index],
        )
        for index, definition in sorted(checked.definitions.items())
    ]
    return ApplyReport(results=results, dry_run=dry_run)


async def validate_documents(
    sources: Sequence[SourceDocument] | InvalidInput, database: Database, prompts: PromptClient
) -> ValidationReport:
    """Everything that `apply` would refuse, and the graph of the first workflow; nothing is stored."""
    if isinstance(sources, InvalidInput):
        return ValidationReport(valid=False, errors=[_finding(0, error) for error in sources.errors], graph=Graph())
    checked = await asyncio.to_thread(check_documents, sources)
    if not sources:
        checked.errors.append((0, FieldError(loc=[], msg="there is no document here", type="empty")))
    await check_prompts(prompts, checked)
    async with database.read() as session:
        await check_references(session, checked)
    workflow = next((found for found in checked.stored().values() if isinstance(found, WorkflowDefinition)), None)
    return ValidationReport(
        valid=not checked.errors,
        errors=[_finding(index, error) for index, error in checked.ordered()],
        warnings=[_finding(index, warning) for index, warning in checked.ordered_warnings()],
        graph=Graph() if workflow is None else Graph.model_validate(workflow_graph(workflow)),
    )


def _finding(index: int, error: FieldError) -> Finding:
    loc = error.loc[1:] if error.loc[:1] == ["body"] else error.loc
    pointer = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in loc)
    return Finding(
        path=pointer, message=error.msg, document=index, line=error.line, column=error.column, hint=error.hint
    )


async def export_documents(
    database: Database,
    prompts: PromptClient,
    *,
    kinds: Sequence[DocumentKind],
    name: str | None,
    project_id: str | None,
) -> list[str]:
    """Prompts, then agents, workflows and schedules, each oldest first."""
    documents: list[str] = []
    if "prompt" in kinds:
        try:
            exported = await prompts.export(project_id=project_id, name=name)
        except NotFound:  # none of that name; another kind may have one
            exported = []
        found = (prompt_document(prompt.model_dump(mode="json", exclude_unset=True)) for prompt in exported)
        documents += map(dump_document, found)
    async with database.read() as session:
        for kind in _ORDER:
            if kind in kinds:
                rows = await store.list_definitions(session, [kind], project_id=project_id, name=name)
                documents += [_exported(kind, row) for row in reversed(rows)]
    if name is not None and not documents:
        raise NotFound(f"Nothing of the kind {' or '.join(kinds)} has the name {name!r}.")
    return documents


def _exported(kind: DefinitionKind, row: DefinitionRow | UnreadableRow) -> str:
    """As it was applied, or else as it is stored.

    Raises `Conflict` for one that cannot be read: an export without it would not be the whole.
    """
    if isinstance(row, UnreadableRow):
        raise Conflict(f"The {kind} {row.columns['name']!r} cannot be exported. {WHY} Write it again, or delete it.")
    return row.source or dump_document(row.document)


def prompt_document(document: JsonObject) -> JsonObject:
    return {"kind": "prompt", **document}

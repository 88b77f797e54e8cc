"""Runs cases on the in-memory driver."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.files import FilesRejected, Place, SourceFile
from cli.testing.cases import Case, read_case
from cli.testing.checking import Failure, check
from cli.testing.definitions import DefinitionFile, Library, placed
from cli.testing.outside import Answers, read_answers, requests_of
from cli.testing.places import Places
from cli.testing.script import NoReply, Script, read_script
from studio.contracts.base import Contract, JsonObject
from studio.contracts.definitions import AnyWorkflow, ResolvedDefinition
from studio.contracts.runs import RunStatus
from studio.engine.memory_driver import MemoryDriver, RunStalled
from studio.engine.memory_people import RequestRefused
from studio.engine.state import RunFacts
from studio.errors import FieldError
from studio.json_schema import fit

RUN_ID = "run_test"
"""What `run.id` is."""


class CaseResult(Contract):
    """How a case went. `status` and `duration_ms`, of the virtual clock, are null when the run did not end."""

    file: str
    name: str
    workflow: str
    passed: bool
    status: RunStatus | None = None
    duration_ms: int | None = None
    failures: list[Failure] = []


@dataclass(frozen=True)
class Suite:
    """A test file and the definitions that it tests."""

    source: SourceFile
    definitions: DefinitionFile


@dataclass(frozen=True)
class ReadyCase:
    file: str
    case: Case
    definition: ResolvedDefinition
    script: Script
    answers: Answers
    own: DefinitionFile


def prepare(suites: Sequence[Suite], library: Library) -> tuple[list[ReadyCase], list[Place]]:
    """The cases that can run, and the place of all that is wrong with the others."""
    ready: list[ReadyCase] = []
    places: list[Place] = []
    for suite in suites:
        names: set[str] = set()
        for index, document in enumerate(suite.source.documents):
            case = read_case(document)
            try:
                found = case if isinstance(case, list) else _prepare(suite, case, library, names)
            except FilesRejected as rejected:  # the workflow names what no file holds
                places += [place for place in rejected.places if place not in places]
                continue
            if isinstance(found, ReadyCase):
                names.add(found.case.name)
                ready.append(found)
            else:
                places += [placed(suite.source, index, error) for error in found]
    return ready, places


def _prepare(suite: Suite, case: Case, library: Library, names: set[str]) -> ReadyCase | list[FieldError]:
    if case.name in names:
        return [FieldError(loc=["name"], msg=f"the case {case.name!r} is here twice", type="duplicate_case")]
    workflow = _workflow(suite, case)
    if isinstance(workflow, FieldError):
        return [workflow]
    definition = library.resolve(suite.definitions, workflow)
    places = Places(definition)
    script, answers = read_script(case.replies, places), read_answers(case, places)
    if isinstance(script, Script) and isinstance(answers, Answers):
        return ReadyCase(suite.source.name, case, definition, script, answers, suite.definitions)
    return [error for found in (script, answers) if isinstance(found, list) for error in found]


def _workflow(suite: Suite, case: Case) -> AnyWorkflow | FieldError:
    workflows = suite.definitions.workflows
    file = Path(suite.definitions.source.name).name
    names = ", ".join(workflows)
    if case.workflow is None:
        if len(workflows) == 1:
            return next(iter(workflows.values()))[1]
        hint = f"write workflow: one of {names}" if workflows else None
        return FieldError(loc=[], msg=f"{file} holds {len(workflows)} workflows", type="which_workflow", hint=hint)
    if case.workflow not in workflows:
        message = f"{file} holds no workflow {case.workflow!r}"
        return FieldError(loc=["workflow"], msg=message, type="unknown_workflow", hint=f"it holds {names or 'none'}")
    return workflows[case.workflow][1]


def run_case(ready: ReadyCase, library: Library) -> CaseResult:
    case, workflow = ready.case, ready.definition.workflow
    given, unfit = fit(case.input, workflow.input_schema)
    if unfit:
        return _result(
            ready,
            [Failure(what=_pointer(error), message=f"The API would refuse it: {error.msg}") for error in unfit],
        )
    facts = RunFacts(id=RUN_ID, session_id=case.session_id, user_id=case.user_id, metadata=case.metadata)
    driver = MemoryDriver(
        ready.definition,
        facts,
        given,
        replies=ready.script,
        prompts=library.prompts(ready.own, workflow.project_id),
        start=case.clock,
        people=ready.answers,
    )
    for request in requests_of(case):
        driver.add(request)
    try:
        run = driver.run()
    except NoReply as missing:
        return _result(ready, [Failure(what="replies", message=f"{missing}")])
    except RequestRefused as refused:
        return _result(ready, [Failure(what="decisions", message=f"{refused}")])
    except RunStalled as stalled:
        return _result(ready, [Failure(what="run", message=f"{stalled}")])
    failures = check(case, run)
    failures += [Failure(what="decisions", message=left) for left in ready.answers.leftovers()]
    failures += [Failure(what="replies", message=left) for left in ready.script.leftovers()]
    duration_ms = round((run.end.ended_at - run.end.started_at).total_seconds() * 1000)
    return _result(ready, failures, status=run.end.status, duration_ms=duration_ms)


def _pointer(error: FieldError) -> str:
    return "".join(["input", *(f"/{part}" for part in error.loc)])


def _result(ready: ReadyCase, failures: list[Failure], **fields: RunStatus | int) -> CaseResult:
    values: JsonObject = {"file": ready.file, "name": ready.case.name, "workflow": ready.definition.workflow.name}
    return CaseResult(**values, passed=not failures, failures=failures, **fields)  # pyright: ignore[reportArgumentType] - by name

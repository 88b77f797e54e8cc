"""Steps and the patterns that hold them: what a workflow is made of."""

import difflib
import re
from datetime import timedelta
from typing import Annotated, Any, Literal, cast

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator
from pydantic_core import PydanticCustomError

from studio.contracts.agents import AgentSpec, CallErrorType, Ref, RetryPolicy
from studio.contracts.base import ERROR_PATTERN, Contract, ErrorName, Identifier, Json, JsonObject
from studio.contracts.durations import Duration
from studio.contracts.foreign_fields import FOREIGN_FIELDS
from studio.contracts.joins import Join, NodeJoin, TimedJoin
from studio.contracts.waits import Approval, Wait

ErrorType = Literal[
    CallErrorType,
    "cancelled",
    "expression_error",
    "payload_too_large",
    "payload_missing",
    "limit_exceeded",
    "schema_mismatch",
    "join_unmet",
]
"""What a failed step says in `error.type`, unless a `fail` step gave a type of its own."""


def _word_tag(value: Any) -> str:
    return "<bool>" if isinstance(value, bool) else "<expression>"


Condition = Annotated[Annotated[bool, Tag("<bool>")] | Annotated[str, Tag("<expression>")], Discriminator(_word_tag)]
"""True, false or `${{ expression }}`."""
StepList = Annotated[list["Step"], Field(min_length=1, max_length=2000)]


def _catch_tag(value: Any) -> str:
    return "<word>" if isinstance(value, str) else "<types>"


class Catch(Contract):
    """Steps that run instead when the step failed; `error` is in their scope."""

    catch: Annotated[
        Annotated[Literal["all"], Tag("<word>")] | Annotated[list[ErrorName], Field(min_length=1), Tag("<types>")],
        Discriminator(_catch_tag),
    ]
    steps: StepList


def _on_error_tag(value: Any) -> str:
    return "<policy>" if isinstance(value, str) else "<catches>"


class StepBase(Contract):
    id: Identifier
    name: str | None = None
    """Shown instead of the id in the terminal and in the Temporal UI."""
    when: Condition = True
    """The step is skipped when it gives false."""
    timeout: Duration | None = None
    """From the step's start to its end, all attempts and waits included."""
    retry: RetryPolicy | None = None
    """Of an agent's calls; a block runs again from its beginning, once in all unless this says more."""
    output_schema: JsonObject | None = None
    """JSON Schema (2020-12) of the output; one that does not fit fails the step with `schema_mismatch`."""
    on_error: Annotated[
        Annotated[Literal["fail", "continue"], Tag("<policy>")]
        | Annotated[list[Catch], Field(min_length=1, max_length=50), Tag("<catches>")],
        Discriminator(_on_error_tag),
    ] = "fail"
    """`continue`: go on with null as output. Catches: the first whose types match; its last output is the step's."""
    compensate: "Step | None" = None
    """Undoes the step: runs, after all else and in reverse order, when the run fails or is cancelled later."""
    join: NodeJoin = "all"
    """Of a graph's node: which of the edges into it must have been taken."""
    max_visits: Annotated[int, Field(ge=1, le=10_000)] = 25
    """Of a graph's node: going past it fails the graph with `limit_exceeded`."""


class GivenStep(StepBase):
    """A step that takes an input."""

    input: Json = None
    """Default: the item of a map, else the output of the step before, else the run's input. Of a block: what the
    first steps inside it get by default."""


_STEP_FIELDS = frozenset(GivenStep.model_fields)
STEP_KEYS = (
    "agent",
    "workflow",
    "transform",
    "wait",
    "approval",
    "fail",
    "sequential",
    "parallel",
    "conditional",
    "graph",
    "hierarchical",
    "loop",
)
UNION_TAGS = frozenset(
    {
        "<bool>",
        "<expression>",
        "<name>",
        "<inline>",
        "<policy>",
        "<catches>",
        "<word>",
        "<types>",
        "<at_least>",
        "<quorum>",
        "<number>",
        "<cron>",
        "<crons>",
        *("<message>", "<placeholder>"),  # of a prompt
        *(f"<{key}>" for key in STEP_KEYS),
    }
)
"""Written so that an error's place can leave them out."""


def _one_key(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    held = [str(key) for key in cast("JsonObject", value)]
    found = [key for key in held if key in STEP_KEYS]
    if len(found) == 1:
        return cast("JsonObject", value)
    message = f"exactly one of {', '.join(STEP_KEYS)} says what a step is"
    if found:
        problem = f"{message}: found {' and '.join(found)}"
        raise PydanticCustomError("step_kind", "{problem}", {"problem": problem, "at": found[1]})
    for key in held:
        if key in FOREIGN_FIELDS and key not in _STEP_FIELDS:
            context = {"problem": f"{message}: found {key!r}", "at": key, "hint": FOREIGN_FIELDS[key]}
            raise PydanticCustomError("step_kind", "{problem}", context)
        close = difflib.get_close_matches(key, STEP_KEYS, 1)
        if close and key not in _STEP_FIELDS:
            context = {"problem": f"{message}: found {key!r}", "at": key, "hint": f"did you mean {close[0]!r}?"}
            raise PydanticCustomError("step_kind", "{problem}", context)
    context = {"problem": f"{message}: found none", "hint": "add `agent: …`, for example"}
    raise PydanticCustomError("step_kind", "{problem}", context)


def _tag(value: Any) -> str:
    if isinstance(value, StepBase):
        key = next(key for key in STEP_KEYS if hasattr(value, key))
        return f"<{key}>"
    found = next((key for key in STEP_KEYS if isinstance(value, dict) and key in value), STEP_KEYS[0])
    return f"<{found}>"


def _agent_tag(value: Any) -> str:
    return "<name>" if isinstance(value, str) else "<inline>"


AgentUse = Annotated[Annotated[Ref, Tag("<name>")] | Annotated[AgentSpec, Tag("<inline>")], Discriminator(_agent_tag)]
"""By name, by id, or written inline."""


class CachePolicy(Contract):
    """A result is kept, and given again instead of a call, for `ttl` after it was made."""

    ttl: Duration
    key: Json = None
    """What makes two calls the same; default the agent or workflow at its version, and the input."""


class AgentStep(GivenStep):
    agent: AgentUse
    cache: CachePolicy | None = None


class WorkflowStep(GivenStep):
    """Runs another workflow as a Temporal child workflow; its output is the step's."""

    workflow: Ref


class TransformStep(StepBase):
    transform: Json
    """An expression, or any JSON with expressions inside."""


class WaitStep(StepBase):
    wait: Wait


class ApprovalStep(GivenStep):
    """A person decides about the input. The output: `decision` (approve or reject), `value` (the input, or what it was
    edited to), `comment`, `by` and `timed_out`.
    """

    approval: Approval


class Failure(Contract):
    """An error of one's own. Both texts may hold expressions."""

    type: Annotated[str, Field(min_length=1, max_length=1000)]
    """A built-in type or a new one, such as `out_of_stock`: what `on_error` catches it by."""
    message: Annotated[str, Field(min_length=1, max_length=10_000)]

    @field_validator("type")
    @classmethod
    def _is_a_name(cls, kind: str) -> str:
        if "${{" not in kind and not re.fullmatch(ERROR_PATTERN, kind):
            raise ValueError("an error's type is lower-case letters, digits and `_`, such as out_of_stock")
        if kind == "cancelled":
            raise ValueError("only a run that somebody cancels is cancelled: choose another type")
        return kind


class FailStep(StepBase):
    fail: Failure


class SequentialBlock(Contract):
    steps: StepList


class SequentialStep(GivenStep):
    sequential: SequentialBlock


class ParallelBlock(Contract):
    """Branches side by side, or one step for each item of a list.

    `on_branch_error`: `fail` ends the block with the first branch that fails; `collect` goes on and puts null in its
    place. Without it `all` fails at once and the other joins only when they can no longer be met.
    """

    branches: StepList | None = None
    for_each: Json = None
    """An expression that gives a list, or a list."""
    do: "Step | None" = None
    join: Join = "all"
    timeout: Duration | None = None
    """Of the join: when it ends, the rest is cancelled. With `all` what came so far is the output; the other joins,
    unmet until then, fail with `timeout`."""
    max_concurrency: Annotated[int, Field(ge=1, le=500)] = 500
    """Temporal takes about 2,000 pending activities a workflow."""
    on_branch_error: Literal["fail", "collect"] | None = None

    @model_validator(mode="after")
    def _one_form(self) -> "ParallelBlock":
        each = {"for_each", "do"} & self.model_fields_set
        if self.branches is not None and each:
            raise ValueError("give branches, or for_each with do, not both")
        if self.branches is None and len(each) < 2:
            raise ValueError("give branches, or for_each with do")
        if self.timeout is not None and isinstance(self.join, TimedJoin) and self.join.timeout is not None:
            raise ValueError("give the timeout once: in the join or beside it")
        return self

    @property
    def join_timeout(self) -> timedelta | None:
        return self.join.timeout if isinstance(self.join, TimedJoin) and self.join.timeout else self.timeout


class ParallelStep(GivenStep):
    parallel: ParallelBlock


class Case(Contract):
    when: Condition
    steps: StepList


class Choice(Contract):
    description: str = ""
    """Tells the model when this is the one."""
    steps: StepList


class Route(Contract):
    """A model picks one of the named choices."""

    agent: AgentUse
    input: Json = None
    """What is to be routed; default: as for a step."""
    choices: Annotated[dict[Identifier, Choice], Field(min_length=1, max_length=200)]


class ConditionalBlock(Contract):
    """The first case whose `when` is true, or the choice of a model; else `else`.

    Without `else` no case means null as output, and an answer that names no choice fails with `schema_mismatch`.
    """

    cases: Annotated[list[Case] | None, Field(min_length=1, max_length=200)] = None
    route: Route | None = None
    otherwise: Annotated[StepList | None, Field(alias="else")] = None

    @model_validator(mode="after")
    def _one_form(self) -> "ConditionalBlock":
        if (self.cases is None) == (self.route is None):
            raise ValueError("give cases or route, one of them")
        return self


class ConditionalStep(GivenStep):
    conditional: ConditionalBlock


class Edge(Contract):
    """Taken when the node it comes from has ended and `when` is true."""

    source: Annotated[Identifier, Field(alias="from")]
    target: Annotated[Identifier, Field(alias="to")]
    when: Condition = True


class GraphBlock(Contract):
    """A directed graph, cycles allowed; a node runs as soon as its own join is met."""

    nodes: StepList
    edges: Annotated[list[Edge], Field(max_length=20_000)] = []
    start: Identifier | None = None
    """Default: every node that no edge leads to."""
    output: Json = None
    """Default: the output of its one end node, or a map of its end nodes' by id."""


class GraphStep(GivenStep):
    graph: GraphBlock


WORKER_PATTERN = r"^[A-Za-z_][A-Za-z0-9_-]{0,62}$"


class Worker(Contract):
    name: Annotated[str, Field(pattern=WORKER_PATTERN)]
    agent: AgentUse
    description: str = ""
    """Tells the manager what this worker is for."""


class HierarchicalBlock(Contract):
    """A manager plans, delegates to workers, reads their reports, and ends with an answer."""

    manager: AgentUse
    workers: Annotated[list[Worker], Field(min_length=1, max_length=100)]
    max_rounds: Annotated[int, Field(ge=1, le=1000)] = 5
    """Answers of the manager; it must answer in the last one rather than delegate."""
    parallel: bool = False
    """Whether the delegations of one round run side by side."""
    input: Json = None
    """The task; default: as for a step."""

    @model_validator(mode="after")
    def _unique_workers(self) -> "HierarchicalBlock":
        names = [worker.name for worker in self.workers]
        if len(names) != len(set(names)):
            raise ValueError("two workers have the same name")
        return self


class HierarchicalStep(StepBase):
    hierarchical: HierarchicalBlock


class LoopBlock(Contract):
    """Rounds of `do`. `while` is asked before a round, `until` after one; going past `max_iterations` fails."""

    do: StepList
    until: str | None = None
    condition: Annotated[str | None, Field(alias="while")] = None
    max_iterations: Annotated[int, Field(ge=1, le=100_000)] = 100

    @model_validator(mode="after")
    def _one_exit(self) -> "LoopBlock":
        if (self.until is None) == (self.condition is None):
            raise ValueError("give until or while, one of them")
        return self


class LoopStep(GivenStep):
    loop: LoopBlock


Step = Annotated[
    Annotated[AgentStep, Tag("<agent>")]
    | Annotated[WorkflowStep, Tag("<workflow>")]
    | Annotated[TransformStep, Tag("<transform>")]
    | Annotated[WaitStep, Tag("<wait>")]
    | Annotated[ApprovalStep, Tag("<approval>")]
    | Annotated[FailStep, Tag("<fail>")]
    | Annotated[SequentialStep, Tag("<sequential>")]
    | Annotated[ParallelStep, Tag("<parallel>")]
    | Annotated[ConditionalStep, Tag("<conditional>")]
    | Annotated[GraphStep, Tag("<graph>")]
    | Annotated[HierarchicalStep, Tag("<hierarchical>")]
    | Annotated[LoopStep, Tag("<loop>")],
    Discriminator(_tag),
    BeforeValidator(_one_key),
]
for _model in (SequentialBlock, ParallelBlock, ConditionalBlock, GraphBlock):
    _model.model_rebuild()  # they hold steps, which are only known now
Block = SequentialBlock | ParallelBlock | ConditionalBlock | GraphBlock | HierarchicalBlock | LoopBlock
"""What holds other steps."""


def block_in(step: StepBase) -> Block | None:
    """The block that a step is, or None."""
    match step:
        case SequentialStep(sequential=block) | ParallelStep(parallel=block) | ConditionalStep(conditional=block):
            return block
        case GraphStep(graph=block) | HierarchicalStep(hierarchical=block) | LoopStep(loop=block):
            return block
        case _:
            return None

"""Definitions with scripts, as Hypothesis strategies."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from studio.contracts.base import Json, JsonObject
from tests.support.model.cases import MILLISECOND, Call, Case, Env, Script
from tests.support.model.reference import interpret

Draw = Callable[[st.SearchStrategy[Any]], Any]
ERRORS = ["timeout", "upstream_error", "rate_limited", "invalid_request"]
DEPTH = 3
"""At which there are no more blocks."""


@dataclass
class Writer:
    """Writes one document while Hypothesis decides what is in it."""

    draw: Draw
    budget: int = 14
    """Steps that may still be written."""
    count: int = 0
    timers: int = 0
    calls: dict[str, list[Call]] = field(default_factory=dict[str, list[Call]])
    expressions: dict[str, Callable[[Env], Json]] = field(default_factory=dict[str, Callable[[Env], Json]])
    compensates: bool = True
    """Whether a step may have something that undoes it."""
    steady: bool = False
    """Whether calls succeed, and nothing depends on who is first or on an error that is caught."""
    timed: bool = True
    """Whether there are waits, timeouts and retries; without them calls stop at once and agents answer with text."""

    def case(self) -> Case:
        steps = self.chain([], 0, most=4)
        document: JsonObject = {"name": "any", "pattern": "sequential", "steps": steps}
        if self.chance(4):
            self.compensates = False
            document["finally"] = self.chain([], DEPTH)
        if self.steady:
            return Case(document, Script(self.calls, stops_at_once=True), self.expressions)
        if self.chance(4):
            limits: JsonObject = {"on_exceeded": "fail"}
            if self.timed and self.chance(2):
                limits["timeout"] = self.duration(20, 400)
            else:
                limits["max_steps"] = self.number(1, 12)
            document["limits"] = limits
        cancel = self.number(0, 400) * MILLISECOND + 1 if self.chance(4) else None
        return Case(document, Script(self.calls, stops_at_once=not self.timed), self.expressions, cancel)

    # What is drawn

    def chance(self, one_in: int) -> bool:
        """False is what Hypothesis shrinks to."""
        return bool(self.draw(st.integers(0, one_in - 1)) == one_in - 1)

    def number(self, least: int, most: int) -> int:
        return int(self.draw(st.integers(least, most)))

    def one_of(self, options: Sequence[Any]) -> Any:
        return self.draw(st.sampled_from(options))

    def duration(self, least: int, most: int) -> str:
        """No two are the same."""
        self.timers += 1
        return f"{self.number(least, most) * 50 + self.timers}ms"

    # Steps

    def chain(self, seen: list[str], depth: int, *, most: int = 3) -> list[JsonObject]:
        """`seen` grows by what has been written."""
        return [self.step(seen, depth) for _ in range(self.number(1, most))]

    def step(self, seen: list[str], depth: int) -> JsonObject:
        self.count += 1
        self.budget -= 1
        name = f"s{self.count}"
        leaves = ["agent", "agent", "agent", "transform", *(["wait"] if self.timed else [])]
        blocks = ["sequential", "parallel", "map", "conditional", "route", "graph", "team", "loop", "parallel", "graph"]
        kind: str = self.one_of(leaves if depth >= DEPTH or self.budget <= 0 else leaves + blocks)
        step: JsonObject = {"id": name}
        if self.chance(6):
            step["when"] = self.condition(seen)
        inner = seen.copy()
        step |= _KINDS[kind](self, name, inner, depth)
        if kind == "map":
            inner = seen.copy()
        self.policies(step, kind, inner, depth)
        seen[:] = [*inner, name]
        return step

    def policies(self, step: JsonObject, kind: str, seen: list[str], depth: int) -> None:
        block = kind not in {"agent", "transform", "wait"}
        if self.timed and self.chance(8) and kind != "transform":
            step["timeout"] = self.duration(1, 60)
        if self.timed and block and self.chance(6):
            kept: JsonObject = {"non_retryable": ["upstream_error"]} if self.chance(3) else {}
            step["retry"] = {"max_attempts": 2, "initial_interval": self.duration(1, 4), **kept}
        match self.number(0, 7):
            case 6:
                step["on_error"] = "continue"
            case 7 if not self.steady:
                catch = self.one_of(["all", ["timeout"], ["upstream_error", "limit_exceeded"], ["join_unmet"]])
                step["on_error"] = [{"catch": catch, "steps": self.chain(seen, max(depth + 1, DEPTH - 1), most=2)}]
            case _:
                pass
        if self.compensates and self.chance(8):
            self.compensates = False
            step["compensate"] = self.step([step["id"]] if self.chance(2) else [*seen, step["id"]], DEPTH)
            self.compensates = True

    def agent(self, name: str, seen: list[str], depth: int) -> JsonObject:
        outputs = ["its path", 0, 1] if self.timed else ["its path"]
        self.calls[name] = [self.call(*outputs) for _ in range(self.number(1, 3))]
        return {"agent": "writer", "input": None}

    def call(self, *outputs: Json) -> Call:
        error = self.one_of(ERRORS) if not self.steady and self.chance(5) else None
        duration, linger = self.number(1, 100), self.number(0, 40)
        output = self.one_of(outputs) if error is None else None
        return Call(duration * MILLISECOND, output, error, linger * MILLISECOND)

    def transform(self, name: str, seen: list[str], depth: int) -> JsonObject:
        if not self.steady and self.chance(8):
            return {"fail": {"type": self.one_of(["out_of_stock", "timeout"]), "message": "on purpose"}}
        if seen and self.chance(2):
            of = self.one_of(seen)
            return {"transform": self.expression(f"steps.{of}.output", lambda env: _output(env, of))}
        return {"transform": self.number(0, 2)}

    def wait(self, name: str, seen: list[str], depth: int) -> JsonObject:
        return {"wait": {"for": self.duration(1, 40)}}

    def sequential(self, name: str, seen: list[str], depth: int) -> JsonObject:
        return {"sequential": {"steps": self.chain(seen, depth + 1)}}

    def parallel(self, name: str, seen: list[str], depth: int) -> JsonObject:
        inside: list[str] = []
        branches: list[JsonObject] = []
        for _ in range(self.number(2, 4)):
            known = seen.copy()
            branches.append(self.step(known, depth + 1))
            inside += known[len(seen) :]
        seen += inside
        return {"parallel": {"branches": branches, **self.join(len(branches))}}

    def map(self, name: str, seen: list[str], depth: int) -> JsonObject:
        items = list(range(self.number(0, 4)))
        do = self.step(seen.copy(), depth + 1)
        return {"parallel": {"for_each": items, "do": do, **self.join(len(items))}}

    def join(self, count: int) -> JsonObject:
        fields: JsonObject = {}
        if self.steady:
            fields = {"max_concurrency": self.number(1, 3)} if self.chance(2) else {}
            return fields | ({"on_branch_error": "collect"} if self.chance(2) else {})
        join = self.one_of(["all", "any", "at_least", "quorum"])
        if join == "at_least":
            fields["join"] = {"at_least": self.number(1, max(count, 1))}
        elif join == "quorum":
            fields["join"] = {"quorum": self.one_of([0.3, 0.5, 0.6, 1.0])}
        else:
            fields["join"] = join
        if self.timed and self.chance(5):
            fields["timeout"] = self.duration(1, 60)
        if self.chance(2):
            fields["max_concurrency"] = self.number(1, 3)
        if self.chance(2):
            fields["on_branch_error"] = self.one_of(["collect", "fail"])
        return fields

    def conditional(self, name: str, seen: list[str], depth: int) -> JsonObject:
        cases: list[JsonObject] = []
        before, inside = seen.copy(), list[str]()
        for _ in range(self.number(1, 3)):
            known = before.copy()
            cases.append({"when": self.condition(before), "steps": self.chain(known, depth + 1, most=2)})
            inside += known[len(before) :]
        block: JsonObject = {"cases": cases}
        if self.chance(2):
            known = before.copy()
            block["else"] = self.chain(known, depth + 1, most=2)
            inside += known[len(before) :]
        seen += inside
        return {"conditional": block}

    def route(self, name: str, seen: list[str], depth: int) -> JsonObject:
        choices: JsonObject = {}
        before, inside = seen.copy(), list[str]()
        for choice in ("left", "right"):
            known = before.copy()
            choices[choice] = {"steps": self.chain(known, depth + 1, most=2)}
            inside += known[len(before) :]
        block: JsonObject = {"route": {"agent": {}, "choices": choices}}
        if self.chance(2):
            known = before.copy()
            block["else"] = self.chain(known, depth + 1, most=2)
            inside += known[len(before) :]
        answers = [{"choice": "left"}, {"choice": "right"}, {"choice": "up"}]
        self.calls[f"{name}.router"] = [self.call(*answers) for _ in range(self.number(1, 2))]
        seen += inside
        return {"conditional": block}

    def team(self, name: str, seen: list[str], depth: int) -> JsonObject:
        workers = ["reader", "writer"]
        answers: list[Json] = []
        for _ in range(self.number(0, 2)):
            tasks = [{"worker": self.one_of(workers), "task": "work"} for _ in range(self.number(1, 3))]
            answers.append({"delegate": tasks})
        answers.append({"answer": self.number(0, 2)})
        self.calls[f"{name}.manager"] = [self.call(answer) for answer in [answers[-1], *answers]]
        self.calls[f"{name}.worker"] = [self.call("its path") for _ in range(self.number(1, 3))]
        block: JsonObject = {
            "manager": {},
            "workers": [{"name": worker, "agent": {}} for worker in workers],
            "max_rounds": self.number(1, 4),
            "parallel": self.chance(2),
        }
        return {"hierarchical": block}

    def loop(self, name: str, seen: list[str], depth: int) -> JsonObject:
        block: JsonObject = {"do": self.chain(seen, depth + 1, most=2), "max_iterations": self.number(1, 3)}
        rounds = self.number(0, 3)
        if self.chance(2):
            block["while"] = self.expression(f"iteration < {rounds}", lambda env: env["iteration"] < rounds)
        elif self.chance(2):
            block["until"] = self.expression(f"iteration >= {rounds}", lambda env: env["iteration"] >= rounds)
        else:
            block["until"] = self.expression(f"last == {rounds}", lambda env: env["last"] == rounds)
        return {"loop": block}

    def graph(self, name: str, seen: list[str], depth: int) -> JsonObject:
        before = seen.copy()
        nodes: list[JsonObject] = []
        inside: list[str] = []
        for _ in range(self.number(1, 5)):
            known = before.copy()
            nodes.append(self.step(known, depth + 1))
            inside += known[len(before) :]
        ids = [node["id"] for node in nodes]
        edges: list[JsonObject] = []
        for target in range(1, len(ids)):
            sources = sorted(self.draw(st.sets(st.integers(0, target - 1), max_size=3)))
            edges += [self.edge(ids[source], ids[target], always=not self.chance(3)) for source in sources]
        into = {edge["to"] for edge in edges}
        for _ in range(self.number(0, 2)):
            source = self.number(0, len(ids) - (2 if self.steady else 1)) if len(ids) > 1 else 0
            target = self.number(0, source)
            if ids[target] in into:
                edges.append(self.edge(ids[source], ids[target], always=False))
        for node in nodes:
            joins = ["all", "any", {"at_least": 2}]
            count = sum(edge["to"] == node["id"] for edge in edges)
            if count > 1 and not self.steady:
                node["join"] = self.one_of(joins)
            node["max_visits"] = self.number(1, 4)
        seen += inside
        return {"graph": {"nodes": nodes, "edges": edges}}

    def edge(self, source: str, target: str, *, always: bool) -> JsonObject:
        edge: JsonObject = {"from": source, "to": target}
        return edge if always else edge | {"when": self.condition([source])}

    # Expressions

    def condition(self, seen: list[str]) -> bool | str:
        match self.number(0, 3) if seen else self.number(0, 1):
            case 0:
                return True
            case 1:
                return False
            case 2:
                of, value = self.one_of(seen), self.number(0, 1)
                return self.expression(f"steps.{of}.output == {value}", lambda env: _same(_output(env, of), value))
            case _:
                of, status = self.one_of(seen), self.one_of(["succeeded", "failed", "skipped", "pending"])
                return self.expression(f"steps.{of}.status == '{status}'", lambda env: _status(env, of) == status)

    def expression(self, source: str, meaning: Callable[[Env], Json]) -> str:
        text = f"${{{{ {source} }}}}"
        self.expressions[text] = meaning
        return text


_KINDS: dict[str, Callable[[Writer, str, list[str], int], JsonObject]] = {
    "agent": Writer.agent,
    "transform": Writer.transform,
    "wait": Writer.wait,
    "sequential": Writer.sequential,
    "parallel": Writer.parallel,
    "map": Writer.map,
    "conditional": Writer.conditional,
    "route": Writer.route,
    "team": Writer.team,
    "loop": Writer.loop,
    "graph": Writer.graph,
}


def _output(env: Env, step: str) -> Json:
    return env[step].output if step in env else None


def _status(env: Env, step: str) -> str:
    return env[step].status if step in env else "pending"


def _same(found: Json, value: int) -> bool:
    return found == value and not isinstance(found, bool)


@st.composite
def cases(draw: Draw, *, timed: bool = True, steady: bool = False) -> Case:
    return Writer(draw, timed=timed and not steady, steady=steady).case()


def sample(count: int) -> list[Case]:
    """The same cases in every run, without timers and ties, each with a call."""
    found: list[Case] = []

    @settings(
        max_examples=count * 3,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(cases(timed=False))
    def collect(case: Case) -> None:
        outcome = interpret(case)
        if outcome.calls and not outcome.tied and case not in found:
            found.append(case)

    collect()
    assert len(found) >= count
    return found[-count:]  # the first ones that Hypothesis makes are the simplest

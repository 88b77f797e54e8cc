"""A graph: its nodes as actors, and the token game that says which may run."""

from dataclasses import dataclass, field

from studio.contracts.base import Json
from studio.contracts.steps import GraphBlock, GraphStep
from tests.support.model.actors import Actor
from tests.support.model.cases import Env, StepOutcome
from tests.support.model.interpreter import Body, Interpreter
from tests.support.model.results import STOPPED, Failure, Result
from tests.support.model.tokens import Tokens


@dataclass
class _Game:
    """A graph under way."""

    run: Interpreter
    block: GraphBlock
    path: str
    env: Env
    tokens: Tokens
    visits: dict[str, int]
    """So far, by node."""
    skipped: set[str] = field(default_factory=set[str])
    under_way: dict[Actor, tuple[str, Env]] = field(default_factory=dict[Actor, tuple[str, Env]])
    """Each visit with its node and what it sees."""
    failure: Failure | None = None
    last: Json = None
    """The output of the visit that ended last."""

    def move(self, me: Actor) -> bool:
        """Begin the next visit, if there is one. What can no longer be reached is skipped before it."""
        self.tokens.settle()
        self._skip()
        name = self.tokens.next()
        if self.tokens.unmet:
            self.run.tied |= name is not None  # which of the two comes first is not defined
            self.failure = Failure("join_unmet", self.path)
            return False
        if name is None:
            return False
        node = next(one for one in self.block.nodes if one.id == name)
        number = self.visits[name]
        if number == node.max_visits:
            self.failure = Failure("limit_exceeded", self.path)
            return False
        self.visits[name] += 1
        place = f"{self.path}/{name}@{number}" if number else f"{self.path}/{name}"
        seen = self.run.inner(self.env, node)
        actor = self.run.world.spawn(me, self.run.starter(node, place, seen))
        self.under_way[actor] = name, seen
        if actor.over:
            self.visited(actor)
        return True

    def _skip(self) -> None:
        for node in self.visits.keys() - self.tokens.reached() - self.skipped:
            self.skipped.add(node)
            if not self.visits[node]:
                step = next(one for one in self.block.nodes if one.id == node)
                self.run.steps[f"{self.path}/{node}"] = self.env[node] = StepOutcome("skipped")
                self.run.unreached.over(step, f"{self.path}/{node}", self.env)

    def visited(self, actor: Actor) -> None:
        """A visit is over: put its tokens."""
        node, seen = self.under_way.pop(actor)
        self.tokens.running.remove(node)
        result: Result = actor.result
        self.run.export(seen, self.env, [one for one in self.block.nodes if one.id == node])
        self.failure = self.failure or result.failure
        if result.kind != "done":
            return
        self.last = result.output
        for place, edge in enumerate(self.block.edges):
            if edge.source == node and self.run.holds(edge.when, self.env):
                self.tokens.put(place)

    def output(self) -> Json:
        sources = {edge.source for edge in self.block.edges}
        ends = {node: self.env[node].output for node in self.visits if node not in sources}
        if not ends:
            return self.last
        return next(iter(ends.values())) if len(ends) == 1 else ends


def graph(run: Interpreter, me: Actor, step: GraphStep, path: str, env: Env) -> Body:
    block = step.graph
    targets = {edge.target for edge in block.edges}
    starts = [block.start] if block.start else [node.id for node in block.nodes if node.id not in targets]
    visits = {node.id: 0 for node in block.nodes}
    game = _Game(run, block, path, env, Tokens(block.nodes, block.edges, starts), visits)
    yield from run.queue(me)
    while True:
        while game.failure is None and not me.stopping and game.move(me):
            pass
        if game.failure is not None:
            run.halt(path, game.under_way)
        if not game.under_way:
            break
        message = yield
        if isinstance(message, Actor) and message in game.under_way:
            game.visited(message)
    run.decided.discard(path)
    if me.stopping:
        return STOPPED
    if game.failure is not None:
        return Result("failed", failure=game.failure)
    return Result("done", game.output())

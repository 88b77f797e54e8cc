"""The patterns but graphs, each as what one actor does."""

from collections.abc import Callable, Generator, Sequence

from studio.contracts.base import Json
from studio.contracts.steps import ConditionalBlock, HierarchicalBlock, LoopBlock, ParallelStep
from tests.support.model.actors import Actor, Message
from tests.support.model.cases import Env
from tests.support.model.interpreter import Body, Interpreter, microseconds
from tests.support.model.results import STOPPED, Failure, Result, failed
from tests.support.model.tally import Tally


def conditional(run: Interpreter, me: Actor, block: ConditionalBlock, path: str, env: Env) -> Body:
    chosen = block.otherwise
    if block.route is not None:
        answer = yield from run.role(me, f"{path}/router.choice")
        if answer.kind != "done":
            return answer
        choice = answer.output["choice"]
        if choice in block.route.choices:
            chosen = block.route.choices[choice].steps
        elif chosen is None:
            return failed("schema_mismatch", f"{path}/router.choice")
    for case in reversed(block.cases or []):
        chosen = case.steps if run.holds(case.when, env) else chosen
    return Result("done") if chosen is None else (yield from run.chain(me, chosen, f"{path}/", env))


def loop(run: Interpreter, me: Actor, block: LoopBlock, path: str, env: Env) -> Body:
    number, result = 0, Result("done")
    run.unreached.rounds[path] = 0
    while True:
        yield from run.queue(me)
        inner = run.inner(env, *block.do, iteration=number, last=result.output)
        if block.condition is not None and not run.holds(block.condition, inner):
            return result
        if number == block.max_iterations:
            return failed("limit_exceeded", path)
        run.unreached.rounds[path] = number
        result = yield from run.chain(me, block.do, f"{path}#{number}/", inner)
        run.export(inner, env, block.do)
        if result.kind != "done":
            return result
        if block.until is not None and run.holds(block.until, inner | {"last": result.output}):
            return result
        number += 1


def team(run: Interpreter, me: Actor, block: HierarchicalBlock, path: str) -> Body:
    counts: dict[str, int] = {}
    for number in range(1, block.max_rounds + 1):
        yield from run.queue(me)
        answer = yield from run.role(me, f"{path}/manager.round-{number}")
        if answer.kind != "done":
            return answer
        if "delegate" not in answer.output:
            return Result("done", answer.output["answer"])
        if number < block.max_rounds:
            paths: list[str] = []
            for delegation in answer.output["delegate"]:
                worker = delegation["worker"]
                counts[worker] = counts.get(worker, 0) + 1
                paths.append(f"{path}/worker.{worker}-{counts[worker]}")
            yield from run.queue(me)
            yield from _delegate(run, me, paths, block.parallel)
            if me.stopping:
                return STOPPED
    return failed("limit_exceeded", path)


def _delegate(run: Interpreter, me: Actor, paths: Sequence[str], parallel: bool) -> Generator[None, Message, None]:
    def worker(path: str) -> Callable[[Actor], Body]:
        return lambda actor: run.role(actor, path)

    if parallel:
        for actor in [run.world.spawn(me, worker(path)) for path in paths]:
            yield from run.wait(actor)
    else:
        for path in paths:
            yield from run.role(me, path)
            yield from run.queue(me)


def parallel(run: Interpreter, me: Actor, step: ParallelStep, path: str, env: Env) -> Body:
    block = step.parallel
    todo = _branches(run, step, path, env)
    tally = Tally(block, len(todo))
    late = None if block.join_timeout is None else run.world.alarm(me, microseconds(block.join_timeout))
    yield from run.queue(me)
    begun: list[Actor] = []
    under_way: list[Actor] = []
    while True:
        tally.decide()
        if tally.verdict is not None:
            run.halt(path, under_way)
        elif not me.stopping:
            for starter in todo[len(begun) :][: block.max_concurrency - len(under_way)]:
                actor = run.world.spawn(me, starter)
                begun.append(actor)
                under_way.append(actor)
                if actor.over:
                    tally.count(actor)
        if not under_way:
            break
        message = yield
        if isinstance(message, Actor) and message in under_way:
            under_way.remove(message)
            tally.count(message)
        elif message is late and not me.stopping:
            tally.timed_out = True
    run.decided.discard(path)
    if me.stopping:
        return STOPPED
    if isinstance(tally.verdict, Failure):
        return failed(tally.verdict.type, tally.verdict.path or path)
    outputs = [actor.result.output for actor in begun] + [None] * (len(todo) - len(begun))
    if block.branches is None:
        return Result("done", outputs)
    return Result("done", {branch.id: output for branch, output in zip(block.branches, outputs, strict=True)})


def _branches(run: Interpreter, step: ParallelStep, path: str, env: Env) -> list[Callable[[Actor], Body]]:
    block = step.parallel
    if block.do is None:
        return [run.starter(branch, f"{path}/{branch.id}", env) for branch in block.branches or []]
    do = block.do
    items: list[Json] = run.value(block.for_each, env)
    run.unreached.items[path] = len(items)
    return [
        run.starter(do, f"{path}/{do.id}[{index}]", run.inner(env, do, item=item, index=index))
        for index, item in enumerate(items)
    ]

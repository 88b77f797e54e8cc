"""Which steps a step holds."""

from studio.contracts.steps import ConditionalStep, GraphStep, LoopStep, ParallelStep, SequentialStep, Step


def ids_inside(step: Step) -> set[str]:
    """Its own id and those of all steps that it holds."""
    return {step.id, *(inner for held in _held(step) for inner in ids_inside(held))}


def _held(step: Step) -> list[Step]:
    catches = [] if isinstance(step.on_error, str) else [held for clause in step.on_error for held in clause.steps]
    return [*catches, *_body(step)]


def _body(step: Step) -> list[Step]:
    match step:
        case SequentialStep(sequential=block):
            return block.steps
        case ParallelStep(parallel=block):
            return [block.do] if block.do is not None else block.branches or []
        case ConditionalStep(conditional=block):
            choices = list(block.route.choices.values()) if block.route else []
            return [held for one in [*(block.cases or []), *choices] for held in one.steps] + (block.otherwise or [])
        case GraphStep(graph=block):
            return block.nodes
        case LoopStep(loop=block):
            return block.do
        case _:
            return []

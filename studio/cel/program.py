"""A syntax tree as functions that evaluate it, compiled once and run often.

Maps are walked in the order of their keys, so that every process walks them alike.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, assert_never, cast

from studio.cel.arithmetic import negated, operate
from studio.cel.budget import Budget
from studio.cel.errors import EvaluationFault, failure, mistyped
from studio.cel.functions import FUNCTIONS
from studio.cel.nodes import (
    Access,
    Call,
    Choice,
    Comprehension,
    Constant,
    Has,
    ListOf,
    Logic,
    MapOf,
    Name,
    Node,
    Operation,
    Operator,
    Repeated,
)
from studio.cel.values import as_key, equal, field_of, item_of, keys_of, less, shown, type_word

Names = Mapping[str, Any]
Run = Callable[[Names, Budget], Any]
_PER_ITEM = 3
"""Steps for an item of a comprehension, beside what its body takes."""
_SCALARS = (str, bool, int, float, bytes)


def compile_node(node: Node) -> Run:  # noqa: C901, PLR0911, PLR0912 - one line a node
    match node:
        case Constant():
            return _constant(node.value)
        case Name():
            return _name(node.name)
        case Access():
            return _access(node)
        case Has():
            return _has(node)
        case Call():
            return _call(node)
        case ListOf():
            return _list(node)
        case MapOf():
            return _map(node)
        case Repeated():
            return _repeated(node)
        case Operation():
            return _operation(node)
        case Logic():
            return _logic(node)
        case Choice():
            return _choice(node)
        case Comprehension():
            return _comprehension(node)
        case _:
            assert_never(node)


def _constant(value: Any) -> Run:
    return lambda names, budget: value


def _name(name: str) -> Run:
    def run(names: Names, budget: Budget) -> Any:
        budget.spend()
        if name not in names:
            raise failure(f"there is no {name!r} here")
        return names[name]

    return run


def _access(node: Access) -> Run:
    of = compile_node(node.of)
    parts = [part if isinstance(part, str) else compile_node(part) for part in node.parts]

    def run(names: Names, budget: Budget) -> Any:
        value = of(names, budget)
        budget.spend(len(parts))
        for part in parts:
            value = field_of(value, part) if isinstance(part, str) else item_of(value, part(names, budget))
        return value

    return run


def _has(node: Has) -> Run:
    of, field = compile_node(node.of), node.field

    def run(names: Names, budget: Budget) -> Any:
        value = of(names, budget)
        if not isinstance(value, dict):
            raise mistyped(f"`has` asks for a field of an object, and got {type_word(value)}")
        return field in cast("dict[Any, Any]", value)

    return run


def _call(node: Call) -> Run:
    function, arguments = FUNCTIONS[node.function].run, [compile_node(argument) for argument in node.arguments]

    def run(names: Names, budget: Budget) -> Any:
        budget.spend()
        return function(budget, *[argument(names, budget) for argument in arguments])

    return run


def _list(node: ListOf) -> Run:
    items = [compile_node(item) for item in node.items]

    def run(names: Names, budget: Budget) -> Any:
        budget.spend(1 + len(items))
        return [item(names, budget) for item in items]

    return run


def _map(node: MapOf) -> Run:
    entries = [(compile_node(key), compile_node(value)) for key, value in node.entries]

    def run(names: Names, budget: Budget) -> Any:
        budget.spend(1 + len(entries))
        made: dict[Any, Any] = {}
        for key_of, value_of in entries:
            given = key_of(names, budget)
            key = None if isinstance(given, float) else as_key(given)
            if key is None:
                raise mistyped(f"a key of a map is a text, a whole number or true or false, not {type_word(given)}")
            if key in made:
                raise failure(f"the key {shown(given)!r} is in the map twice")
            made[key] = value_of(names, budget)
        return made

    return run


def _repeated(node: Repeated) -> Run:
    of, times = compile_node(node.of), node.times

    def run_not(names: Names, budget: Budget) -> Any:
        value = of(names, budget)
        budget.spend(times)
        if not isinstance(value, bool):
            raise mistyped(f"`!` is of true or false, not of {type_word(value)}")
        return value if times % 2 == 0 else not value

    def run_minus(names: Names, budget: Budget) -> Any:
        value = of(names, budget)
        budget.spend(times)
        for _ in range(times):
            value = negated(value)
        return value

    return run_not if node.operator == "!" else run_minus


def _operation(node: Operation) -> Run:
    first = compile_node(node.first)
    rest: list[tuple[Operator, Run]] = [(operator, compile_node(operand)) for operator, operand in node.rest]

    def run(names: Names, budget: Budget) -> Any:
        value = first(names, budget)
        for operator, operand in rest:
            budget.spend()
            value = _applied(operator, value, operand(names, budget), budget)
        return value

    return run


def _applied(operator: Operator, one: Any, other: Any, budget: Budget) -> Any:
    match operator:
        case "==" | "!=":
            budget.spend_on_comparing(one, other)
            return equal(one, other) is (operator == "==")
        case "<" | "<=" | ">" | ">=":
            budget.spend_on_comparing(one, other)
            left, right = (one, other) if operator[0] == "<" else (other, one)
            return less(left, right, or_equal=operator.endswith("="))
        case "in":
            return _is_in(one, other, budget)
        case "+":
            budget.spend_on(one, other)
            return operate("+", one, other)
        case _:
            return operate(operator, one, other)


def _is_in(value: Any, holder: Any, budget: Budget) -> bool:
    if isinstance(holder, list):
        items = cast("list[Any]", holder)
        if isinstance(value, _SCALARS):
            budget.spend_on_searching(value, len(items))
            if value not in items:  # Python finds all that CEL finds, and 1 for `true`
                return False
        for item in items:
            budget.spend_on_comparing(value, item)
            if equal(value, item):
                return True
        return False
    if isinstance(holder, dict):
        key = as_key(value)
        return key is not None and key in cast("dict[Any, Any]", holder)
    raise mistyped(f"`in` looks into a list or an object, not into {type_word(holder)}")


def _logic(node: Logic) -> Run:
    parts = [compile_node(part) for part in node.parts]
    decisive = node.operator == "||"

    def run(names: Names, budget: Budget) -> Any:
        return _decided([partial(part, names, budget) for part in parts], decisive=decisive)

    return run


def _decided(asked: Iterable[Callable[[], Any]], *, decisive: bool) -> bool:
    """Whether one gives what decides, whatever fails before; else the first failure, if any, is the outcome."""
    failed: EvaluationFault | None = None
    for ask in asked:
        try:
            value = ask()
            if not isinstance(value, bool):
                raise mistyped(
                    f"{type_word(value)} is neither true nor false, which `&&`, `||`, `all` and `exists` take"
                )
        except EvaluationFault as fault:
            failed = failed or fault
            continue
        if value is decisive:
            return decisive
    if failed is not None:
        raise failed
    return not decisive


def _choice(node: Choice) -> Run:
    cases = [(compile_node(condition), compile_node(chosen)) for condition, chosen in node.cases]
    otherwise = compile_node(node.otherwise)

    def run(names: Names, budget: Budget) -> Any:
        for condition, chosen in cases:
            budget.spend()
            if _truth(condition(names, budget), "`?`"):
                return chosen(names, budget)
        return otherwise(names, budget)

    return run


def _truth(value: Any, asking: str) -> bool:
    if not isinstance(value, bool):
        raise mistyped(f"{asking} asks for true or false, and got {type_word(value)}")
    return value


def _comprehension(node: Comprehension) -> Run:
    of, body, variable, macro = compile_node(node.of), compile_node(node.body), node.variable, node.macro
    kept = None if node.kept is None else compile_node(node.kept)

    def run(names: Names, budget: Budget) -> Any:
        items = _walked(of(names, budget), macro, budget)
        bound = {**names}

        def ask(item: Any, what: Run) -> Any:
            budget.spend(_PER_ITEM)
            bound[variable] = item
            return what(bound, budget)

        match macro:
            case "all" | "exists":
                return _decided((partial(ask, item, body) for item in items), decisive=macro == "exists")
            case "exists_one":
                return sum(_truth(ask(item, body), "`exists_one`") for item in items) == 1
            case "filter":
                return [item for item in items if _truth(ask(item, body), "`filter`")]
            case "map":
                wanted = (item for item in items if kept is None or _truth(ask(item, kept), "`map`"))
                return [ask(item, body) for item in wanted]
            case _:
                assert_never(macro)

    return run


def _walked(value: Any, macro: str, budget: Budget) -> list[Any]:
    match value:
        case list():
            budget.spend_on(value)
            return cast("list[Any]", value)
        case dict():
            entries = cast("dict[Any, Any]", value)
            budget.spend(1 + len(entries))  # they are sorted
            return keys_of(entries)
        case _:
            raise mistyped(f"`{macro}` walks a list or an object, not {type_word(value)}")

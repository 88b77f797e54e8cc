"""The Jinja2 environment in which prompt templates run.

Time and memory are bounded without threads or processes: every operation that can be large pays for its size from
the render's budget before it runs, and every loop round, call, filter, test and comparison looks at the clock.
What no one paid for cannot grow: containers are weighed with all they hold when a template builds them.
Only the attributes, methods, filters and functions named here exist; everything else is undefined.
"""

# ruff: noqa: N802, N815 - Jinja2 finds a visitor's methods by the names of its nodes

from collections.abc import Callable, ItemsView, KeysView, Mapping, ValuesView
from typing import Any, NoReturn, cast

from jinja2 import StrictUndefined, TemplateSyntaxError, nodes
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import SandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from studio.sandbox.budget import MAX_RANGE, RenderLimit, Ticking, current_budget, pay_deep, to_text, weight
from studio.sandbox.filters import prompt_filters
from studio.sandbox.operations import ATTRIBUTES, BINARY_OPERATORS, METHOD_PRICES, pay_length


def _tick(value: Any) -> Any:
    current_budget().spend(1)
    return value


def weigh(value: Any) -> Any:
    pay_deep(value)
    return value


def _concatenate(values: tuple[Any, ...]) -> str:
    return "".join([to_text(value) for value in values])


def _cut(value: Any, start: Any, stop: Any, step: Any) -> Any:
    if not isinstance(value, str | list | tuple):
        raise TypeError(f"a {type(value).__name__} cannot be cut")
    current_budget().spend(weight(cast("list[Any]", value)))
    return cast("list[Any]", value)[start:stop:step]


_INTERNAL: dict[str, Callable[..., Any]] = {
    "a tick": _tick,
    "a weight": weigh,
    "a text": _concatenate,
    "a slice": _cut,
    "a loop": Ticking,
}


def _refuse_at(node: nodes.Node, message: str) -> NoReturn:
    raise TemplateSyntaxError(message, node.lineno)


class _Pricing(NodeTransformer):
    """Puts the checks into the syntax tree and refuses what a prompt has no use for."""

    def _through(self, name: str, node: nodes.Expr, arguments: list[nodes.Expr] | None = None) -> nodes.Filter:
        return nodes.Filter(node, name, arguments or [], [], None, None, lineno=node.lineno)

    def visit_For(self, node: nodes.For) -> nodes.Node:
        if node.recursive:
            _refuse_at(node, "recursive loops are not allowed; use a macro")
        node = cast("nodes.For", self.generic_visit(node))
        node.iter = self._through("a loop", cast("nodes.Expr", node.iter))
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        return self._through("a tick", cast("nodes.Expr", self.generic_visit(node)))

    def visit_Test(self, node: nodes.Test) -> nodes.Node:
        return self._through("a tick", cast("nodes.Expr", self.generic_visit(node)))

    def visit_List(self, node: nodes.List) -> nodes.Node:
        return self._through("a weight", cast("nodes.Expr", self.generic_visit(node)))

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:
        return self._through("a weight", cast("nodes.Expr", self.generic_visit(node)))

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        node = cast("nodes.Tuple", self.generic_visit(node))
        return node if node.ctx == "store" else self._through("a weight", node)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        node = cast("nodes.Concat", self.generic_visit(node))
        return self._through("a text", nodes.Tuple(node.nodes, "load", lineno=node.lineno))

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        node = cast("nodes.Getitem", self.generic_visit(node))
        if not isinstance(node.arg, nodes.Slice):
            return node
        bounds = (node.arg.start, node.arg.stop, node.arg.step)
        return self._through("a slice", node.node, [bound or nodes.Const(None) for bound in bounds])

    def _refuse(self, node: nodes.Node) -> nodes.Node:
        _refuse_at(node, f"{type(node).__name__.lower()!r} is not allowed: a prompt is one template")

    visit_Block = visit_Extends = visit_Include = visit_Import = visit_FromImport = _refuse


_SCOPE_ARGUMENTS = frozenset({"_loop_vars", "_block_vars"})
"""What Jinja2's compiler adds to every call inside a loop or block."""


def _range(*bounds: int) -> range:
    numbers = range(*bounds)
    if len(numbers) > MAX_RANGE:
        raise RenderLimit(f"a range of {len(numbers)} is longer than {MAX_RANGE}")
    return numbers


class TemplateEnvironment(SandboxedEnvironment):
    intercepted_binops = frozenset(BINARY_OPERATORS)
    default_binop_table = BINARY_OPERATORS

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, optimized=False, keep_trailing_newline=True, finalize=_printed)
        self.filters = {**prompt_filters(), **_INTERNAL}
        kept: dict[str, Any] = {name: self.globals[name] for name in ("dict", "namespace", "cycler", "joiner")}
        self.globals = {**kept, "range": _range}

    @staticmethod
    def concat(parts: Any) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        current_budget().spend(sum(map(len, parts)))
        return "".join(parts)

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        return super()._generate(cast("nodes.Template", _Pricing().visit(source)), *args, **kwargs)

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, Mapping):
            members = cast("Mapping[str, Any]", obj)
            if attribute in members:
                return members[attribute]
        return self._attribute(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if isinstance(obj, dict | list | tuple | str):
            try:
                return cast("dict[Any, Any]", obj)[argument]
            except (TypeError, LookupError):
                return self.undefined(obj=obj, name=argument)
        return self._attribute(obj, argument)

    def _attribute(self, obj: Any, attribute: Any) -> Any:
        if isinstance(obj, Undefined):
            str(obj)  # raises and names what is undefined
        allowed = ATTRIBUTES.get(cast("type[Any]", type(obj)), frozenset())
        if attribute in allowed or (type(obj) is Namespace and not str(attribute).startswith("_")):
            try:
                return getattr(obj, attribute)
            except AttributeError:
                pass
        return self.undefined(obj=obj, name=attribute)

    def call(__self, __context: Context, __obj: Any, /, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        budget = current_budget()
        for argument in (*args, *(value for name, value in kwargs.items() if name not in _SCOPE_ARGUMENTS)):
            if not isinstance(argument, Undefined):
                pay_deep(argument)
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str):
            if __obj.__name__ == "join" and args:
                args = (list(args[0]), *args[1:])
            METHOD_PRICES.get(__obj.__name__, pay_length)(owner, *args)
        elif isinstance(owner, list | tuple):
            pay_deep(owner)
        result = __context.call(__obj, *args, **kwargs)
        if isinstance(result, KeysView | ValuesView | ItemsView):
            result = list(cast("KeysView[Any]", result))
        budget.spend(weight(result))
        return result


def _printed(value: Any) -> Any:
    """Text is only passed on: it was paid for when it was made."""
    return value if isinstance(value, str | int | float) else to_text(value)

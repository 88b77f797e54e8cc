"""Prompt templates: sandboxed Jinja2 with strict variables, bounded in time, output and memory.

The prompt engine and the activities render with the same functions, so that an agent's inline `instructions` and a
stored prompt are one language.
"""

import functools
import itertools
import re
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from jinja2 import TemplateSyntaxError, UndefinedError, meta, nodes

from studio.contracts.base import Json
from studio.errors import FieldError, InvalidInput
from studio.sandbox.budget import RenderBudget, RenderLimit, RenderTimeout, use_budget
from studio.sandbox.environment import TemplateEnvironment

MAX_SECONDS = 0.25
MAX_OUTPUT_BYTES = 1024 * 1024
MAX_TEMPLATE_CHARACTERS = 262_144
MAX_TEMPLATE_NODES = 8_000
"""Of the syntax tree: compiling more takes longer than a request may."""

_environment = TemplateEnvironment()
_UNDEFINED_NAME = re.compile(r"^'([^']+)' is undefined$")
_FILE_NAME = "<prompt template>"


class TemplateTimeout(InvalidInput):
    """The render's time is over. Another try with more time may end."""


class Template:
    """A compiled template. Get one with `compile_template`."""

    def __init__(self, source: str) -> None:
        self._compiled, tree = _compile(source)
        self.variables = frozenset(meta.find_undeclared_variables(tree))
        """Every variable that the template reads."""
        self.required = self.variables - _guarded(tree)
        """Those without a `default` and without an `is defined`."""
        self.paths = frozenset(_paths(tree))
        """Variables with the fields that follow them: `("steps", "a", "output")`."""
        self.expression = _expression_in(source)
        """What stands in `${{ … }}`, a dollar sign right before a value, if there is one."""

    def render(self, variables: Mapping[str, Json], budget: RenderBudget) -> str:
        """Raises `InvalidInput` naming the line and what is wrong there, `TemplateTimeout` when time is over."""
        previous = use_budget(budget)
        try:
            text = budget.collect(self._compiled.root_render_func(self._compiled.new_context(dict(variables))))
        except RenderTimeout as error:
            raise TemplateTimeout(_at(self._line_of(error), str(error))) from None
        except RenderLimit as error:
            raise InvalidInput(_at(self._line_of(error), str(error))) from None
        except UndefinedError as error:
            raise self._undefined(error) from None
        except MemoryError:
            raise InvalidInput("The template needs more memory than a render gets.") from None
        except RecursionError as error:
            raise InvalidInput(_at(self._line_of(error), "the template nests too deeply")) from None
        except Exception as error:  # noqa: BLE001 - whatever an expression raises is the template's or its input's fault
            raise InvalidInput(_at(self._line_of(error), _describe(error))) from None
        finally:
            use_budget(previous)
        if not text.isascii():
            _check_characters(text)
        if len(text) * 4 > budget.max_output and len(text.encode()) > budget.max_output:
            raise InvalidInput(f"The text is longer than {budget.max_output} bytes.")
        return text

    def _line_of(self, error: BaseException) -> int | None:
        line: int | None = None
        trace: TracebackType | None = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == _FILE_NAME:
                line = self._compiled.get_corresponding_lineno(trace.tb_lineno)
            trace = trace.tb_next
        return line

    def _undefined(self, error: UndefinedError) -> InvalidInput:
        message = str(error.message)
        found = _UNDEFINED_NAME.match(message)
        detail = _at(self._line_of(error), message)
        loc: list[str | int] = ["variables", found.group(1)] if found else ["variables"]
        return InvalidInput(detail, errors=[FieldError(loc=loc, msg=detail, type="undefined")])


def _check_characters(text: str) -> None:
    """Raises `InvalidInput` for what can be written nowhere: a template's `'\\ud800'`, or one out of a variable."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"The text holds half of a surrogate pair, U+{ord(text[error.start]):04X}, which is no character."
        ) from None


def _at(line: int | None, message: str) -> str:
    return f"Template line {line}: {message}." if line is not None else f"Template: {message}."


def _describe(error: Exception) -> str:
    message = str(error).rstrip(".")
    return message[:300] or type(error).__name__


def _compile(source: str) -> tuple[Any, nodes.Template]:
    if len(source) > MAX_TEMPLATE_CHARACTERS:
        raise InvalidInput(f"The template is longer than {MAX_TEMPLATE_CHARACTERS} characters.")
    try:
        tree = _environment.parse(source)
        if sum(1 for _ in tree.find_all(nodes.Node)) > MAX_TEMPLATE_NODES:
            raise InvalidInput(f"The template has more than {MAX_TEMPLATE_NODES} parts; split it.")
        code = _environment.compile(source, None, _FILE_NAME)
        return _environment.template_class.from_code(_environment, code, dict(_environment.globals)), tree
    except TemplateSyntaxError as error:
        detail = _at(error.lineno, str(error.message).rstrip("."))
        raise InvalidInput(
            detail, errors=[FieldError(loc=[], msg=detail, type="template", line=error.lineno)]
        ) from None
    except (RecursionError, SyntaxError, MemoryError, ValueError, OverflowError):
        raise InvalidInput("The template nests too deeply or holds a number that is too long.") from None


def _paths(tree: nodes.Template) -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    for node in tree.find_all((nodes.Getattr, nodes.Getitem)):
        path: list[str] = []
        held: nodes.Node = node
        while isinstance(held, nodes.Getattr | nodes.Getitem):
            if isinstance(held, nodes.Getattr):
                path.append(held.attr)
            else:
                path.append(str(held.arg.value) if isinstance(held.arg, nodes.Const) else "")
            held = held.node
        if isinstance(held, nodes.Name):
            found.add((held.name, *reversed(path)))
    return found


def _expression_in(source: str) -> str | None:
    if "${{" not in source:
        return None
    tokens = list(_environment.lex(source))
    for index, (_, kind, _) in enumerate(tokens[1:], 1):
        if kind == "variable_begin" and tokens[index - 1][1] == "data" and tokens[index - 1][2].endswith("$"):
            inside = itertools.takewhile(lambda token: token[1] != "variable_end", tokens[index + 1 :])
            return "".join(held for _, _, held in inside).strip()
    return None


def _guarded(tree: nodes.Template) -> set[str]:
    """Names that may be missing: `x | default(…)`, `x is defined`."""
    guards = (
        *(found for found in tree.find_all(nodes.Filter) if found.name in {"default", "d"}),
        *(found for found in tree.find_all(nodes.Test) if found.name in {"defined", "undefined"}),
    )
    return {guard.node.name for guard in guards if isinstance(guard.node, nodes.Name)}


@functools.lru_cache(maxsize=2048)
def compile_template(source: str) -> Template:
    """Compile once. Raises `InvalidInput` with the line of what is wrong."""
    return Template(source)


def variables_of(template: str) -> frozenset[str]:
    """Every variable that the template reads and does not set itself."""
    return compile_template(template).variables


def required_variables_of(template: str) -> frozenset[str]:
    """The variables without which the template cannot be rendered."""
    return compile_template(template).required


def render_budget(seconds: float = MAX_SECONDS) -> RenderBudget:
    """A budget starting now: 250 ms and 1 MiB unless told otherwise."""
    return RenderBudget(seconds, MAX_OUTPUT_BYTES)


def render_text(template: str, variables: Mapping[str, Json], budget: RenderBudget | None = None) -> str:
    """Render a Jinja2 template over JSON values.

    Raises `InvalidInput` naming the variable that is missing, or the template's line. Variables that the template
    does not use are no error.
    """
    return compile_template(template).render(variables, budget or render_budget())

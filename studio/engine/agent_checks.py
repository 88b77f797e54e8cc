"""Static checks of an agent: its templates, what stands in them that is not theirs, and its parameters."""

import difflib
from collections.abc import Collection

from studio.contracts.agents import AgentSpec
from studio.engine.misplaced import has_template
from studio.engine.plan import Loc
from studio.errors import FieldError, InvalidInput
from studio.expressions import OPEN
from studio.templates import compile_template

_OF_STEPS = frozenset({"output", "status", "error"})
_MAX_LISTED = 20
PARAMETERS = frozenset({
    *("temperature", "top_p", "max_tokens", "max_completion_tokens", "n", "stop", "seed", "user", "metadata", "store"),
    *("presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs", "service_tier"),
    *("tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "modalities", "audio", "prediction"),
    *("reasoning_effort", "reasoning", "verbosity", "web_search_options", "safety_identifier", "prompt_cache_key"),
    *("prompt_cache_retention", "extra_body", "extra_headers"),
    *("top_k", "min_p", "top_a", "typical_p", "tfs_z", "repetition_penalty", "repeat_penalty", "repeat_last_n"),
    *("length_penalty", "min_tokens", "best_of", "ignore_eos", "use_beam_search", "early_stopping"),
    *("num_ctx", "num_predict", "keep_alive", "options", "think", "thinking", "enable_thinking", "cache_control"),
    *("chat_template_kwargs", "add_generation_prompt", "stop_token_ids", "skip_special_tokens", "echo"),
    *("guided_json", "guided_regex", "guided_choice", "guided_grammar", "grammar", "json_schema", "structured_outputs"),
    *("mirostat", "mirostat_eta", "mirostat_tau", "dry_multiplier", "dry_base", "xtc_probability", "xtc_threshold"),
    *("safe_prompt", "random_seed", "provider", "models", "route", "transforms", "plugins", "include_reasoning"),
    *("cache_prompt", "n_predict", "samplers", "drop_params", "mock_response", "tags", "fallbacks", "num_retries"),
})  # fmt: skip
"""OpenAI's of a chat completion, then those that servers beside it are known to take."""


def check_agent(agent: AgentSpec, loc: Loc = (), variables: Collection[str] | None = None) -> list[FieldError]:
    """Its templates, which see nothing but `variables` where those are known, and no template in what is none."""
    found: list[FieldError] = []
    for field, template in (("instructions", agent.instructions), ("message", agent.message)):
        if template is not None:
            found += _check_template(template, (*loc, field), variables)
    if has_template(agent.model) and OPEN not in agent.model:
        message = "no template is rendered here: `model` is taken as it is written"
        found.append(FieldError(loc=[*loc, "model"], msg=message, type="no_template", hint="write the model's name"))
    return found


def _check_template(template: str, loc: Loc, variables: Collection[str] | None) -> list[FieldError]:
    try:
        compiled = compile_template(template)
    except InvalidInput as error:
        return [FieldError(loc=list(loc), msg=error.detail, type="template_syntax")]
    if compiled.expression is not None:
        name = compiled.expression
        message = (
            f"`${{{{ {name} }}}}` is an expression, and templates hold none: the model would read `$` before the value"
        )
        hint = f"write {{{{ {name} }}}}; for a dollar sign before a value {{{{ '$' }}}}{{{{ {name} }}}}"
        return [FieldError(loc=list(loc), msg=message, type="expression_in_template", hint=hint)]
    for path in sorted(compiled.paths):
        if variables is None and _is_of_a_step(path):
            name = ".".join(path)
            message = f"there is no {name!r} in a template: it sees the step's input only"
            hint = f'write `input: {{value: "${{{{ {name} }}}}"}}` beside the agent, and {{{{ value }}}} here'
            return [FieldError(loc=list(loc), msg=message, type="not_in_template", hint=hint)]
    unknown = sorted(compiled.required - set(variables)) if variables is not None else []
    return [_unknown_variable(name, loc, sorted(variables or ())) for name in unknown]


def _is_of_a_step(path: tuple[str, ...]) -> bool:
    match path:
        case ("steps", _, field, *_) | ("prev", field, *_):
            return field in _OF_STEPS
        case _:
            return False


def _unknown_variable(name: str, loc: Loc, variables: list[str]) -> FieldError:
    close = difflib.get_close_matches(name, variables, 1)
    listed = ", ".join(variables[:_MAX_LISTED]) or "none"
    message = (
        f"there is no variable {name!r}: a template's variables are the fields of the step's `input`, here {listed}"
    )
    if variables == ["input"]:
        message = f"there is no variable {name!r}: the step's `input` is no object, so its one variable is `input`"
    hint = f"did you mean {close[0]!r}?" if close else f"write {name!r} in the step's `input`, or {{{{ input }}}}"
    return FieldError(loc=list(loc), msg=message, type="unknown_variable", hint=hint)


def agent_warnings(agent: AgentSpec, loc: Loc = ()) -> list[FieldError]:
    """Parameters that no model is known to take."""
    found: list[FieldError] = []
    for name in sorted(agent.params.keys() - PARAMETERS):
        close = difflib.get_close_matches(name, PARAMETERS, 1)
        hint = f"did you mean {close[0]!r}?" if close else "most models refuse or ignore it"
        message = f"{name!r} is no parameter that models are known to take"
        found.append(FieldError(loc=[*loc, "params", name], msg=message, type="unknown_parameter", hint=hint))
    return found

"""Fields that people write who think in another product's language, and what they are here."""

_INPUT = "write `input: …`"
_LIST = "write `parallel: {for_each: ${{ … }}, do: {…}}`"
_ORDER = "steps run in their order; for another, `pattern: graph` has `edges`"
_AGENT = "write `agent: {message: …}`"
_ERRORS = "write `on_error: continue`, or a list of {catch: [types], steps: […]}"
_CODE = "there is no code in a workflow: `transform` computes"
_RETRY = "write `retry: {max_attempts: 3}`"
_TRANSFORM = "write `transform: ${{ … }}`"
FOREIGN_FIELDS = {
    **dict.fromkeys(("if", "condition", "unless", "only_if", "run_if", "runIf"), "write `when: ${{ … }}`"),
    **dict.fromkeys(("map", "foreach", "forEach", "for_each", "for", "each", "items", "matrix", "with_items"), _LIST),
    **dict.fromkeys(("with", "args", "arguments", "inputs", "parameters", "vars", "env", "data", "payload"), _INPUT),
    **dict.fromkeys(("needs", "depends_on", "dependsOn", "depends", "after", "next", "goto", "dependencies"), _ORDER),
    **dict.fromkeys(("prompt", "llm", "ai", "chat", "completion", "ask", "question"), _AGENT),
    **dict.fromkeys(("switch", "choice", "branch", "case", "match"), "write `conditional: {cases: [{when, steps}]}`"),
    **dict.fromkeys(("while", "until", "repeat", "do"), "write `loop: {do: [steps], until: ${{ … }}}`"),
    **dict.fromkeys(("retries", "retry_policy", "max_retries", "max_attempts", "attempts"), _RETRY),
    **dict.fromkeys(("sleep", "delay", "pause"), "write `wait: {for: 30s}`"),
    **dict.fromkeys(("catch", "except", "rescue", "continue_on_error", "continue-on-error", "ignore_errors"), _ERRORS),
    **dict.fromkeys(("set", "assign", "value", "expression", "expr", "return", "result"), _TRANSFORM),
    **dict.fromkeys(("run", "script", "code", "command", "shell", "exec"), _CODE),
    **dict.fromkeys(("human", "approve", "confirm"), "write `approval: {message: …}`"),
    **dict.fromkeys(("event", "signal", "wait_for"), "write `wait: {signal: name}`"),
    **dict.fromkeys(("title", "label"), "write `name: …`"),
    **dict.fromkeys(("timeout_seconds", "timeout-minutes", "deadline"), "write `timeout: 30s`"),
    **dict.fromkeys(("always", "ensure"), "write `finally: [steps]` beside the workflow's own steps"),
    **dict.fromkeys(("uses", "action"), "write `agent: name` or `workflow: name`"),
}

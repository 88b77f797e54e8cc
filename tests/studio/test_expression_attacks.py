"""Published escapes from the expression languages of other workflow engines, in every place where an expression stands.

Each is refused when the workflow is stored, or gives harmless data or a typed error, soon and without much memory.
"""

import contextlib
import json
import subprocess
import sys
import time

import pytest
from pydantic import ValidationError

from studio.contracts.base import Json, JsonObject
from studio.contracts.definitions import AnyWorkflow, parse_workflow
from studio.documents import load_documents
from studio.engine.checks import check_workflow
from studio.errors import InvalidInput
from studio.expressions import ExpressionError, evaluate
from tests.studio.engine.test_scheduler import Run, ask, plan_of

CANARY = "canary-5b1d"
LEAKS = (CANARY, "root:x:0", "<class", "<built-in", "<module", "<function", " object at 0x", "uid=", "native code")

N8N = [
    # CVE-2025-68613: `this` of a function is the process.
    "(function(){ return this.process.mainModule.require('child_process').execSync('id').toString() })()",
    "this.process.mainModule.require('child_process').execSync('id')",
    "(() => {}).constructor('return process')().mainModule.require('child_process').execSync('id')",
    "''.constructor.constructor('return process.env')()",
    "constructor.constructor('return process')().env",
    "[].constructor.constructor('return this')()",
    "{}.constructor.constructor('return process')()",
    # Its first mend was passed by with template literals.
    "''[`constructor`][`constructor`](`return process`)()",
    "(()=>{})[`constr${'uctor'}`]('return process')()",
    # CVE-2026-25049: destructuring names no property.
    "(() => { const {constructor} = () => {}; return constructor('return process.env')() })()",
    "(({constructor}) => constructor('return process')())(() => {})",
    # CVE-2026-1470: `with` makes a property a name.
    "(() => { with (() => {}) { return constructor('return process')() } })()",
    "Object.getPrototypeOf(function*(){}).constructor('return process')()",
    "Reflect.getPrototypeOf(async () => {}).constructor('return process')()",
    "Reflect.construct(Function, ['return process'])()",
    "Error.prepareStackTrace = (e, s) => s[0].getThis()",
    "globalThis.process.env",
    "process.env.PATH",
    "require('fs').readFileSync('/etc/passwd')",
    "import('child_process')",
    "$env.N8N_ENCRYPTION_KEY",
    "$jmespath($input.all(), '[*].json.__proto__')",
    "$evaluateExpression('{{ process.env }}')",
    "$('Webhook').constructor.constructor('return process')()",
    "$input.item.json.constructor.constructor('return process')()",
    "extend(input, 'constructor', ['return process'])",
    # Prototype pollution.
    "input.__proto__",
    "input['__proto__']['polluted']",
    "input.constructor.prototype",
    "input.__proto__.polluted = true",
    "{'__proto__': {'polluted': true}}",
    "{'constructor': {'prototype': {'polluted': true}}}",
    "[].__lookupGetter__('__proto__')",
]
FLOWISE = [
    # CVE-2025-59528: a server's configuration went through `Function`.
    "({x:(function(){const cp = process.mainModule.require('child_process');cp.execSync('id');return 1;})()})",
    "Function('return process')()",
    "Function('return ' + input.evil)()",
    "new Function('return process.env')()",
    "eval('process.env')",
    "setTimeout('process.exit()', 0)",
]
LANGFLOW = [
    # CVE-2025-3248: decorators and default arguments run when code is checked.
    '@exec(__import__("os").system("id"))\ndef x(): pass',
    'def run(cd=exec(\'raise Exception(__import__("subprocess").check_output("id"))\')): pass',
    "exec(\"raise Exception(__import__('subprocess').check_output('id', shell=True))\")",
    "__import__('os').environ",
    "__import__('os').system('id')",
    "eval('__import__(\"os\").environ')",
    "open('/etc/passwd').read()",
    "lambda: __import__('os').environ",
    "[x for x in ().__class__.__base__.__subclasses__()]",
]
PYTHON = [
    "''.__class__.__mro__[1].__subclasses__()",
    "().__class__.__bases__[0].__subclasses__()",
    "input.__class__",
    "input.__class__.__init__.__globals__",
    "input.__init__.__globals__['__builtins__']",
    "input['__class__']",
    "steps.__class__",
    "steps.first.__class__.__mro__",
    "steps['first']['__dict__']",
    "run.__class__.__init__.__globals__",
    "run.model_dump.__func__",
    "run.metadata.__class__",
    "prev.__class__",
    "'{0.__class__}'.format(input)",
    "'%s' % input",
    "f'{input.__class__}'",
    "type(input).__class__",
    "dyn(input).__class__",
    "[1].map(x, x.__class__)",
    "__builtins__",
    "globals()",
    "self",
]
OTHERS = [
    "T(java.lang.Runtime).getRuntime().exec('id')",
    "new java.lang.ProcessBuilder('id').start()",
    "''.getClass().forName('java.lang.Runtime')",
    "#this.getClass()",
    "@java.lang.Runtime@getRuntime().exec('id')",
    "jndi:ldap://127.0.0.1/a",
    "google.protobuf.Any{type_url: 'x'}",
    "google.protobuf.Struct{}",
    "env('PATH')",
    "getenv('PATH')",
    "secrets.OPENAI_API_KEY",
    "secrets",
    "vars",
    "_ordered(0, input)",
    "_made(0, input)",
    "_matches('a', 'a')",
    "[1].map(_made, _made)",
    "input.evil",
    "in\u0440ut",
    "\uff49\uff4e\uff50\uff55\uff54",
    "input\u200b.evil",
    "input\x00.evil",
    "steps.fir\u0455t.output",
]
ATTACKS = [*N8N, *FLOWISE, *LANGFLOW, *PYTHON, *OTHERS]

TEXTS = [
    "{{ constructor.constructor('return process')() }}",
    "={{ $env.PATH }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.environ }}",
    "{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}",
    "${process.env}",
    "#{7*7}",
    "<%= 7 * 7 %>",
    "$( id )",
    "`id`",
    "${jndi:ldap://127.0.0.1/a}",
    "%{#_memberAccess}",
    "{0.__class__}",
    "%(env)s",
]
"""Other languages' expressions, which are text in ours."""

INPUT: JsonObject = {"evil": "process.env", "list": [1, 2], "${{ 1 + 1 }}": "${{ 1 + 1 }}"}


def whole(attack: str) -> str:
    return f"${{{{ {attack} }}}}"


def first() -> JsonObject:
    return {"id": "first", "transform": "${{ input.evil }}"}


def one(**fields: Json) -> JsonObject:
    return {"id": "one", "transform": 1, **fields}


PLACES: dict[str, JsonObject] = {
    "transform": one(transform="ATTACK"),
    "deep in a transform": one(transform={"a": [{"b": "text ATTACK text"}]}),
    "input": ask("one", input={"question": "ATTACK"}),
    "when": one(when="ATTACK"),
    "for_each": {"id": "one", "parallel": {"for_each": "ATTACK", "do": ask("each")}},
    "until": {"id": "one", "loop": {"do": [ask("round")], "until": "ATTACK"}},
    "while": {"id": "one", "loop": {"do": [ask("round")], "while": "ATTACK"}},
    "case": {"id": "one", "conditional": {"cases": [{"when": "ATTACK", "steps": [ask("taken")]}]}},
    "edge": {
        "id": "one",
        "graph": {
            "nodes": [ask("a", input=1), one() | {"id": "b"}],
            "edges": [{"from": "a", "to": "b", "when": "ATTACK"}],
        },
    },
    "wait": {"id": "one", "wait": {"until": "ATTACK"}},
    "approval": {"id": "one", "approval": {"message": "May I? ATTACK"}},
    "cache": ask("one", cache={"ttl": "1h", "key": "ATTACK"}),
    "handler": ask("one", on_error=[{"catch": "all", "steps": [{"id": "h", "transform": "ATTACK"}]}]),
}


def placed(step: JsonObject, attack: str) -> JsonObject:
    return json.loads(json.dumps(step).replace("ATTACK", json.dumps(attack)[1:-1]))


def stored(step: JsonObject, **fields: Json) -> AnyWorkflow | None:
    """None when it is refused, every error with its place."""
    document = {"name": "test", "pattern": "sequential", "steps": [first(), step], **fields}
    try:
        workflow = parse_workflow(document)
    except ValidationError:
        return None
    errors = check_workflow(workflow)
    assert all(error.loc and error.msg for error in errors)
    return None if errors else workflow


@pytest.fixture(autouse=True)
def canary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTACK_CANARY", CANARY)


class TestAttacks:
    @pytest.mark.parametrize("place", PLACES)
    @pytest.mark.parametrize("attack", ATTACKS)
    def test_finds_nothing(self, attack: str, place: str) -> None:
        started = time.thread_time()
        step = placed(PLACES[place], whole(attack))
        if stored(step) is not None:
            run = Run(plan_of([first(), step]), INPUT)
            told = run.state.model_dump_json() + repr(run.seen)
            assert not [leak for leak in LEAKS if leak in told]
            errors = [found.error.type for found in run.state.steps.values() if found.error is not None]
            assert set(errors) <= {"expression_error", "schema_mismatch"}
        assert time.thread_time() - started < 1

    def test_nearly_all_are_refused_when_they_are_stored(self) -> None:
        kept = [attack for attack in ATTACKS if stored(one(transform=whole(attack))) is not None]
        harmless = {attack for attack in kept if "__proto__" in attack or "prototype" in attack or "__" in attack}
        assert set(kept) - harmless == {"input.evil", "'%s' % input", "[1].map(_made, _made)"}
        assert len(kept) <= 20

    @pytest.mark.parametrize("text", TEXTS)
    def test_other_languages_are_text(self, text: str) -> None:
        run = Run(plan_of([one(transform={"said": text})]), INPUT)
        assert run.ends[0].output == {"said": text}

    @pytest.mark.parametrize("text", [*TEXTS, "${{ 1 + 1 }}", "${{ secrets.KEY }}", "${{ run.id }}"])
    def test_what_comes_in_is_never_read_as_an_expression(self, text: str) -> None:
        steps = [
            one(transform="${{ input.text }}"),
            {"id": "again", "transform": ["${{ prev.output }}", "<${{ input.text }}>"]},
        ]
        run = Run(plan_of(steps), {"text": text})
        assert run.ends[0].output == [text, f"<{text}>"]

    def test_keys_are_no_expressions(self) -> None:
        run = Run(plan_of([one(transform={"${{ run.id }}": 1})]), INPUT)
        assert run.ends[0].output == {"${{ run.id }}": 1}


BOMBS = [
    "input.list.map(a, input.list.map(b, input.list.map(c, [a, b, c])))",
    "input.list.all(x, x in input.list)",
    "input.list.filter(x, input.list.exists(y, y == x))",
    "[input.list].map(r, r.map(x, r))",
    "['" + "x" * 900 + "'].map(a, " + "+".join("a" * 400) + ").map(b, " + "+".join("b" * 400) + ").map(c, c + c)",
    "+".join(["input.text"] * 700),
    "+".join(["input.list"] * 700),
    "[" + ",".join(["input.text"] * 700) + "]",
    "{" + ",".join(f"'k{n}': input.rows" for n in range(400)) + "}",
    "input.rows.map(r, input.rows)",
    "size(input.rows) > 0 && input.rows.all(r, r in input.rows)",
    "input.text.matches('(a+)+$')",
    "input.text.matches('(a|aa)+$')",
    "input.text.matches('(.*)(.*)(.*)(.*)(.*)x$')",
    r"input.text.matches('\\w{100}x$')",
    "input.text.matches('((a{100}){100}){100}')",
    r"input.list.all(x, 'a'.matches('(\\pL{20}){20}') || true)",
    "(" * 3_900 + "1" + ")" * 3_900,
    "[" * 3_900 + "]" * 3_900,
    "!" * 7_900 + "true",
    "-" * 7_900 + "1",
    "+".join(["1"] * 3_900),
    "input" + ".a" * 3_900,
    "input" + "[0" * 1_500 + "]" * 1_500,
    "true ? " * 900 + "1" + " : 1" * 900,
    "'" + "\\" * 7_900,
    "9" * 7_900,
    "1e" + "9" * 7_000,
    "bytes(input.text) + bytes(input.text) + bytes(input.text) == b''",
    "duration('" + "9" * 300 + "h')",
    "input.list.map(x, string(x) + input.text)",
    "/*" * 3_000,
    "//" * 3_000,
    "input.list.exists(x, input.list.map(y, input.list) == [] || false) || true",
    "input.rows.map(r, (input.list.map(x, input.list) == []) || true)",
]

MEMORY = '''
import time
from studio.expressions import ExpressionError, evaluate
from tests.studio.test_expression_attacks import BOMBS, BOMB_SCOPE, whole

def most() -> int:
    """In KiB; `ru_maxrss` also counts what started this process."""
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

# What the scope itself takes is there already.
before = most()
for bomb in BOMBS:
    started = time.thread_time()
    try:
        evaluate(whole(bomb), BOMB_SCOPE)
    except ExpressionError:
        pass
    if time.thread_time() - started > 1.5:
        print("slow:", bomb[:80], time.thread_time() - started)
print(most() - before, most())
'''
BOMB_SCOPE: dict[str, Json] = {
    "input": {
        "list": list(range(10_000)),
        "text": "a" * 1_000_000,
        "rows": [{"a": number, "b": "x" * 10} for number in range(20_000)],
    }
}


class TestBombs:
    @pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: bomb[:40])
    def test_ends_soon(self, bomb: str) -> None:
        started = time.thread_time()
        with contextlib.suppress(ExpressionError):
            evaluate(whole(bomb), BOMB_SCOPE)
        assert time.thread_time() - started < 1.5

    def test_all_of_them_take_little_memory(self) -> None:
        done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
        *slow, measured = done.stdout.splitlines()
        grown, in_all = map(int, measured.split())
        assert not slow
        assert grown < 200 * 1024, "KiB"
        assert in_all < 700 * 1024


class TestDocuments:
    @pytest.mark.parametrize(
        "text",
        [
            "a0: &a0 [lol, lol]\n" + "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 11)),
            "a0: &a0 {x: 1}\n" + "\n".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 30)),
            "a: &a\n  b: *a\n",
            "[" * 100_000,
            "{a: " * 50_000,
            "- " * 100_000,
            "? " * 50_000,
            "a: !!python/object/apply:os.system [id]",
            "a: !!python/name:os.environ",
            "a: !!js/function 'return process.env'",
            "a: !ruby/object:Gem::Installer {i: x}",
            "%TAG ! tag:yaml.org,2002:python/\n---\na: !object/apply:os.system [id]",
            'a: "\\0"\nb: \x00',
            "a: \ufffe",
        ],
        ids=lambda text: text[:30],
    )
    def test_bombs_and_tags_are_refused_soon(self, text: str) -> None:
        started = time.thread_time()
        with pytest.raises(InvalidInput) as caught:
            load_documents(text)
        assert caught.value.errors[0].line
        assert time.thread_time() - started < 3

    @pytest.mark.parametrize(
        "step_id", ["a\x00", "a\nb", "pl\u0430n", "\uff50lan", "a\u200b", "__class__.x", "a/b", "..", "a#1", "a[0]", ""]
    )
    def test_ids_that_look_like_others_are_refused(self, step_id: str) -> None:
        assert stored(one() | {"id": step_id}) is None

    @pytest.mark.parametrize("step_id", ["__class__", "__proto__", "constructor", "__init__"])
    def test_ids_that_mean_something_elsewhere_are_ids(self, step_id: str) -> None:
        run = Run(plan_of([one() | {"id": step_id}], output=f"${{{{ steps.{step_id}.output }}}}"))
        assert run.ends[0].output == 1

"""Published escapes from Jinja2, as they were used against Dify, Langflow, Flask and others, in an agent's templates.

Each is refused when the agent is stored, or renders to harmless text or a typed error, soon.
"""

import time

import pytest

from studio.contracts.agents import AgentSpec
from studio.contracts.base import JsonObject
from studio.engine.checks import check_agent
from studio.errors import InvalidInput
from studio.templates import compile_template, render_budget, render_text
from tests.studio.test_expression_attacks import LEAKS, N8N

CANARY = LEAKS[0]
GLOBALS = [
    "{{ cycler.__init__.__globals__.os.environ }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ joiner.__init__.__globals__.os.popen('id').read() }}",
    "{{ namespace.__init__.__globals__.os.popen('id').read() }}",
    "{{ lipsum.__globals__['os'].popen('id').read() }}",
    "{{ lipsum.__globals__.os.environ }}",
    "{{ dict.__base__.__subclasses__() }}",
    "{{ range.__class__.__mro__ }}",
    "{{ self.__init__.__globals__.__builtins__ }}",
    "{{ self._TemplateReference__context.cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ self._TemplateReference__context.environment }}",
    "{{ config.items() }}",
    "{{ config.__class__.__init__.__globals__['os'].popen('id').read() }}",
    "{{ request.application.__globals__.__builtins__.__import__('os').popen('id').read() }}",
    "{{ request.application.__self__._get_data_for_json.__globals__['os'].popen('id').read() }}",
    "{{ get_flashed_messages.__globals__.__builtins__.open('/etc/passwd').read() }}",
    "{{ url_for.__globals__.os.environ }}",
    "{{ g.pop.__globals__.__builtins__['__import__']('os').popen('id').read() }}",
    "{{ undefined_name.__class__.__init__.__globals__ }}",
    "{{ missing.__init__.__globals__.__builtins__ }}",
    "{% set x = cycler.__init__ %}{{ x.__globals__ }}",
    "{{ cycler('a').next.__func__.__globals__ }}",
    "{{ namespace(a=1).__init__.__globals__ }}",
    "{% macro m() %}{% endmacro %}{{ m.__init__.__globals__ }}",
    "{% macro m() %}{{ caller.__globals__ }}{% endmacro %}{% call m() %}{% endcall %}",
    "{% for x in [1] %}{{ loop.__init__.__globals__ }}{% endfor %}",
    "{{ loop }}",
]
CLASSES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''.__class__.__mro__[2].__subclasses__()[40]('/etc/passwd').read() }}",
    "{{ ''.__class__.__base__.__subclasses__() }}",
    "{{ [].__class__.__base__.__subclasses__()[104].__init__.__globals__ }}",
    "{{ ().__class__.__bases__[0].__subclasses__() }}",
    "{{ {}.__class__.__mro__[-1].__subclasses__() }}",
    "{{ (1).__class__.__base__ }}",
    "{{ true.__class__ }}",
    "{{ name.__class__ }}",
    "{{ items.__class__ }}",
    "{{ record.__class__ }}",
    "{{ record.items.__self__ }}",
    "{{ name.upper.__self__.__class__ }}",
    "{% for c in [].__class__.__base__.__subclasses__() %}{{ c.__name__ }}{% endfor %}",
    "{% if ''.__class__ %}yes{% endif %}",
    "{% set c = ''.__class__ %}{{ c }}",
]
SPELLINGS = [
    "{{ ''['__class__'] }}",
    "{{ ''['__cla' + 'ss__'] }}",
    "{{ ''['__cla' 'ss__'] }}",
    "{{ ''[['__cla', 'ss__']|join] }}",
    "{{ ''['\\x5f\\x5fclass\\x5f\\x5f'] }}",
    "{{ ''['__ssalc__'[::-1]] }}",
    "{{ ''['__CLASS__'|lower] }}",
    "{{ ''['%c%cclass%c%c' % (95, 95, 95, 95)] }}",
    "{{ ''|attr('__class__') }}",
    "{{ ''|attr('\\x5f\\x5fclass\\x5f\\x5f')|attr('\\x5f\\x5fmro\\x5f\\x5f') }}",
    "{{ ''|attr(['__', 'class', '__']|join) }}",
    "{{ request|attr('application')|attr('__globals__') }}",
    "{{ [name]|map(attribute='__class__')|list }}",
    "{{ [name]|map('attr', '__class__')|list }}",
    "{{ [name]|selectattr('__class__')|list }}",
    "{{ [name]|rejectattr('__class__.__mro__')|list }}",
    "{{ [name]|groupby('__class__') }}",
    "{{ [name]|sum(attribute='__class__') }}",
    "{{ [name]|unique(attribute='__class__')|list }}",
    "{{ [name, name]|sort(attribute='__class__') }}",
    "{{ [name]|max(attribute='__class__') }}",
    "{{ record|dictsort(by='__class__') }}",
    "{{ name|xmlattr }}",
    "{{ name|pprint }}",
    "{{ name|map('__class__')|list }}",
    "{{ ''.\u005f\u005fclass\u005f\u005f }}",
    "{{ ''.\uff3f\uff3fclass\uff3f\uff3f }}",
]
FORMATS = [
    "{{ '{0.__class__}'.format(name) }}",
    "{{ '{0.__class__.__init__.__globals__}'.format(cycler) }}",
    "{{ '{a.__class__}'.format_map({'a': name}) }}",
    "{{ '{0[__class__]}'.format(record) }}",
    "{{ '{:{}}'.format(name, 10**9) }}",
    "{{ ['{0.__class__}']|map('format', name)|list }}",
    "{{ '%s'|format(cycler) }}",
    "{{ '%s' % cycler }}",
    "{{ '%r' % [cycler.next] }}",
    "{{ ('%(__class__)s')|format(**record) }}",
    "{{ cycler ~ '' }}",
    "{{ [cycler, joiner]|join }}",
    "{{ namespace|string }}",
    "{{ range|string }}",
    "{{ [range]|tojson }}",
    "{{ name.encode().__class__ }}",
    "{{ name.translate }}",
    "{{ (name|escape).__class__ }}",
]
STATEMENTS = [
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}{{ os.environ }}",
    "{% from 'os' import environ %}",
    "{% extends '/etc/passwd' %}",
    "{% do items.append(1) %}",
    "{% block x %}{{ self.x.__globals__ }}{% endblock %}",
    "{% set record.a = 1 %}",
    "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
    "{% set ns = namespace(__init__=1) %}{{ ns.__init__.__globals__ }}",
    "{% autoescape true %}{{ ''.__class__ }}{% endautoescape %}",
    "{% trans %}{{ ''.__class__ }}{% endtrans %}",
    "{% debug %}",
    "{% raw %}{% endraw %}{{ ''.__class__ }}",
    "{{ super.__init__.__globals__ }}",
    "{{ caller }}",
    "{{ varargs }}{{ kwargs }}",
    "{{ __builtins__ }}",
    "{{ __import__('os') }}",
    "{{ open('/etc/passwd').read() }}",
    "{{ env }}",
    "{{ environ }}",
    "{{ os.environ }}",
    "{{ secrets.KEY }}",
    "${{ secrets.KEY }}{{ secrets }}",
]
ATTACKS = [*GLOBALS, *CLASSES, *SPELLINGS, *FORMATS, *STATEMENTS, *(f"{{{{ {attack} }}}}" for attack in N8N)]
VARIABLES: JsonObject = {"name": "x", "items": [1], "record": {"b": 1}, "evil": "process.env"}


@pytest.fixture(autouse=True)
def canary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTACK_CANARY", CANARY)


class TestAttacks:
    @pytest.mark.parametrize("field", ["instructions", "message"])
    @pytest.mark.parametrize("attack", ATTACKS)
    def test_finds_nothing(self, attack: str, field: str) -> None:
        before = str(VARIABLES)
        started = time.process_time()
        errors = check_agent(AgentSpec.model_validate({field: attack}))
        if errors:
            assert [error.loc for error in errors] == [[field]]
            told = errors[0].msg
        else:
            try:
                told = render_text(attack, VARIABLES)
            except InvalidInput as error:
                told = error.detail
        assert time.process_time() - started < 1
        assert not [leak for leak in LEAKS if leak in told]
        assert str(VARIABLES) == before

    def test_hardly_any_renders_at_all(self) -> None:
        rendered: list[str] = []
        for attack in ATTACKS:
            try:
                rendered.append(compile_template(attack).render(VARIABLES, render_budget()))
            except InvalidInput:
                continue
        assert len(rendered) < 10

    @pytest.mark.parametrize("attack", ATTACKS)
    def test_what_comes_in_is_never_a_template(self, attack: str) -> None:
        assert render_text("{{ text }}", {"text": attack}) == attack
        assert render_text("{{ [text]|join }}{{ text|trim|length }}", {"text": attack}).startswith(attack)

"""Every mistake in an overlay is refused with its file, its dotted key and the rule; and nothing else ever happens."""

import errno
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from actors.catalogue import Catalogue, load
from schemas.errors import ConfigError
from tests.catalogue.conftest import MY_MODEL, Refused

SERVICE = "services: {my-model: {model: openai/anything, %s}}"
RATES = "input_per_mtok: 1, output_per_mtok: 1"
AGENT = "agents: {my-agent: {role: r, prompt: p, services: [local], %s}}"


def test_the_error_is_one_line_that_names_file_key_and_rule(refused: Refused) -> None:
    error = refused(SERVICE % "price: {input_per_mtok: -1, output_per_mtok: 1}")
    rule = "must be greater than or equal to 0"
    assert str(error) == f"{error.file}: services.my-model.price.input_per_mtok: {rule}"


@pytest.mark.parametrize(
    ("text", "key", "rule"),
    [
        # keys that nobody knows
        ("service: {}", "service", "unknown key; did you mean 'services'?"),
        ("1: {}", "1", "unknown key; there are agents, budgets, functions, profiles, routing, services"),
        (SERVICE % "api_bse: http://x", "services.my-model.api_bse", "unknown key; did you mean 'api_base'?"),
        (
            SERVICE % "price: {input_per_mtk: 1, output_per_mtok: 1}",
            "services.my-model.price.input_per_mtk",
            "unknown key; did you mean 'input_per_mtok'?",
        ),
        (
            SERVICE % f"price: {{{RATES}, above: [{{tokns: 9, {RATES}}}]}}",
            "services.my-model.price.above.0.tokns",
            "unknown key; did you mean 'tokens'?",
        ),
        (
            SERVICE % "limits: {rps: 1}",
            "services.my-model.limits.rps",
            "unknown key; did you mean 'rpm'?",
        ),
        (AGENT % "temprature: 1", "agents.my-agent.temprature", "unknown key; did you mean 'temperature'?"),
        ("routing: {premium: x}", "routing.premium", "unknown key; did you mean 'premium_service'?"),
        ("services: {x: {modle: openai/a}}", "services.x.modle", "unknown key; did you mean 'model'?"),
        # fields that are missing, or of another kind
        ("services: {x: {region: eu}}", "services.x.model", "is missing"),
        ("agents: {x: {role: r, prompt: p}}", "agents.x.services", "is missing"),
        (
            "agents: {judge: {role: r, prompt: p, services: [local]}}",
            "agents.judge",
            "is what the platform's own judges go by; give yours another name",
        ),
        (
            "services: {cerebrass: {region: eu}}",
            "services.cerebrass.model",
            "is missing; or did you mean 'cerebras', which is there?",
        ),
        (
            "agents: {grok-lightning: {temperature: 0}}",
            "agents.grok-lightning.role",
            "is missing; or did you mean 'groq-lightning', which is there?",
        ),
        ("services: [a]", "services", "must be a mapping"),
        ("routing: yes", "routing", "must be a mapping"),
        ("services: {x: }", "services.x", "must be a mapping"),
        ("agents: {x: 5}", "agents.x", "must be a mapping"),
        (SERVICE % "price: 3", "services.my-model.price", "must be a mapping"),
        (SERVICE % f"price: {{{RATES}, above: {{tokens: 9}}}}", "services.my-model.price.above", "must be a list"),
        (
            SERVICE % f"price: {{{RATES}, above: [{{tokens: 9, {RATES}}}, {{tokens: 9, {RATES}}}]}}",
            "services.my-model.price.above",
            "9 follows 9; tokens must rise from tier to tier",
        ),
        (
            SERVICE % f"price: {{{RATES}, above: [{{tokens: 0, {RATES}}}]}}",
            "services.my-model.price.above.0.tokens",
            "must be greater than 0",
        ),
        (SERVICE % "limits: null", "services.my-model.limits", "must be a mapping"),
        (SERVICE % "capabilities: [code]", "services.my-model.capabilities", "must be a mapping"),
        (
            SERVICE % "capabilities: {1: 0.5}",
            "services.my-model.capabilities.1",
            "must be text; put it in quotes",
        ),
        (SERVICE % "5: x", "services.my-model.5", "a key must be text; put it in quotes"),
        (
            SERVICE % "region: no",
            "services.my-model.region",
            "must be text; put it in quotes, else YAML reads yes, no, on and off as true and false",
        ),
        (
            SERVICE % "kind: images",
            "services.my-model.kind",
            "must be 'chat', 'embeddings', 'image', 'design' or 'agent'",
        ),
        ("agents: {x: {role: r, prompt: p, services: local}}", "agents.x.services", "must be a list"),
        ("agents: {x: {role: r, prompt: p, services: []}}", "agents.x.services", "must not be empty"),
        ("agents: {x: {role: '', prompt: p, services: [local]}}", "agents.x.role", "must not be empty"),
        ("routing: {services: []}", "routing.services", "must not be empty"),
        ("routing: {adaptive: 1}", "routing.adaptive", "must be true or false"),
        ("routing: {premium_service: null}", "routing.premium_service", "must be text; put it in quotes"),
        # numbers
        (SERVICE % "timeout_s: 0", "services.my-model.timeout_s", "must be greater than 0"),
        (SERVICE % "timeout_s: .inf", "services.my-model.timeout_s", "must be a finite number"),
        (SERVICE % "timeout_s: 'inf'", "services.my-model.timeout_s", "must be a finite number"),
        (SERVICE % "timeout_s: .nan", "services.my-model.timeout_s", "must be a finite number"),
        (
            SERVICE % "price: {input_per_mtok: 1, output_per_mtok: .inf}",
            "services.my-model.price.output_per_mtok",
            "must be a finite number",
        ),
        (AGENT % "temperature: .nan", "agents.my-agent.temperature", "must be a finite number"),
        (AGENT % "temperature: 3", "agents.my-agent.temperature", "must be less than or equal to 2"),
        (AGENT % "temperature: on", "agents.my-agent.temperature", "must be a number, not true or false"),
        (SERVICE % "hedge: 3", "services.my-model.hedge", "must be true or false"),
        (SERVICE % "hedge: [yes]", "services.my-model.hedge", "must be true or false"),
        (
            SERVICE % "kind: image, hedge: true",
            "services.my-model.hedge",
            "must be false for kind image: only chat is hedged",
        ),
        (SERVICE % "limits: {rpm: true}", "services.my-model.limits.rpm", "must be a number, not true or false"),
        (SERVICE % "limits: {rpm: 0}", "services.my-model.limits.rpm", "must be greater than 0"),
        (
            SERVICE % "capabilities: {code: 1.5}",
            "services.my-model.capabilities",
            "code is 1.5; a score lies between 0 and 1",
        ),
        # text of a certain form
        (
            "services: {x: {model: gpt-4o}}",
            "services.x.model",
            "must be a litellm model string, provider/model",
        ),
        (SERVICE % "api_base: localhost", "services.my-model.api_base", "must start with http:// or https://"),
        (
            SERVICE % "api_base: 'http://me:secret@127.0.0.1/v1'",
            "services.my-model.api_base",
            "must hold no user name or password; a key belongs into the variable that api_key_env names",
        ),
        # names
        (
            "services: {my.model: {model: openai/a}}",
            "services.my.model",
            "'my.model' is no subject token: letters, digits, '_' and '-' only, 1 to 128 of them",
        ),
        (
            "agents: {'my agent': {role: r, prompt: p, services: [local]}}",
            "agents.my agent",
            "'my agent' is no subject token: letters, digits, '_' and '-' only, 1 to 128 of them",
        ),
        ("services: {7: {model: openai/a}}", "services.7", "a name must be text; put it in quotes"),
        # names of others
        (
            "agents: {x: {role: r, prompt: p, services: [local, cerebra]}}",
            "agents.x.services.1",
            "there is no service 'cerebra'; did you mean 'cerebras'?",
        ),
        (
            "agents: {gemini-flash: {services: [my-model]}}",
            "agents.gemini-flash.services.0",
            "there is no service 'my-model'; there are cerebras, claude-haiku, claude-opus, claude-sonnet, cloudflare, "
            "deepseek, gemini-flash, gemini-pro, gpt, gpt-mini, grok, groq, local, mistral, scaleway",
        ),
        (
            "agents: {x: {role: r, prompt: p, services: [local-embeddings]}}",
            "agents.x.services.0",
            "'local-embeddings' serves embeddings, not chat",
        ),
        (
            "agents: {x: {role: r, prompt: p, services: [groq, local, groq]}}",
            "agents.x.services.2",
            "'groq' stands in this order twice",
        ),
        (
            MY_MODEL + "routing: {services: [mymodel]}",
            "routing.services.0",
            "there is no service 'mymodel'; did you mean 'my-model'?",
        ),
        (
            "routing: {premium_service: claude-opsu}",
            "routing.premium_service",
            "there is no service 'claude-opsu'; did you mean 'claude-opus'?",
        ),
        (
            "routing: {premium_service: local-embeddings}",
            "routing.premium_service",
            "'local-embeddings' serves embeddings, not chat",
        ),
        (
            "agents: {x: {role: r, prompt: p, services: [local, cursor]}}",
            "agents.x.services.1",
            "'cursor' serves agent, not chat",
        ),
        ("routing: {services: [openai-images]}", "routing.services.0", "'openai-images' serves image, not chat"),
        (
            "routing: {premium_service: claude-artifacts}",
            "routing.premium_service",
            "'claude-artifacts' serves design, not chat",
        ),
        # dependencies
        (SERVICE % "depends_on: groq", "services.my-model.depends_on", "must be a list"),
        (
            SERVICE % "depends_on: [local, groc]",
            "services.my-model.depends_on.1",
            "there is no service 'groc'; did you mean 'groq'?",
        ),
        (SERVICE % "depends_on: [my-model]", "services.my-model.depends_on", "needs itself: my-model -> my-model"),
        (
            "services: {a: {model: x/a, depends_on: [local, b]}, b: {model: x/b, depends_on: [a]}}",
            "services.a.depends_on",
            "needs itself: a -> b -> a",
        ),
        (
            "services: {x: {model: x/x, depends_on: [c]}, c: {model: x/c, depends_on: [b]}, "
            "b: {model: x/b, depends_on: [a]}, a: {model: x/a, depends_on: [c]}}",
            "services.c.depends_on",
            "needs itself: c -> b -> a -> c",
        ),
        (
            "services: {claude-sonnet: {depends_on: [claude-artifacts]}}",
            "services.claude-sonnet.depends_on",
            "needs itself: claude-sonnet -> claude-artifacts -> claude-sonnet",
        ),
        # profiles
        ("profiles: [code]", "profiles", "must be a mapping"),
        ("profiles: {code: 1}", "profiles.code", "must be a mapping"),
        (
            "profiles: {code: {capabilites: {code: 1}}}",
            "profiles.code.capabilites",
            "unknown key; did you mean 'capabilities'?",
        ),
        (
            "profiles: {code: {weighs: {quality: 1, cost: 0, latncy: 0}}}",
            "profiles.code.weighs.latncy",
            "unknown key; did you mean 'latency'?",
        ),
        ("profiles: {code: {weighs: {quality: 1, cost: 0}}}", "profiles.code.weighs.latency", "is missing"),
        (
            "profiles: {code: {weighs: {quality: 0.5, cost: 0.2, latency: 0.2}}}",
            "profiles.code.weighs",
            "the weights sum to 0.9; they must sum to 1",
        ),
        (
            "profiles: {code: {capabilities: {code: 0.8, reasoning: 0.3}}}",
            "profiles.code.capabilities",
            "the weights sum to 1.1; they must sum to 1",
        ),
        (
            "profiles: {code: {capabilities: {code: -0.5, reasoning: 1.5}}}",
            "profiles.code.capabilities.code",
            "must be greater than or equal to 0",
        ),
        (
            "profiles: {code: {capabilities: {code: .nan}}}",
            "profiles.code.capabilities.code",
            "must be a finite number",
        ),
        (
            "profiles: {code: {capabilities: {code: true}}}",
            "profiles.code.capabilities.code",
            "must be a number, not true or false",
        ),
        ("profiles: {code: {why: ''}}", "profiles.code.why", "must not be empty"),
        (
            "profiles: {marketting: {why: Because.}}",
            "profiles.marketting.capabilities",
            "is missing; or did you mean 'marketing', which is there?",
        ),
        (
            "profiles: {my work: {why: Because.}}",
            "profiles.my work",
            "'my work' is no subject token: letters, digits, '_' and '-' only, 1 to 128 of them",
        ),
        (
            "services: {groq: {kind: embeddings}}",
            "services.groq.kind",
            "'groq' is a chat service; give yours another name",
        ),
    ],
)
def test_a_bad_entry_is_named_by_its_dotted_key_with_the_rule(refused: Refused, text: str, key: str, rule: str) -> None:
    error = refused(text)
    assert (error.key, error.rule) == (key, rule)


@pytest.mark.parametrize(
    "secret",
    [
        "sk-ant-api03-Zm9vYmFyYmF6",
        "gsk_9aKx2bQmW7dTz4VnLp0R",
        "csk-8f3k2m5n7p9q",
        "AIzaSyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY",
        "0f8fad5b-d9cb-469f-a165-70867728950e",
        "4fzYq8Lw1NcR7tXb",
        "abcdefghijklmnopqrstuvwxyz",
        "9KEY",
        "ключ",
    ],
)
def test_a_key_in_place_of_its_variables_name_is_refused_and_never_repeated(refused: Refused, secret: str) -> None:
    error = refused(SERVICE % f"api_key_env: '{secret}'")
    assert error.key == "services.my-model.api_key_env"
    assert error.rule.startswith("must be the name of an environment variable")
    assert secret not in str(error)


@pytest.mark.parametrize("name", ["none", "MY_KEY", "K", "_KEY", "my_key2", "MY_COMPANY_GATEWAY_V2_API_KEY_EU1"])
def test_a_variables_name_is_no_key(overlay: Path, name: str) -> None:
    overlay.write_text(SERVICE % f"api_key_env: {name}")
    assert load(overlay).services["my-model"].api_key_env == name


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("services:\n  a: [1\n  b: 2\n", "line 3, column 4: expected ',' or ']', but got ':'"),
        ("services:\n\tgroq: {}\n", "line 2, column 1: found character '\\t' that cannot start any token"),
        ("services: {groq: {region: eu, region: us}}", "line 1, column 31: the key 'region' stands here twice"),
        ("agents: {}\n'agents': {}\n", "line 2, column 1: the key 'agents' stands here twice"),
        (
            "services:\n  x: !!python/object/apply:os.getcwd []\n",
            "line 2, column 6: could not determine a constructor for the tag "
            "'tag:yaml.org,2002:python/object/apply:os.getcwd'",
        ),
        (
            "services: !!set {a, b}",
            "line 1, column 11: could not determine a constructor for the tag 'tag:yaml.org,2002:set'",
        ),
        ("services: *nothing", "line 1, column 11: found undefined alias 'nothing'"),
        ("services: {}\n---\nagents: {}\n", "line 2, column 1: but found another document"),
        ("services:\n  x: {region: 2026-13-40}\n", "line 2, column 15: this cannot be read as timestamp"),
        ("services:\n  x: {region: !!bool maybe}\n", "line 2, column 15: this cannot be read as bool"),
        (f"services: {'9' * 5000}", "line 1, column 11: this cannot be read as int"),
        ('services: {x: {region: "\\ud800"}}', "line 1, column 24: this cannot be read as str"),
        ("services: {? [a] : b}", "line 1, column 14: found unhashable key"),
        ("services:\n  x: \x07", "line 2, column 6: a character that YAML does not allow"),
        ("[" * 5000, "is nested too deeply"),
        ("- services", "must be a mapping with services, agents, profiles, routing, budgets or functions in it"),
        ("just text", "must be a mapping with services, agents, profiles, routing, budgets or functions in it"),
    ],
)
def test_what_is_no_yaml_of_ours_is_refused_with_its_place(refused: Refused, text: str, rule: str) -> None:
    error = refused(text)
    assert (error.key, error.rule) == ("", rule)


def test_a_file_that_cannot_be_read_is_named(overlay: Path) -> None:
    with pytest.raises(ConfigError) as missing:
        load(overlay)
    assert str(missing.value) == f"{overlay}: there is no such file"
    with pytest.raises(ConfigError) as folder:
        load(overlay.parent)
    assert str(folder.value) == f"{overlay.parent}: cannot be read: Is a directory"
    overlay.write_bytes(b"services: \xff")
    with pytest.raises(ConfigError) as binary:
        load(overlay)
    assert str(binary.value) == f"{overlay}: is no UTF-8 text (byte 11)"


def test_a_file_that_may_not_be_read_is_named(overlay: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a file that its reader may not open (the superuser, who runs some of our tests, may open any)
    overlay.write_text("")
    really_read = Path.read_bytes

    def read(path: Path) -> bytes:
        if path == overlay:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return really_read(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    # When it is the overlay, then the error says so
    with pytest.raises(ConfigError) as caught:
        load(overlay)
    assert str(caught.value) == f"{overlay}: cannot be read: Permission denied"


def test_a_mapping_that_holds_itself_is_refused(refused: Refused) -> None:
    assert refused("&a\nservices: *a\n").key.startswith("services.services")


WORDS = """services agents profiles routing cerebras local local-embeddings my-model my-agent model kind api_base
api_key_env region capabilities price limits context_tokens timeout_s input_per_mtok output_per_mtok source rpm tpm role
prompt temperature max_tokens premium_service depends_on why weighs quality cost latency
openai/x embeddings chat none http://x MY_KEY inf"""
words = st.sampled_from(WORDS.split())
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | words | st.text() | st.dates() | st.binary(max_size=4)
)
keys = words | st.text(max_size=8) | st.integers() | st.booleans() | st.none()
anything: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


def of(fields: str, rest: st.SearchStrategy[Any] = anything) -> st.SearchStrategy[Any]:
    """A mapping with some of these fields and any values, to get past the first checks."""
    return st.fixed_dictionaries({}, optional=dict.fromkeys(fields.split(), rest))


names = st.sampled_from(["cerebras", "local", "mine", "m.y", ""])
services = st.dictionaries(
    names,
    of("region capabilities timeout_s context_tokens kind price limits api_key_env depends_on")
    | st.fixed_dictionaries({"model": st.just("openai/x"), "price": of("input_per_mtok output_per_mtok")}),
    max_size=2,
)
agents = st.dictionaries(names, of("role prompt services temperature max_tokens capabilities"), max_size=2)
profiles = st.dictionaries(
    st.sampled_from(["code", "mine", "m.y"]),
    of("why capabilities weighs") | st.fixed_dictionaries({"weighs": of("quality cost latency")}),
    max_size=2,
)
mappings = st.dictionaries(keys, anything, max_size=4) | st.fixed_dictionaries(
    {},
    optional={
        "services": services,
        "agents": agents,
        "profiles": profiles,
        "routing": of("services premium_service adaptive"),
    },
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mappings)
@example({"services": {"x": {"model": "openai/x", "limits": {"rpm": 10**400}}}})
@example({"services": {"x": {"model": "openai/x", "timeout_s": 10**400}}})
def test_any_mapping_either_loads_or_is_refused_as_configuration(mapping: dict[Any, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "any.yaml"
        file.write_text(yaml.safe_dump(mapping, allow_unicode=True), encoding="utf-8", errors="surrogatepass")
        try:
            catalogue = load(file)
        except ConfigError as error:
            assert error.file == str(file)
            assert error.rule
            str(error).encode()
        else:
            assert isinstance(catalogue, Catalogue)
            for agent in catalogue.agents:
                assert catalogue.order_for(agent)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(alphabet=" \n\t:-{}[]&*!|>'\"%@`#?,<ab19.~") | st.binary(max_size=40))
def test_any_bytes_either_load_or_are_refused_as_configuration(text: str | bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "any.yaml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        try:
            load(file)
        except ConfigError as error:
            assert error.file == str(file)

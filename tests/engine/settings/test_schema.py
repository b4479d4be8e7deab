import json
import re
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from engine.protocol.errors import InputError
from engine.protocol.run_dir import Run
from engine.settings.load import FORMS, load_settings, settings_of
from engine.settings.schema import Migration, ModelEndpoint

LEAST: dict[str, Any] = {"coverage": {"source": "pairs.jsonl"}, "service": {"model": "gpt-4o"}}


def load(folder: Path, **tables: dict[str, Any]) -> Migration:
    merged = {name: {**LEAST.get(name, {}), **tables.get(name, {})} for name in {**LEAST, **tables}}
    path = folder / "migration.toml"
    path.write_text(tomlkit.dumps(merged), encoding="utf-8")
    return load_settings(path)


def test_two_settings_are_enough(tmp_path: Path) -> None:
    settings = load(tmp_path)

    assert settings.judge_models == ["gpt-4o"]
    assert not settings.uses_sandbox
    assert settings.finetune.epochs == 10


def test_all_problems_are_told_at_once_with_their_keys(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load(
            tmp_path,
            service={"modle": "x", "rpm": 0, "params": {"api_key": "sk-1"}},
            finetune={"epochs": "three"},
            coverage={"split": {"dev": 0.6, "test": 0.6}},
            local={"trust_remote_code": "another/model"},
            target={"precison": 90},
            loop={"approval": "maybe"},
            nonsense={"a": 1},
        )

    told = caught.value.message
    for part in (
        "service.modle: unknown key; did you mean 'model'?",
        "service.rpm: must be at least 1 (not 0)",
        "service.params: keys come from the environment",
        "finetune.epochs: must be a whole number",
        "coverage.split: dev + test must be below 1",
        "local: to allow trust_remote_code, set it to the model's name",
        "target.precison: unknown key; did you mean 'precision'?",
        "loop.approval: must be 'ask' or 'auto' (not 'maybe')",
        "nonsense: unknown key",
    ):
        assert part in told
    assert caught.value.exit_status == 2


def test_what_is_required_is_named(tmp_path: Path) -> None:
    (tmp_path / "migration.toml").write_text("[coverage]\n[service]\n")

    with pytest.raises(InputError, match=r"coverage\.source: is required\n  service\.model: is required"):
        load_settings(tmp_path / "migration.toml")


@pytest.mark.parametrize(
    ("content", "said"), [(b"[a", "is not valid TOML"), (b"\xff", "is not UTF-8"), (b"coverage = 3", "coverage: ")]
)
def test_files_that_are_no_settings(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "migration.toml"
    path.write_bytes(content)

    with pytest.raises(InputError, match=said):
        load_settings(path)
    with pytest.raises(InputError, match="cannot be read"):
        load_settings(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        load_settings(tmp_path / "none.toml")


@pytest.mark.parametrize(
    "params",
    [
        {"api_key": "x"},
        {"APIKey": "x"},
        {"token": "x"},
        {"aws_session_token": "x"},
        {"vertex_credentials": "x"},
        {"password": "x"},
        {"extra_headers": {"Authorization": "Bearer x"}},
        {"extra_body": [{"deep": {"client_secret": "x"}}]},
    ],
)
def test_no_key_in_the_parameters(tmp_path: Path, params: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="keys come from the environment") as caught:
        load(tmp_path, service={"params": params})
    assert "Bearer" not in caught.value.message


def test_a_key_in_the_place_of_its_variable_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="api_key_env") as caught:
        load(tmp_path, service={"api_key_env": "sk-proj-1234"})
    assert "sk-proj" not in caught.value.message


@pytest.mark.parametrize("table", [{"takeover": {"key_env": "sk-a-1"}}, {"inference": {"api_key_env": "sk-a-1"}}])
def test_no_key_is_repeated_wherever_a_variable_is_named(tmp_path: Path, table: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="must be the name of an environment variable") as caught:
        load(tmp_path, **table)
    assert "sk-a" not in caught.value.message


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"coverage": {"source": ""}}, "coverage.source: must not be empty"),
        ({"coverage": {"source": ["a.jsonl", " "]}}, "coverage.source: must not be empty"),
        ({"local": {"model": ""}}, "local.model: must not be empty"),
        ({"task": {"name": "../etc"}}, "task.name: must be 1 to 64 letters"),
        ({"task": {"contract": {"language": "english"}}}, "must be two small letters, such as en"),
        ({"compute": {"devices": ["first"]}}, "must be a GPU's index"),
    ],
)
def test_forms_are_told_in_words(tmp_path: Path, table: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        load(tmp_path, **table)


def test_every_pattern_of_the_schema_has_its_words() -> None:
    patterns = set(re.findall(r'"pattern": "([^"]+)"', json.dumps(Migration.model_json_schema())))
    assert {json.loads(f'"{pattern}"') for pattern in patterns} <= set(FORMS)


@pytest.mark.parametrize(
    "params",
    [{"stream": True}, {"n": 5}, {"messages": []}, {"api_base": "http://x"}, {"max_tokens": 0}, {"max_tokens": "9"}],
)
def test_parameters_that_are_ours(tmp_path: Path, params: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"service\.params"):
        load(tmp_path, service={"params": params})


def test_other_parameters_are_free(tmp_path: Path) -> None:
    params = {"temperature": 0.7, "max_tokens": 9, "top_p": 1, "extra_body": {"chat_template_kwargs": {"x": [1]}}}

    assert load(tmp_path, service={"params": params}).service.params == params


@pytest.mark.parametrize(
    ("table", "key"),
    [("service", "budget_usd"), ("service", "timeout_s"), ("loop", "max_hours"), ("target", "precision")],
)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_are_finite(tmp_path: Path, table: str, key: str, value: float) -> None:
    with pytest.raises(InputError, match="finite number"):
        load(tmp_path, **{table: {key: value}})


def test_relative_paths_count_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").touch()
    (tmp_path / "weights").mkdir()
    settings = load(tmp_path, local={"model": "weights"}, judge={"prompts": "../p.toml"})

    assert settings.coverage.source == str(tmp_path / "pairs.jsonl")
    assert settings.local.model == str(tmp_path / "weights")
    assert settings.judge.prompts == str(tmp_path.parent / "p.toml")


@pytest.mark.parametrize("source", ["org/dataset", "a" * 5000, "a\0b", "~nobody-of-this-name/x"])
def test_what_is_no_path_stays_as_it_is(tmp_path: Path, source: str) -> None:
    path = tmp_path / "migration.toml"
    path.write_text(tomlkit.dumps({**LEAST, "coverage": {"source": source}}))

    assert load_settings(path).coverage.source == source


def test_huge_values_are_not_repeated_in_full(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, service={"rpm": "x" * 100_000})
    assert len(caught.value.message) < 1000


def test_settings_never_change_and_their_digest_tells_them_apart(tmp_path: Path) -> None:
    settings = load(tmp_path)
    with pytest.raises(ValidationError):
        settings.loop.seed = 1  # type: ignore[misc]

    assert settings.digest() == load(tmp_path).digest()
    assert settings.digest() != load(tmp_path, loop={"seed": 1}).digest()


def test_the_sandbox_may_judge_alone(tmp_path: Path) -> None:
    assert load(tmp_path, judge={"models": ["sandbox"]}).uses_sandbox
    assert load(tmp_path, service={"model": "sandbox"}).uses_sandbox


toml_values: Any = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=8), inner, max_size=2),
    max_leaves=4,
)
keys = st.sampled_from([*Migration.model_fields, "model", "source", "params", "split", "adapter", "typo"])


@given(st.dictionaries(keys, st.dictionaries(keys, toml_values, max_size=3) | toml_values, max_size=4))
def test_any_tables_are_settings_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, tables: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("any") / "migration.toml"
    path.write_text(tomlkit.dumps(tables), encoding="utf-8")
    try:
        assert isinstance(load_settings(path), Migration)
    except InputError as error:
        assert str(path) in error.message


@pytest.mark.parametrize("address", ["https://user:s3cretpass@host/v1", "https://host/v1?api-key=s3cretpass"])
def test_an_address_with_a_secret_is_refused_and_not_repeated(tmp_path: Path, address: str) -> None:
    file = tmp_path / "migration.toml"
    file.write_text(f'[coverage]\nsource = "a.jsonl"\n[service]\nmodel = "openai/m"\napi_base = "{address}"\n')

    with pytest.raises(InputError) as refused:
        load_settings(file)

    assert "service.api_base" in refused.value.message
    assert "s3cretpass" not in refused.value.message


def test_a_missing_file_is_looked_for_beside_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "migration.toml"
    file.write_text('[coverage]\nsource = "typo.jsonl"\n[service]\nmodel = "sandbox"\n')

    assert load_settings(file).coverage.source == str(tmp_path / "typo.jsonl")


@pytest.mark.parametrize("content", [b"# a title\nthis is prose", b"\xff\xfe\x00"])
def test_a_file_that_is_no_toml_has_a_next_step(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "notes.md"
    file.write_bytes(content)

    with pytest.raises(InputError) as refused:
        load_settings(file)

    assert "\n" not in refused.value.message
    assert refused.value.hint


@pytest.mark.parametrize(
    ("service", "told"),
    [
        ({"input_price": 1}, "set both input_price and output_price of mine, or neither"),
        ({"models": {"mine": {"output_price": 1}}}, "set both input_price and output_price of mine, or neither"),
        ({"models": {"other": {"rpm": 1}}}, "service.models: 'other' is not a model of this run"),
        ({"models": {"mine": {"rpmm": 1}}}, "service.models.mine.rpmm: unknown key; did you mean 'rpm'?"),
        ({"models": {"mine": {"rpm": 0}}}, "service.models.mine.rpm: "),
        ({"models": {"mine": {"api_base": "http://x/?key=sk-1"}}}, "may be a key"),
        ({"models": {"mine": {"api_key_env": "sk-1-2"}}}, "service.models.mine.api_key_env: "),
    ],
)
def test_wrong_endpoints_of_a_model(service: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as failed:
        load(tmp_path, service={"model": "mine", **service})

    assert told in failed.value.message and "sk-1" not in failed.value.message


def test_endpoints_of_models(tmp_path: Path) -> None:
    models = {"mine": {"rpm": 9}, "judge": {"tpm": 8, "input_price": 1, "output_price": 2}}
    service = {"model": "mine", "rpm": 1, "tpm": 2, "api_base": "http://x/v1", "models": models}
    found = load(tmp_path, service=service, judge={"models": ["judge", "another"]}).service

    mine, judge, another = (found.endpoint(model) for model in ("mine", "judge", "another"))
    assert (mine.rpm, mine.tpm, mine.api_base) == (9, 2, "http://x/v1")
    assert (judge.rpm, judge.tpm, judge.api_base, judge.output_price) == (1, 8, None, 2)
    assert another == ModelEndpoint(rpm=1, tpm=2)


def test_a_folder_that_is_not_a_run_is_called_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not a run: it has no migration\.toml") as failed:
        settings_of(Run(tmp_path / "none"))

    assert "llamaduo-tui runs" in failed.value.hint


@pytest.mark.parametrize(
    ("local", "inference", "said"),
    [
        ({}, {"backend": "endpoint"}, "each round has new weights"),
        ({}, {"backend": "endpoint", "serve": "server"}, "serve must contain {port}"),
        ({}, {"backend": "endpoint", "serve": "s {adaptor} {port}"}, "{adaptor}; did you mean {adapter}?"),
        ({}, {"backend": "endpoint", "serve": "s {port}", "model": "{names}"}, "{names}; did you mean {name}?"),
        ({}, {"backend": "endpoint", "serve": "server {port}", "untuned_model": "a"}, "needs api_base"),
        ({}, {"vllm_args": "--a 'b"}, "invalid command line: No closing quotation"),
        ({"quantization": "nf4"}, {"backend": "vllm"}, 'needs local.quantization = "none"'),
        (
            {"quantization": "nf4"},
            {"backend": "endpoint", "serve": "server {merged} {port}"},
            'needs local.quantization = "none"',
        ),
        ({"adapter": {"dora": True}}, {"backend": "vllm"}, "needs local.adapter.dora = false"),
        ({}, {"backend": "endpoint", "serve": "  "}, "an endpoint needs serve"),
        ({}, {"backend": "endpoint", "serve": "'' {port}"}, "an endpoint needs serve"),
        ({}, {"vllm": " "}, "must not be blank"),
        ({}, {"api_base": "http://me:secret@box/v1"}, "must not contain a password"),
    ],
)
def test_a_backend_that_could_not_serve_each_round_is_refused(
    local: dict[str, Any], inference: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, local=local, inference=inference)
    assert said in caught.value.message and "secret" not in caught.value.message


def test_a_path_to_vllm_counts_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "vllm").mkdir()
    assert load(tmp_path, inference={"vllm": "vllm"}).inference.vllm == "vllm", "a name on PATH, not that folder"
    assert load(tmp_path, inference={"vllm": "./env/bin/vllm"}).inference.vllm == str(tmp_path / "env/bin/vllm")
    program = tmp_path / "env" / "bin" / "vllm"
    program.parent.mkdir(parents=True)
    program.touch()
    assert load(tmp_path, inference={"vllm": "env/bin/vllm"}).inference.vllm == str(program)

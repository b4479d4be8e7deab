"""The model behind the Configuration screen: fields from the schema, TOML edited in place, saving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tomli
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.protocol.errors import InputError
from engine.settings import preset, template
from engine.settings.load import load_settings
from llamaduo_tui.views import fields
from llamaduo_tui.views.draft import FIELDS, ChangedOnDiskError, Draft, edited, reopened
from llamaduo_tui.views.service_keys import keys_of, service_key

SMALL = """\
# my own notes
[coverage]
source = "rows.jsonl"     # from March
split.dev = 0.3

[service]  # the service
model = 'sandbox'
#rpm =
# why eight: the proxy's limit
concurrency = 8

[local]
adapter = { r = 4, alpha = 8 } # small
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "m.toml"
    path.write_text(SMALL)
    return path


def test_every_key_of_the_schema_has_a_field() -> None:
    rendered = template.render(preset={"coverage": {"source": "a"}, "service": {"model": "b"}})
    for section in fields.sections():
        for field in section.fields:
            assert f"{field.path[-1]} =" in rendered
            assert field.description
    assert FIELDS["local", "adapter", "r"].kind == "whole"
    assert FIELDS["local", "quantization"].choices == ("none", "nf4")
    assert FIELDS["judge", "models"].kind == "names"
    assert FIELDS["service", "params"].kind == "table"


@pytest.mark.parametrize(
    "key, text, value",
    [
        ("finetune.epochs", " 12 ", 12),
        ("finetune.epochs", "many", "many"),
        ("finetune.learning_rate", "1e-4", 1e-4),
        ("judge.models", "gpt-4o, ,claude", ["gpt-4o", "claude"]),
        ("service.params", "{ top_p = 0.5 }", {"top_p": 0.5}),
        ("service.params", "{ a = { b = [1] } }", {"a": {"b": [1]}}),
        ("service.params", "{ top_p", "{ top_p"),
        ("service.params", "1\nother = 2", "1\nother = 2"),
        ("task.topic", "   ", None),
    ],
)
def test_text_is_read_as_its_fields_type(key: str, text: str, value: Any) -> None:
    field = FIELDS[tuple(key.split("."))]
    assert fields.parse(field, text) == value
    assert fields.parse(field, fields.text_of(value)) == value


def test_a_default_shown_and_read_back_is_the_default() -> None:
    for field in FIELDS.values():
        if field.default is not None:
            default = None if field.default in ("", {}, []) else field.default
            assert fields.parse(field, fields.text_of(field.default)) == default


def test_only_what_was_changed_is_touched(file: Path) -> None:
    draft = Draft.open(file)
    draft["service", "rpm"] = 60
    draft["coverage", "split", "dev"] = 0.25
    draft["local", "adapter", "r"] = 16
    draft.save(file)
    expected = SMALL.replace("#rpm =", "rpm = 60").replace("0.3", "0.25").replace("r = 4", "r = 16")
    assert file.read_text() == expected


def test_a_key_taken_out_leaves_its_explanation(file: Path) -> None:
    draft = Draft.open(file)
    draft["service", "concurrency"] = None
    draft.save(file)
    assert file.read_text() == SMALL.replace("concurrency = 8", "#concurrency =")


def test_line_ends_and_mode_stay(file: Path) -> None:
    file.write_bytes(SMALL.replace("\n", "\r\n").encode())
    file.chmod(0o600)
    draft = Draft.open(file)
    draft["service", "rpm"] = 5
    draft.save(file)
    assert b"\r\nrpm = 5\r\n" in file.read_bytes()
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_value_set_back_is_no_change(file: Path) -> None:
    draft = Draft.open(file)
    draft["service", "concurrency"] = 9
    draft["service", "concurrency"] = 8
    draft["service", "rpm"] = None
    assert not draft.edits


def test_problems_name_their_fields(tmp_path: Path) -> None:
    file = tmp_path / "m.toml"
    file.write_text('local = 3\n[coverage]\nsource = "a"\nsplit = {dev = 0.6, test = 0.6}\n[finetune]\nepoch = 1\n')
    draft = Draft.open(file)
    settings_, problems = draft.check()
    assert settings_ is None
    by_path = {problem.path: problem for problem in problems}
    assert by_path["coverage", "split"].field == FIELDS["coverage", "split", "dev"]
    assert by_path["service", "model"].field == FIELDS["service", "model"]
    assert by_path["finetune", "epoch"].unknown
    assert "epochs" in by_path["finetune", "epoch"].message
    for problem in problems:
        if problem.unknown:
            draft[problem.path] = None
    draft["coverage", "split", "test"] = 0.2
    draft["service", "model"] = "sandbox"
    assert draft.check()[1] == []
    draft.save(file)
    assert load_settings(file).coverage.split.dev == 0.6


def test_a_draft_with_problems_is_saved_as_it_is(file: Path) -> None:
    draft = Draft.open(file)
    draft["finetune", "epochs"] = "three"
    draft.save(file)
    assert 'epochs = "three"' in file.read_text()
    with pytest.raises(InputError, match="epochs"):
        load_settings(file)


def test_changes_of_others_are_not_overwritten(file: Path) -> None:
    draft = Draft.open(file)
    draft["service", "rpm"] = 60
    theirs = SMALL.replace("concurrency = 8", "concurrency = 2")
    file.write_text(theirs)
    with pytest.raises(ChangedOnDiskError):
        draft.save(file)
    assert file.read_text() == theirs
    reopened(draft, file).save(file)
    assert file.read_text() == theirs.replace("#rpm =", "rpm = 60")


def test_a_new_file_is_the_template_and_replaces_none(tmp_path: Path) -> None:
    file = tmp_path / "new.toml"
    (tmp_path / "rows.jsonl").write_text("")
    draft = Draft.open(file)
    draft["coverage", "source"] = "rows.jsonl"
    draft["service", "model"] = "sandbox"
    draft.save(file)
    assert "FILL IN" not in file.read_text()
    assert load_settings(file).coverage.source == str(tmp_path / "rows.jsonl")
    other = Draft.open(None)
    other["coverage", "source"] = "x"
    other["service", "model"] = "sandbox"
    with pytest.raises(InputError, match="already exists"):
        other.save(file)


def test_what_is_no_toml_is_told(file: Path) -> None:
    file.write_text("[a\n")
    with pytest.raises(InputError, match="not valid TOML"):
        Draft.open(file)


def test_a_preset_sets_all_its_keys(file: Path) -> None:
    draft = Draft.open(file)
    draft.apply(preset.load("gemma-2b").values)
    checked, problems = draft.check()
    assert not problems and checked is not None
    assert (checked.local.model, checked.local.adapter.r) == ("google/gemma-2b", 8)


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "task.topic": _TEXT,
    "coverage.split.dev": st.floats(0.01, 0.4),
    "service.model": st.just("sandbox") | _TEXT,
    "service.rpm": st.integers(1, 10**6),
    "service.params": st.dictionaries(st.sampled_from(["top_p", "x y", "stop"]), st.floats(0, 1) | _TEXT),
    "judge.models": st.lists(_TEXT, max_size=3),
    "local.adapter.r": st.integers(1, 512),
    "local.quantization": st.sampled_from(["none", "nf4"]),
    "finetune.learning_rate": st.floats(1e-6, 0.5),
    "loop.max_hours": st.floats(0.5, 100),
}
_EDITS = st.fixed_dictionaries({}, optional={key: st.none() | value for key, value in _VALUES.items()})
_FILES = [SMALL, template.render(preset={"coverage": {"source": "a"}, "service": {"model": "sandbox"}})]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.sampled_from(_FILES), changes=_EDITS)
def test_load_edit_save_gives_the_edited_settings(tmp_path: Path, text: str, changes: dict[str, Any]) -> None:
    changes = {key: value for key, value in changes.items() if (key, value) != ("service.model", None)}
    file = tmp_path / "round.toml"
    file.write_bytes(text.encode())
    draft = Draft.open(file)
    for key, value in changes.items():
        draft[tuple(key.split("."))] = value
    wanted, _ = draft.check()
    assert wanted is not None
    draft.save(file)
    assert load_settings(file) == wanted
    comments = [line for line in text.splitlines() if line.startswith("# ")]
    assert [line for line in file.read_text().splitlines() if line.startswith("# ")] >= comments
    assert all(line in file.read_bytes().decode().splitlines() for line in comments)


@settings(max_examples=60)
@given(changes=_EDITS)
def test_an_edit_and_its_reverse_give_the_text_again(changes: dict[str, Any]) -> None:
    edits = {tuple(key.split(".")): value for key, value in changes.items() if value is not None}
    before = tomli.loads(_FILES[1])
    there = {path: value for path, value in edits.items() if _at(before, path) is not None}
    back = {path: _at(before, path) for path in there}
    assert edited(edited(_FILES[1], there), back) == edited(_FILES[1], {})


def _at(values: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        values = values.get(part) if isinstance(values, dict) else None
    return values


@pytest.mark.parametrize(
    "model, named, name",
    [
        ("gpt-4o", None, "OPENAI_API_KEY"),
        ("claude-sonnet-4-5", None, "ANTHROPIC_API_KEY"),
        ("gemini/gemini-2.5-pro", None, "GEMINI_API_KEY"),
        ("gpt-4o", "MY_KEY", "MY_KEY"),
        ("unheard/of", None, None),
    ],
)
def test_a_keys_variable_is_named_and_its_value_is_not(
    model: str, named: str | None, name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not service_key(model, named).present
    if name is not None:
        monkeypatch.setenv(name, "sk-very-secret")
    key = service_key(model, named)
    assert key.name == name
    assert key.present is (name is not None)
    assert "sk-very-secret" not in repr(key)


def test_who_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    assert service_key("sandbox", None).present
    local = service_key("ollama_chat/any", None)
    assert local.present and local.name is None
    monkeypatch.setenv("AZURE_AD_TOKEN", "planted")
    assert service_key("azure/any", None)[1:3] == ("AZURE_AD_TOKEN", True)


def test_an_address_of_ones_own_is_asked_without_a_key(tmp_path: Path) -> None:
    """As the pre-flight and a run ask it: no form may call a key missing that they do without."""
    file = tmp_path / "migration.toml"
    address = 'api_base = "http://127.0.0.1:8000/v1"'
    file.write_text(f"""\
[service]
model = "openai/any"
{address}
models = {{ "openai/judge" = {{ {address} }}, "azure/judge" = {{ {address} }} }}
[judge]
models = ["openai/judge", "azure/judge", "openai/any", "gpt-4o"]
""")
    draft = Draft.open(file)
    assert [(key.name, key.present) for key in keys_of(draft, "service")] == [("OPENAI_API_KEY", True)]
    assert "127.0.0.1:8000/v1 is asked without a key" in keys_of(draft, "service")[0].detail
    assert [key.present for key in keys_of(draft, "judge")] == [True, False, True, False]
    draft["service", "api_key_env"] = "MY_KEY"
    assert not keys_of(draft, "service")[0].present


def test_a_copy_keeps_comments_and_the_other_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("")
    file = tmp_path / "migration.toml"
    text = '# of last year\n[coverage]\nsource = "a.jsonl"  # tickets\n[service]\nmodel = "sandbox"\n'
    file.write_text(text)
    draft = Draft.copy(file)
    assert draft.new
    assert draft.file is None
    draft["loop", "max_rounds"] = 3
    other = tmp_path / "elsewhere" / "migration.toml"
    other.parent.mkdir()
    draft.save(other)
    assert file.read_text() == text
    assert "# of last year" in other.read_text()
    assert "# tickets" in other.read_text()
    settings = load_settings(other)
    assert (settings.coverage.source, settings.loop.max_rounds) == (str(tmp_path / "a.jsonl"), 3)
    with pytest.raises(InputError, match="already exists"):
        Draft.copy(file).save(other)


def test_a_copy_of_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        Draft.copy(tmp_path / "none.toml")

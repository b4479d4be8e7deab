import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from engine.evaluation import contract
from engine.evaluation.contract import Contract
from engine.protocol.errors import InputError
from engine.settings import schema
from engine.settings.load import load_settings

TICKET: dict[str, Any] = {
    "type": "object",
    "properties": {"kind": {"enum": ["bug", "billing"]}, "note": {"type": "string", "pattern": "^(a+)+$"}},
    "required": ["kind"],
    "additionalProperties": False,
}


def made(**keys: Any) -> Contract:
    return contract.load(schema.Contract.model_validate(keys))


@pytest.mark.parametrize(
    ("keys", "text", "reason"),
    [
        ({}, "anything at all", ""),
        ({"format": "json"}, ' {"a": [1, null]}\n', ""),
        ({"format": "json"}, '```json\n{"a": 1}\n```', "not JSON: expected value at line 1 column 1"),
        ({"format": "json"}, "", "not JSON: EOF while parsing a value at line 1 column 0"),
        ({"format": "json"}, "[NaN]", "not JSON: expected value at line 1 column 2"),
        ({"format": "json"}, "[" * 100_000, "not JSON: recursion limit exceeded"),
        ({"json_schema": TICKET}, '{"kind": "bug"}', ""),
        ({"json_schema": TICKET}, "no JSON", "not JSON: "),
        (
            {"json_schema": TICKET},
            '{"kind": "dog"}',
            'violates the schema: kind: "dog" is not one of',
        ),
        ({"json_schema": TICKET}, "{}", 'violates the schema: "kind" is a required property'),
        ({"json_schema": TICKET}, '{"kind": "bug", "x": 1}', "violates the schema: Additional properties"),
        ({"pattern": "yes|no"}, "yes", ""),
        ({"pattern": "yes|no"}, "  no\n", ""),
        ({"pattern": "yes|no"}, "yes, no", "does not match the pattern"),
        ({"pattern": "yes|no"}, "yes\nbut", "does not match the pattern"),
        ({"pattern": r"\w+"}, "\ud800", "does not match the pattern"),
        ({"max_chars": 3}, " abc ", ""),
        ({"max_chars": 3}, "abcd", "too long: 4 characters, at most 3 allowed"),
        ({"language": "de"}, "Bitte senden Sie die Rechnung vor Ende der Woche an unsere Buchhaltung.", ""),
        (
            {"language": "de"},
            "Please send the invoice to our accounting department this week.",
            "not in the language de",
        ),
        ({"language": "de"}, "DeskPilot", ""),
        ({"language": "zh"}, "由于几个人生病，会议改到了星期四，请告诉我们的会计部门。", ""),
        (
            {"language": "de", "format": "json"},
            '{"summary": "Die Besprechung wurde auf Donnerstag verschoben, weil viele Leute krank waren."}',
            "",
        ),
    ],
)
def test_what_keeps_a_contract_and_what_breaks_it(keys: dict[str, Any], text: str, reason: str) -> None:
    found = made(**keys).broken(text)

    assert found.startswith(reason) and bool(found) == bool(reason)


@pytest.mark.parametrize("keys", [{"pattern": "(a+)+"}, {"json_schema": TICKET}])
def test_no_pattern_runs_away(keys: dict[str, Any]) -> None:
    text = "a" * 30_000 + "b"
    began = time.monotonic()

    assert made(**keys).broken(text if "pattern" in keys else f'{{"kind": "bug", "note": "{text}"}}')
    assert time.monotonic() - began < 2


@given(st.text() | st.text(alphabet='{}[]":,1e\\u-.d8'))
def test_no_text_upsets_it_and_reasons_are_short(text: str) -> None:
    for keys in ({"format": "json"}, {"json_schema": TICKET}, {"pattern": ".*x"}, {"max_chars": 5}):
        assert len(made(**keys).broken(text)) <= contract.SHOWN


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"pattern": "("}, r"task\.contract\.pattern: "),
        ({"pattern": r"(a)\1"}, r"task\.contract\.pattern: "),
        ({"json_schema": {"type": "strin"}}, r"task\.contract\.json_schema: invalid JSON schema"),
        ({"json_schema": {"$ref": "http://example.org/a.json"}}, r"task\.contract\.json_schema: invalid JSON schema"),
        ({"json_schema": {"pattern": "(?=a)"}}, r"task\.contract\.json_schema: invalid JSON schema"),
        ({"json_schema": "/nowhere.json"}, r"task\.contract\.json_schema: /nowhere\.json: No such file"),
        ({"language": "qq"}, r"task\.contract\.language: unknown language 'qq'"),
    ],
)
def test_a_bad_contract_names_its_key(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        made(**keys)


def test_a_schema_from_a_file_beside_the_settings(tmp_path: Path) -> None:
    (tmp_path / "ticket.json").write_text('{"type": "array"}')
    (tmp_path / "m.toml").write_text(
        '[task.contract]\njson_schema = "ticket.json"\n[coverage]\nsource = "a.jsonl"\n[service]\nmodel = "sandbox"\n'
    )
    settings = load_settings(tmp_path / "m.toml")

    assert settings.task.contract.json_schema == str(tmp_path / "ticket.json")
    assert contract.load(settings.task.contract).broken("{}").startswith("violates the schema")


def test_a_file_that_is_no_schema(tmp_path: Path) -> None:
    (tmp_path / "ticket.json").write_text("{")
    with pytest.raises(InputError, match="invalid JSON"):
        made(json_schema=str(tmp_path / "ticket.json"))


def test_unknown_keys_and_formats_are_errors() -> None:
    for keys in ({"format": "xml"}, {"schema": {}}, {"language": "english"}, {"max_chars": 0}):
        with pytest.raises(ValidationError):
            schema.Contract.model_validate(keys)

"""The contract of a task: what every response must keep to, checked for free before a judge is paid.

Texts under check are a model's, so nothing here may run away with them: JSON is parsed to a bounded depth, and the
patterns, those in a schema included, run in linear time (Rust's regex), which is why they have no look-around and no
back-references.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema_rs import RegexOptions, ValidationError, validator_for
from pydantic_core import from_json

from engine.protocol.errors import InputError
from engine.protocol.rows import CONTRACT, Response, Verdict
from engine.settings import schema

LEAST_LETTERS = 40
"""Bytes of letters from which on a language is told.

Of 60 sentences in 12 languages py3langid knew all when cut to 8 words, 57 at 4 words, and 27 at one word.
"""

SAID = "The contract is broken, no judge was asked: "

SHOWN = 200
"""Characters of a reason; one may quote the whole response."""

PLAIN_PATTERNS = "patterns may not run away: no look-around, no back-references, no counts in the thousands"

_NO_LETTERS = re.compile(r"[\W\d_]+")


@dataclass(frozen=True, slots=True)
class Contract:
    """What to check; `schema` and `pattern` are validators of jsonschema_rs."""

    json: bool
    schema: Any
    pattern: Any
    max_chars: int | None
    language: str | None

    def broken(self, text: str) -> str:
        """Why a response breaks the contract: the kind of breach, after a colon the details; "" where it keeps it.

        White space around a response does not count.
        """
        text = text.strip()
        if self.max_chars is not None and len(text) > self.max_chars:
            return f"too long: {len(text):,} characters, {self.max_chars:,} are allowed"
        if self.pattern is not None and not self.pattern.is_valid(_whole(text)):
            return "does not match the pattern"
        value: Any = text
        if self.json:
            try:
                value = from_json(text, allow_inf_nan=False)
            except ValueError as error:
                return f"not JSON: {error}"[:SHOWN]
        if self.schema is not None and (fault := next(self.schema.iter_errors(value), None)) is not None:
            where = "".join(f"{part}: " for part in fault.instance_path)
            return f"not of the schema: {where}{fault.message}"[:SHOWN]
        return self._wrong_language(value)

    def _wrong_language(self, value: Any) -> str:
        """A language is told from a JSON response's texts, not from its keys; too short a text is let pass."""
        if self.language is None:
            return ""
        text = _NO_LETTERS.sub(" ", _texts(value))
        if len(text.replace(" ", "").encode(errors="ignore")) < LEAST_LETTERS:
            return ""
        found = _detect(text)
        return "" if found == self.language else f"not in the language {self.language}: reads like {found}"


def breach(response: Response, reason: str) -> Verdict:
    """The verdict on a response that breaks the contract: the lowest scores."""
    said = f"{SAID}{reason}."
    return Verdict(
        id=response.id,
        sample=response.sample,
        repeat=0,
        judge=CONTRACT,
        similarity=1.0,
        precision=1.0,
        similarity_reason=said,
        precision_reason=said,
        error="",
    )


def breaches(verdicts: Iterable[Verdict]) -> dict[str, str]:
    """What each prompt (by id) has broken of the contract, where an answer did: the kind of its first breach."""
    found: dict[str, str] = {}
    for verdict in verdicts:
        if verdict.judge == CONTRACT:
            found.setdefault(verdict.id, verdict.precision_reason.removeprefix(SAID).partition(":")[0].rstrip("."))
    return found


def load(settings: schema.Contract) -> Contract:
    """The contract of the settings. Raises InputError that names the key with a bad schema, pattern or language."""
    if settings.language is not None and settings.language not in _languages():
        known = ", ".join(_languages())
        raise InputError(f"task.contract.language: {settings.language!r} is not known", f"known: {known}")
    return Contract(
        json=settings.format == "json" or settings.json_schema is not None,
        schema=None if settings.json_schema is None else _schema(settings.json_schema),
        pattern=None if settings.pattern is None else _pattern(settings.pattern),
        max_chars=settings.max_chars,
        language=settings.language,
    )


def _schema(given: str | dict[str, Any]) -> Any:
    key = "task.contract.json_schema"
    schema: Any = given
    if isinstance(given, str):
        try:
            schema = json.loads(Path(given).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            reason = error.strerror if isinstance(error, OSError) else f"is no JSON: {error}"
            raise InputError(f"{key}: {given}: {reason}", "name a JSON schema file, or write an inline table") from None
    try:
        return validator_for(schema, pattern_options=RegexOptions(), offline=True)
    except (ValidationError, ValueError) as error:
        raise InputError(f"{key}: is no JSON schema: {_first_line(error)}", PLAIN_PATTERNS) from None


def _pattern(given: str) -> Any:
    try:
        return validator_for({"pattern": f"^(?:{given})$"}, pattern_options=RegexOptions(), offline=True)
    except (ValidationError, ValueError) as error:
        raise InputError(f"task.contract.pattern: {_first_line(error)}", PLAIN_PATTERNS) from None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:SHOWN]


def _whole(text: str) -> str:
    """Text that Rust takes: half a character is no character of any pattern."""
    return text.encode(errors="replace").decode()


def _texts(value: Any) -> str:
    if isinstance(value, dict):
        value = list(value.values())
    return " ".join(map(_texts, value)) if isinstance(value, list) else value if isinstance(value, str) else ""


@cache
def _languages() -> list[str]:
    """The ISO 639-1 codes that can be told apart; dialects with longer codes would only be confused with them."""
    from py3langid import rank, set_languages  # type: ignore[import-untyped]  # loads a model: most contracts name no language

    known = sorted(code for code, _ in rank("") if len(code) == 2)
    set_languages(known)
    return known


def _detect(text: str) -> str:
    from py3langid import classify

    _languages()
    return str(classify(text)[0])

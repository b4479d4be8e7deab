"""The contract of a task: rules for every response, checked locally and free before a judge is paid.

The texts come from a model, so every check is bounded: JSON is parsed to a limited depth, and patterns, also those in a
schema, run in linear time (Rust's regex), which rules out look-around and back-references.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonschema_rs import RegexOptions, ValidationError, validator_for
from pydantic_core import from_json

from engine.protocol import plain_file
from engine.protocol.errors import InputError
from engine.protocol.rows import CONTRACT, Response, Verdict
from engine.settings import schema

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier  # type: ignore[import-untyped]

MIN_LETTERS = 40
"""Bytes of letters that it takes to detect a language.

Of 60 sentences in 12 languages py3langid detected all when cut to 8 words, 57 at 4 words, and 27 at one word.
"""

BROKEN = "The contract is broken, no judge was asked: "
"""Begins the reasons of a verdict on a response that breaks the contract; `breaches` reads it back."""

SHOWN = 200
"""Maximum characters of a reason, which may quote the response."""

PATTERN_HINT = "patterns must run in linear time: no look-around, no back-references, no counts in the thousands"

_NO_LETTERS = re.compile(r"[\W\d_]+")


@dataclass(frozen=True, slots=True)
class Contract:
    """The checks; `schema` and `pattern` are validators of jsonschema_rs."""

    json: bool
    schema: Any
    pattern: Any
    max_chars: int | None
    language: str | None

    def broken(self, text: str) -> str:
        """Why a response breaks the contract: the kind of breach, a colon, the details; "" where it doesn't.

        White space around a response does not count.
        """
        text = text.strip()
        if self.max_chars is not None and len(text) > self.max_chars:
            return f"too long: {len(text):,} characters, at most {self.max_chars:,} allowed"
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
            return f"violates the schema: {where}{fault.message}"[:SHOWN]
        return self._wrong_language(value)

    def _wrong_language(self, value: Any) -> str:
        """Of a JSON response the strings count, not the keys; short texts pass, since detection would fail."""
        if self.language is None:
            return ""
        detected = language_of(_texts(value))
        if detected in ("", self.language):
            return ""
        return f"not in the language {self.language}: detected {detected}"


def language_of(text: str) -> str:
    """The language of a text, as in ISO 639-1; "" where it has too few letters to tell."""
    text = _NO_LETTERS.sub(" ", text)
    if len(text.replace(" ", "").encode(errors="ignore")) < MIN_LETTERS:
        return ""
    return str(_identifier().classify(text)[0])


def breach(response: Response, reason: str) -> Verdict:
    """The verdict on a response that breaks the contract: the lowest scores."""
    text = f"{BROKEN}{reason}."
    return Verdict(
        id=response.id,
        sample=response.sample,
        repeat=0,
        judge=CONTRACT,
        similarity=1.0,
        precision=1.0,
        similarity_reason=text,
        precision_reason=text,
        error="",
    )


def breaches(verdicts: Iterable[Verdict]) -> dict[str, str]:
    """The kind of the first breach by prompt id, of the prompts with a response that breaks the contract."""
    kinds: dict[str, str] = {}
    for verdict in verdicts:
        if verdict.judge == CONTRACT:
            kinds.setdefault(verdict.id, verdict.precision_reason.removeprefix(BROKEN).partition(":")[0].rstrip("."))
    return kinds


def load(settings: schema.Contract) -> Contract:
    """The contract of the settings. Raises InputError that names the key with a bad schema, pattern or language."""
    if settings.language is not None and settings.language not in (known := _identifier().labels):
        raise InputError(
            f"task.contract.language: unknown language {settings.language!r}", f"known: {', '.join(sorted(known))}"
        )
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
            schema = json.loads(plain_file.read_text(Path(given)))
        except (OSError, ValueError, RecursionError) as error:
            reason = error.strerror if isinstance(error, OSError) else f"invalid JSON: {error}"
            raise InputError(f"{key}: {given}: {reason}", "name a JSON schema file, or write an inline table") from None
    try:
        return validator_for(schema, pattern_options=RegexOptions(), offline=True)
    except (ValidationError, ValueError) as error:
        raise InputError(f"{key}: invalid JSON schema: {_first_line(error)}", PATTERN_HINT) from None


def _pattern(given: str) -> Any:
    try:
        return validator_for({"pattern": f"^(?:{given})$"}, pattern_options=RegexOptions(), offline=True)
    except (ValidationError, ValueError) as error:
        raise InputError(f"task.contract.pattern: {_first_line(error)}", PATTERN_HINT) from None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:SHOWN]


def _whole(text: str) -> str:
    """Text that Rust accepts: lone surrogates become question marks."""
    return text.encode(errors="replace").decode()


def _texts(value: Any) -> str:
    if isinstance(value, dict):
        value = list(value.values())
    return " ".join(map(_texts, value)) if isinstance(value, list) else value if isinstance(value, str) else ""


@cache
def _identifier() -> LanguageIdentifier:
    """Detects the languages of ISO 639-1; dialects with longer codes would only be confused with them."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # loads numpy; most contracts name no language

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier.set_languages([code for code in identifier.labels if len(code) == 2])
    return identifier

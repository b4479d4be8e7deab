"""The table [coverage]: where prompts with responses come from, how they are read and split."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from engine.protocol.limits import MOST_ROWS
from engine.settings.table import Table, no_secret_address

ContainerName = Literal["json", "csv", "parquet", "arrow"]

COVERAGE_FILES: dict[str, ContainerName] = {
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}
"""The endings of coverage files, and how such a file is read."""

COMPRESSED = (".gz", ".zst", ".bz2", ".xz")
"""The endings of compressed coverage files, which may follow another ending."""

Share = Annotated[float, Field(gt=0.0, le=0.9)]


class Columns(Table):
    """Names of the data's columns, if they are not the usual ones; a dot leads into a nested one (inputs.question)."""

    messages: str | None = Field(None, description="Column of the whole chat, or of the prompt's messages.")
    prompt: str | None = Field(None, description="Column of the prompt.")
    response: str | None = Field(None, description="Column of the response.")
    system: str | None = Field(None, description="Column of the system prompt, if any.")
    category: str | None = Field(None, description="Column of the category, if any.")
    group: str | None = Field(
        None, description="Column of the conversation's id (session, trace, thread): its rows stay in one split."
    )
    weight: str | None = Field(None, description="Column of a weight: rows of weight 0 are not learned.")


class Split(Table):
    """How the coverage dataset is split; the rest is for training."""

    dev: Share = Field(0.12, description="Share of the dev split, which steers the loop.")
    test: Share = Field(0.28, description="Share of the test split, which stays sealed until the end and then decides.")

    @model_validator(mode="after")
    def _leaves_data_to_train(self) -> Split:
        if self.dev + self.test >= 1:
            raise ValueError("dev + test must be below 1: the rest is for training")
        return self


def _sound_source(source: str | list[str]) -> str | list[str]:
    for one in [source] if isinstance(source, str) else source:
        if not one.strip():
            raise ValueError("must not be empty")
        if "://" in one:
            no_secret_address(one)
    return source


class Coverage(Table):
    """Prompts with responses that you are happy with."""

    source: Annotated[str | list[str], AfterValidator(_sound_source)] = Field(
        description=f"A file ({', '.join(COVERAGE_FILES)}; also {', '.join(COMPRESSED)}), a folder or a pattern "
        "(logs/*.jsonl) of such files, an address (s3://...), a dataset id of the Hub, or a list of these."
    )
    turns: Literal["last", "all"] = Field(
        "last", description="last: learn the last answer of a conversation; all: learn each of its answers."
    )
    limit: int | None = Field(
        None,
        ge=3,
        le=MOST_ROWS,
        description="Maximum rows to use: a random sample, in equal shares of every category; not set: all.",
    )
    redact: bool = Field(
        False, description="Mask personal data (e-mail addresses, phone and card numbers ...) in all rows."
    )
    columns: Columns = Columns()
    split: Split = Split()

    @property
    def sources(self) -> list[str]:
        """The sources, in the order in which they are read."""
        return [self.source] if isinstance(self.source, str) else self.source

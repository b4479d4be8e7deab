"""A table of settings, and the types of setting that several tables have."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

SECRET = re.compile(r"key|secret|password|credential|authorization|(^|[-_])token$", re.IGNORECASE)


class Table(BaseModel):
    """A table of migration.toml: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def is_table(field: FieldInfo) -> bool:
    """Whether a setting is a table of more settings."""
    return isinstance(field.annotation, type) and issubclass(field.annotation, Table)


def table_of(field: FieldInfo) -> type[Table]:
    """The table that a setting is. Raises TypeError for a single setting."""
    if not (isinstance(field.annotation, type) and issubclass(field.annotation, Table)):
        raise TypeError(f"{field.annotation!r} is not a table of settings")
    return field.annotation


def no_secret_address(address: str | None) -> str | None:
    """The address. Raises a validation error where it may hold a secret."""
    if address and re.search(r"//[^/]*@|[?]", address):
        raise PydanticCustomError("secret", "must not contain a password or a query, which may be a key")
    return address


Address = Annotated[str | None, AfterValidator(no_secret_address)]
Variable = Annotated[str | None, Field(pattern=r"^[A-Za-z_]\w*$")]

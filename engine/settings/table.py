"""A table of settings, and the types of setting that several tables have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

SECRET = re.compile(r"key|secret|password|credential|authorization|(^|[-_])token$", re.IGNORECASE)


class Table(BaseModel):
    """A table of migration.toml: unknown keys are errors, values never change, and every number has two limits."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value(cls, value: Any, info: ValidationInfo) -> Any:
        """`true` is no 1, though Python counts it as one."""
        field = cls.model_fields[str(info.field_name)]
        if isinstance(value, bool) and is_number(field) and bool not in parts(field.annotation):
            raise PydanticCustomError("truth_value", "must be a number")
        return value

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Raises TypeError for a number without a lower and an upper limit: `engine.protocol.limits` has them."""
        for name, field in cls.model_fields.items():
            if is_number(field) and not {"ge", "gt"} & (found := limits(field)).keys():
                raise TypeError(f"{cls.__name__}.{name} needs ge or gt")
            if is_number(field) and not {"le", "lt"} & found.keys():
                raise TypeError(f"{cls.__name__}.{name} needs le or lt")


def is_number(field: FieldInfo) -> bool:
    """Whether a setting may be a number."""
    return any(part in (int, float) for part in parts(field.annotation))


def limits(field: FieldInfo) -> dict[str, float]:
    """The limits of a number by their names in pydantic: ge, gt, le, lt."""
    found: dict[str, float] = {}
    for part in parts(field.annotation):
        for rule in (*field.metadata, *getattr(part, "__metadata__", ())):
            for one in (rule, *getattr(rule, "metadata", ())):
                found |= {
                    sign: value for sign in ("ge", "gt", "le", "lt") if (value := getattr(one, sign, None)) is not None
                }
    return found


def parts(annotation: Any) -> Iterator[Any]:
    """A type and the types that it is made of."""
    yield annotation
    if get_origin(annotation) is not Literal:
        for part in get_args(annotation):
            yield from parts(part)


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
VARIABLE_FORM = r"^[A-Za-z_]\w*$"
Variable = Annotated[str | None, Field(pattern=VARIABLE_FORM)]

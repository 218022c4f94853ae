"""What a class of plain objects wants of a row: its fields, and how it is made of their values."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from types import MemberDescriptorType
from typing import Any


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of a class: those that have to be given, all of them, and how it is made."""

    names: tuple[str, ...]
    required: frozenset[str]
    # "tuple", "slots", "names": without calling it, when every field is given; "call": by position;
    # "keywords": by name
    kind: str


def fields_of(cls: Any) -> Fields | None:
    """The fields of a NamedTuple, dataclass or msgspec Struct; ``None`` for anything else."""
    if not isinstance(cls, type):
        return None
    if dataclasses.is_dataclass(cls):
        return _of_dataclass(cls)
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        named: Any = cls
        return Fields(
            tuple(named._fields),
            frozenset(named._fields) - frozenset(named._field_defaults),
            # the __new__ of a NamedTuple itself cannot be another than it was given
            "tuple" if cls.__bases__ == (tuple,) else "call",
        )
    if hasattr(cls, "__struct_fields__"):
        return _of_struct(cls)
    return None


def _of_struct(cls: Any) -> Fields:
    names = tuple(cls.__struct_fields__)
    defaults = len(cls.__struct_defaults__)
    keyword_only = bool(_keyword_only(cls))
    if keyword_only:
        import msgspec

        required = {each.name for each in msgspec.structs.fields(cls) if each.required}
        return Fields(names, frozenset(required), "keywords")
    return Fields(names, frozenset(names[: len(names) - defaults]), "call")


def _keyword_only(cls: Any) -> bool:
    import inspect

    kinds = {each.kind for each in inspect.signature(cls).parameters.values()}
    return inspect.Parameter.KEYWORD_ONLY in kinds


def _of_dataclass(cls: Any) -> Fields:
    wanted = [each for each in dataclasses.fields(cls) if each.init]
    names = tuple(each.name for each in wanted)
    required = frozenset(
        each.name
        for each in wanted
        if each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
    )
    if not _only_sets_fields(cls, len(wanted)):
        return Fields(names, required, "keywords")
    slots = [vars(owner).get(name) for name in names for owner in _owners(cls, name)]
    if len(slots) == len(names) and all(type(slot) is MemberDescriptorType for slot in slots):
        return Fields(names, required, "slots")
    plain = all(not hasattr(type(slot), "__set__") for slot in slots)
    return Fields(names, required, "names" if plain else "keywords")


def _owners(cls: type, name: str) -> list[type]:
    """The class that has an attribute of this name: one or none."""
    return [base for base in cls.__mro__ if name in vars(base)][:1]


def _only_sets_fields(cls: Any, number: int) -> bool:
    """Whether making an object is no more than ``object.__new__`` and setting the fields."""
    code = getattr(cls.__init__, "__code__", None)
    return (
        "__init__" in vars(cls)
        # dataclass writes it as text; one that the class had before stays
        and getattr(code, "co_filename", "") == "<string>"
        and cls.__dataclass_params__.init
        and not hasattr(cls, "__post_init__")
        and cls.__new__ is object.__new__
        and type(cls).__call__ is type.__call__
        and number == len(dataclasses.fields(cls))
        # frozen, or as object has it
        and (cls.__dataclass_params__.frozen or cls.__setattr__ is object.__setattr__)
    )


def slots_of(cls: type, names: tuple[str, ...]) -> tuple[Any, ...]:
    """The descriptors of a class's slots."""
    return tuple(vars(_owners(cls, name)[0])[name] for name in names)

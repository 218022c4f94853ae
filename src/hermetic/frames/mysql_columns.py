"""What MariaDB and MySQL tell of a result's columns, as Arrow types.

The numbers are those of the protocol ("Column definition packet"); read in MariaDB 10.11.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

_BINARY = 63
_UNSIGNED = 32

_WHOLE: dict[int, tuple[Any, Any]] = {
    1: (pa.int8(), pa.uint8()),
    2: (pa.int16(), pa.uint16()),
    3: (pa.int32(), pa.uint32()),
    8: (pa.int64(), pa.uint64()),
    9: (pa.int32(), pa.uint32()),
    13: (pa.int16(), pa.uint16()),
}
_DECIMALS = frozenset({0, 246})
_TEXTS = frozenset({15, 249, 250, 251, 252, 253, 254})
_OTHERS: dict[int, Any] = {
    4: pa.float32(),
    5: pa.float64(),
    6: pa.null(),
    7: pa.timestamp("us"),
    10: pa.date32(),
    11: pa.duration("us"),
    12: pa.timestamp("us"),
    16: pa.binary(),
    245: pa.json_(),
    247: pa.string(),
    248: pa.string(),
    255: pa.binary(),
}


def arrow_of_field(field: Any) -> Any:
    """The Arrow type of a driver's field; ``None`` for a type that is not known here."""
    code = field.type_code
    if code in _WHOLE:
        return _WHOLE[code][bool(field.flags & _UNSIGNED)]
    if code in _DECIMALS:
        return _decimal(field)
    if code in _TEXTS:
        return pa.binary() if field.charsetnr == _BINARY else pa.string()
    return _OTHERS.get(code)


def _decimal(field: Any) -> Any:
    """Its length is in characters: with a sign unless it has none, and a point if it has places."""
    scale = field.scale
    precision = field.length - (scale > 0) - (not field.flags & _UNSIGNED)
    precision = min(max(precision, scale, 1), 65)
    return (pa.decimal128 if precision <= 38 else pa.decimal256)(precision, scale)

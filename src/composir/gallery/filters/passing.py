"""The rows for which a filter is true, in SQL's logic of three values: what is compared with null is null.

A division by zero is null too: of such a row nothing can be said, and it is no reason to refuse the others.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int
from numpy.typing import NDArray

from composir.gallery.filters.like import matcher, regex, simple
from composir.gallery.filters.reader import Condition
from composir.gallery.filters.tree import (
    Between,
    Cased,
    Chain,
    Column,
    Compared,
    FilterError,
    Is,
    Joined,
    Like,
    Negative,
    Node,
    Not,
    Plain,
    Value,
    Within,
)

SLICE = 65_536  # rows that are looked at together, so that what is between costs little memory
TEXTS = 1024  # that are Python's at a time
UNKNOWN = pa.scalar(None, pa.bool_())
COMPARE = {"=": "equal", "<>": "not_equal", "<": "less", "<=": "less_equal", ">": "greater", ">=": "greater_equal"}
CHAIN = {"+": "add_checked", "-": "subtract_checked", "*": "multiply_checked"}
Given: TypeAlias = Mapping[Column | Cased, Any]  # what each of them is in a slice, worked out once
kernel: Any = pc  # its functions are made when it is imported, which no type checker sees


def passing(condition: Condition, table: pa.Table, row: str) -> Int[NDArray, " R"]:
    """What the column `row` says of the rows that pass, in their order.

    Raises:
        FilterError: Whole numbers that grow beyond 64 bits.
    """
    found = [np.empty(0, np.int64)]
    try:
        names = sorted({_name(node) for node in condition.named})
        for batch in table.select([*names, row]).to_batches(max_chunksize=SLICE):
            given = {node: _cased(node, batch) for node in condition.named}
            true = kernel.fill_null(_truth(_value(condition.tree, given)), False)
            if isinstance(true, pa.Scalar):
                true = pa.array(np.full(len(batch), true.as_py()))
            found.append(batch[row].filter(true).to_numpy())
    except pa.ArrowInvalid as error:
        if str(error) == "overflow":
            raise FilterError("whole numbers grow beyond 64 bits; write one of them with a point, as 1.0") from error
        raise FilterError(f"{str(error)[:200]}; write it otherwise") from error
    return np.concatenate(found)


def _name(node: Column | Cased) -> str:
    return node.name if isinstance(node, Column) else node.column.name


def _value(node: Node, given: Given) -> Any:
    """An array with a value for each row, or one scalar for all."""
    match node:
        case Column() | Cased():
            return given[node]
        case Value(value):
            return pa.scalar(value)
        case Negative(part):
            return kernel.negate_checked(_value(part, given))
        case Chain(first, rest):
            steps = ((sign, _value(part, given)) for sign, part in rest)
            return functools.reduce(lambda left, step: _calculated(left, *step), steps, _value(first, given))
        case _:
            return _tested(node, given)


def _tested(node: Node, given: Given) -> Any:
    match node:
        case Compared(left, sign, right):
            return _compared(sign, _value(left, given), _value(right, given))
        case Between(part, low, high):
            own, least, most = (_value(one, given) for one in (part, low, high))
            return kernel.and_kleene(_compared(">=", own, least), _compared("<=", own, most))
        case Within(part, values):
            return _within(_value(part, given), values)
        case Like(part, pattern, loose):
            return _like(_value(part, given), pattern, loose)
        case _:
            return _logic(node, given)


def _logic(node: Node, given: Given) -> Any:
    match node:
        case Is(part, None):
            return kernel.is_null(_value(part, given))
        case Is(part, what):
            return kernel.fill_null(kernel.equal(_truth(_value(part, given)), pa.scalar(what)), False)
        case Not(part):
            return kernel.invert(_truth(_value(part, given)))
        case Joined(word, parts):
            join = kernel.and_kleene if word == "AND" else kernel.or_kleene
            return functools.reduce(join, (_truth(_value(part, given)) for part in parts))
        case _:
            raise TypeError(f"{type(node).__name__} is no part of a filter")


def _truth(value: Any) -> Any:
    return UNKNOWN if value.type == pa.null() else value


def _compared(sign: str, left: Any, right: Any) -> Any:
    if pa.null() in (left.type, right.type):
        return UNKNOWN
    return kernel.call_function(COMPARE[sign], list(_matched(left, right)))


def _matched(left: Any, right: Any) -> tuple[Any, Any]:
    """Both of one type: beside a number with a fraction a whole one becomes such, rounded where it is beyond 2^53."""
    if left.type == right.type:
        return left, right
    return left.cast(pa.float64(), safe=False), right.cast(pa.float64(), safe=False)


def _calculated(left: Any, sign: str, right: Any) -> Any:
    left, right = _matched(left, right)
    if sign in CHAIN:
        return kernel.call_function(CHAIN[sign], [left, right])
    zero = pa.scalar(0, right.type)
    right = kernel.if_else(kernel.equal(right, zero), pa.scalar(None, right.type), right)
    if sign == "/":
        return kernel.divide_checked(left, right)
    known = kernel.and_(kernel.is_valid(left), kernel.is_valid(right))
    rest = pa.array(np.atleast_1d(np.fmod(_numbers(left), _numbers(right))), left.type)
    return kernel.if_else(known, rest if isinstance(known, pa.Array) else rest[0], pa.scalar(None, left.type))


def _numbers(value: Any) -> Any:
    """For numpy, with 1 for null."""
    value = kernel.fill_null(value, pa.scalar(1, value.type))
    return np.asarray(value.as_py(), value.type.to_pandas_dtype()) if isinstance(value, pa.Scalar) else value.to_numpy()


def _within(own: Any, values: tuple[Plain, ...]) -> Any:
    known = [value for value in values if value is not None]
    broken = any(isinstance(value, float) for value in known)
    listed = pa.array([float(value or 0) for value in known] if broken else known)
    if own.type == pa.null() or listed.type == pa.null():
        return UNKNOWN
    own, listed = _matched(own, listed)
    if own.type == pa.float64():
        own = kernel.add(own, pa.scalar(0.0))  # -0.0 becomes 0.0: values are looked up by their bits
    # Where null is listed, what is not found may still be among the values: that is not known.
    otherwise = UNKNOWN if None in values else pa.scalar(False)
    found = kernel.if_else(kernel.is_in(own, value_set=listed), pa.scalar(True), otherwise)
    return kernel.if_else(kernel.is_valid(own), found, UNKNOWN)


def _like(texts: Any, pattern: str, loose: bool) -> Any:
    if simple(pattern):
        return kernel.match_substring_regex(texts, regex(pattern), ignore_case=loose)
    passes = matcher(pattern, loose)
    if isinstance(texts, pa.Scalar):
        return pa.scalar(passes(texts.as_py()), pa.bool_())
    pieces = (texts[start : start + TEXTS].to_pylist() for start in range(0, len(texts), TEXTS))
    return pa.array([None if text is None else passes(text) for piece in pieces for text in piece], pa.bool_())


def _cased(node: Column | Cased, batch: pa.RecordBatch) -> Any:
    """As Unicode says, which only for ASCII is what arrow does: "Σ" ends a word as "ς", "İ" becomes two letters."""
    texts = batch[_name(node)]
    if isinstance(node, Column):
        return texts
    lower = node.function == "lower"
    simple = kernel.utf8_lower(texts) if lower else kernel.utf8_upper(texts)
    other = kernel.fill_null(kernel.invert(kernel.string_is_ascii(texts)), False)
    if not kernel.any(other).as_py():
        return simple
    written = [text.lower() if lower else text.upper() for text in texts.filter(other).to_pylist()]
    return kernel.replace_with_mask(simple, other, pa.array(written))

"""Sums over codes of eight bits, kept as two planes of four: the upper halves alone give rough scores.

A plane is (P, W) bytes: byte j of a row holds dimension j in its lower half and dimension W + j in its upper. All sums
are of whole numbers, and so the same on every machine; where the processor multiplies bytes at once (AVX-512 VNNI) that
is written out, since no compiler finds it.
"""

# ruff: noqa: ARG001, PLR0917  (numba's intrinsics name what they type, and its functions take no keywords)

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import extending, prange, types
from numba.core.codegen import get_host_cpu_features

from composir.kernels import BLOCK

intrinsic: Any = extending.intrinsic  # its functions are called without their context
ROWS = 16  # summed at once
AHEAD = 4096  # bytes that are asked for before they are needed; the processor alone looks less far
SOON = 8  # rows of a list, likewise
PIECE = 256  # rows of a list that one thread takes at a time
VNNI = "+avx512vnni" in get_host_cpu_features()


def compiled(**options: Any) -> Any:
    """As `numba.njit`; what is compiled is kept for other processes where there is a place that may be written."""

    def decorated(function: Any) -> Any:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # numba's word for no such place
            return numba.njit(**options)(function)

    return decorated


BYTE, INT, LONG, FLOAT = ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.FloatType()
LANES = ir.VectorType(INT, ROWS)
NONE, LOWER, FOUR = (ir.Constant(LANES, [value] * ROWS) for value in (0, 0x0F0F0F0F, 4))


def _function(builder: Any, name: str, back: ir.Type, *given: ir.Type) -> Any:
    module = builder.module
    return module.globals.get(name) or ir.Function(module, ir.FunctionType(back, given), name)


def _load(builder: Any, address: Any) -> Any:
    return builder.load(builder.inttoptr(address, LANES.as_pointer()), align=1)


def _dot(builder: Any, total: Any, codes: Any, digits: Any) -> Any:
    return builder.call(_function(builder, "llvm.x86.avx512.vpdpbusd.512", LANES, *[LANES] * 3), [total, codes, digits])


def _prefetch(builder: Any, address: Any) -> None:
    function = _function(builder, "llvm.prefetch.p0", ir.VoidType(), BYTE.as_pointer(), INT, INT, INT)
    # To be read, into the second cache, as data.
    builder.call(function, [builder.inttoptr(address, BYTE.as_pointer()), INT(0), INT(2), INT(1)])


def _halves(builder: Any, codes: Any) -> tuple[Any, Any]:
    return builder.and_(codes, LOWER), builder.and_(builder.lshr(codes, FOUR), LOWER)


def _loop(builder: Any, steps: Any, totals: int, body: Any) -> list[Any]:
    """Sums of vectors over `steps` vectors' widths; `body(offset, totals)` gives the new ones."""
    before, loop, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
    builder.branch(loop)
    builder.position_at_end(loop)
    step, sums = builder.phi(LONG), [builder.phi(LANES) for _ in range(totals)]
    new = body(builder.mul(step, LONG(4 * ROWS)), list(sums))
    following = builder.add(step, LONG(1))
    for phi, first, value in ((step, LONG(0), following), *((s, NONE, n) for s, n in zip(sums, new, strict=True))):
        phi.add_incoming(first, before)
        phi.add_incoming(value, loop)
    builder.cbranch(builder.icmp_signed("<", following, steps), loop, after)
    builder.position_at_end(after)
    return new


def _folded(builder: Any, vectors: list[Any]) -> Any:
    """One vector of the sums of sixteen, in their order: halves are added to halves, pair by pair."""
    named, width = [(vector, [row]) for row, vector in enumerate(vectors)], ROWS // 2
    while len(named) > 1:
        pairs, half = [], len(named) // 2
        for (one, rows), (other, more) in zip(named[:half], named[half:], strict=True):
            starts = [start + base for start in range(0, ROWS, 2 * width) for base in (0, ROWS)]
            first = [start + lane for start in starts for lane in range(width)]
            masks = (ir.Constant(LANES, first), ir.Constant(LANES, [lane + width for lane in first]))
            sides = [builder.shuffle_vector(one, other, mask) for mask in masks]
            pairs.append((builder.add(*sides), [row for pair in zip(rows, more, strict=True) for row in pair]))
        named, width = pairs, width // 2
    vector, order = named[0]
    return builder.shuffle_vector(vector, vector, ir.Constant(LANES, [order.index(row) for row in range(ROWS)]))


@intrinsic
def _sixteen(_context, upper, lower_digits, upper_digits, steps, sums):
    """Store the sums of the upper plane times a query's digits, for sixteen rows that follow each other."""

    def code(context, builder, _signature, given):
        upper, first, second, steps, sums = given
        width = builder.mul(steps, LONG(4 * ROWS))
        starts = [builder.add(upper, builder.mul(width, LONG(row))) for row in range(ROWS)]

        def body(offset, totals):
            digits = [_load(builder, builder.add(side, offset)) for side in (first, second)]
            for row, start in enumerate(starts):
                address = builder.add(start, offset)
                _prefetch(builder, builder.add(address, LONG(AHEAD)))
                for side, own in zip(_halves(builder, _load(builder, address)), digits, strict=True):
                    totals[row] = _dot(builder, totals[row], side, own)
            return totals

        found = _folded(builder, _loop(builder, steps, ROWS, body))
        builder.store(found, builder.inttoptr(sums, LANES.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp, types.uintp, types.intp, types.uintp), code


@intrinsic
def _one(_context, upper, lower, soon_upper, soon_lower, digits, steps):
    """The sum of 256 times one row's codes by the query's first digits, and once by its second."""

    def code(_context, builder, _signature, given):
        upper, lower, soon_upper, soon_lower, digits, steps = given
        width = builder.mul(steps, LONG(4 * ROWS))

        def body(offset, totals):
            for soon in (soon_upper, soon_lower):
                _prefetch(builder, builder.add(soon, offset))
            above, below = (_halves(builder, _load(builder, builder.add(plane, offset))) for plane in (upper, lower))
            for side, (high, low) in enumerate(zip(above, below, strict=True)):
                codes = builder.or_(builder.shl(high, FOUR), low)
                for place in range(2):
                    start = builder.add(digits, builder.mul(width, LONG(2 * place + side)))
                    own = _load(builder, builder.add(start, offset))
                    totals[place] = _dot(builder, totals[place], codes, own)
            return totals

        add = _function(builder, f"llvm.vector.reduce.add.v{ROWS}i32", INT, LANES)
        high, low = (builder.sext(builder.call(add, [own]), LONG) for own in _loop(builder, steps, 2, body))
        return builder.add(builder.mul(high, LONG(256)), low)

    return types.int64(*[types.uintp] * 5, types.intp), code


@compiled(parallel=True, nogil=True)
def _rough_vnni(upper, digits, bias, factor, scores, peaks):
    start, width = upper.ctypes.data, upper.shape[1]
    first, second = digits[0].ctypes.data, digits[1].ctypes.data
    for block in prange(peaks.shape[0]):
        sums = np.empty(BLOCK, np.int32)
        for row in range(0, BLOCK, ROWS):
            address = start + (block * BLOCK + row) * width
            _sixteen(
                np.uintp(address), np.uintp(first), np.uintp(second), width // 64, np.uintp(sums.ctypes.data + 4 * row)
            )
        peaks[block] = _told(sums, bias, factor, scores, block * BLOCK)


@compiled(parallel=True, nogil=True)
def _rough_plain(upper, digits, bias, factor, scores, peaks):
    numbers, width = digits.astype(np.int32), upper.shape[1]
    for block in prange(peaks.shape[0]):
        sums = np.zeros(BLOCK, np.int32)
        for row in range(0, BLOCK, 4):
            at = block * BLOCK + row
            a, b, c, e = upper[at], upper[at + 1], upper[at + 2], upper[at + 3]
            s, t, u, v = np.int32(0), np.int32(0), np.int32(0), np.int32(0)
            for j in range(width):
                x, y = numbers[0, j], numbers[1, j]
                s += np.int32(a[j] & 15) * x + np.int32(a[j] >> 4) * y
                t += np.int32(b[j] & 15) * x + np.int32(b[j] >> 4) * y
                u += np.int32(c[j] & 15) * x + np.int32(c[j] >> 4) * y
                v += np.int32(e[j] & 15) * x + np.int32(e[j] >> 4) * y
            sums[row], sums[row + 1], sums[row + 2], sums[row + 3] = s, t, u, v
        peaks[block] = _told(sums, bias, factor, scores, block * BLOCK)


@compiled(nogil=True)
def _told(sums, bias, factor, scores, start):
    """Write the scores of a block, (32 sum - bias) factor; the best of them."""
    best = np.float32(-np.inf)
    for row in range(BLOCK):
        score = np.float32(32 * sums[row] - bias) * factor
        scores[start + row] = score
        best = score if score > best else best
    return best


@compiled(parallel=True, nogil=True)
def _fine_vnni(upper, lower, digits, bias, factor, rows, scores):
    width, own = upper.shape[1], np.uintp(digits.ctypes.data)
    above, below = upper.ctypes.data, lower.ctypes.data
    for piece in prange((len(rows) + PIECE - 1) // PIECE):
        for place in range(piece * PIECE, min(len(rows), (piece + 1) * PIECE)):
            at, soon = rows[place] * width, rows[min(place + SOON, len(rows) - 1)] * width
            total = _one(
                np.uintp(above + at), np.uintp(below + at), np.uintp(above + soon), np.uintp(below + soon), own,
                width // 64,
            )  # fmt: skip
            scores[place] = (total - bias) * factor


@compiled(parallel=True, nogil=True)
def _fine_plain(upper, lower, digits, bias, factor, rows, scores):
    numbers, width = digits.astype(np.int32), upper.shape[1]
    for place in prange(len(rows)):
        above, below = upper[rows[place]], lower[rows[place]]
        high, low = np.int32(0), np.int32(0)
        for j in range(width):
            first = np.int32((below[j] & 15) | ((above[j] & 15) << 4))
            second = np.int32((below[j] >> 4) | (above[j] & 240))
            high += first * numbers[0, j] + second * numbers[1, j]
            low += first * numbers[2, j] + second * numbers[3, j]
        scores[place] = (256 * np.int64(high) + low - bias) * factor


rough = _rough_vnni if VNNI else _rough_plain
"""rough(upper (P, W), digits (2, W) int8, bias, factor float32, scores (P,), peaks (P / BLOCK,)): scores by the upper
halves, (32 sum - bias) factor, and the best of each block."""
fine = _fine_vnni if VNNI else _fine_plain
"""fine(upper, lower (P, W), digits (4, W) int8, bias, factor float64, rows (R,), scores (R,)): those of some rows by
all bits and both digits, (256 first + second - bias) factor."""

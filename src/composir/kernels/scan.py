"""Sums over codes of eight bits, kept as two planes of four: the upper halves alone give rough scores.

A plane is (P, W) bytes: byte j of a row holds dimension j in its lower half and dimension W + j in its upper. All sums
are of whole numbers, and so the same on every machine; where the processor multiplies bytes at once (AVX-512 VNNI, or
in two steps AVX2) that is written out, since no compiler finds it.
"""

# ruff: noqa: ARG001, PLR0917  (numba's intrinsics name what they type, and its functions take no keywords)

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import extending, prange, types
from numba.core.codegen import get_host_cpu_features

from composir.kernels import BLOCK

intrinsic: Any = extending.intrinsic  # its functions are called without their context
AHEAD = 4096  # bytes that are asked for before they are needed; the processor alone looks less far
SOON = 8  # rows of a list, likewise
PIECE = 256  # rows of a list that one thread takes at a time
FEATURES = get_host_cpu_features()
VNNI, AVX2 = "+avx512vnni" in FEATURES, "+avx2" in FEATURES


def compiled(**options: Any) -> Any:
    """As `numba.njit`; what is compiled is kept for other processes where there is a place that may be written."""

    def decorated(function: Any) -> Any:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # numba's word for no such place
            return numba.njit(**options)(function)

    return decorated


BYTE, SHORT, INT, LONG = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)


def _function(builder: Any, name: str, back: ir.Type, *given: ir.Type) -> Any:
    module = builder.module
    return module.globals.get(name) or ir.Function(module, ir.FunctionType(back, given), name)


def _lanes(vector: Any, value: int) -> ir.Constant:
    return ir.Constant(vector, [value] * vector.count)


def _load(builder: Any, vector: Any, address: Any) -> Any:
    return builder.load(builder.inttoptr(address, vector.as_pointer()), align=1)


def _dot(builder: Any, total: Any, pairs: Sequence[tuple[Any, Any]]) -> Any:
    """The total plus codes times digits, byte by byte, four to a lane, for each pair of vectors."""
    vector = total.type
    if vector.count == 16:
        fused = _function(builder, "llvm.x86.avx512.vpdpbusd.512", vector, *[vector] * 3)
        for codes, digits in pairs:
            total = builder.call(fused, [total, codes, digits])
        return total
    # Two products are summed in sixteen bits: codes of four bits leave room for eight such sums, codes of eight none.
    bytes_, shorts = ir.VectorType(BYTE, 32), ir.VectorType(SHORT, 16)
    two = _function(builder, "llvm.x86.avx2.pmadd.ub.sw", shorts, bytes_, bytes_)
    four = _function(builder, "llvm.x86.avx2.pmadd.wd", vector, shorts, shorts)
    sums = [builder.call(two, [builder.bitcast(side, bytes_) for side in pair]) for pair in pairs]
    return builder.add(total, builder.call(four, [reduce(builder.add, sums), _lanes(shorts, 1)]))


def _prefetch(builder: Any, address: Any) -> None:
    function = _function(builder, "llvm.prefetch.p0", ir.VoidType(), BYTE.as_pointer(), INT, INT, INT)
    # To be read, into the second cache, as data.
    builder.call(function, [builder.inttoptr(address, BYTE.as_pointer()), INT(0), INT(2), INT(1)])


def _halves(builder: Any, codes: Any) -> tuple[Any, Any]:
    lower, four = (_lanes(codes.type, value) for value in (0x0F0F0F0F, 4))
    return builder.and_(codes, lower), builder.and_(builder.lshr(codes, four), lower)


def _loop(builder: Any, vector: Any, steps: Any, totals: int, body: Any) -> list[Any]:
    """Sums of vectors over `steps` vectors' widths; `body(offset, totals)` gives the new ones."""
    before, loop, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
    builder.branch(loop)
    builder.position_at_end(loop)
    step, sums = builder.phi(LONG), [builder.phi(vector) for _ in range(totals)]
    new = body(builder.mul(step, LONG(4 * vector.count)), list(sums))
    following, none = builder.add(step, LONG(1)), _lanes(vector, 0)
    for phi, first, value in ((step, LONG(0), following), *((s, none, n) for s, n in zip(sums, new, strict=True))):
        phi.add_incoming(first, before)
        phi.add_incoming(value, loop)
    builder.cbranch(builder.icmp_signed("<", following, steps), loop, after)
    builder.position_at_end(after)
    return new


def _folded(builder: Any, vectors: list[Any]) -> Any:
    """One vector of the sums of as many vectors as it has lanes, in their order: halves are added to halves."""
    rows, width = len(vectors), len(vectors) // 2
    lanes = ir.VectorType(INT, rows)
    named = [(vector, [row]) for row, vector in enumerate(vectors)]
    while len(named) > 1:
        pairs, half = [], len(named) // 2
        for (one, own), (other, more) in zip(named[:half], named[half:], strict=True):
            starts = [start + base for start in range(0, rows, 2 * width) for base in (0, rows)]
            first = [start + lane for start in starts for lane in range(width)]
            masks = (ir.Constant(lanes, first), ir.Constant(lanes, [lane + width for lane in first]))
            sides = [builder.shuffle_vector(one, other, mask) for mask in masks]
            pairs.append((builder.add(*sides), [row for pair in zip(own, more, strict=True) for row in pair]))
        named, width = pairs, width // 2
    found, order = named[0]
    return builder.shuffle_vector(found, found, ir.Constant(lanes, [order.index(row) for row in range(rows)]))


def _sums_of(rows: int) -> Any:
    """An intrinsic for processors whose vectors have so many lanes of 32 bits, 8 or 16."""
    vector = ir.VectorType(INT, rows)

    def sums(_context, upper, lower_digits, upper_digits, steps, sums):
        """Store the sums of the upper plane times a query's digits, for `rows` rows that follow each other."""

        def code(context, builder, _signature, given):
            upper, first, second, steps, sums = given
            width = builder.mul(steps, LONG(4 * rows))
            starts = [builder.add(upper, builder.mul(width, LONG(row))) for row in range(rows)]

            def body(offset, totals):
                digits = [_load(builder, vector, builder.add(side, offset)) for side in (first, second)]
                for row, start in enumerate(starts):
                    address = builder.add(start, offset)
                    _prefetch(builder, builder.add(address, LONG(AHEAD)))
                    sides = _halves(builder, _load(builder, vector, address))
                    totals[row] = _dot(builder, totals[row], list(zip(sides, digits, strict=True)))
                return totals

            found = _folded(builder, _loop(builder, vector, steps, rows, body))
            builder.store(found, builder.inttoptr(sums, vector.as_pointer()), align=4)
            return context.get_dummy_value()

        return types.void(types.uintp, types.uintp, types.uintp, types.intp, types.uintp), code

    return intrinsic(sums)


_sixteen, _eight = _sums_of(16), _sums_of(8)


@intrinsic
def _one(_context, upper, lower, soon_upper, soon_lower, digits, steps):
    """The sum of 256 times one row's codes by the query's first digits, and once by its second."""
    vector = ir.VectorType(INT, 16)

    def code(_context, builder, _signature, given):
        upper, lower, soon_upper, soon_lower, digits, steps = given
        width = builder.mul(steps, LONG(4 * 16))

        def body(offset, totals):
            for soon in (soon_upper, soon_lower):
                _prefetch(builder, builder.add(soon, offset))
            planes = [_load(builder, vector, builder.add(plane, offset)) for plane in (upper, lower)]
            for side, (high, low) in enumerate(zip(*(_halves(builder, plane) for plane in planes), strict=True)):
                codes = builder.or_(builder.shl(high, _lanes(vector, 4)), low)
                for place in range(2):
                    start = builder.add(digits, builder.mul(width, LONG(2 * place + side)))
                    own = _load(builder, vector, builder.add(start, offset))
                    totals[place] = _dot(builder, totals[place], [(codes, own)])
            return totals

        add = _function(builder, "llvm.vector.reduce.add.v16i32", INT, vector)
        high, low = (builder.sext(builder.call(add, [own]), LONG) for own in _loop(builder, vector, steps, 2, body))
        return builder.add(builder.mul(high, LONG(256)), low)

    return types.int64(*[types.uintp] * 5, types.intp), code


@compiled(parallel=True, nogil=True)
def _rough_vnni(upper, digits, bias, factor, scores, peaks):
    start, width = upper.ctypes.data, upper.shape[1]
    first, second = digits[0].ctypes.data, digits[1].ctypes.data
    for block in prange(peaks.shape[0]):
        sums = np.empty(BLOCK, np.int32)
        for row in range(0, BLOCK, 16):
            address = start + (block * BLOCK + row) * width
            _sixteen(
                np.uintp(address), np.uintp(first), np.uintp(second), width // 64, np.uintp(sums.ctypes.data + 4 * row)
            )
        peaks[block] = _told(sums, bias, factor, scores, block * BLOCK)


@compiled(parallel=True, nogil=True)
def _rough_avx2(upper, digits, bias, factor, scores, peaks):
    start, width = upper.ctypes.data, upper.shape[1]
    first, second = digits[0].ctypes.data, digits[1].ctypes.data
    for block in prange(peaks.shape[0]):
        sums = np.empty(BLOCK, np.int32)
        for row in range(0, BLOCK, 8):
            address = start + (block * BLOCK + row) * width
            _eight(
                np.uintp(address), np.uintp(first), np.uintp(second), width // 32, np.uintp(sums.ctypes.data + 4 * row)
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


rough = _rough_vnni if VNNI else _rough_avx2 if AVX2 else _rough_plain
"""rough(upper (P, W), digits (2, W) int8, bias, factor float32, scores (P,), peaks (P / BLOCK,)): scores by the upper
halves, (32 sum - bias) factor, and the best of each block."""
fine = _fine_vnni if VNNI else _fine_plain
"""fine(upper, lower (P, W), digits (4, W) int8, bias, factor float64, rows (R,), scores (R,)): those of some rows by
all bits and both digits, (256 first + second - bias) factor."""

"""One kernel: the scan, and its gradient, which is the scan the other way round with the decays moved by one step.

A program walks along one sequence and a few channels of it, one a thread: the recurrence as written, the state in a
register. It waits for memory once in ``RUN`` steps: all that they need is asked for before the first of them.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _add(total, lost, x):
    """Kahan's sum: ``total + x``, and what its rounding has added, to be taken off next time."""
    x -= lost
    new = total + x
    return new, (new - total) - x


@triton.jit(do_not_specialize=["length", "rows"])
def scan_kernel(
    x, decay, out, h, d_decay, length, rows,
    D: tl.constexpr, WIDTH: tl.constexpr, BD: tl.constexpr, RUN: tl.constexpr,
    CONSTANT: tl.constexpr, COMPLEX: tl.constexpr, REVERSE: tl.constexpr, GRADIENT: tl.constexpr,
):  # fmt: skip
    """``out_t = decay_t out_{t-1} + x_t`` (``out_{t+1}`` if ``REVERSE``), ``[programs, length, D]``.

    In ``decay [rows, length, WIDTH]`` rows repeat, and the channel if ``WIDTH`` is 1, and the step if ``CONSTANT``.
    Complex numbers are pairs in memory.

    If ``GRADIENT``, ``x`` is that of the result ``h`` of a scan that ran the other way, and ``out`` that of its input:
    ``out_t = conj(decay_{t-1}) out_{t-1} + x_t``. Unless ``h`` is None, ``d_decay_t = out_t conj(h_{t+1})``, summed
    over those steps and channels of the program that share a decay.
    """
    row, block = tl.program_id(0), tl.program_id(1)
    c = block * BD + tl.arange(0, BD)
    here = c < D
    # one number may be two in memory; a walk's next step lies before the last one if it is in reverse
    parts: tl.constexpr = 2 if COMPLEX else 1
    sign: tl.constexpr = -1 if REVERSE else 1
    stride: tl.constexpr = sign * D * parts
    decay_stride: tl.constexpr = 0 if CONSTANT else sign * WIDTH * parts
    first = length - 1 if REVERSE else 0
    start = row.to(tl.int64) * length + first
    channels = (start * D + c) * parts
    x, out = x + channels, out + channels
    decay_row = (row % rows).to(tl.int64)
    # a gradient passes the decay of the step that it comes from
    decay_start = decay_row if CONSTANT else decay_row * length + first - (sign if GRADIENT else 0)
    decay += (decay_start * WIDTH + (c if WIDTH == D else c * 0)) * parts
    if h is not None:
        h += channels + stride
        columns = D if WIDTH == D else tl.num_programs(1)
        d_decay += ((row.to(tl.int64) if CONSTANT else start) * columns + (c if WIDTH == D else block)) * parts
        d_stride = sign * columns * parts
    re = tl.zeros([BD], x.dtype.element_ty)
    im = re
    total_re = re if WIDTH == D else tl.sum(re, 0)
    total_im, lost_re, lost_im = total_re, total_re, total_re
    for done in range(0, length, RUN):
        x_re, x_im, a_re, a_im, h_re, h_im, exists = (), (), (), (), (), (), ()
        for i in tl.static_range(RUN + 1):
            exists += (here & (i < length - done),)
        for i in tl.static_range(RUN):
            inside = exists[i]
            x_re += (tl.load(x + i * stride, mask=inside, other=0.0),)
            if COMPLEX:
                x_im += (tl.load(x + i * stride + 1, mask=inside, other=0.0),)
            # the first step of a gradient comes from nowhere
            met = inside & (done > 0) if GRADIENT and i == 0 else inside
            a_re += (tl.load(decay + i * decay_stride, mask=met, other=0.0),)
            if COMPLEX:
                a_im += (tl.load(decay + i * decay_stride + 1, mask=met, other=0.0),)
            if h is not None:
                h_re += (tl.load(h + i * stride, mask=exists[i + 1], other=0.0),)
                if COMPLEX:
                    h_im += (tl.load(h + i * stride + 1, mask=exists[i + 1], other=0.0),)
        for i in tl.static_range(RUN):
            inside = exists[i]
            if COMPLEX:
                angle = -a_im[i] if GRADIENT else a_im[i]
                re, im = a_re[i] * re - angle * im + x_re[i], a_re[i] * im + angle * re + x_im[i]
                tl.store(out + i * stride + 1, im, mask=inside)
            else:
                re = a_re[i] * re + x_re[i]
            tl.store(out + i * stride, re, mask=inside)
            if h is not None:
                if COMPLEX:
                    d_re, d_im = re * h_re[i] + im * h_im[i], im * h_re[i] - re * h_im[i]
                else:
                    d_re, d_im = re * h_re[i], re
                if WIDTH < D:
                    d_re, d_im = tl.sum(d_re, 0), tl.sum(d_im, 0)
                if CONSTANT:
                    total_re, lost_re = _add(total_re, lost_re, d_re)
                    if COMPLEX:
                        total_im, lost_im = _add(total_im, lost_im, d_im)
                else:
                    kept = inside if WIDTH == D else i < length - done
                    tl.store(d_decay + i * d_stride, d_re, mask=kept)
                    if COMPLEX:
                        tl.store(d_decay + i * d_stride + 1, d_im, mask=kept)
        x += RUN * stride
        out += RUN * stride
        decay += RUN * decay_stride
        if h is not None:
            h += RUN * stride
            d_decay += RUN * (0 if CONSTANT else d_stride)
    if CONSTANT and h is not None:
        kept = here if WIDTH == D else None
        tl.store(d_decay, total_re, mask=kept)
        if COMPLEX:
            tl.store(d_decay + 1, total_im, mask=kept)

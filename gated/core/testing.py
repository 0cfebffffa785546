"""What tests of gated ops share: outputs with every gradient, and an error budget instead of a tolerance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch

Named = dict[str, torch.Tensor]


def with_gradients(function: Callable[..., object], tensors: Mapping[str, torch.Tensor | None]) -> Named:
    """Call ``function(**tensors)`` and return its outputs and the gradients of a fixed weighting of them.

    Args:
        function: returns a tensor or a tuple of tensors and None.
        tensors: arguments; those of floating type are differentiated. They are not changed.
    """
    leaves = {n: t if t is None else t.detach() for n, t in tensors.items()}
    leaves = {n: t.requires_grad_() if t is not None and t.is_floating_point() else t for n, t in leaves.items()}
    result = function(**leaves)
    parts = result if isinstance(result, tuple) else (result,)
    outputs = {f"output {i}": part for i, part in enumerate(parts) if isinstance(part, torch.Tensor)}
    # no two elements weigh the same, so that no mistake cancels
    loss = sum((part.double() * _weights(part)).sum() for part in outputs.values())
    wanted = {n: t for n, t in leaves.items() if t is not None and t.requires_grad}
    gradients = torch.autograd.grad(loss, list(wanted.values()), allow_unused=True)  # type: ignore[arg-type]
    found = {n: torch.zeros_like(t) if g is None else g for (n, t), g in zip(wanted.items(), gradients, strict=True)}
    return {n: t.detach() for n, t in outputs.items()} | {f"gradient of {n}": t for n, t in found.items()}


def _weights(x: torch.Tensor) -> torch.Tensor:
    return torch.sin(1.7 * torch.arange(x.numel(), dtype=torch.float64, device=x.device) + 0.3).view(x.shape)


def assert_same(got: Named, expected: Named, tolerance: float = 1e-10) -> None:
    """Assert that each tensor is the expected one, within ``tolerance`` of its own largest value or of one."""
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        bound = tolerance * max(1.0, float(value.abs().max())) if value.numel() else 0.0
        error = (got[name] - value).abs()
        assert bool((error <= bound).all()), f"{name}: off by {float(error.max()):.2e}, allowed {bound:.2e}"


def pooled(draws: Iterable[Named]) -> Named:
    """Put the results of several draws together: an error of two numbers is luck, of a hundred it is a size."""
    each = list(draws)
    return {name: torch.stack([draw[name] for draw in each]) for name in each[0]}


def assert_within_budget(
    got: Named, reference: Named, exact: Named, factor: float = 2.0, largest_floor: float = 4.0
) -> None:
    """Assert that ``got`` errs at most ``factor`` times as much as the reference in the same low precision.

    Both the root mean square and the largest error are held, above floors of one unit in the last place of the root
    mean square value and of ``largest_floor`` units of the largest.
    """
    for name, value in exact.items():
        if not value.numel():
            continue
        ulp = torch.finfo(got[name].dtype).eps
        ours, theirs = (got[name].double() - value).abs(), (reference[name].double() - value).abs()
        size = float(value.abs().max()), float(value.square().mean().sqrt())
        rms = float(ours.square().mean().sqrt()), float(theirs.square().mean().sqrt())
        assert rms[0] <= factor * rms[1] + ulp * size[1], f"{name}: rms error {rms[0]:.2e}, reference {rms[1]:.2e}"
        largest = float(ours.max()), float(theirs.max())
        allowed = factor * largest[1] + largest_floor * ulp * size[0]
        assert largest[0] <= allowed, f"{name}: {largest[0]:.2e}, reference {largest[1]:.2e}, allowed {allowed:.2e}"

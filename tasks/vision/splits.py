"""Splitting examples into training, validation and test parts, the same way every time."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from gated.errors import UserError


def stratified_split(
    classes: Sequence[int], *, val_fraction: float, test_fraction: float, seed: int
) -> tuple[list[int], list[int], list[int]]:
    """Return the indices of training, validation and test examples, each class split alike.

    Every class that has three examples or more has at least one in each part (in validation and test if their fraction
    is not zero); a smaller class goes to training.

    Args:
        classes: class of each example.
        val_fraction: share of validation.
        test_fraction: share of test.
        seed: another seed gives another split.

    Raises:
        UserError: the fractions leave nothing to train on.
    """
    if val_fraction < 0 or test_fraction < 0 or val_fraction + test_fraction >= 1:
        raise UserError(
            "the split leaves nothing to train on",
            expected="val_fraction and test_fraction of 0 or more, below 1 together",
            found=f"{val_fraction} and {test_fraction}",
        )
    generator = torch.Generator().manual_seed(seed)
    train: list[int] = []
    val: list[int] = []
    test: list[int] = []
    for label in sorted(set(classes)):
        members = [i for i, c in enumerate(classes) if c == label]
        members = [members[i] for i in torch.randperm(len(members), generator=generator).tolist()]
        num_val, num_test = (
            max(1, round(fraction * len(members))) if fraction and len(members) >= 3 else 0
            for fraction in (val_fraction, test_fraction)
        )
        val += members[:num_val]
        test += members[num_val : num_val + num_test]
        train += members[num_val + num_test :]
    return sorted(train), sorted(val), sorted(test)

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from gated.engine import allocator


def test_both_calls_reach_the_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    library = SimpleNamespace(
        mallopt=lambda *given: called.append(("mallopt", *given)),
        malloc_trim=lambda *given: called.append(("malloc_trim", *given)),
    )
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: library)
    monkeypatch.setattr(sys, "platform", "linux")
    allocator.keep_freed_memory()
    allocator.return_freed_memory()
    mallopt = [("mallopt", -3, 32 << 20), ("mallopt", -1, 1 << 30), ("mallopt", -2, 64 << 20)]
    assert called == [*mallopt, ("malloc_trim", 0)]


@pytest.mark.parametrize("platform", ["darwin", "linux"])
def test_another_system_or_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: object())
    allocator.keep_freed_memory()
    allocator.return_freed_memory()

"""Joint local and global attention of MossFormer and FLASH."""

from gated.core.ops.local_global.api import local_global

__all__ = ["local_global"]

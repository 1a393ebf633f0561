"""How the C library keeps memory that was freed: by default it gives back to the system what it needs again at once."""

import ctypes
from typing import Final

KEPT_BYTES: Final = 64 << 20  # of freed memory, at the end of each heap
MAPPED_FROM_BYTES: Final = (
    32 << 20
)  # a larger piece is mapped by itself and given back when freed; glibc allows no more
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3


def keep_freed() -> bool:
    """Keep freed memory for the next message; False where the C library is not glibc, and nothing has changed.

    A value of 1 MiB passes through some ten buffers of its size. Given back each time, each of its pages costs a fault
    and is filled with zeros by the kernel before it is overwritten: a quarter of all processor time with such values.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES) and mallopt(_M_MMAP_THRESHOLD, MAPPED_FROM_BYTES))

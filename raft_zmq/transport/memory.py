"""The memory of a process, as Python and the C library do not arrange it by themselves: for nodes and clients alike."""

import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Final

KEPT_BYTES: Final = 64 << 20  # of freed memory, at the end of each heap
MAPPED_FROM_BYTES: Final = (
    32 << 20
)  # a larger piece is mapped by itself and given back when freed; glibc allows no more
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
HUGE_PAGE_SIZE: Final = Path("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")  # in bytes; 2 MiB, mostly
HUGE_BYTES_MAX: Final = 64 << 20  # moving takes time, and a node with a large state would come up later
_MAPS: Final = Path("/proc/self/maps")
_MADV_COLLAPSE: Final = 25  # Linux 6.1 and later; others refuse it


def keep_freed() -> bool:
    """Keep freed memory for the next message; False where the C library is not glibc, and nothing has changed.

    A value of 1 MiB passes through some ten buffers of its size. Given back each time, each of its pages costs a fault
    and is filled with zeros by the kernel before it is overwritten: a quarter of all processor time with such values.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES) and mallopt(_M_MMAP_THRESHOLD, MAPPED_FROM_BYTES))


def use_huge_pages() -> int:
    """Put what the process holds by now into huge pages, where Linux can; returns how many bytes went (madvise(2)).

    A node that has started keeps some 16 MiB of objects, and a write touches many of them. In pages of 4 KiB they are
    more than a processor remembers the places of, the less so as four processes take turns on it.
    """
    madvise = getattr(ctypes.CDLL(None), "madvise", None)
    if madvise is None or not HUGE_PAGE_SIZE.exists():
        return 0
    page_bytes = int(HUGE_PAGE_SIZE.read_text())
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    moved_bytes = 0
    for start, end in heap_ranges(_MAPS.read_text()):
        for address in range(start + -start % page_bytes, end - page_bytes + 1, page_bytes):
            if moved_bytes < HUGE_BYTES_MAX and madvise(address, page_bytes, _MADV_COLLAPSE) == 0:
                moved_bytes += page_bytes
    return moved_bytes


def heap_ranges(maps: str) -> Iterator[tuple[int, int]]:
    """The ranges of addresses in `maps` (proc(5)) that are the process's own and no file's."""
    for line in maps.splitlines():
        addresses, permissions, _offset, _device, _inode, *name = line.split(maxsplit=5)
        if permissions == "rw-p" and name in ([], ["[heap]"]):
            start, _, end = addresses.partition("-")
            yield int(start, 16), int(end, 16)

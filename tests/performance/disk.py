"""What the disk can do by itself, written as the log writes: into allocated blocks, synced each time."""

import os
import time
from pathlib import Path

BLOCK_BYTES = 1 << 20
FILE_BLOCKS = 128


def synced_bytes_per_s(directory: Path, seconds: float) -> float:
    """The rate of 1 MiB pwrite + fdatasync, one after the other, in a file whose blocks have been written before."""
    path = directory / "disk-rate"
    block = os.urandom(BLOCK_BYTES)
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        for number in range(FILE_BLOCKS):
            os.pwrite(descriptor, block, number * BLOCK_BYTES)
        os.fsync(descriptor)
        written, begun_s = 0, time.perf_counter()
        while (elapsed_s := time.perf_counter() - begun_s) < seconds:
            os.pwrite(descriptor, block, written % FILE_BLOCKS * BLOCK_BYTES)
            os.fdatasync(descriptor)
            written += 1
        return written * BLOCK_BYTES / elapsed_s
    finally:
        os.close(descriptor)
        path.unlink()

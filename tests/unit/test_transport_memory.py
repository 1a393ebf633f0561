"""How a process arranges its memory: each time in a process of its own, since it holds for a whole one."""

import platform
import subprocess
import sys

from raft_zmq.transport.memory import HUGE_BYTES_MAX, HUGE_PAGE_SIZE, heap_ranges

SCRIPT = """
import resource, sys
from raft_zmq.transport.memory import keep_freed

def use_and_free():
    return len([b"x" * (1 << 20) for _ in range(8)])

if sys.argv[1] == "kept":
    assert keep_freed()
use_and_free()
use_and_free()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    use_and_free()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _page_faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, timeout=30, check=True)
    return int(done.stdout)


def test_what_was_freed_is_used_again_without_a_page_fault():
    assert _page_faults("kept") < 200
    assert _page_faults("as it comes") > 10_000, "otherwise there is no need for it any more"


HUGE_SCRIPT = """
from pathlib import Path
from raft_zmq.transport.memory import use_huge_pages

def in_huge_pages():
    found = [line for line in Path("/proc/self/smaps_rollup").read_text().splitlines() if "AnonHugePages" in line]
    return int(found[0].split()[1]) << 10

kept = [str(number) for number in range(500_000)]
moved = use_huge_pages()
assert kept == [str(number) for number in range(500_000)]
print(moved, in_huge_pages())
"""


def _can_collapse() -> bool:
    version = tuple(map(int, platform.release().split("-")[0].split(".")[:2]))
    return platform.system() == "Linux" and version >= (6, 1) and HUGE_PAGE_SIZE.exists()


def test_what_went_into_huge_pages_is_there_and_unchanged():
    """where the system has none, nothing goes"""
    done = subprocess.run([sys.executable, "-c", HUGE_SCRIPT], capture_output=True, text=True, timeout=60, check=True)
    moved_bytes, found_bytes = map(int, done.stdout.split())
    assert (moved_bytes > 0) == _can_collapse()
    assert moved_bytes <= min(HUGE_BYTES_MAX, found_bytes)


def test_only_memory_of_the_process_itself_is_taken():
    maps = """\
55a0-55b0 r-xp 00002000 fe:00 247278                     /usr/bin/python3.11
55b0-55c0 rw-p 0000b000 fe:00 247278                     /usr/bin/python3.11
5560-55f0 rw-p 00000000 00:00 0                          [heap]
7f40-7f50 rw-p 00000000 00:00 0
7f60-7f70 ---p 00000000 00:00 0
7fe0-7ff0 rw-p 00000000 00:00 0                          [stack]
"""
    assert list(heap_ranges(maps)) == [(0x5560, 0x55F0), (0x7F40, 0x7F50)]

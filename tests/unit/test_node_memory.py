"""Memory freed is kept for the next large message: in a process of its own, since it holds for a whole process."""

import subprocess
import sys

SCRIPT = """
import resource, sys
from raft_zmq.node.memory import keep_freed

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

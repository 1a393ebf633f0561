"""`python -m tests.fuzz --seconds 60 [--reader log]`: each reader under the coverage-guided fuzzer for so long.

Each runs in a process of its own, and goes on from the inputs that earlier runs found worth keeping (build/fuzz/). An
input that fails is shown, kept as build/fuzz/<reader>-crash-…, and ends the run with exit code 1; put it into
tests/fuzz/corpus/<reader>/, where the unit tests run it from then on.
"""

import argparse
import importlib.util
import random
import subprocess
import sys
from pathlib import Path

INPUT_BYTES_MAX = {"wire": 4096, "log": 4096, "snapshot": 4096, "settings": 400}  # YAML nested deeper takes seconds
MEMORY_MB_MAX = 1024
INPUT_TIMEOUT_S = 60
FOUND = Path("build/fuzz")


def main() -> int:
    """Run what the arguments say; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__, allow_abbrev=False)
    parser.add_argument("--seconds", type=int, default=60, help="for each reader (default: 60)")
    parser.add_argument("--reader", choices=INPUT_BYTES_MAX, action="append", help="only that one; may be repeated")
    parser.add_argument("--in-this-process", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        parser.error("expected atheris, found none: there is none for this machine. Hypothesis runs in the unit tests.")
    readers = arguments.reader or INPUT_BYTES_MAX
    if arguments.in_this_process:
        _fuzz(arguments.reader[0], arguments.seconds)
    return max([_run(reader, arguments.seconds) for reader in readers])


def _run(reader: str, seconds: int) -> int:
    command = [sys.executable, "-m", "tests.fuzz", "--in-this-process", "--reader", reader, "--seconds", str(seconds)]
    return int(subprocess.run(command, check=False).returncode != 0)


def _fuzz(reader: str, seconds: int) -> None:
    """Never returns: the fuzzer ends the process."""
    import atheris  # only where there is one, and only in the process that it takes over

    with atheris.instrument_imports(include=["raft_zmq", "yaml"]):
        from tests.fuzz.mutate import mutate
        from tests.fuzz.readers import READERS
        from tests.fuzz.samples import SAMPLES

    def change(data: bytes, max_bytes: int, seed: int) -> bytes:
        """Half of the time keep the input's shape, where it has one."""
        rng = random.Random(seed)
        changed = mutate(reader, data, rng) if rng.random() < 0.5 else None
        return changed[:max_bytes] if changed is not None else atheris.Mutate(data, max_bytes)

    corpus = FOUND / reader
    corpus.mkdir(parents=True, exist_ok=True)
    for number, sample in enumerate(SAMPLES[reader]()):
        (corpus / f"sample-{number}").write_bytes(sample)
    options = {
        "max_total_time": seconds,
        "max_len": INPUT_BYTES_MAX[reader],
        "rss_limit_mb": MEMORY_MB_MAX,
        "timeout": INPUT_TIMEOUT_S,
        "artifact_prefix": f"{FOUND / reader}-",
        "print_final_stats": 1,
        "len_control": 0,
    }
    flags = [f"-{name}={value}" for name, value in options.items()]
    atheris.Setup([reader, *flags, str(corpus)], READERS[reader], custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())

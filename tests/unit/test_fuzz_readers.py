"""The readers of tests/fuzz under Hypothesis, and over every input that a fuzzer once found something with."""

import random
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from tests import fuzz
from tests.fuzz.mutate import mutate
from tests.fuzz.readers import READERS
from tests.fuzz.samples import SAMPLES

CORPUS = Path(fuzz.__file__).parent / "corpus"
EXAMPLES = 80
KEPT = sorted(CORPUS.glob("*/*"))


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_once_found_something(path):
    READERS[path.parent.name](path.read_bytes())


@pytest.mark.parametrize("reader", READERS)
def test_what_the_writers_write(reader):
    for sample in SAMPLES[reader]():
        READERS[reader](sample)


@pytest.mark.parametrize("reader", READERS)
def test_any_bytes(reader):
    @given(st.binary(max_size=300))
    @settings(max_examples=EXAMPLES, deadline=None, database=None)
    def holds(data: bytes) -> None:
        READERS[reader](data)

    holds()


@pytest.mark.parametrize("reader", READERS)
def test_sound_inputs_with_some_bytes_changed(reader):
    changes = st.lists(st.tuples(st.integers(0, 4200), st.integers(0, 255)), min_size=1, max_size=4)

    @given(st.sampled_from(SAMPLES[reader]()), changes)
    @settings(max_examples=EXAMPLES, deadline=None, database=None)
    def holds(sample: bytes, changes: list[tuple[int, int]]) -> None:
        data = bytearray(sample)
        for position, value in changes:
            data[position % len(data)] = value
        READERS[reader](bytes(data))

    holds()


@pytest.mark.parametrize("reader", ["wire", "log", "snapshot"])
def test_sound_inputs_that_keep_their_shape(reader):
    @given(st.sampled_from(SAMPLES[reader]()), st.integers(0, 2**32), st.integers(1, 5))
    @settings(max_examples=EXAMPLES, deadline=None, database=None)
    def holds(sample: bytes, seed: int, times: int) -> None:
        rng = random.Random(seed)
        for _ in range(times):
            sample = mutate(reader, sample, rng) or sample
        READERS[reader](sample)

    holds()

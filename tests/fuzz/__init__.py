"""Fuzzing of everything that reads bytes made elsewhere: `python -m tests.fuzz --seconds 60`, or `make fuzz`.

readers.py holds the readers as functions of bytes, samples.py sound inputs to begin from, corpus/ the inputs that once
found something. tests/unit/test_fuzz_readers.py runs the same functions under Hypothesis, and over the corpus.
"""

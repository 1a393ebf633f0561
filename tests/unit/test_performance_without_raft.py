"""The measure of what is possible without Raft: its ratios say which side is the faster, and its disk keeps all."""

import pytest

from tests.performance import skeleton
from tests.performance.rows.without_raft import VALUE_BYTES, lone_figures, rate_figures


def pair(ours: float, without: float, what: str) -> dict[str, dict[str, float]]:
    return {"ours": {what: ours}, "without": {what: without}}


def test_latency_is_ours_by_the_skeletons_and_the_skeletons_by_etcds():
    report = {"cells": [{"ours": {"p50_ms": 0.6}, "etcd": {"p50_ms": 0.8}, "ratio": {"p50_ms": 0.75}}]}
    ours, etcd = lone_figures([pair(1.2, 0.6, "p50_ms"), pair(0.9, 0.6, "p50_ms"), pair(3.0, 0.6, "p50_ms")], report)
    assert (ours.value, etcd.value) == (pytest.approx(2.0), 0.75)
    assert ours.note == "ours 1.20 ms, without 0.60 ms"


def test_without_etcd_there_is_no_ratio_to_it():
    assert len(lone_figures([pair(1.2, 0.6, "p50_ms")], None)) == 1


def test_the_rate_is_ours_by_the_skeletons_and_the_skeletons_by_the_disks():
    ours, disk = rate_figures([pair(100, 200, "ops_per_s")], [1200.0 * VALUE_BYTES])
    assert (ours.value, disk.value) == (0.5, pytest.approx(0.5))


def test_the_disk_keeps_records_round_and_round(tmp_path, monkeypatch):
    monkeypatch.setattr(skeleton, "FILE_BYTES", 8)
    monkeypatch.setattr(skeleton, "BLOCK_BYTES", 4)
    disk = skeleton.Disk(tmp_path / "records")
    disk.keep([memoryview(b"abc"), memoryview(b"def")])
    assert (tmp_path / "records").read_bytes() == b"abcdef\0\0"
    disk.keep([memoryview(b"ghi")])
    assert (tmp_path / "records").read_bytes() == b"ghidef\0\0"

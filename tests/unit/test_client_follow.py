"""Following a history while it is written."""

import threading

from prometheus_client import CollectorRegistry

from client.follow import SILENCE_S_MAX, START_S_MAX, Writer, follow
from client.history import Asked, HistoryWriter
from client.listen import Listener
from client.workload import Recorder


def test_follows_until_the_history_is_complete(tmp_path):
    path = tmp_path / "history.jsonl"
    printed: list[bytes] = []
    seen = threading.Event()

    def write(data: bytes) -> None:
        printed.append(data)
        seen.set()

    ended: list[bool] = []
    with Listener(0, lambda: None, CollectorRegistry()) as listener:
        follower = threading.Thread(target=lambda: ended.append(follow(path, Writer(listener.port), write)))
        follower.start()
        with HistoryWriter(path) as history:
            Recorder(history).record("c", 1, Asked("get", "k"), 1, "ok", "first")
            assert seen.wait(10)  # before the end: it follows, it does not wait
            Recorder(history).record("c", 2, Asked("get", "k"), 1, "ok", "second")
        follower.join(10)
    assert ended == [True]
    assert b"".join(printed) == path.read_bytes()
    assert b"".join(printed).count(b"\n") == 2


def test_half_a_line_waits_for_its_end(tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_bytes(b'{"a": 1}\n{"b"')
    (tmp_path / "history.jsonl.done").touch()
    printed: list[bytes] = []
    assert follow(path, Writer(1), printed.append)
    assert b"".join(printed) == b'{"a": 1}\n'


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_writer_that_never_came_is_given_a_minute():
    clock = Clock()
    writer = Writer(1, clock)  # nobody listens there
    clock.now_s = START_S_MAX - 1
    assert not writer.gone()
    clock.now_s = START_S_MAX + 1
    assert writer.gone()


def test_writer_that_went_is_given_seconds(tmp_path):
    clock = Clock()
    with Listener(0, lambda: None, CollectorRegistry()) as listener:
        writer = Writer(listener.port, clock)
        assert not writer.gone()
    clock.now_s = SILENCE_S_MAX - 1
    assert not writer.gone()
    clock.now_s = SILENCE_S_MAX + 1
    assert writer.gone()

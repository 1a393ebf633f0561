"""The dict that freezes at once, against a dict that is copied."""

import threading

from hypothesis import given, settings
from hypothesis import strategies as st

from raft_zmq.state_machine.parted_dict import PartedDict

KEYS = st.binary(min_size=1, max_size=2)


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.tuples(st.sampled_from(["put", "remove", "freeze"]), KEYS, st.binary(max_size=2)), max_size=80))
def test_frozen_views_keep_what_was_there(steps):
    parted, model, views = PartedDict(), {}, []
    for what, key, value in steps:
        match what:
            case "put":
                assert parted.put(key, value) == (key not in model)
                model[key] = value
            case "remove":
                assert parted.remove(key) == (model.pop(key, None) is not None)
            case "freeze":
                views.append((parted.frozen(), model.copy()))
        assert (len(parted), parted.get(key), key in parted) == (len(model), model.get(key), key in model)
    assert sorted(parted) == sorted(model)
    assert all(parted[key] == value for key, value in model.items())
    for view, want in views:
        assert dict(view) == want


def test_a_view_is_read_by_another_thread_while_writes_go_on():
    parted = PartedDict()
    for number in range(20_000):
        parted.put(b"%d" % number, b"before")
    seen: list[tuple[bytes, bytes]] = []
    view = parted.frozen()
    reader = threading.Thread(target=lambda: seen.extend(view))
    reader.start()
    for number in range(20_000):
        parted.put(b"%d" % number, b"after")
        parted.remove(b"%d" % (number - 10))
    reader.join(timeout=60)
    assert len(seen) == 20_000
    assert {value for _, value in seen} == {b"before"}
    assert len(parted) == 10

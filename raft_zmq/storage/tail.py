"""What stands behind the last sound record: nothing, a torn write, or damage (rule 26).

Only the very last record can be torn, because each is synced before the next is written, and a torn record was never
promised to anyone: it is cut. Everything else that is bad was once synced: that is damage, and nothing is cut. Where
both explanations are possible (the end mark stands, but the record has a blank sector, be it missing or a sector of
zeros that a client wrote) it counts as torn.
"""

from pathlib import Path

from raft_zmq.storage.errors import CorruptionError, Repair
from raft_zmq.storage.record import ALIGNMENT_BYTES, HEADER, MAGIC, SECTOR_BYTES, frame_end, has_end_mark, read_frame

_ZEROS = bytes(1 << 16)


def judge_tail(path: Path, data: bytes, end: int, segment: int, segment_bytes: int) -> Repair | None:
    """What to cut behind `end`, where the last sound record of the last segment ends; None if it is clean.

    `segment_bytes` is the size the file was made with. Raises CorruptionError for anything but a torn write.
    """
    if len(data) < segment_bytes and (len(data) - end < ALIGNMENT_BYTES or any(data[end : end + ALIGNMENT_BYTES])):
        # Had blank bytes followed the last record, no other could have come behind it; here one may have been lost.
        raise CorruptionError(path, end, f"expected a file of {segment_bytes} bytes, found {len(data)}: it was cut off")
    written = _written_end(data, end)
    if written == end:
        return None
    with memoryview(data) as view:
        behind = _sound_record_behind(data, view, end, segment)
        if behind is not None:
            raise CorruptionError(
                path, end, f"expected a sound record, found a damaged one, and a sound one behind it at {behind}"
            )
        if any(_complete(view, end, until, segment) for until in (_claimed_end(view, end), written)):
            raise CorruptionError(
                path, end, "expected a sound record, found one that was written to its end and is damaged since"
            )
    return Repair(path.name, end, written - end, "the last record was not written to its end: it was never synced")


def _written_end(data: bytes, start: int) -> int:
    """Where the zeros that reach to the end of the file begin, on a record's alignment; at least `start`."""
    end = len(data)
    while end > start:
        block = max(start, end - len(_ZEROS))
        if data[block:end] != _ZEROS[: end - block]:
            end = block + len(data[block:end].rstrip(b"\0"))
            break
        end = block
    return end + -end % ALIGNMENT_BYTES


def _sound_record_behind(data: bytes, view: memoryview, offset: int, segment: int) -> int | None:
    position = data.find(MAGIC, offset + 1)
    while position != -1:
        if position % ALIGNMENT_BYTES == 0 and read_frame(view, position, segment) is not None:
            return position
        position = data.find(MAGIC, position + 1)
    return None


def _claimed_end(view: memoryview, offset: int) -> int:
    """Where the bad record ends if its header can be believed."""
    if offset + HEADER.size > len(view):
        return offset
    body_bytes: int = HEADER.unpack_from(view, offset)[2]
    return frame_end(offset, body_bytes)


def _complete(view: memoryview, start: int, end: int, segment: int) -> bool:
    """Whether one write from `start` to `end` reached the medium: its end mark stands and no sector is blank."""
    if end <= start or not has_end_mark(view, end, segment):
        return False
    piece = start
    while piece < end:
        until = min(piece - piece % SECTOR_BYTES + SECTOR_BYTES, end)
        if view[piece:until] == _ZEROS[: until - piece]:
            return False
        piece = until
    return True

"""What sockets, encryption and disk cost by themselves: a write's way through three nodes, without Raft.

A client, a leader and two followers, each a process of its own with one loop, over the same DEALER and ROUTER sockets
with CURVE as the product's, as many connections, and each record written and synced three times, a majority awaited.
Nobody is asked who may connect; nothing is checked, numbered, kept, applied or put into snapshots, nobody could take
over, and the file is written round and round, so no block of it is new. It is no proof of what is possible: who syncs
beside the loop, or writes past the page cache, may be faster with large records.
"""

import argparse
import json
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import zmq

from raft_zmq.transport.memory import keep_freed
from raft_zmq.transport.sockets import FRAME_BYTES_MAX, is_readable, let_go, new_socket
from tests.performance.load import percentile

FILE_BYTES = 128 << 20
BLOCK_BYTES = 1 << 20
HOST = "tcp://127.0.0.1"
WARM_UP_S = 1.0
CLIENTS_A_CONNECTION = 128
_spawn = multiprocessing.get_context("spawn")


class Disk:
    """Records written one behind the other and synced, in a file whose blocks have all been written before."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        self._at = 0
        for offset in range(0, FILE_BYTES, BLOCK_BYTES):
            os.pwrite(self._descriptor, bytes(BLOCK_BYTES), offset)
        os.fsync(self._descriptor)

    def keep(self, records: list[memoryview]) -> None:
        """Return once all of them are on the disk."""
        if self._at + sum(map(len, records)) > FILE_BYTES:
            self._at = 0
        self._at += os.pwritev(self._descriptor, records, self._at)
        os.fdatasync(self._descriptor)


def _serve(context: zmq.Context, keys: tuple[bytes, bytes], tell: Connection) -> zmq.Socket:
    """A ROUTER on a free port, which is told."""
    socket = new_socket(context, zmq.ROUTER, FRAME_BYTES_MAX)
    socket.curve_server, (socket.curve_publickey, socket.curve_secretkey) = True, keys
    tell.send(socket.bind_to_random_port(HOST))
    return socket


def _connect(context: zmq.Context, port: int, server_public: bytes) -> zmq.Socket:
    socket = new_socket(context, zmq.DEALER, FRAME_BYTES_MAX)
    socket.curve_serverkey = server_public
    socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
    socket.connect(f"{HOST}:{port}")
    return socket


def _arrived(socket: zmq.Socket) -> Iterator[list[zmq.Frame]]:
    """The messages that wait; their frames stay where libzmq has them."""
    while is_readable(socket):
        yield socket.recv_multipart(copy=False)


def follow(path: Path, keys: tuple[bytes, bytes], tell: Connection) -> None:
    """Keep what comes, and say how many records that was."""
    keep_freed()
    disk, socket = Disk(path), _serve(zmq.Context(), keys, tell)
    while socket.poll():
        messages = list(_arrived(socket))
        disk.keep([body.buffer for _, body in messages])
        socket.send_multipart([messages[0][0], str(len(messages)).encode()])
        let_go()


def lead(path: Path, keys: tuple[bytes, bytes], tell: Connection, follower_ports: list[int]) -> None:
    """Hand on what comes, keep it, and answer each record once two of the three have it."""
    keep_freed()
    context, disk = zmq.Context(), Disk(path)
    clients = _serve(context, keys, tell)
    followers = [_connect(context, port, keys[0]) for port in follower_ports]
    poller = zmq.Poller()
    for socket in (clients, *followers):
        poller.register(socket, zmq.POLLIN)
    kept, answered, waiting = [0, 0, 0], 0, deque[zmq.Frame]()
    while poller.poll():
        for number, follower in enumerate(followers):
            kept[number] += sum(int(confirmed.bytes) for (confirmed,) in _arrived(follower))
        if messages := list(_arrived(clients)):
            for _, body in messages:
                for follower in followers:
                    follower.send(body, copy=False)
            let_go()
            disk.keep([body.buffer for _, body in messages])
            kept[2] += len(messages)
            waiting.extend(sender for sender, _ in messages)
        while answered < sorted(kept)[1]:
            clients.send_multipart([waiting.popleft(), b""])
            answered += 1


def load(port: int, server_public: bytes, clients: int, size_bytes: int, seconds: float) -> dict[str, float]:
    """Keep so many records under way, a second to warm up and then for so long; rate and latencies."""
    context, body = zmq.Context(), os.urandom(size_bytes)
    sockets = [_connect(context, port, server_public) for _ in range(1 + clients // CLIENTS_A_CONNECTION)]
    poller, sent_s = zmq.Poller(), {socket: deque[float]() for socket in sockets}
    for socket in sockets:
        poller.register(socket, zmq.POLLIN)

    def send(socket: zmq.Socket) -> None:
        sent_s[socket].append(time.perf_counter())
        socket.send(body)

    for number in range(clients):
        send(sockets[number % len(sockets)])
    latencies_s: list[float] = []
    begin_s = time.perf_counter() + WARM_UP_S
    while (now_s := time.perf_counter()) < begin_s + seconds:
        for socket, _ in poller.poll(100):
            socket.recv()
            if now_s >= begin_s:
                latencies_s.append(time.perf_counter() - sent_s[socket][0])
            sent_s[socket].popleft()
            send(socket)
    return {
        "ops_per_s": len(latencies_s) / seconds,
        "p50_ms": 1000 * percentile(latencies_s, 0.5),
        "p99_ms": 1000 * percentile(latencies_s, 0.99),
        "errors": 0,
    }


def measure(folder: Path, clients: int, size_bytes: int, seconds: float) -> dict[str, float]:
    """Start the three, load them, end them."""
    keys = zmq.curve_keypair()
    paths = [folder / f"skeleton-{number}" for number in range(3)]
    nodes: list[multiprocessing.process.BaseProcess] = []

    def start(target: object, path: Path, *more: object) -> int:
        heard, tell = _spawn.Pipe(duplex=False)
        nodes.append(_spawn.Process(target=target, args=(path, keys, tell, *more), daemon=True))
        nodes[-1].start()
        tell.close()  # so that a node that dies before it has told anything is noticed
        return int(heard.recv())

    try:
        followers = [start(follow, path) for path in paths[:2]]
        return load(start(lead, paths[2], followers), keys[0], clients, size_bytes, seconds)
    finally:
        for node in nodes:
            node.kill()
            node.join()
        for path in paths:
            path.unlink(missing_ok=True)


def main() -> None:
    """Print the figures as `client bench --json` does."""
    parser = argparse.ArgumentParser(prog="python -m tests.performance.skeleton", description=__doc__)
    parser.add_argument("folder", type=Path, help="on the disk that is to be measured")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--size", type=int, default=256, help="bytes of a record")
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    keep_freed()
    print(json.dumps(measure(arguments.folder, arguments.clients, arguments.size, arguments.seconds)))


if __name__ == "__main__":
    main()

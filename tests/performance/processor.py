"""What a replicated byte costs the processors at the very least: to bring it over and to keep it, and nothing else."""

import os
import subprocess
import sys
import time
from pathlib import Path

import zmq
from zlib_ng.zlib_ng import crc32

from raft_zmq.transport.memory import keep_freed

BLOCK_BYTES = 1 << 20
BLOCKS = 96


def bytes_per_s(directory: Path, copies: int) -> float:
    """The rate at which all processors together could take in bytes that are to be kept in so many copies.

    Each copy is sent once over an encrypted connection, checksummed once, and written and synced once; measured in a
    process of its own that holds on to its memory as a node does.
    """
    command = [sys.executable, "-m", __name__, str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return len(os.sched_getaffinity(0)) / (copies * float(done.stdout))


def _hop_s_per_byte() -> float:
    """Processor time of sending, encrypting, receiving and decrypting over loopback, all threads together."""
    context = zmq.Context()
    public, secret = zmq.curve_keypair()
    server, client = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
    try:
        server.curve_server, server.curve_secretkey = True, secret
        port = server.bind_to_random_port("tcp://127.0.0.1")
        client.curve_serverkey = public
        client.curve_publickey, client.curve_secretkey = zmq.curve_keypair()
        client.connect(f"tcp://127.0.0.1:{port}")
        block = os.urandom(BLOCK_BYTES)

        def send_over() -> None:
            client.send(block)
            server.recv_multipart(copy=False)

        send_over()  # the handshake
        begun_s = time.process_time()
        for _ in range(BLOCKS):
            send_over()
        return (time.process_time() - begun_s) / (BLOCKS * BLOCK_BYTES)
    finally:
        client.close(linger=0)
        server.close(linger=0)
        context.term()


def _keeping_s_per_byte(directory: Path) -> float:
    """Processor time of a checksum and of 1 MiB pwrite + fdatasync, in a file whose blocks have been written before."""
    path = directory / "processor-rate"
    block = os.urandom(BLOCK_BYTES)
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        for number in range(BLOCKS):
            os.pwrite(descriptor, block, number * BLOCK_BYTES)
        os.fsync(descriptor)
        begun_s = time.process_time()
        for number in range(BLOCKS):
            crc32(block)
            os.pwrite(descriptor, block, number * BLOCK_BYTES)
            os.fdatasync(descriptor)
        return (time.process_time() - begun_s) / (BLOCKS * BLOCK_BYTES)
    finally:
        os.close(descriptor)
        path.unlink()


if __name__ == "__main__":
    keep_freed()
    print(_hop_s_per_byte() + _keeping_s_per_byte(Path(sys.argv[1])))

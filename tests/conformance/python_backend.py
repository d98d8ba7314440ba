"""Serves the in-memory backend of the official Python package on a free port until it is killed."""

import socket
import threading

from durabletask.testing import create_test_backend


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    port = free_port()
    create_test_backend(port=port)
    print(f"Endpoint=http://127.0.0.1:{port};TaskHub=default;Authentication=None", flush=True)
    threading.Event().wait()

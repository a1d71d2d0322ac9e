"""Start scripts of the project in processes of their own without paying for the imports each time.

`python zygote.py FD` imports torch, Lightning and the like once, and forks a child for each request that it reads from
the socket FD. The child gets the working directory, environment, arguments and standard streams of the request, and
runs the script as `__main__`. A child is a real process: signals, exit codes and its own children are as in use.
"""

import contextlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

STREAMS = 3


class Child:
    """A started script, used like `subprocess.Popen` with pipes for text."""

    def __init__(self, pid: int, status: int, stdout: IO[str], stderr: IO[str]) -> None:
        self.pid, self.stdout, self.stderr = pid, stdout, stderr
        self.returncode: int | None = None
        self._status = status

    def poll(self, seconds: float = 0) -> int | None:
        """Return the exit code, negative for a signal; None while the process is running."""
        if self.returncode is None and select.select([self._status], [], [], seconds)[0]:
            self.returncode = int(os.read(self._status, 100))
            os.close(self._status)
        return self.returncode

    def send_signal(self, signum: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, signum)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float = 120) -> tuple[str, str]:
        """Return all that is left to read of stdout and stderr, once the process has ended."""
        read = ["", ""]

        def read_all(i: int, stream: IO[str]) -> None:
            read[i] = stream.read()

        readers = [
            threading.Thread(target=read_all, args=(i, stream), daemon=True)
            for i, stream in enumerate((self.stdout, self.stderr))
        ]
        for reader in readers:
            reader.start()
        deadline = time.monotonic() + timeout
        for reader in readers:
            reader.join(max(0.0, deadline - time.monotonic()))
        if any(reader.is_alive() for reader in readers) or self.poll(max(0.1, deadline - time.monotonic())) is None:
            self.kill()
            raise subprocess.TimeoutExpired(str(self.pid), timeout)
        self.stdout.close()
        self.stderr.close()
        return read[0], read[1]

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.stdout.close()
        self.stderr.close()


class Zygote:
    """The client: starts the process that forks, with more `environment`, when the first script is started."""

    def __init__(self, **environment: str) -> None:
        self._environment = {**os.environ, **environment}
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def close(self) -> None:
        """End the process that forks."""
        if self._socket is not None and self._process is not None:
            self._socket.close()
            self._process.wait(20)

    def start(self, script: Path, arguments: Sequence[object], cwd: Path, environment: dict[str, str]) -> Child:
        if self._socket is None:
            self._socket, other = socket.socketpair()
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(other.fileno())],
                pass_fds=[other.fileno()],
                start_new_session=True,
                env=self._environment,
            )
            other.close()
        (out, to_out), (err, to_err), (status, to_status) = (os.pipe() for _ in range(3))
        request = {"argv": [str(script), *map(str, arguments)], "cwd": str(cwd), "environment": environment}
        message = json.dumps(request).encode()
        streams = [os.open(os.devnull, os.O_RDONLY), to_out, to_err, to_status]
        socket.send_fds(self._socket, [len(message).to_bytes(4, "big")], streams)
        self._socket.sendall(message)
        for descriptor in streams:
            os.close(descriptor)
        pid = int.from_bytes(_receive(self._socket, 4), "big")
        return Child(pid, status, os.fdopen(out, encoding="utf-8"), os.fdopen(err, encoding="utf-8"))


def _receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def serve(connection: socket.socket) -> dict[str, Any] | None:
    """Fork a child for each request and report its end; return the request in the child, None at the end."""
    running: dict[int, int] = {}  # process id -> where its exit code goes
    while True:
        ready, _, _ = select.select([connection], [], [], 0.02 if running else None)
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                status = running.pop(ended[0])
                with contextlib.suppress(BrokenPipeError):
                    os.write(status, b"%d" % os.waitstatus_to_exitcode(ended[1]))
                os.close(status)
        if not ready:
            continue
        size, streams, _, _ = socket.recv_fds(connection, 4, STREAMS + 1)
        if not size:
            return None
        request: dict[str, Any] = json.loads(_receive(connection, int.from_bytes(size, "big")))
        pid = os.fork()
        if not pid:
            os.setsid()
            for number, stream in enumerate(streams[:STREAMS]):
                os.dup2(stream, number)
            connection.close()
            for descriptor in (*streams, *running.values()):
                os.close(descriptor)
            return request
        for stream in streams[:STREAMS]:
            os.close(stream)
        running[pid] = streams[STREAMS]
        connection.sendall(pid.to_bytes(4, "big"))


if __name__ == "__main__":
    import charrnn.experiment
    import charrnn.runs.sweep  # noqa: F401

    request = serve(socket.socket(fileno=int(sys.argv[1])))
    if request is not None:
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["environment"])
        # New objects: those of the parent know whether its own streams can seek, or are a terminal.
        sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
        sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace")
        sys.argv = request["argv"]
        sys.path[0] = str(Path(sys.argv[0]).parent)
        runpy.run_path(sys.argv[0], run_name="__main__")

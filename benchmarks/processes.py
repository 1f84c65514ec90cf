"""A server as a process of its own: its environment, its log, its memory."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from pathlib import Path

STARTING = 60  # seconds that a server may take to start, and to stop
SERVING = re.compile(r"Serving on http://127\.0\.0\.1:(\d+)/")

Address = tuple[str, int]


class Running:
    """A server process, from its start until :meth:`stop`."""

    def __init__(self, command: list[str], folder: Path, settings: dict[str, str]) -> None:
        self.log = folder / "log.txt"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=folder, env=environment(settings)
            )

    def await_start(self, port: int) -> Address:
        """The address, once connections are accepted there.

        :param port: 0 when the server chooses one and writes it to its log.
        :raises RuntimeError: when it does not start.
        """
        deadline = time.monotonic() + STARTING
        while time.monotonic() < deadline and self.process.poll() is None:
            said = SERVING.search(self.log.read_text())
            chosen = port or (int(said[1]) if said else 0)
            try:
                socket.create_connection(("127.0.0.1", chosen), timeout=1).close()
                return "127.0.0.1", chosen
            except OSError:
                time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"The server did not start: {self.log.read_text()[-2000:]}")

    def memory(self) -> tuple[int, int]:
        """Bytes in memory now, and the most since :meth:`forget_peak`."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        now, most = (re.search(rf"{key}:\s+(\d+) kB", status) for key in ("VmRSS", "VmHWM"))
        return int(now[1]) * 1024, int(most[1]) * 1024

    def forget_peak(self) -> None:
        """Lets the peak begin anew at what is in memory now."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def stop(self) -> None:
        """Ends the process, by force when it must be."""
        self.process.terminate()
        try:
            self.process.wait(STARTING)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def environment(settings: dict[str, str]) -> dict[str, str]:
    """The environment without what would change a server's settings, and with these."""
    ours = ("EXTRAPYPI_", "PYPISERVER_", "PYTHON")
    return {key: text for key, text in os.environ.items() if not key.startswith(ours)} | settings


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]

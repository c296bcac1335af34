"""A Ray cluster whose hosts are network namespaces of this machine: each has an address, and can be cut off.

The first host is the head, without CPUs for cells; where commands run that are to see the cluster. Needs root.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

PORT = 6391
STAND_IN = Path(__file__).parents[1] / "src" / "kilowit" / "parts" / "without_amdsmi"
# A host that does not answer is given up after about fifteen seconds rather than Ray's thirty.
FAST = {
    "RAY_health_check_initial_delay_ms": "2000", "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "3000", "RAY_health_check_failure_threshold": "5",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "10", "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",  # nobody else is on these networks
}  # fmt: skip


def why_not() -> str:
    """Say why hosts cannot be made here; empty if they can."""
    if shutil.which("ip") is None:
        return "needs the command ip (iproute2)"
    name = f"kw{os.getpid()}t"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode:
        return "needs the right to make network namespaces (root)"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return ""


class RayHosts:
    """A context manager around the cluster.

    Args:
        num_hosts: besides the head.
        num_cpus: of each of them.
    """

    def __init__(self, num_hosts: int = 2, num_cpus: int = 1) -> None:
        self._num_cpus = num_cpus
        self._names = [f"kw{os.getpid()}h{number}" for number in range(num_hosts + 1)]
        self._rays: list[subprocess.Popen[bytes]] = []
        self._folder = Path(tempfile.mkdtemp(prefix="kr", dir="/tmp"))  # short: Ray's sockets are in it

    @property
    def address(self) -> str:
        """Where the cluster is, seen from its hosts."""
        return f"{_address(0)}:{PORT}"

    def __enter__(self) -> Self:
        try:
            self._make()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def environment(self) -> dict[str, str]:
        """What a command on the head is to be given."""
        path = os.pathsep.join([str(STAND_IN), *sys.path])
        own = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}  # gRPC minds them
        return {**own, **FAST, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}

    def command(self, command: Sequence[str], host: int = 0) -> list[str]:
        """Return the command that runs a command on a host."""
        return ["ip", "netns", "exec", self._names[host], *command]

    def cut_off(self, host: int) -> None:
        """Take a host's cable out."""
        _ip("-n", self._names[0], "link", "set", f"to{host}", "down")

    def put_back(self, host: int) -> None:
        """Put it in again, and start Ray there anew."""
        _ip("-n", self._names[0], "link", "set", f"to{host}", "up")
        self._end(self._rays[host])
        self._rays[host] = self._start(host)
        self._wait_for(len(self._names))

    def close(self) -> None:
        """End Ray and take the hosts away."""
        for process in self._rays:
            self._end(process)
        for name in self._names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _make(self) -> None:
        for name in self._names:
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        head = self._names[0]
        _ip("-n", head, "link", "add", "br0", "type", "bridge")
        _ip("-n", head, "addr", "add", f"{_address(0)}/24", "dev", "br0")
        _ip("-n", head, "link", "set", "br0", "up")
        for number, name in enumerate(self._names[1:], start=1):
            _ip("-n", head, "link", "add", f"to{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("-n", head, "link", "set", f"to{number}", "master", "br0", "up")
            _ip("-n", name, "addr", "add", f"{_address(number)}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
        self._rays = [self._start(0)]
        self._wait_for(1)
        for number in range(1, len(self._names)):  # one by one: two at a time may keep each other from starting
            self._rays.append(self._start(number))
            self._wait_for(number + 1)

    def _start(self, host: int) -> subprocess.Popen[bytes]:
        where = ["--head", f"--port={PORT}"] if host == 0 else [f"--address={self.address}"]
        options = [
            f"--node-ip-address={_address(host)}", f"--num-cpus={self._num_cpus if host else 0}", "--num-gpus=0",
            f"--object-store-memory={80 * 2**20}", "--disable-usage-stats", "--block",
        ]  # fmt: skip
        if host == 0:
            options += [f"--temp-dir={self._folder}", "--include-dashboard=false"]
        ray = [sys.executable, "-m", "ray.scripts.scripts", "start", *where, *options]
        log = (self._folder / f"host{host}.log").open("ab")
        return subprocess.Popen(
            self.command(ray, host), stdout=log, stderr=log, env=self.environment(), start_new_session=True
        )

    def _wait_for(self, num_hosts: int) -> None:
        code = (
            "import sys, time, ray\n"
            f"ray.init(address={self.address!r}, log_to_driver=False, logging_level='ERROR')\n"
            "end = time.monotonic() + 40\n"
            "while sum(node['Alive'] for node in ray.nodes()) != int(sys.argv[1]):\n"
            "    assert time.monotonic() < end, ray.nodes()\n"
            "    time.sleep(0.2)\n"
        )
        end = time.monotonic() + 100
        while time.monotonic() < end:
            # Ray gives a host thirty seconds to start, which a busy machine may not keep.
            self._rays = [self._start(n) if ray.poll() is not None else ray for n, ray in enumerate(self._rays)]
            command = self.command([sys.executable, "-c", code, str(num_hosts)])
            done = subprocess.run(command, capture_output=True, env=self.environment(), timeout=90, check=False)
            if done.returncode == 0:
                return
            time.sleep(0.5)
        said = "".join(path.read_text()[-1000:] for path in self._folder.glob("*.log"))
        raise RuntimeError(f"{done.stderr.decode()[-2000:]}\n{said}")

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        """End everything that a host's Ray has started, whatever group it is in."""
        import psutil

        if process.poll() is not None:
            return
        family = [process, *psutil.Process(process.pid).children(recursive=True)]
        for member in family:
            try:
                member.send_signal(signal.SIGKILL)
            except (ProcessLookupError, psutil.NoSuchProcess):
                continue
        process.wait()


def _address(host: int) -> str:
    return f"10.231.7.{host + 1}"


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)

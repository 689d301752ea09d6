"""Containers without Docker: namespaces of Linux, joined by bridges that have no way out."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.cluster.composed import ROOT, Service, read_services, secret_files

SOURCE = "/mnt/source"
#: What Docker gives a tmpfs of its own accord; what it is told comes after and wins.
_TMPFS = "noexec,nosuid,nodev"
_HERE = Path(__file__).parent


def missing() -> str | None:
    """Why no container can be made here; None where they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    needed = ("ip", "unshare", "nsenter", "setpriv", "pg_config")
    absent = [tool for tool in needed if shutil.which(tool) is None]
    if absent:
        return f"needs {', '.join(absent)}"
    made = subprocess.run(
        ["unshare", "--net", "ip", "link", "add", "probe", "type", "bridge"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return made.stderr.strip() or None


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


class Project:
    """The services of docker-compose.yml, in containers of a folder of their own."""

    def __init__(self, variables: Mapping[str, str], secrets: Mapping[str, str]) -> None:
        # A socket's path may have about 100 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="ngpu-c-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.services = read_services(variables)
        self.secrets = secrets
        self.containers: dict[str, Container] = {}
        self._tag = self.folder.name[-6:]
        self._switch = f"{self._tag}-switch"
        self._networks: list[str] = []
        self._write_secrets(secrets)
        ip("netns", "add", self._switch)
        # Where the tests ask the record without being on its network.
        (self.folder / "sockets").mkdir()
        (self.folder / "sockets").chmod(0o777)

    def _write_secrets(self, secrets: Mapping[str, str]) -> None:
        assert secrets.keys() == secret_files().keys()
        folder = self.folder / "secrets"
        folder.mkdir()
        for name, value in secrets.items():
            (folder / name).write_text(value)

    @property
    def record_url(self) -> str:
        """The record as the tests see it."""
        return f"postgresql+psycopg://ngpu@/ngpu?host={self.folder / 'sockets'}"

    def up(self, *names: str) -> None:
        """Start these services and, first, all that they wait for."""
        for name in names:
            for other, condition in self.services[name].depends_on.items():
                self.up(other)
                self._await(other, condition)
            if name not in self.containers:
                self.scale(name, 1)

    def scale(self, name: str, count: int) -> list["Container"]:
        """Have at least so many containers of a service; all of them."""
        of = self.of(name)
        for number in range(len(of) + 1, count + 1):
            self.add(self.services[name], name if number == 1 else f"{name}-{number}")
        return self.of(name)

    def add(self, service: Service, key: str) -> "Container":
        """Start a container of a service under a name of its own."""
        container = Container(self, service, key, self._address())
        self.containers[key] = container
        self._write_hosts()
        container.start()
        return container

    def of(self, name: str) -> list["Container"]:
        """The containers of a service."""
        return [one for one in self.containers.values() if one.service.name == name]

    def _address(self) -> int:
        return len(self.containers) + 2

    def _await(self, name: str, condition: str) -> None:
        container = self.containers[name]
        if condition == "service_healthy":
            wait_until(container.healthy, 240, container.log, poll=0.5)
        else:
            wait_until(container.ended, 120, container.log)
            assert container.status() == 0, container.log()

    def _write_hosts(self) -> None:
        """Docker's name server, as a file: one address a container, whatever the network."""
        lines = [f"{one.addresses[0]} {one.key}" for one in self.containers.values()]
        text = "\n".join(["127.0.0.1 localhost", *lines, ""])
        hosts = self.folder / "hosts"
        hosts.write_text(text)  # in place: it is mounted

    def connect(self, container: "Container") -> None:
        """Give a container a network namespace and a link to each of its networks."""
        ip("netns", "add", container.namespace)
        ip("-n", container.namespace, "link", "set", "lo", "up")
        for network in container.service.networks:
            if network not in self._networks:
                self._networks.append(network)
                ip("-n", self._switch, "link", "add", network, "type", "bridge")
                ip("-n", self._switch, "link", "set", network, "up")
            place = self._networks.index(network)
            port, device = f"p{container.number}-{place}", f"eth{place}"
            ip("-n", self._switch, "link", "add", port, "type", "veth",
               "peer", "name", device, "netns", container.namespace)  # fmt: skip
            ip("-n", self._switch, "link", "set", port, "master", network, "up")
            ip("-n", container.namespace, "address", "add",
               f"10.77.{place}.{container.number}/24", "dev", device)  # fmt: skip
            ip("-n", container.namespace, "link", "set", device, "up")
            container.addresses.append(f"10.77.{place}.{container.number}")
            container.ports.append(port)

    def link(self, container: "Container", state: str) -> None:
        """Pull a container's cables, or plug them in again: `down` or `up`."""
        for port in container.ports:
            ip("-n", self._switch, "link", "set", port, state)

    def stop(self) -> None:
        """End every container."""
        for container in self.containers.values():
            container.end()

    def down(self) -> None:
        """End everything, and leave nothing behind."""
        self.stop()
        for container in self.containers.values():
            ip("netns", "delete", container.namespace)
        ip("netns", "delete", self._switch)
        shutil.rmtree(self.folder, ignore_errors=True)

    def logs(self) -> str:
        """The end of what every container wrote, and of the runners' own logs."""
        files = [*self.folder.glob("*.log"), *self.folder.glob("volumes/home/logs/*.log")]
        return "\n".join(f"--- {one.name}\n{one.read_text()[-5000:]}" for one in sorted(files))


class Container:
    """One container: started again when it ends, if its service says so."""

    def __init__(self, project: Project, service: Service, key: str, number: int) -> None:
        self.service, self.key, self.number = service, key, number
        self.addresses: list[str] = []
        self.ports: list[str] = []
        self._project = project
        self._loop: subprocess.Popen[bytes] | None = None
        self._folder = project.folder / f"{key}.container"
        self._log = project.folder / f"{key}.log"
        self.namespace = f"{project.folder.name[-6:]}-{key}"
        project.connect(self)
        self._describe()

    def _describe(self) -> None:
        folder, of, project = self._folder, self.service, self._project
        folder.mkdir()
        user = "" if of.user is None else str(of.user)
        mounts = {
            str(ROOT): SOURCE,
            sys.prefix: sys.prefix,
            sys.base_prefix: sys.base_prefix,
            str(project.folder / "hosts"): "/etc/hosts",
        }
        for secret in of.secrets:
            mounts[str(project.folder / "secrets" / secret)] = f"/run/secrets/{secret}"
        for volume, target in of.volumes.items():
            source = project.folder / "volumes" / volume
            if not source.exists():
                # A new volume belongs to whom the image's folder does.
                source.mkdir(parents=True)
                os.chown(source, of.user or 0, of.user or 0)
            mounts[str(source)] = target + (" ro" if volume in of.read_only_volumes else "")
        if of.name == "postgres":
            mounts[str(project.folder / "sockets")] = "/sockets"
        tmpfs = {"/dev/shm": f"mode=1777,size={of.shm_size.removesuffix('b')}"}
        for one in of.tmpfs:
            target, _, options = one.partition(":")
            tmpfs[target] = f"{_TMPFS},{options or 'mode=1777'}"
        bounds = "-all" if of.cap_drop == ["ALL"] else ""
        bounds += "".join(f",+{one.lower()}" for one in of.cap_add)
        capabilities = f"--bounding-set={bounds} --inh-caps=-all" if bounds else ""
        if of.no_new_privileges:
            capabilities += " --no-new-privs"
        facts = {
            "hostname": self.key,
            "mounts": "".join(f"{k} {v}\n" for k, v in mounts.items()),
            "tmpfs": "".join(f"{k} {v}\n" for k, v in tmpfs.items()),
            "user": user,
            "capabilities": capabilities,
            "workdir": of.workdir,
            "data_limit": str(of.data_limit // 1024 if of.data_limit else "unlimited"),
        }
        for name, text in facts.items():
            (folder / name).write_text(text)
        if not of.read_only:
            (folder / "writable").touch()

    @property
    def environment(self) -> dict[str, str]:
        """The variables its processes have."""
        server = subprocess.check_output(["pg_config", "--bindir"], text=True).strip()
        folders = [f"{SOURCE}/docker", f"{SOURCE}/tests/cluster", f"{sys.prefix}/bin", server]
        usual = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        return {
            "PATH": ":".join([*folders, *usual]),
            "HOME": "/home/ngpu" if self.service.user is not None else "/root",
            "PYTHONPATH": SOURCE,
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.service.environment,
        }

    def start(self) -> None:
        """Start its command, again and again where its service is restarted."""
        own = ["--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]
        becomes = [str(_HERE / "container.sh"), str(self._folder), *self.service.command]
        inside = ["unshare", *own, *becomes]
        again = 'while :; do "$@"; echo "container ended with $?"; sleep 1; done'
        again = again if self.service.restart else '"$@"'
        with self._log.open("ab") as log:
            self._loop = subprocess.Popen(
                ["ip", "netns", "exec", self.namespace, "bash", "-c", again, "bash", *inside],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def init(self) -> psutil.Process | None:
        """Its first process; None while it is started again."""
        if self._loop is None or self._loop.poll() is not None:
            return None
        for one in psutil.Process(self._loop.pid).children(recursive=True):
            try:
                status = Path(f"/proc/{one.pid}/status").read_text()
            except OSError:
                continue
            numbers = next(li for li in status.splitlines() if li.startswith("NSpid:")).split()[1:]
            if len(numbers) == 2 and numbers[1] == "1":
                return one
        return None

    def processes(self, part: str) -> list[psutil.Process]:
        """Those of its processes whose command line holds a text."""
        first = self.init()
        try:
            found = first.children(recursive=True) if first else []
            return [one for one in found if part in " ".join(one.cmdline())]
        except psutil.Error:
            return []

    def run(
        self, *words: str, check: bool = True, text: str | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """`docker compose exec`: a command of its own inside."""
        done = subprocess.run(
            self._inside(words),
            env=self.environment | variables,
            input=text,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert not check or done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done

    @contextmanager
    def opened(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """Such a command while it runs; killed afterwards."""
        process = subprocess.Popen(
            self._inside(words), env=self.environment, stdout=subprocess.PIPE, text=True
        )
        try:
            with process:
                yield process
                for one in psutil.Process(process.pid).children(recursive=True):
                    one.kill()
                process.kill()
        finally:
            process.kill()

    def _inside(self, words: Sequence[str]) -> list[str]:
        first = self.init()
        assert first is not None, f"{self.key} does not run\n{self.log()}"
        user = self.service.user
        identity = [f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
        into = ["nsenter", f"--target={first.pid}", "--mount", "--uts", "--ipc", "--net", "--pid"]
        return [*into, f"--wdns={self.service.workdir}", "setpriv", *identity, "--", *words]

    def healthy(self) -> bool:
        """Whether its health check passes now."""
        assert self.service.healthcheck is not None
        try:
            return self.run(*self.service.healthcheck, check=False).returncode == 0
        except AssertionError:
            return False  # it is being started again

    def ended(self) -> bool:
        """Whether its command ended and is not started again."""
        return self._loop is not None and self._loop.poll() is not None

    def status(self) -> int | None:
        """The exit status of a command that is not started again."""
        return self._loop.poll() if self._loop else None

    def kill(self) -> None:
        """SIGKILL to all of it at once, as by the end of its memory; the restart policy holds."""
        first = self.init()
        assert first is not None
        first.kill()

    def ask_to_end(self) -> None:
        """SIGTERM, as `docker compose stop` sends it; the restart policy holds here."""
        first = self.init()
        assert first is not None
        first.terminate()
        first.wait(timeout=60)

    def end(self) -> None:
        """Stop it for good; the kernel ends a namespace's processes after its first."""
        if self._loop is not None and self._loop.poll() is None:
            ending = self.processes("")
            os.killpg(self._loop.pid, signal.SIGKILL)
            self._loop.wait()
            psutil.wait_procs(ending, timeout=10)

    def cut(self) -> None:
        """Pull its cables."""
        self._project.link(self, "down")

    def mend(self) -> None:
        """Plug its cables in again."""
        self._project.link(self, "up")

    def route(self, other: "Container", act: str) -> None:
        """Lose, by `add`, or find again, by `delete`, the way to one other container."""
        ip("-n", self.namespace, "route", act, "blackhole", f"{other.addresses[0]}/32")

    def log(self) -> str:
        """The end of what it wrote."""
        return self._log.read_text()[-6000:] if self._log.exists() else ""


def wait_until(
    condition: Callable[[], bool], seconds: float, what: Callable[[], str], poll: float = 0.1
) -> float:
    """Wait for a condition; the seconds it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"not within {seconds:g} s\n{what()}"
        time.sleep(poll)
    return time.monotonic() - began

"""A confined process, and so a decoder, gets at nothing but what it was given."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sounds import wav_bytes

from boiler.audio import sandbox, worker_process
from boiler.audio.decoder_pool import Decoders
from boiler.audio.worker_process import WorkerProcess, report_unconfined
from boiler.errors import SoundError

linux = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")

# Each tries one thing, and must not succeed. Run with these names: os, socket, ctypes, libc, target (a file), parent.
ATTEMPTS = {
    "read a file": "open('/etc/passwd').read()",
    "read the file of the sound again by its name": "open(target).read()",
    "write a file": "open(target, 'w')",
    "make a file": "os.open(target + '.new', os.O_CREAT | os.O_WRONLY)",
    "list a folder": "os.listdir('/')",
    "look whether a file exists": "os.stat('/etc/passwd')",
    "delete a file": "os.unlink(target)",
    "rename a file": "os.rename(target, target + '.old')",
    "link a file": "os.symlink('/etc/passwd', target + '.link')",
    "make a folder": "os.mkdir(target + '.folder')",
    "change the rights of a file": "os.chmod(target, 0o777)",
    "cut a file": "os.truncate(target, 0)",
    "read the environment of its parent": "open(f'/proc/{parent}/environ').read()",
    "open a TCP socket": "socket.socket(socket.AF_INET, socket.SOCK_STREAM).connect(('127.0.0.1', 9))",
    "open a UDP socket": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))",
    "open a socket of the system": "socket.socket(socket.AF_UNIX).connect('/dev/log')",
    "run a program": "os.execv('/bin/true', ['true'])",
    "start a process": "os.fork() or os._exit(0)",
    "signal its parent": "os.kill(parent, 0)",
    "signal its parent's thread": "check(libc.syscall(234 if x86 else 131, parent, parent, 0))",
    "trace its parent": "check(libc.ptrace(16, parent, 0, 0))",
    "read the memory of its parent": "check(libc.process_vm_readv(parent, iovec, 1, iovec, 1, 0))",
    "limit its parent": "__import__('resource').prlimit(parent, __import__('resource').RLIMIT_CPU, (1, 1))",
    "go around the filter by io_uring": "check(libc.syscall(425, 8, ctypes.create_string_buffer(200)))",
    "type into the terminal": "check(libc.ioctl(1, 0x5412, b'x'))",
    "leave its namespace": "check(libc.unshare(0x10000000))",
    "make code of a file in memory": "check(libc.syscall(319 if x86 else 279, b'x', 0))",
}
PRELUDE = """
import ctypes, errno, json, os, platform, socket, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
x86 = platform.machine() == 'x86_64'
iovec = (ctypes.c_uint64 * 2)(0, 0)
parent = os.getppid()
import resource
def check(found):
    if found < 0:
        raise OSError(ctypes.get_errno(), 'refused')
def outcome(code):
    try:
        exec(code)
    except OSError as error:
        return errno.errorcode.get(error.errno, error.errno)
    return 'succeeded'
"""
REFUSED = {"EACCES", "EPERM"}


def run(code: str, *arguments: object) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + code, *map(str, arguments)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "target.wav"
    path.write_bytes(wav_bytes(b"\0\1" * 100))
    return path


@linux
def test_whatever_it_tries_is_refused(target: Path) -> None:
    code = """
from boiler.audio import sandbox
target = sys.argv[1]
missing = sandbox.confine()
print(json.dumps([missing, {name: outcome(code) for name, code in json.loads(sys.argv[2]).items()}]))
"""
    missing, outcomes = run(code, target, json.dumps(ATTEMPTS))
    if "seccomp" in missing:
        pytest.skip("this kernel has no seccomp")
    assert {name: found for name, found in outcomes.items() if found not in REFUSED} == {}
    assert target.stat().st_size > 100


@linux
def test_landlock_alone_keeps_files_away(target: Path) -> None:
    code = """
from boiler.audio import sandbox
target = sys.argv[1]
sandbox._seccomp = lambda libc: False
missing = sandbox.confine()
print(json.dumps([missing, {name: outcome(code) for name, code in json.loads(sys.argv[2]).items()}]))
"""
    files = {name: ATTEMPTS[name] for name in ("read a file", "write a file", "make a file", "list a folder")}
    missing, outcomes = run(code, target, json.dumps(files | {"delete": ATTEMPTS["delete a file"]}))
    if "landlock" in missing:
        pytest.skip("this kernel has no Landlock")
    assert missing == ["seccomp"]
    assert set(outcomes.values()) <= REFUSED


@linux
def test_what_decoding_needs_still_works(target: Path) -> None:
    code = """
from boiler.audio import sandbox
file = open(sys.argv[1], 'rb', buffering=0)
sandbox.confine()
size = os.fstat(file.fileno()).st_size
done = []
thread = threading.Thread(target=lambda: done.append(len(file.read())))
thread.start(); thread.join()
os.kill(os.getpid(), 0)
resource.setrlimit(resource.RLIMIT_CPU, resource.getrlimit(resource.RLIMIT_CPU))
big = bytearray(50_000_000)
print(json.dumps([size, done]))
"""
    size = target.stat().st_size
    assert run(code, target) == [size, [size]]


def test_filters_of_both_architectures_are_whole() -> None:
    """Every jump leads to a step of the program, and the last step allows."""
    for machine in sandbox._ARCHITECTURES:
        program = sandbox._filter(machine, 1234)
        steps = [program[at : at + 8] for at in range(0, len(program), 8)]
        assert len(program) % 8 == 0
        assert len(steps) < 4096
        assert all(at + 1 + max(step[2], step[3]) < len(steps) for at, step in enumerate(steps[:-1]))
        assert steps[-1][0] == 6
        assert int.from_bytes(steps[-1][4:], sys.byteorder) == 0x7FFF0000


TRYING = """
import json
import boiler.audio.decode_worker as worker
from boiler.errors import SoundError
def tries(source, *more, **named):
    if isinstance(source, bytes):
        return load(source, *more, **named)
    found = {name: outcome(code) for name, code in ATTEMPTS.items()}
    found['bytes of its own file'] = len(source.read())
    found['environment'] = sorted(os.environ)
    raise SoundError('', json.dumps(found))
load, worker.load = worker.load, tries
"""


@linux
def test_a_decoder_gets_at_its_file_alone(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that took over a decoder tries everything."""
    monkeypatch.setenv("BOILER_API_KEYS", "secret")
    code = f"{PRELUDE}\ntarget = {str(target)!r}\nATTEMPTS = {ATTEMPTS!r}\n{TRYING}"
    begin, end = worker_process.PROGRAM.split("from importlib")
    monkeypatch.setattr(worker_process, "PROGRAM", f"{begin}\nexec({code!r}, globals()); from importlib{end}")
    with Decoders(1) as decoders, pytest.raises(SoundError) as caught:
        decoders.load(target)
    found = json.loads(caught.value.reason)
    assert found.pop("bytes of its own file") == target.stat().st_size
    assert not [name for name in found.pop("environment") if name.startswith(("BOILER", "PATH", "HOME"))]
    assert {name: outcome for name, outcome in found.items() if outcome not in REFUSED} == {}


def test_the_environment_of_a_worker_holds_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOILER_API_KEYS", "secret")
    monkeypatch.setattr(
        worker_process,
        "PROGRAM",
        "import json, os, sys; from multiprocessing.connection import Connection\n"
        "Connection(int(sys.argv[2])).send_bytes(json.dumps(dict(os.environ)).encode())",
    )
    worker = WorkerProcess(20, 2**31)
    worker.start()
    assert worker.connection is not None
    environment = json.loads(worker.connection.recv_bytes())
    worker.stop()
    assert set(environment) <= {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LD_LIBRARY_PATH", "LC_CTYPE"}
    assert "secret" not in json.dumps(environment)


def test_what_a_system_lacks_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    report_unconfined.cache_clear()
    with caplog.at_level(logging.WARNING):
        report_unconfined(b"ready")
        assert caplog.messages == []
        for _ in range(3):
            report_unconfined(b"ready without landlock, seccomp")
    (message,) = caplog.messages
    assert message.startswith("sounds are decoded without landlock, seccomp")
    report_unconfined.cache_clear()


@linux
def test_other_systems_and_old_kernels_are_told_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox.sys, "platform", "darwin")
    assert sandbox.confine() == ["no_new_privs", "landlock", "seccomp"]
    assert os.path.exists("/")  # noqa: PTH110  # this process is not confined

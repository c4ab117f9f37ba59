"""The filter of system calls, read by an interpreter of its instructions written here; also for the other architecture."""

import platform
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartad.agents import seccomp

ALLOW, NOTIFY, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x7FC00000, 0x80000000, 0x00050001, 0x00050026
PID = 4711


@pytest.fixture(scope="module", params=["x86_64", "aarch64"])
def verdict(request):
    """``verdict(number, *arguments)``: what the filter of process PID says on a machine of that kind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(platform, "machine", lambda: request.param)
        code = [struct.unpack("HBBI", part) for part in struct.iter_unpack("8s", seccomp.program(PID)) for part in part]
    own = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}[request.param]

    def decide(number, *arguments, machine=own):
        data = struct.pack("<iIQ6Q", number, machine, 0, *arguments, *[0] * (6 - len(arguments)))
        accumulator, at = 0, 0
        for _ in range(len(code)):
            operation, if_so, if_not, value = code[at]
            if operation == 0x06:
                return value
            if operation == 0x20:
                accumulator, at = struct.unpack_from("<I", data, value)[0], at + 1
            else:
                holds = {0x15: accumulator == value, 0x45: bool(accumulator & value)}[operation]
                at += 1 + (if_so if holds else if_not)
        raise AssertionError("the filter has no end")

    decide.column = ["x86_64", "aarch64"].index(request.param)
    return decide


CONDITIONAL = {"openat": (257, 56), "open": (2, None), "fcntl": (72, 25), "ioctl": (16, 29), "prctl": (157, 167),
               "prlimit64": (302, 261), "tgkill": (234, 131), "clone": (56, 220), "clone3": (435, 435)}


@given(number=st.integers(-1, 600) | st.integers(0x40000000, 0x40000000 + 600),
       arguments=st.lists(st.integers(0, 2**64 - 1), max_size=6))
def test_call_that_is_not_named_is_refused_whatever_its_arguments(verdict, number, arguments):
    named = {numbers[verdict.column] for numbers in [*seccomp.FREE.values(), *CONDITIONAL.values()]}
    if number not in named:
        assert verdict(number, *arguments) == EPERM


def test_call_of_another_architecture_is_the_end(verdict):
    assert verdict(0, machine=0x40000003) == KILL, "32 bits have other numbers"


def test_dangerous_calls_are_not_among_the_free(verdict):
    names = {"socket", "connect", "fork", "vfork", "execve", "execveat", "kill", "ptrace", "mount", "unshare", "setns", "chmod",
             "memfd_create", "shmget", "io_uring_setup", "bpf", "keyctl", "openat2", "ftruncate", "truncate", "pidfd_open"}
    assert not names & seccomp.FREE.keys()


@pytest.mark.parametrize(("call", "arguments", "said"), [
    ("openat", (0xFFFFFF9C, 0, 0), ALLOW), ("openat", (0xFFFFFF9C, 0, 0x80000), ALLOW),
    ("openat", (0, 0, 1), EPERM), ("openat", (0, 0, 2), EPERM), ("openat", (0, 0, 0x40), EPERM), ("openat", (0, 0, 0x200), EPERM),
    ("fcntl", (3, 3), ALLOW), ("fcntl", (3, 8), EPERM), ("ioctl", (3, 0x5451), ALLOW), ("ioctl", (3, 0x8901), EPERM),
    ("prctl", (1, 9), ALLOW), ("prctl", (1, 0), EPERM), ("prctl", (4, 9), EPERM),
    ("prlimit64", (0, 9), ALLOW), ("prlimit64", (PID, 0), EPERM),
    ("tgkill", (PID, PID, 6), ALLOW), ("tgkill", (1, 1, 9), EPERM),
    ("clone", (0x8011,), NOTIFY), ("clone", (0x11,), EPERM), ("clone", (0x10008011,), EPERM), ("clone", (0x3D0F00,), EPERM),
    ("clone3", (0,), ENOSYS),
])
def test_condition_of_a_call_is_kept(verdict, call, arguments, said):
    assert verdict(CONDITIONAL[call][verdict.column], *arguments) == said


def test_machine_whose_numbers_are_unknown_is_refused(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(OSError, match="no numbers of system calls for riscv64; there are x86_64, aarch64"):
        seccomp.program(1)

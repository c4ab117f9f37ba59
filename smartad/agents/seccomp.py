"""Which system calls model-written code may make: a seccomp filter on its process, for good and for all it turns into.

What is not named here is refused, so new kernels bring nothing new.  Refused are with that sockets, threads and processes,
signals to others, System V memory, every change of a file's metadata, mounts, namespaces, ptrace, io_uring and keys.  One
call waits for the server's word: the fork that makes a copy of an interpreter.
"""

import ctypes
import os
import platform
import signal
import struct
from fcntl import ioctl

EPERM, ENOSYS = 1, 38
PR_SET_NO_NEW_PRIVS = 38
COPY = 0x8000 | signal.SIGCHLD
"""Flags of the one clone that may be: CLONE_PARENT, so that the copy is the server's child as its original is."""
X86_64, AARCH64 = 0, 1
ARCHITECTURES = {"x86_64": (X86_64, 0xC000003E), "aarch64": (AARCH64, 0xC00000B7)}
"""By machine: column of the numbers below, and what the kernel calls it (AUDIT_ARCH)."""
FREE = {
    # files and the stream to the parent
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "pread64": (17, 67), "lseek": (8, 62),
    "close": (3, 57), "close_range": (436, 436), "fstat": (5, 80), "newfstatat": (262, 79), "stat": (4, None),
    "lstat": (6, None), "statx": (332, 291), "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439),
    "readlink": (89, None), "readlinkat": (267, 78), "getdents64": (217, 61),
    "getcwd": (79, 17), "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24), "poll": (7, None), "ppoll": (271, 73),
    "select": (23, None), "pselect6": (270, 72), "fadvise64": (221, 223), "sendto": (44, 206), "recvfrom": (45, 207),
    "sendmsg": (46, 211), "recvmsg": (47, 212),
    # memory
    "mmap": (9, 222), "munmap": (11, 215), "mremap": (25, 216), "mprotect": (10, 226), "madvise": (28, 233), "brk": (12, 214),
    # time, signals to itself, and what it is
    "futex": (202, 98), "set_robust_list": (273, 99), "rseq": (334, 293), "arch_prctl": (158, None), "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123), "getcpu": (309, 168), "clock_gettime": (228, 113), "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115), "nanosleep": (35, 101), "gettimeofday": (96, 169), "time": (201, None),
    "times": (100, 153), "getrusage": (98, 165), "getitimer": (36, 102), "setitimer": (38, 103), "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "rt_sigpending": (127, 136), "sigaltstack": (131, 132),
    "pause": (34, None), "getpid": (39, 172), "gettid": (186, 178), "getppid": (110, 173), "getuid": (102, 174),
    "geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177), "getgroups": (115, 158), "uname": (63, 160),
    "sysinfo": (99, 179), "getrandom": (318, 278), "exit": (60, 93), "exit_group": (231, 94), "restart_syscall": (219, 128),
    "set_tid_address": (218, 96), "membarrier": (324, 283),
}
"""Calls without conditions, by name: their numbers on x86_64 and aarch64."""
WRITES = 0x1 | 0x2 | 0x40 | 0x200
"""O_WRONLY, O_RDWR, O_CREAT, O_TRUNC: files are opened to be read and for nothing else.  Landlock before ABI 3 knows nothing of
O_TRUNC."""
# fcntl and ioctl can also have a signal sent to any process (F_SETOWN, FIOSETOWN).
FCNTL = (0, 1, 2, 3, 4, 1030)
"""F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC."""
IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX."""
_LOAD, _EQUAL, _ANY_OF, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _NOTIFY, _KILL, _ERROR = 0x7FFF0000, 0x7FC00000, 0x80000000, 0x00050000
_ARGUMENTS = 16
"""Where they begin in struct seccomp_data, eight bytes each; the numbers compared here are in the lower four."""
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
"""SECCOMP_IOCTL_NOTIF_RECV and _SEND."""
_CONTINUE = 1


def architecture() -> tuple[int, int]:
    """This machine's entry of ARCHITECTURES.  Raises OSError for one that has none."""
    try:
        return ARCHITECTURES[platform.machine()]
    except KeyError:
        raise OSError(f"no numbers of system calls for {platform.machine()}; there are {', '.join(ARCHITECTURES)}") from None


def program(pid: int) -> bytes:
    """The filter for the process ``pid``, in the kernel's instructions (struct sock_filter, 8 bytes each)."""
    column, machine = architecture()
    code = [_op(_LOAD, 4), _op(_EQUAL, machine, 1, 0), _op(_RETURN, _KILL), _op(_LOAD, 0)]
    for numbers in FREE.values():
        if (number := numbers[column]) is not None:
            code += [_op(_EQUAL, number, 0, 1), _op(_RETURN, _ALLOW)]
    code += _unless(257 if column == X86_64 else 56, 2) + (_unless(2, 1) if column == X86_64 else [])  # openat, open
    code += _when((72, 25)[column], 1, FCNTL) + _when((16, 29)[column], 1, IOCTL)
    code += _end_with_server((157, 167)[column])  # prctl
    code += _when((302, 261)[column], 0, (0,))  # prlimit64: of itself
    code += _when((234, 131)[column], 0, (pid,))  # tgkill, for abort()
    code += _when((56, 220)[column], 0, (COPY,), _NOTIFY)  # clone
    # glibc tries clone3 first, and falls back on clone only where the kernel seems to lack it.
    code += [_op(_EQUAL, 435, 0, 1), _op(_RETURN, _ERROR | ENOSYS), _op(_RETURN, _ERROR | EPERM)]
    return b"".join(code)


def install(code: bytes) -> int:
    """Put this process under ``code``; the descriptor on which whoever holds it is asked about copies.  Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    number = (317, 277)[architecture()[0]]
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
    listener = libc.syscall(number, 1, 8, header)  # SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER
    if listener < 0:
        raise OSError(ctypes.get_errno(), f"seccomp: {os.strerror(ctypes.get_errno())}")
    return listener


def answer(listener: int, may_copy: bool) -> bool:
    """Answer the question that waits on ``listener``; whether the asker was allowed its copy."""
    question = bytearray(80)  # struct seccomp_notif begins with the id
    try:
        ioctl(listener, _RECEIVE, question)
        number = struct.unpack_from("Q", question)[0]
        said = (0, _CONTINUE) if may_copy else (-EPERM, 0)
        ioctl(listener, _SEND, struct.pack("QqiI", number, 0, *said))
    except OSError:  # whoever asked is gone
        return False
    return may_copy


def copy_process() -> int:
    """Fork as a sibling: in the copy 0, in the original the copy's pid.  Raises OSError when it is refused.

    ``os.fork`` cannot make siblings.  The copy is the server's child, so that it alone ends and reaps it.
    """
    python, libc = ctypes.pythonapi, ctypes.PyDLL(None, use_errno=True)
    python.PyOS_BeforeFork()
    pid = libc.syscall(*map(ctypes.c_long, ((56, 220)[architecture()[0]], COPY, 0, 0, 0, 0)))
    if pid == 0:
        python.PyOS_AfterFork_Child()
        return 0
    error = ctypes.get_errno()
    python.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(error, os.strerror(error))
    return pid


def _op(code: int, value: int, if_equal: int = 0, if_not: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_equal, if_not, value)


def _when(number: int, argument: int, values: tuple[int, ...], verdict: int = _ALLOW) -> list[bytes]:
    """``verdict`` on call ``number`` when one argument is among ``values``, and EPERM when not."""
    checks = [part for value in values for part in (_op(_EQUAL, value, 0, 1), _op(_RETURN, verdict))]
    body = [_op(_LOAD, _ARGUMENTS + 8 * argument), *checks, _op(_RETURN, _ERROR | EPERM)]
    return [_op(_EQUAL, number, 0, len(body)), *body]


def _end_with_server(number: int) -> list[bytes]:
    """Call ``number``, prctl, to be killed when the server ends (PR_SET_PDEATHSIG), as a copy asks for; not to take that back."""
    body = [_op(_LOAD, _ARGUMENTS), _op(_EQUAL, 1, 0, 2), _op(_LOAD, _ARGUMENTS + 8), _op(_EQUAL, signal.SIGKILL, 1, 0),
            _op(_RETURN, _ERROR | EPERM), _op(_RETURN, _ALLOW)]
    return [_op(_EQUAL, number, 0, len(body)), *body]


def _unless(number: int, argument: int) -> list[bytes]:
    """Call ``number``, but not with flags of WRITES."""
    body = [_op(_LOAD, _ARGUMENTS + 8 * argument), _op(_ANY_OF, WRITES, 0, 1), _op(_RETURN, _ERROR | EPERM), _op(_RETURN, _ALLOW)]
    return [_op(_EQUAL, number, 0, len(body)), *body]

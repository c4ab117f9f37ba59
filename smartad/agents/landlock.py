"""Which files model-written code may read, by the kernel's Landlock: what is not named cannot be opened, nothing written.

Landlock asks for no privilege and no namespace.  It does not hide that a file exists, nor its size and times (``stat``).
"""

import ctypes
import os
import struct
from collections.abc import Iterable

CREATE, ADD_RULE, RESTRICT = 444, 445, 446
"""System calls; the numbers are the same on every architecture."""
READ_FILE, READ_DIR = 1 << 2, 1 << 3
FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}
"""ABI -> how many rights on files it knows: from 2 on renaming, 3 truncating, 5 talking to devices."""


def abi() -> int:
    """The kernel's version of Landlock; 0 where there is none."""
    return max(0, _libc().syscall(CREATE, None, ctypes.c_size_t(0), 1))


def ruleset(readable: Iterable[str]) -> int:
    """A descriptor of rules that allow to read what is under ``readable`` and nothing else.  Raises OSError."""
    version = abi()
    files = (1 << max(bits for known, bits in FILE_RIGHTS.items() if known <= version)) - 1 if version else 0
    # TCP (ABI 4) and, from ABI 6 on, abstract sockets of and signals to whoever is not under these rules.
    rules = struct.pack("QQQ", files, 3, 3)[:8 if version < 4 else 16 if version < 6 else 24]
    descriptor = _check(_libc().syscall(CREATE, rules, ctypes.c_size_t(len(rules)), 0), "landlock_create_ruleset")
    for path in readable:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            rights = READ_FILE | READ_DIR if os.path.isdir(path) else READ_FILE
            _check(_libc().syscall(ADD_RULE, descriptor, 1, struct.pack("=Qi", rights, parent), 0), f"landlock_add_rule {path}")
        finally:
            os.close(parent)
    return descriptor


def restrict(descriptor: int) -> None:
    """Put this process under the rules for good.  Raises OSError; it needs PR_SET_NO_NEW_PRIVS, or root."""
    _check(_libc().syscall(RESTRICT, descriptor, 0), "landlock_restrict_self")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return result

"""Confine the current process, which is about to decode untrusted files, to what it already has open.

On Linux, with nothing but the kernel: `no_new_privs`, Landlock without any rule (no file, no TCP) and a seccomp filter
(no file by name, no socket, no program, no other process). What the kernel lacks is left out, and reported. On other
systems nothing is confined but memory and processor time.

ctypes, because the packages for this are early (landlock, py-landlock) or need a library of the system (pyseccomp).
Sources: linux/landlock.h, linux/seccomp.h, linux/filter.h; numbers of system calls: arch/x86/entry/syscalls/
syscall_64.tbl and include/uapi/asm-generic/unistd.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

_PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _SECCOMP_MODE_FILTER = 4, 22, 38, 2
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446  # the same on every architecture
# Rights over files that each version of Landlock knows; a version that is newer knows the last ones, too.
_LANDLOCK_FILE_RIGHTS = {1: 2**13 - 1, 2: 2**14 - 1, 3: 2**15 - 1, 4: 2**15 - 1, 5: 2**16 - 1}

# Architecture as the kernel codes it for filters, and the column of its numbers below.
_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
# System calls that are refused: numbers on x86_64 and aarch64 (None: it does not exist there).
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    # files by name
    "open": (2, None), "openat": (257, 56), "openat2": (437, 437), "creat": (85, None), "stat": (4, None),
    "lstat": (6, None), "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439),
    "readlink": (89, None), "readlinkat": (267, 78), "getdents": (78, None), "getdents64": (217, 61),
    "chdir": (80, 49), "fchdir": (81, 50), "truncate": (76, 45), "unlink": (87, None), "unlinkat": (263, 35),
    "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276), "mkdir": (83, None), "mkdirat": (258, 34),
    "rmdir": (84, None), "link": (86, None), "linkat": (265, 37), "symlink": (88, None), "symlinkat": (266, 36),
    "mknod": (133, None), "mknodat": (259, 33), "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53),
    "fchmodat2": (452, 452), "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54),
    "utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14),
    "lremovexattr": (198, 15), "fremovexattr": (199, 16), "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265), "memfd_create": (319, 279), "inotify_init": (253, None),
    "inotify_init1": (294, 26), "fanotify_init": (300, 262), "ioctl": (16, 29),
    # network and other processes' queues
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "accept4": (288, 242), "shmget": (29, 194), "shmat": (30, 196), "msgget": (68, 186),
    "semget": (64, 190), "mq_open": (240, 180),
    # programs and other processes
    "execve": (59, 221), "execveat": (322, 281), "fork": (57, None), "vfork": (58, None), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272), "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "setpgid": (109, 154), "setsid": (112, 157),
    "setpriority": (141, 140), "unshare": (272, 97), "setns": (308, 268),
    # the system, and what widens an attack on the kernel
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "swapon": (167, 224),
    "swapoff": (168, 225), "reboot": (169, 142), "sethostname": (170, 161), "setdomainname": (171, 162),
    "init_module": (175, 105), "delete_module": (176, 106), "finit_module": (313, 273), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442), "add_key": (248, 217),
    "request_key": (249, 218), "keyctl": (250, 219), "acct": (163, 89), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "clock_adjtime": (305, 266), "adjtimex": (159, 171),
}  # fmt: skip
# Refused unless an argument says that only this process is meant: (numbers, argument, what it must be).
_OWN_PROCESS = {"kill": ((62, 129), 0), "tgkill": ((234, 131), 0), "prlimit64": ((302, 261), 0)}
# Of an open file, where this flag is among those in the argument: (numbers, argument).
_AT_EMPTY_PATH = 0x1000
_OPEN_FILE = {"newfstatat": ((262, 79), 3), "statx": ((332, 291), 2)}
_CLONE, _CLONE3, _CLONE_THREAD = (56, 220), (435, 435), 0x10000

_LOAD, _EQUAL, _ANY_BIT, _AT_LEAST, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000  # the latter with an errno in its low bits


def confine() -> list[str]:
    """Confine this process for good. Returns what the system lacks: of `no_new_privs`, `landlock` and `seccomp`."""
    if sys.platform != "linux":
        return ["no_new_privs", "landlock", "seccomp"]
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)  # other processes of this user cannot attach to it, nor read its memory
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return ["no_new_privs", "landlock", "seccomp"]  # the others need it
    landlock, seccomp = _landlock(libc), _seccomp(libc)
    return ([] if landlock else ["landlock"]) + ([] if seccomp else ["seccomp"])


def _landlock(libc: ctypes.CDLL) -> bool:
    version = libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, 1)
    if version < 1:
        return False
    files = _LANDLOCK_FILE_RIGHTS[min(version, max(_LANDLOCK_FILE_RIGHTS))]
    attributes = struct.pack("<Q", files)
    if version >= 4:
        attributes += struct.pack("<Q", 3)  # binding and connecting TCP sockets
    if version >= 6:
        attributes += struct.pack("<Q", 3)  # abstract sockets of others, and signals to them
    rules = libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if rules < 0:
        return False
    try:
        return bool(libc.syscall(_LANDLOCK_RESTRICT_SELF, rules, 0) == 0)
    finally:
        os.close(rules)


def _seccomp(libc: ctypes.CDLL) -> bool:
    if platform.machine() not in _ARCHITECTURES:
        return False
    program = _filter(platform.machine(), os.getpid())
    held = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(held))
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.c_char_p(head), 0, 0) == 0)


def _filter(machine: str, pid: int) -> bytes:
    """The filter as a program of the kernel's: allow, unless refused above."""
    architecture, column = _ARCHITECTURES[machine]
    denied, unknown = _FAIL | errno.EACCES, _FAIL | errno.ENOSYS

    def step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("=HBBI", code, if_true, if_false, value)

    number, of_machine = step(_LOAD, 0), step(_LOAD, 4)
    program = of_machine + step(_EQUAL, architecture, 1, 0) + step(_RETURN, denied) + number
    if machine == "x86_64":  # calls of its 32-bit kind have numbers of their own
        program += step(_AT_LEAST, 0x40000000, 0, 1) + step(_RETURN, denied)

    def argument(at: int) -> bytes:
        return step(_LOAD, 16 + 8 * at)  # its low half

    for numbers in _REFUSED.values():
        if (refused := numbers[column]) is not None:
            program += step(_EQUAL, refused, 0, 1) + step(_RETURN, denied)
    for numbers, at in _OPEN_FILE.values():
        program += step(_EQUAL, numbers[column], 0, 4) + argument(at)
        program += step(_ANY_BIT, _AT_EMPTY_PATH, 0, 1) + step(_RETURN, _ALLOW) + step(_RETURN, denied)
    for numbers, at in _OWN_PROCESS.values():
        program += step(_EQUAL, numbers[column], 0, 5) + argument(at)
        program += step(_EQUAL, pid, 1, 0) + step(_EQUAL, 0 if numbers[0] == 302 else pid, 0, 1)
        program += step(_RETURN, _ALLOW) + step(_RETURN, denied)
    program += step(_EQUAL, _CLONE[column], 0, 4) + argument(0)
    program += step(_ANY_BIT, _CLONE_THREAD, 0, 1) + step(_RETURN, _ALLOW) + step(_RETURN, denied)
    program += step(_EQUAL, _CLONE3[column], 0, 1) + step(_RETURN, unknown)  # then the C library uses clone
    return program + step(_RETURN, _ALLOW)

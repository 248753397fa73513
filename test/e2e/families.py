"""Runs a command that may make sockets of these address families only, as systemd's RestrictAddressFamilies= has it.

usage: families.py AF_INET … -- COMMAND ARGUMENTS (needs libseccomp)
"""
import ctypes
import errno
import os
import socket
import sys

ALLOW, ERRNO, EQ = 0x7FFF0000, 0x00050000, 4  # of seccomp.h


class Compare(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def restrict(families):
    lib = ctypes.CDLL("libseccomp.so.2")
    lib.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(lib.seccomp_init(ctypes.c_uint32(ALLOW)))
    call = lib.seccomp_syscall_resolve_name(b"socket")
    for family in range(46):
        if family not in families and lib.seccomp_rule_add_array(
                context, ctypes.c_uint32(ERRNO | errno.EAFNOSUPPORT), call, 1, (Compare * 1)(Compare(0, EQ, family, 0))):
            sys.exit("no rule for a family")
    if lib.seccomp_load(context):
        sys.exit("no filter")


if __name__ == "__main__":
    at = sys.argv.index("--")
    restrict({int(getattr(socket, name)) for name in sys.argv[1:at]})
    os.execvp(sys.argv[at + 1], sys.argv[at + 1:])

"""Job objects of Windows: groups of processes that end together, and limits of what a process may use."""

from __future__ import annotations

import ctypes
from ctypes import c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from functools import cache
from typing import TYPE_CHECKING, Any

_PROCESS_TERMINATE = 0x0001
_PROCESS_SET_QUOTA = 0x0100

_EXTENDED_LIMIT_INFORMATION = 9  # JobObjectExtendedLimitInformation
_LIMIT_PROCESS_TIME = 0x0002
_LIMIT_PROCESS_MEMORY = 0x0100
_LIMIT_DIE_ON_UNHANDLED_EXCEPTION = 0x0400
_LIMIT_KILL_ON_JOB_CLOSE = 0x2000

_UNITS_A_SECOND = 10_000_000  # of processor time: 100 nanoseconds each


class _BasicLimits(ctypes.Structure):
    """JOBOBJECT_BASIC_LIMIT_INFORMATION."""

    _fields_ = (
        ("PerProcessUserTimeLimit", c_int64),
        ("PerJobUserTimeLimit", c_int64),
        ("LimitFlags", c_uint32),
        ("MinimumWorkingSetSize", c_size_t),
        ("MaximumWorkingSetSize", c_size_t),
        ("ActiveProcessLimit", c_uint32),
        ("Affinity", c_size_t),
        ("PriorityClass", c_uint32),
        ("SchedulingClass", c_uint32),
    )


class ExtendedLimits(ctypes.Structure):
    """JOBOBJECT_EXTENDED_LIMIT_INFORMATION."""

    _fields_ = (
        ("BasicLimitInformation", _BasicLimits),
        ("IoInfo", c_uint64 * 6),
        ("ProcessMemoryLimit", c_size_t),
        ("JobMemoryLimit", c_size_t),
        ("PeakProcessMemoryUsed", c_size_t),
        ("PeakJobMemoryUsed", c_size_t),
    )


def add_child(pid: int) -> None:
    """Let the system end the child process ``pid``, and the processes that it starts, when this process ends."""
    kernel = _kernel32()
    process = kernel.OpenProcess(_PROCESS_SET_QUOTA | _PROCESS_TERMINATE, False, pid)
    if process:  # else it has ended already
        kernel.AssignProcessToJobObject(_children(), process)
        kernel.CloseHandle(process)


def limit_this_process(memory_bytes: int | None, cpu_sec: float | None) -> None:
    """Limit this process's memory and processor time: an allocation beyond the limit fails, and the time ends it."""
    limits, flags = ExtendedLimits(), _LIMIT_DIE_ON_UNHANDLED_EXCEPTION
    if memory_bytes is not None:
        flags |= _LIMIT_PROCESS_MEMORY
        limits.ProcessMemoryLimit = memory_bytes
    if cpu_sec is not None:
        flags |= _LIMIT_PROCESS_TIME
        limits.BasicLimitInformation.PerProcessUserTimeLimit = int(cpu_sec * _UNITS_A_SECOND)
    limits.BasicLimitInformation.LimitFlags = flags
    kernel = _kernel32()
    kernel.AssignProcessToJobObject(_job(limits), kernel.GetCurrentProcess())


@cache
def _children() -> int:
    """The job of this process's children. The system closes it with this process, which ends them."""
    limits = ExtendedLimits()
    limits.BasicLimitInformation.LimitFlags = _LIMIT_KILL_ON_JOB_CLOSE
    return _job(limits)


def _job(limits: ExtendedLimits) -> int:
    kernel = _kernel32()
    job: int = kernel.CreateJobObjectW(None, None)
    kernel.SetInformationJobObject(job, _EXTENDED_LIMIT_INFORMATION, ctypes.byref(limits), ctypes.sizeof(limits))
    return job


@cache
def _kernel32() -> Any:
    kernel = _load()
    kernel.CreateJobObjectW.argtypes, kernel.CreateJobObjectW.restype = (c_void_p, c_void_p), c_void_p
    kernel.OpenProcess.argtypes, kernel.OpenProcess.restype = (c_uint32, c_uint32, c_uint32), c_void_p
    kernel.GetCurrentProcess.argtypes, kernel.GetCurrentProcess.restype = (), c_void_p
    kernel.AssignProcessToJobObject.argtypes = (c_void_p, c_void_p)
    kernel.SetInformationJobObject.argtypes = (c_void_p, c_uint32, c_void_p, c_uint32)
    kernel.CloseHandle.argtypes = (c_void_p,)
    return kernel


def _load() -> Any:
    if TYPE_CHECKING:
        import sys

        assert sys.platform == "win32"
    return ctypes.WinDLL("kernel32", use_last_error=True)

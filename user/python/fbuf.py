# SPDX-License-Identifier: LGPL-2.1-or-later
"""libfbuf for Python: memory that is sent to sockets without a CPU copy.

    with fbuf.Pool(65536, 16) as pool, pool.alloc() as buf:
        buf.view[:5] = b"hello"
        with pool.gather() as g:
            g.append(b"header: ").append(buf, 0, 5)
            g.send_all(sock)

fbuf_python(3) is the manual; fbuf(7) says which call is for what. What fails raises
OSError with the errno of the library's man pages; what was closed, ValueError.

A memoryview keeps what it shows: memory that was freed, and pools that were closed,
go when the last view of them has gone. So no view ever shows the memory of
somebody else.
"""

# pylint: disable=protected-access # the classes are one

import ctypes
import errno
import os
import socket
import struct
import threading
import time
from ctypes import (CFUNCTYPE, POINTER, byref, c_char_p, c_int, c_int32, c_long, c_size_t,
                    c_ssize_t, c_ubyte, c_uint, c_uint32, c_uint64, c_void_p, sizeof)
from typing import NamedTuple

# Constants: those of the headers, without FBUF_ in front.

BUF_SIZE_MAX = 2 << 20
POOL_SIZE_MAX = 1 << 40
BATCH_MAX = 4096
SEGS_MAX = 1024
INLINE_MAX = 4096
GATHER_MAX = 0x7ffff000
RING_MAX = 65536
TARGETS_MAX = 4096
AHEAD_MAX = 16 << 20
PARCEL_MAX = 16 << 20
PARCELS_MAX = 65536
NAME_PARCEL = 1 << 31

POOL_SECURED = 1 << 0
POOL_SNAPSHOT = 1 << 1
POOL_SIGBUS = 1 << 2
POOL_LAZY = 1 << 3

RIGHT_READ = 1 << 0
RIGHT_WRITE = 1 << 1
RIGHT_ALLOC = 1 << 2
RIGHT_SEND = 1 << 3

ALLOC_WAIT = 1 << 0
ALLOC_ALL = 1 << 1
ALLOC_UNHELD = 1 << 2
WAIT_ANY = 1 << 0
SHARE_NO_PIN = 1 << 0
PASS_KEEP = 1 << 0

RING_ACCEPT = 1 << 0
RING_EVENTFD = 1 << 1
RING_IDLE = 1
RING_PASSED = 2
RING_SENT = 3

SEG_INLINE = 1 << 0
SEG_NAMED = 1 << 1

ENGINE_PAGEREF = 1 << 0
ENGINE_SPLICE = 1 << 1
ENGINE_UBUF = 1 << 2
ENGINE_COPY = 1 << 3

SEND_DONTWAIT = 1 << 0
SEND_MORE = 1 << 1
SEND_EOR = 1 << 2
SEND_SIGPIPE = 1 << 3
SEND_NOTIFY = 1 << 4
SEND_VOLATILE = 1 << 5
SEND_SECURED = 1 << 6
SEND_SNAPSHOT = 1 << 7
SEND_COOKIE = 1 << 8
SEND_FREE = 1 << 9

FILL_DIRECT = 1 << 0
FILL_POS = 1 << 1
FILL_DONTWAIT = 1 << 2
FILL_ALL = 1 << 3

RECV_DONTWAIT = 1 << 0
RECV_ALL = 1 << 1
RECV_PEEK = 1 << 2

FEATURE_NAMED_SEGS = 1 << 0
FEATURE_NO_PIN = 1 << 1
FEATURE_COPY_ABOVE = 1 << 2
FEATURE_LAZY = 1 << 3
FEATURE_PROTECTS = 1 << 4
FEATURE_COOKIE = 1 << 5
FEATURE_DROP = 1 << 6
FEATURE_PARCELS = 1 << 7

BACKEND_MODULE = 1
BACKEND_USER = 2

FEATURE_REFERENCE = 1 << 32
FEATURE_PROCESSES = 1 << 33
FEATURE_FILE = 1 << 34
FEATURE_URING = 1 << 35
FEATURE_SECURE = 1 << 36
FEATURE_HEAP = 1 << 48
FEATURE_MSG = 1 << 49
FEATURE_VIEW = 1 << 50
FEATURE_QUEUE = 1 << 51
FEATURE_CHANNEL = 1 << 52

HEAP_IDLE = 1 << 0
QUEUE_HOLD = 1 << 0

MAP_READ_ONLY = 1
MAP_READ_WRITE = 2
MAP_PRIVATE = 3

VIEW_LEAKS_OFF = 0
VIEW_LEAKS_SIMPLE = 1
VIEW_LEAKS_ADVANCED = 2
VIEW_LEAKS_PARANOID = 3
VIEW_POISON = 0xfb


# Structures: a test compares them with the headers.

class _Structure(ctypes.Structure):
    """One that can be printed."""

    def __repr__(self):
        fields = ", ".join(f"{name}={getattr(self, name)}" for name, *_ in self._fields_)
        return f"{type(self).__name__}({fields})"


class PoolOptions(_Structure):
    _c_name_ = "struct fbuf_pool_options"
    _fields_ = [("buf_size", c_size_t), ("nr_bufs", c_uint), ("node", c_int), ("flags", c_uint),
                ("copy_above", c_uint)]


class Info(_Structure):
    """What a pool tells of itself: struct fbuf_info of <linux/fbuf.h>."""
    _c_name_ = "struct fbuf_info"
    _fields_ = [("size", c_uint32), ("flags", c_uint32), ("id", c_uint64),
                ("pool_size", c_uint64), ("buf_size", c_uint32), ("nr_bufs", c_uint32),
                ("nr_held", c_uint32), ("nr_in_flight", c_uint32), ("nr_split", c_uint32),
                ("node", c_int32), ("uid", c_uint32), ("pad", c_uint32), ("sends", c_uint64),
                ("bytes", c_uint64), ("copied", c_uint64), ("allocs", c_uint64),
                ("pool_flags", c_uint32), ("rights", c_uint32), ("handle", c_uint32),
                ("nr_handles", c_uint32), ("holds", c_uint32), ("max_holds", c_uint32),
                ("charged", c_uint64), ("resident", c_uint64), ("ring_size", c_uint64),
                ("reuses", c_uint64), ("protects", c_uint64), ("snapshots", c_uint64),
                ("fills", c_uint64), ("filled", c_uint64), ("features", c_uint32),
                ("handle_flags", c_uint32), ("copy_above", c_uint32), ("pad2", c_uint32),
                ("nr_parcels", c_uint32), ("pad3", c_uint32), ("parcel_bytes", c_uint64),
                ("recvs", c_uint64), ("received", c_uint64), ("recv_copied", c_uint64)]


class _Item(_Structure):
    _c_name_ = "struct fbuf_item"
    _fields_ = [("name", c_uint64), ("data", c_uint64)]


class _Entry(_Structure):
    _c_name_ = "struct fbuf_ring_entry"
    _fields_ = [("name", c_uint64), ("data", c_uint64), ("type", c_uint32), ("from_", c_uint32),
                ("reserved", c_uint64)]


class Segment(_Structure):
    """One of Gather.segments."""
    _c_name_ = "struct fbuf_seg"
    _fields_ = [("addr", c_uint64), ("len", c_uint32), ("flags", c_uint32)]


class _Result(_Structure):
    _c_name_ = "struct fbuf_result"
    _fields_ = [("engine", c_uint), ("copied", c_uint64)]


class _Target(_Structure):
    _c_name_ = "struct fbuf_target"
    _fields_ = [("fd", c_int32), ("result", c_int32), ("engine", c_uint32), ("copied", c_uint32)]


class _SendItem(_Structure):
    _c_name_ = "struct fbuf_send_item"
    _fields_ = [("segs", c_uint64), ("nr_segs", c_uint32), ("fd", c_int32), ("name", c_uint64),
                ("namelen", c_uint32), ("segment", c_uint32), ("result", c_int32),
                ("engine", c_uint32), ("copied", c_uint64)]


class HeapStats(_Structure):
    """What became of a heap's memory: struct fbuf_heap_stats of <fbuf/heap.h>."""
    _c_name_ = "struct fbuf_heap_stats"
    _fields_ = [("size", c_uint64), ("used", c_uint64), ("waiting", c_uint64),
                ("cached", c_uint64), ("largest", c_uint64), ("allocs", c_uint64),
                ("frees", c_uint64), ("failed", c_uint64), ("looks", c_uint64),
                ("resident", c_uint64)]


class _HeapOptions(_Structure):
    _c_name_ = "struct fbuf_heap_options"
    _fields_ = [("limit", c_size_t), ("buf_size", c_size_t), ("pool", c_void_p),
                ("pool_flags", c_uint), ("flags", c_uint), ("keep", c_size_t)]


class _QueueOptions(_Structure):
    _c_name_ = "struct fbuf_queue_options"
    _fields_ = [("limit", c_size_t), ("flags", c_uint), ("send_flags", c_uint)]


class _IoVec(_Structure):
    _c_name_ = "struct iovec"
    _fields_ = [("iov_base", c_void_p), ("iov_len", c_size_t)]


class _MsgHdr(_Structure):
    _c_name_ = "struct msghdr"
    _fields_ = [("msg_name", c_void_p), ("msg_namelen", c_uint32), ("msg_iov", POINTER(_IoVec)),
                ("msg_iovlen", c_size_t), ("msg_control", c_void_p),
                ("msg_controllen", c_size_t), ("msg_flags", c_int)]


class _PyBuffer(ctypes.Structure):
    """Python's own Py_buffer."""
    _fields_ = [("buf", c_void_p), ("obj", c_void_p), ("len", c_ssize_t),
                ("itemsize", c_ssize_t), ("readonly", c_int), ("ndim", c_int),
                ("format", c_char_p), ("shape", c_void_p), ("strides", c_void_p),
                ("suboffsets", c_void_p), ("internal", c_void_p)]


class Result(NamedTuple):
    """What a send to one of many did: result is bytes, or a negative errno value."""
    result: int
    engine: int
    copied: int


class Entry(NamedTuple):
    """One entry of a ring: RING_IDLE or RING_PASSED, and the sender's handle."""
    name: int
    data: int
    type: int
    sender: int


# Functions of the library: what they return, and what they take.

_names = POINTER(c_uint64)
_Released = CFUNCTYPE(None, c_void_p)
_Taken = CFUNCTYPE(None, c_void_p, c_int)
_FUNCTIONS = {
    "fbuf_version": (c_char_p,),
    "fbuf_engine_name": (c_char_p, c_uint),
    "fbuf_backend": (c_uint,),
    "fbuf_backend_set": (c_int, c_uint),
    "fbuf_backend_name": (c_char_p, c_uint),
    "fbuf_features": (c_uint64, c_uint),
    "fbuf_pool_backend": (c_uint, c_void_p),
    "fbuf_pool_create_sized": (c_int, POINTER(c_void_p), POINTER(PoolOptions), c_size_t),
    "fbuf_pool_open": (c_int, POINTER(c_void_p), c_int),
    "fbuf_pool_close": (None, c_void_p),
    "fbuf_pool_fd": (c_int, c_void_p),
    "fbuf_pool_buf_size": (c_size_t, c_void_p),
    "fbuf_pool_nr_bufs": (c_uint, c_void_p),
    "fbuf_pool_rights": (c_uint, c_void_p),
    "fbuf_pool_handle": (c_uint, c_void_p),
    "fbuf_pool_info_sized": (c_int, c_void_p, POINTER(Info), c_size_t),
    "fbuf_alloc": (c_int, c_void_p, _names, c_uint, c_int),
    "fbuf_alloc_flags": (c_int, c_void_p, _names, c_uint, c_uint, c_int),
    "fbuf_free": (c_int, c_void_p, _names, c_uint),
    "fbuf_addr": (c_void_p, c_void_p, c_uint64),
    "fbuf_wait": (c_int, c_void_p, _names, c_uint, c_uint, c_int),
    "fbuf_drop": (c_int, c_void_p, _names, c_uint),
    "fbuf_secure": (c_int, c_void_p, _names, c_uint),
    "fbuf_fill_at": (c_ssize_t, c_void_p, c_uint64, c_size_t, c_size_t, c_int, c_long,
                     c_size_t, c_uint),
    "fbuf_recv_head": (c_ssize_t, c_void_p, c_int, c_size_t, c_uint, c_char_p,
                       POINTER(c_size_t), POINTER(c_uint64)),
    "fbuf_parcel_read": (c_int, c_void_p, c_uint64, c_size_t, c_char_p, c_size_t),
    "fbuf_pool_share_flags": (c_int, c_void_p, c_uint, c_uint, c_uint, POINTER(c_uint)),
    "fbuf_pool_fd_send": (c_int, c_int, c_int),
    "fbuf_pool_fd_recv": (c_int, c_int),
    "fbuf_hold": (c_int, c_void_p, _names, c_uint),
    "fbuf_pass": (c_int, c_void_p, c_uint, POINTER(_Item), c_uint, c_uint),
    "fbuf_ring_setup": (c_int, c_void_p, c_uint, c_uint, c_int),
    "fbuf_ring_next": (c_int, c_void_p, POINTER(_Entry)),
    "fbuf_ring_wait": (c_int, c_void_p, POINTER(_Entry), c_int),
    "fbuf_ring_overflow": (c_int, c_void_p, POINTER(c_uint64)),
    "fbuf_gather_new": (c_void_p, c_void_p),
    "fbuf_gather_destroy": (None, c_void_p),
    "fbuf_gather_reset": (None, c_void_p),
    "fbuf_gather_append": (c_int, c_void_p, c_uint64, c_size_t, c_size_t),
    "fbuf_gather_prepend": (c_int, c_void_p, c_uint64, c_size_t, c_size_t),
    "fbuf_gather_append_inline": (c_int, c_void_p, c_void_p, c_size_t),
    "fbuf_gather_prepend_inline": (c_int, c_void_p, c_void_p, c_size_t),
    "fbuf_gather_append_mem": (c_int, c_void_p, c_void_p, c_void_p, c_size_t),
    "fbuf_gather_slice": (c_int, c_void_p, c_void_p, c_size_t, c_size_t),
    "fbuf_gather_len": (c_size_t, c_void_p),
    "fbuf_gather_nr_segs": (c_uint, c_void_p),
    "fbuf_gather_segs": (POINTER(Segment), c_void_p),
    "fbuf_send_datagrams": (c_ssize_t, c_void_p, c_int, c_uint, c_uint, c_void_p, c_uint32,
                            c_uint, POINTER(_Result)),
    "fbuf_send_all": (c_ssize_t, c_void_p, c_int, c_uint, POINTER(c_size_t)),
    "fbuf_fanout": (c_int, c_void_p, POINTER(_Target), c_uint, c_uint, c_uint),
    "fbuf_item_set": (None, POINTER(_SendItem), c_void_p, c_int),
    "fbuf_send_batch": (c_int, c_void_p, POINTER(_SendItem), c_uint, c_uint, c_uint),
    "fbuf_heap_create_sized": (c_int, POINTER(c_void_p), POINTER(_HeapOptions), c_size_t),
    "fbuf_heap_pool": (c_void_p, c_void_p),
    "fbuf_heap_trim": (c_ssize_t, c_void_p, c_size_t),
    "fbuf_heap_destroy": (None, c_void_p),
    "fbuf_heap_alloc": (c_void_p, c_void_p, c_size_t),
    "fbuf_heap_alloc_aligned": (c_void_p, c_void_p, c_size_t, c_size_t),
    "fbuf_heap_calloc": (c_void_p, c_void_p, c_size_t, c_size_t),
    "fbuf_heap_free": (None, c_void_p, c_void_p),
    "fbuf_heap_usable_size": (c_size_t, c_void_p, c_void_p),
    "fbuf_heap_ref": (c_ssize_t, c_void_p, c_void_p, c_size_t, _names, POINTER(c_size_t)),
    "fbuf_heap_wait": (c_int, c_void_p, c_int),
    "fbuf_heap_stats_sized": (c_int, c_void_p, POINTER(HeapStats), c_size_t),
    "fbuf_sendmsg": (c_ssize_t, c_void_p, c_int, POINTER(_MsgHdr), c_int),
    "fbuf_writev": (c_ssize_t, c_void_p, c_int, POINTER(_IoVec), c_int),
    "fbuf_queue_create_sized": (c_int, POINTER(c_void_p), c_void_p, c_int,
                                POINTER(_QueueOptions), c_size_t),
    "fbuf_queue_destroy": (None, c_void_p),
    "fbuf_queue_view_with": (c_int, c_void_p, c_void_p, _Taken, _Released, c_void_p),
    "fbuf_queue_copy": (c_int, c_void_p, c_void_p, c_size_t),
    "fbuf_queue_mem": (c_int, c_void_p, c_void_p, c_size_t, _Taken, _Released, c_void_p),
    "fbuf_queue_flush": (c_int, c_void_p),
    "fbuf_queue_len": (c_size_t, c_void_p),
    "fbuf_queue_room": (c_size_t, c_void_p),
    "fbuf_queue_events": (c_uint, c_void_p),
    "fbuf_queue_fanout": (c_int, POINTER(c_void_p), c_uint, c_void_p, POINTER(c_int)),
    "fbuf_queue_notices_fd": (c_int, c_void_p),
    "fbuf_queue_notices": (c_int, c_void_p),
    "fbuf_queue_notice": (c_int, c_void_p, POINTER(_Entry)),
    "fbuf_view_alloc": (c_void_p, c_void_p, c_size_t),
    "fbuf_view_wrap": (c_void_p, c_void_p, c_size_t, _Released, c_void_p),
    "fbuf_view_wrap_writable": (c_void_p, c_void_p, c_size_t, _Released, c_void_p),
    "fbuf_view_parcel": (c_void_p, c_void_p, c_uint64, c_size_t),
    "fbuf_view_retain": (c_void_p, c_void_p),
    "fbuf_view_release": (c_int, c_void_p),
    "fbuf_view_count": (c_uint, c_void_p),
    "fbuf_view_retained_slice": (c_void_p, c_void_p, c_size_t, c_size_t),
    "fbuf_view_retained_duplicate": (c_void_p, c_void_p),
    "fbuf_view_read_retained_slice": (c_void_p, c_void_p, c_size_t),
    "fbuf_view_read_only": (c_void_p, c_void_p),
    "fbuf_view_is_read_only": (c_int, c_void_p),
    "fbuf_view_len": (c_size_t, c_void_p),
    "fbuf_view_iovec": (c_int, c_void_p, c_size_t, c_size_t, POINTER(_IoVec), c_uint),
    "fbuf_view_capacity": (c_size_t, c_void_p),
    "fbuf_view_reader": (c_size_t, c_void_p),
    "fbuf_view_writer": (c_size_t, c_void_p),
    "fbuf_view_set_cursors": (c_int, c_void_p, c_size_t, c_size_t),
    "fbuf_view_clear": (None, c_void_p),
    "fbuf_view_skip": (c_int, c_void_p, c_size_t),
    "fbuf_view_truncate": (c_int, c_void_p, c_size_t),
    "fbuf_view_space": (c_void_p, c_void_p, POINTER(c_size_t)),
    "fbuf_view_wrote": (c_int, c_void_p, c_size_t),
    "fbuf_view_ensure": (c_int, c_void_p, c_size_t),
    "fbuf_view_set_capacity": (c_int, c_void_p, c_size_t),
    "fbuf_view_discard": (c_int, c_void_p),
    "fbuf_view_get": (c_int, c_void_p, c_size_t, c_void_p, c_size_t),
    "fbuf_view_set": (c_int, c_void_p, c_size_t, c_void_p, c_size_t),
    "fbuf_view_read": (c_int, c_void_p, c_void_p, c_size_t),
    "fbuf_view_write": (c_int, c_void_p, c_void_p, c_size_t),
    "fbuf_view_write_view": (c_int, c_void_p, c_void_p, c_size_t),
    "fbuf_view_copy": (c_void_p, c_void_p, c_void_p, c_size_t, c_size_t),
    "fbuf_view_composite": (c_void_p, c_uint),
    "fbuf_view_insert": (c_int, c_void_p, c_uint, c_void_p, c_int),
    "fbuf_view_add": (c_int, c_void_p, c_void_p),
    "fbuf_view_add_flat": (c_int, c_void_p, c_void_p),
    "fbuf_view_components": (c_int, c_void_p),
    "fbuf_view_component": (c_void_p, c_void_p, c_uint),
    "fbuf_view_remove": (c_int, c_void_p, c_uint, c_uint),
    "fbuf_view_consolidate": (c_int, c_void_p, c_uint, c_uint),
    "fbuf_view_discard_components": (c_int, c_void_p),
    "fbuf_view_aggregate": (c_void_p, c_void_p),
    "fbuf_view_concat": (c_int, c_void_p, c_void_p),
    "fbuf_view_replace": (c_int, c_void_p, c_size_t, c_size_t, c_void_p),
    "fbuf_view_touch": (None, c_void_p, c_char_p),
    "fbuf_view_leaks": (c_int, c_uint),
    "fbuf_view_leaks_report": (c_uint, c_uint),
    "fbuf_view_check": (c_int, c_int),
    "fbuf_view_check_look": (c_size_t,),
    "fbuf_transfer_to": (c_ssize_t, c_void_p, c_int, c_long, c_size_t, c_int),
    "fbuf_transfer_from": (c_ssize_t, c_void_p, c_int, c_long, c_size_t, c_int),
    "fbuf_map_open": (c_int, POINTER(c_void_p), c_int, c_uint, c_long, c_size_t),
    "fbuf_map_close": (None, c_void_p),
    "fbuf_map_addr": (c_void_p, c_void_p),
    "fbuf_map_size": (c_size_t, c_void_p),
    "fbuf_map_mode": (c_uint, c_void_p),
    "fbuf_map_force": (c_int, c_void_p),
    "fbuf_map_force_range": (c_int, c_void_p, c_size_t, c_size_t),
    "fbuf_map_load": (c_int, c_void_p),
    "fbuf_map_is_loaded": (c_int, c_void_p),
    "fbuf_map_read": (c_ssize_t, c_void_p, c_size_t, c_void_p, c_size_t),
}


def _load():
    """All but views, which do not wait, without Python's lock."""
    lib, held = ctypes.CDLL("libfbuf.so.0"), ctypes.PyDLL("libfbuf.so.0")
    for name, (result, *args) in _FUNCTIONS.items():
        function = getattr(held if name.startswith("fbuf_view_") else lib, name)
        function.restype, function.argtypes = result, args
        setattr(lib, name, function)
    return lib


_lib = _load()
_python = ctypes.pythonapi
_python.PyObject_GetBuffer.argtypes = [ctypes.py_object, POINTER(_PyBuffer), c_int]
_python.PyBuffer_Release.argtypes = [POINTER(_PyBuffer)]


def _check(result):
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


def _again(call):
    """call(), and once more if a signal came, whose handler has run then."""
    while True:
        result = call()
        if result != -errno.EINTR:
            return result


def _timed(call, timeout):
    """call(milliseconds) for at most so many seconds, or None: for ever."""
    if timeout is None:
        return _again(lambda: call(-1))
    if timeout < 0:
        raise ValueError("a timeout is not negative")
    end = time.monotonic() + timeout

    def once():
        left = max(end - time.monotonic(), 0) if timeout else 0
        return call(min(int(left * 1000 + 0.999), 0x7fffffff))

    return _again(once)


def _fd(file):
    return file if isinstance(file, int) else file.fileno()


# Who owns what.

class _Owned:
    """What the library gave, and has back when nobody needs it any more.

    Those who need it are counted here. The garbage collector ends the objects of
    a cycle in any order, but a pool must outlive its heap.
    """

    def __init__(self, needs=None):
        self._users = []
        self._once = [None]
        self._needs = _Use(needs) if needs else None

    def come(self):
        self._users.append(None)

    # Each step is one of Python's: this runs at any time, in any thread.
    def leave(self):
        self._users.pop()
        if self._users:
            return
        try:
            self._once.pop()
        except IndexError:
            return
        self.give_back()
        self._needs = None

    def give_back(self):
        raise NotImplementedError


class _Use:
    """One who needs what is owned; can be given to functions of the library."""
    __slots__ = ("owned",)

    def __init__(self, owned):
        owned.come()
        self.owned = owned

    def __del__(self):
        self.owned.leave()

    @property
    def _as_parameter_(self):
        return self.owned.ptr


class _Pointer(_Owned):
    """What a function of the library made, and another one ends."""

    def __init__(self, ptr, end, needs=None):
        super().__init__(needs)
        self.ptr, self._end = ptr, end

    def give_back(self):
        self._end(self.ptr)


def _leave(_):
    """It is somebody else's to end."""


class _Hold(_Owned):
    """A hold on a buffer; ptr is where it is."""

    def __init__(self, pool, name, size):
        super().__init__(pool)
        self.pool, self.name, self.size = pool, name, size
        self.ptr = _lib.fbuf_addr(pool.ptr, name)
        self.gone = False
        self._free = _lib.fbuf_free
        # After fork() both have the same holds: those of who took them.
        self._getpid, self._pid = os.getpid, os.getpid()

    def give_back(self):
        if not self.gone and self._getpid() == self._pid:
            self._free(self.pool.ptr, byref(c_uint64(self.name)), 1)


class _Received(_Owned):
    """A parcel, which has no address."""
    ptr = None

    def __init__(self, pool, name, size):
        super().__init__(pool)
        self.pool, self.name, self.size = pool, name, size
        self.gone = False
        self._free = _lib.fbuf_free
        self._getpid, self._pid = os.getpid, os.getpid()

    def give_back(self):
        if not self.gone and self._getpid() == self._pid:
            self._free(self.pool.ptr, byref(c_uint64(self.name)), 1)


class _Allocation(_Owned):
    """Memory of a heap."""

    def __init__(self, heap, ptr, size):
        super().__init__(heap)
        self.heap, self.ptr, self.size = heap, ptr, size
        self._free = _lib.fbuf_heap_free

    def give_back(self):
        self._free(self.heap.ptr, self.ptr)


class _Closing:
    """What can be closed, and used no more then. Has no other state than that of
    the library: whoever is in a call meanwhile goes on."""
    _use = None
    _what = "it"

    def _get(self):
        use = self._use
        if use is None:
            raise ValueError(f"the {self._what} is closed")
        return use

    @property
    def closed(self):
        return self._use is None

    def close(self):
        """Give it back, at once or when the last view of it has gone."""
        self._use = None

    def __enter__(self):
        self._get()
        return self

    def __exit__(self, *_):
        self.close()


def _memory(address, size, keeps):
    """A memoryview of it; what keeps it is there as long."""
    if not size:
        return memoryview(bytearray())
    array = (c_ubyte * size).from_address(address)
    array.fbuf_use = keeps
    return memoryview(array).cast("B")


class _Memory(_Closing):
    """Memory that can be sent by reference."""
    _readonly = False

    @property
    def view(self):
        """The memory, as a memoryview of bytes, which keeps it."""
        use = self._get()
        if use.owned.ptr is None:
            raise OSError(errno.EACCES, "the handle has no right to read")
        view = _memory(use.owned.ptr, use.owned.size, _Use(use.owned))
        return view.toreadonly() if self._readonly else view

    def __len__(self):
        return self._get().owned.size

    def free(self):
        """The same as close()."""
        self.close()


class _Pin:
    """The bytes of any object that has some, where they are while this is."""

    def __init__(self, what):
        self._buffer = _PyBuffer()
        self._release = None
        _python.PyObject_GetBuffer(what, byref(self._buffer), 0)
        self._release = _python.PyBuffer_Release
        self.address, self.size = self._buffer.buf, self._buffer.len
        self.readonly = bool(self._buffer.readonly)

    def __del__(self):
        if self._release:
            self._release(byref(self._buffer))


class _Piece:
    """What goes into a gather: where it is, and in which buffer, parcel or memory of a
    heap. Only gathers take parcels."""

    def __init__(self, what, offset, length, parcels=False):
        if isinstance(what, (_Memory, Parcel) if parcels else _Memory):
            self.keeps = use = _Use(what._get().owned)
            start, size = use.owned.ptr, use.owned.size
            self.readonly = what._readonly
        else:
            self.keeps = _Pin(what)
            start, size = self.keeps.address, self.keeps.size
            self.readonly = self.keeps.readonly
            use = getattr(what.obj, "fbuf_use", None) if isinstance(what, memoryview) else None
        self.owned = use.owned if use else None
        if length is None:
            length = max(size - offset, 0)
        if offset < 0 or length < 0 or offset + length > size:
            raise ValueError(f"bytes {offset} to {offset + length} of {size}")
        self.length = length
        self.address = (start or 0) + offset

    @property
    def offset(self):
        """In the buffer, or the parcel."""
        return self.address - (self.owned.ptr or 0)


# What users see.

class Pool(_Closing):
    """A set of buffers of one size; fbuf_pool(3). Any thread may use it."""
    _what = "pool"

    def __init__(self, buf_size, nr_bufs, *, node=-1, flags=0, copy_above=0):
        options = PoolOptions(buf_size, nr_bufs, node, flags, copy_above)
        ptr = c_void_p()
        _check(_lib.fbuf_pool_create_sized(byref(ptr), byref(options), sizeof(options)))
        self._use = _Use(_Pointer(ptr.value, _lib.fbuf_pool_close))

    @classmethod
    def open(cls, fd):
        """Of a file descriptor that another process passed; takes it over."""
        self = cls.__new__(cls)
        ptr = c_void_p()
        _check(_lib.fbuf_pool_open(byref(ptr), fd))
        self._use = _Use(_Pointer(ptr.value, _lib.fbuf_pool_close))
        return self

    def fileno(self):
        return _lib.fbuf_pool_fd(self._get())

    @property
    def buf_size(self):
        return _lib.fbuf_pool_buf_size(self._get())

    @property
    def nr_bufs(self):
        return _lib.fbuf_pool_nr_bufs(self._get())

    @property
    def backend(self):
        """BACKEND_*"""
        return _lib.fbuf_pool_backend(self._get())

    @property
    def rights(self):
        """RIGHT_*"""
        return _lib.fbuf_pool_rights(self._get())

    @property
    def handle(self):
        """The number by which others pass buffers to this handle."""
        return _lib.fbuf_pool_handle(self._get())

    def info(self):
        info = Info()
        _check(_lib.fbuf_pool_info_sized(self._get(), byref(info), sizeof(info)))
        return info

    # Buffers.

    def alloc(self, timeout=None):
        """Take a buffer; if all that are free are in flight, wait so many seconds."""
        return self.alloc_many(1, timeout)[0]

    def alloc_many(self, count, timeout=None, flags=None):
        """Take up to count buffers; with flags, as ALLOC_* of fbuf_alloc(3) say."""
        names, use = (c_uint64 * count)(), self._get()

        def call(milliseconds):
            if flags is None:
                return _lib.fbuf_alloc(use, names, count, milliseconds)
            wait = milliseconds if flags & ALLOC_WAIT else 0
            return _lib.fbuf_alloc_flags(use, names, count, flags, wait)

        got = _check(_timed(call, timeout))
        return [self.take(name) for name in names[:got]]

    def take(self, name):
        """The buffer of this name, on which the handle has a hold already: it was
        passed to it. The hold becomes the buffer's."""
        use = self._get()
        return Buffer._of(self, use.owned, name)

    def hold(self, names):
        """Hold buffers that others hold: all or none."""
        names = list(names)
        _check(_lib.fbuf_hold(self._get(), (c_uint64 * len(names))(*names), len(names)))
        return [self.take(name) for name in names]

    def wait(self, buffers, timeout=None, flags=0):
        """Wait until none of them is in flight, or with WAIT_ANY one is not; how many
        are not. TimeoutError when the time is over."""
        names, use = _names_of(buffers), self._get()
        return _check(_timed(lambda ms: _lib.fbuf_wait(use, names, len(names), flags, ms),
                             timeout))

    def secure(self, buffers):
        """Nobody writes to them while they are held here."""
        names = _names_of(buffers)
        _check(_lib.fbuf_secure(self._get(), names, len(names)))

    def drop(self, buffers):
        """Of a lazy pool: they lose their memory, and are zero when they are used again."""
        names = _names_of(buffers)
        _check(_lib.fbuf_drop(self._get(), names, len(names)))

    def recv(self, sock, length, flags=0, *, head=0, drop=None):
        """Receive up to length bytes of a stream as a Parcel, of which head bytes are
        copied; None at the end. A Parcel to be dropped first goes whatever comes of it,
        unless sock is none."""
        use, fd = self._get(), _fd(sock)
        name = c_uint64(0 if drop is None else drop.name)
        first, size = ctypes.create_string_buffer(head or 1), c_size_t()

        def call():
            size.value = head
            return _lib.fbuf_recv_head(use, fd, length, flags, first, byref(size), byref(name))

        got = _again(call)
        if drop is not None and name.value != drop.name:
            drop._gone()
        if not _check(got):
            return None
        return Parcel._of(use.owned, name.value, got, first.raw[:size.value])

    # Others.

    def share(self, rights, max_holds=0, flags=0):
        """Make another handle; its file descriptor and its number."""
        handle = c_uint()
        fd = _lib.fbuf_pool_share_flags(self._get(), rights, max_holds, flags, byref(handle))
        return _check(fd), handle.value

    def pass_to(self, handle, items, *, keep=False):
        """Hand buffers, or pairs of a buffer and a number, over to a handle. Unless
        they are kept they are closed here; views that are left show what the
        other one does with them."""
        items = [item if isinstance(item, tuple) else (item, 0) for item in items]
        array = (_Item * len(items))(*((buf.name, data) for buf, data in items))
        _check(_lib.fbuf_pass(self._get(), handle, array, len(items), PASS_KEEP if keep else 0))
        for buf, _ in items:
            if not keep:
                buf._passed()

    # The ring.

    def ring_setup(self, entries, flags=0, eventfd=0):
        _check(_lib.fbuf_ring_setup(self._get(), entries, flags, _fd(eventfd)))

    def ring_next(self):
        """The next Entry of the ring, or None. No system call."""
        entry = _Entry()
        return _entry(_lib.fbuf_ring_next(self._get(), byref(entry)), entry)

    def ring_wait(self, timeout=None):
        """The next Entry, or None if there is none in so many seconds."""
        entry, use = _Entry(), self._get()
        return _entry(_timed(lambda ms: _lib.fbuf_ring_wait(use, byref(entry), ms), timeout),
                      entry)

    def ring_overflow(self):
        """How often a notice found the ring full."""
        overflow = c_uint64()
        _check(_lib.fbuf_ring_overflow(self._get(), byref(overflow)))
        return overflow.value

    # Sending.

    def gather(self):
        return Gather(self)

    def send_batch(self, sends, flags=0, engines=0):
        """Many (gather, socket) by one call, waiting for none; a Result for each.

        Gathers that others use at the same time are waited for, in their order."""
        sends = list(sends)
        items = (_SendItem * len(sends))()
        gathers = sorted({id(g): g for g, _ in sends}.values(), key=id)
        uses = [g._get() for g, _ in sends]
        for g in gathers:
            g._lock.acquire()
        try:
            for item, use, (_, sock) in zip(items, uses, sends):
                _lib.fbuf_item_set(byref(item), use, _fd(sock))
            count = _check(_lib.fbuf_send_batch(self._get(), items, len(items), flags, engines))
        finally:
            for g in gathers:
                g._lock.release()
        return [Result(i.result, i.engine, i.copied) for i in items[:count]]

    def sendmsg(self, sock, buffers, ancdata=(), flags=0, address=None):
        """As socket.sendmsg(), with flags MSG_*: what lies in the pool goes by reference.
        It must stay as it is until nobody refers to it, unless the pool protects it."""
        vectors, _pieces = _vectors(buffers)
        name = _sockaddr(sock, address)
        control = b"".join(_control(*item) for item in ancdata)
        message = _MsgHdr(
            ctypes.cast(name, c_void_p) if name else None, len(name or b""), vectors,
            len(vectors), ctypes.cast(control, c_void_p) if control else None, len(control))
        use, fd = self._get(), _fd(sock)
        return _check(_again(lambda: _lib.fbuf_sendmsg(use, fd, byref(message), flags)))

    def writev(self, file, buffers):
        """As os.writev(), likewise."""
        vectors, _pieces = _vectors(buffers)
        use, fd = self._get(), _fd(file)
        return _check(_again(lambda: _lib.fbuf_writev(use, fd, vectors, len(vectors))))

    def heap(self, flags=0):
        return Heap(self, flags)


def _vectors(buffers):
    """Where the bytes of all are, and what keeps them there."""
    pieces = [_Piece(buffer, 0, None) for buffer in buffers]
    return (_IoVec * len(pieces))(*((p.address, p.length) for p in pieces)), pieces


def _control(level, kind, data):
    """A struct cmsghdr and its data."""
    data = bytes(data)
    size = struct.calcsize("@Nii") + len(data)
    return struct.pack("@Nii", size, level, kind) + data + bytes(-size % sizeof(c_size_t))


def _names_of(buffers):
    names = [buf.name for buf in buffers]
    return (c_uint64 * len(names))(*names)


def _entry(result, entry):
    if not _check(result):
        return None
    return Entry(entry.name, entry.data, entry.type, entry.from_)


class Buffer(_Memory):
    """A hold on a buffer of a pool; Pool.alloc() makes it."""
    _what = "buffer"

    @classmethod
    def _of(cls, pool, owned, name):
        self = cls()
        self._readonly = not pool.rights & RIGHT_WRITE
        self._use = _Use(_Hold(owned, name, pool.buf_size))
        return self

    @property
    def name(self):
        return self._get().owned.name

    def _passed(self):
        use = self._get()
        use.owned.gone = True
        self.close()

    def wait(self, timeout=None):
        """Wait until it is not in flight."""
        self._names_call(_lib.fbuf_wait, timeout)

    @property
    def idle(self):
        """Whether it is not in flight now."""
        try:
            self._names_call(_lib.fbuf_wait, 0)
        except TimeoutError:
            return False
        return True

    def _names_call(self, function, timeout):
        use = self._get()
        name = byref(c_uint64(use.owned.name))
        _check(_timed(lambda ms: function(use.owned.pool.ptr, name, 1, 0, ms), timeout))

    def fill(self, file, length=None, offset=0, *, position=None, ahead=0, flags=0):
        """Read from a file, from a position of it or its own, or from a socket; how many
        bytes, 0 at the end. As read() it may be fewer than length."""
        use, fd = self._get(), _fd(file)
        if length is None:
            length = use.owned.size - offset
        where = -1 if position is None else position
        return _check(_again(lambda: _lib.fbuf_fill_at(
            use.owned.pool.ptr, use.owned.name, offset, length, fd, where, ahead, flags)))


class Parcel(_Closing):
    """Bytes that were received, and stay where they are; Pool.recv() makes it. A gather
    takes it, or a part of it, and bytes of it can be read."""
    _what = "parcel"
    _readonly = True
    head = b""

    @classmethod
    def _of(cls, owned, name, size, head):
        self = cls()
        self._use = _Use(_Received(owned, name, size))
        self.head = head
        return self

    @property
    def name(self):
        return self._get().owned.name

    def __len__(self):
        return self._get().owned.size

    def read(self, offset=0, length=None):
        """A copy of these bytes."""
        use = self._get()
        if length is None:
            length = max(use.owned.size - offset, 0)
        if offset < 0 or length < 0 or offset + length > use.owned.size:
            raise ValueError(f"bytes {offset} to {offset + length} of {use.owned.size}")
        data = ctypes.create_string_buffer(length or 1)
        if length:
            _check(_lib.fbuf_parcel_read(use.owned.pool.ptr, use.owned.name, offset, data,
                                         length))
        return data.raw[:length]

    def view(self):
        """A View of it, which has it from now on: this is closed."""
        owned = self._get().owned
        view = View._of(_lib.fbuf_view_parcel(owned.pool.ptr, owned.name, owned.size),
                        owned.pool)
        self._gone()
        return view

    def _gone(self):
        self._get().owned.gone = True
        self.close()

    def free(self):
        """The same as close()."""
        self.close()


class Gather(_Closing):
    """What one send sends; fbuf_gather(3). Keeps all that is in it until reset().

    One thread uses it at a time: others wait."""
    _what = "gather"

    def __init__(self, pool):
        use = pool._get()
        ptr = _lib.fbuf_gather_new(use)
        if not ptr:
            raise MemoryError
        self._use = _Use(_Pointer(ptr, _lib.fbuf_gather_destroy, use.owned))
        self._pool = use.owned
        self._keeps = []
        self._lock = threading.RLock()
        self.engine = self.copied = 0

    def close(self):
        with self._lock:
            super().close()
            self._keeps = []

    def reset(self):
        """Forget all that is in it."""
        with self._lock:
            _lib.fbuf_gather_reset(self._get())
            self._keeps = []
        return self

    def _piece(self, what, offset, length):
        piece = _Piece(what, offset, length, parcels=True)
        if isinstance(piece.owned, _Received) and piece.owned.pool.ptr != self._pool.ptr:
            raise ValueError("the parcel is another pool's")
        return piece

    def append(self, what, offset=0, length=None):
        """Add a Buffer, a Parcel, a Memory or a memoryview of one, which are sent by
        reference, or any other bytes, which are copied by each send; a part of it."""
        piece = self._piece(what, offset, length)
        with self._lock:
            use, owned = self._get(), piece.owned
            if isinstance(owned, (_Hold, _Received)) and owned.pool.ptr == self._pool.ptr:
                result = _lib.fbuf_gather_append(use, owned.name, piece.offset, piece.length)
            elif isinstance(owned, _Allocation) and owned.heap.pool_ptr == self._pool.ptr:
                result = _lib.fbuf_gather_append_mem(use, owned.heap.ptr, piece.address,
                                                     piece.length)
            else:
                result = _lib.fbuf_gather_append_inline(use, piece.address, piece.length)
            _check(result)
            self._keeps.append(piece.keeps)
        return self

    def prepend(self, what, offset=0, length=None):
        """The same at the beginning; a Memory is copied by each send there."""
        piece = self._piece(what, offset, length)
        with self._lock:
            use, owned = self._get(), piece.owned
            if isinstance(owned, (_Hold, _Received)) and owned.pool.ptr == self._pool.ptr:
                result = _lib.fbuf_gather_prepend(use, owned.name, piece.offset, piece.length)
            else:
                result = _lib.fbuf_gather_prepend_inline(use, piece.address, piece.length)
            _check(result)
            self._keeps.append(piece.keeps)
        return self

    def slice(self, other, offset, length):
        """Append bytes of another gather of the pool, or of this one."""
        first, second = sorted((self, other), key=id)
        with first._lock, second._lock:
            _check(_lib.fbuf_gather_slice(self._get(), other._get(), offset, length))
            self._keeps += other._keeps
        return self

    def __len__(self):
        return _lib.fbuf_gather_len(self._get())

    @property
    def segments(self):
        with self._lock:
            use = self._get()
            segs = _lib.fbuf_gather_segs(use)
            return [Segment.from_buffer_copy(segs[i])
                    for i in range(_lib.fbuf_gather_nr_segs(use))]

    def send(self, sock, flags=0, engines=0, address=None, segment=0):
        """One send, as sendmsg(): how many bytes were taken. Sets engine and copied."""
        name = _sockaddr(sock, address)
        result = _Result()
        with self._lock:
            use = self._get()
            sent = _check(_again(lambda: _lib.fbuf_send_datagrams(
                use, _fd(sock), flags, engines, name, len(name or b""), segment,
                byref(result))))
            self.engine, self.copied = result.engine, result.copied
        return sent

    def send_all(self, sock, flags=0):
        """Send all of it on a stream socket, blocking or not, however long it takes.
        Of what fails, sent of the OSError is how many bytes went out."""
        sent = c_size_t()
        with self._lock:
            result = _lib.fbuf_send_all(self._get(), _fd(sock), flags, byref(sent))
        try:
            return _check(result)
        except OSError as error:
            error.sent = sent.value
            raise

    def fanout(self, sockets, flags=0, engines=0):
        """Send it to many sockets by one call, waiting for none; a Result for each."""
        targets = (_Target * len(sockets))(*((_fd(sock),) for sock in sockets))
        with self._lock:
            _check(_lib.fbuf_fanout(self._get(), targets, len(targets), flags, engines))
        return [Result(t.result, t.engine, t.copied) for t in targets]


def _sockaddr(sock, address):
    """The struct sockaddr of an address as Python has them, or None."""
    if address is None or isinstance(address, bytes):
        return address
    family = struct.pack("=H", sock.family)
    if sock.family == socket.AF_UNIX:
        return family + os.fsencode(address) + b"\0"
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        raise ValueError("give the bytes of a struct sockaddr")
    host, port, *more = address
    found = socket.getaddrinfo(host, port, sock.family, sock.type)[0][4]
    raw = socket.inet_pton(sock.family, found[0].partition("%")[0])
    if sock.family == socket.AF_INET:
        return family + struct.pack("!H", port) + raw + bytes(8)
    flow = more[0] if more else 0
    scope = more[1] if len(more) > 1 else found[3]
    return family + struct.pack("!HI", port, flow) + raw + struct.pack("=I", scope)


class Heap(_Closing):
    """Memory of any size in a pool; fbuf_heap(3). Any thread may use it."""
    _what = "heap"

    def __init__(self, pool=None, flags=0, *, limit=0, buf_size=0, pool_flags=0, keep=0):
        """Of a pool, or of one of its own, which grows up to a limit."""
        use, ptr = pool._get() if pool else None, c_void_p()
        options = _HeapOptions(limit, buf_size, use.owned.ptr if use else None, pool_flags,
                               flags, keep)
        _check(_lib.fbuf_heap_create_sized(byref(ptr), byref(options), sizeof(options)))
        owned = _Pointer(ptr.value, _lib.fbuf_heap_destroy, use.owned if use else None)
        owned.pool_ptr, owned.lock = _lib.fbuf_heap_pool(ptr), threading.RLock()
        self._use = _Use(owned)

    @property
    def pool(self):
        """The Pool, which is the heap's: it keeps the heap."""
        owned = self._get().owned
        pool = Pool.__new__(Pool)
        pool._use = _Use(_Pointer(owned.pool_ptr, _leave, owned))
        return pool

    def alloc(self, size, align=None):
        """A Memory of so many bytes; MemoryError if there is none."""
        use = self._get()
        if align is None:
            return self._memory(use, _lib.fbuf_heap_alloc(use, size), size)
        return self._memory(use, _lib.fbuf_heap_alloc_aligned(use, align, size), size)

    def calloc(self, size):
        """The same, all zero."""
        use = self._get()
        return self._memory(use, _lib.fbuf_heap_calloc(use, 1, size), size)

    def copy(self, data):
        """Memory with these bytes."""
        pin = _Pin(data)
        memory = self.alloc(pin.size)
        ctypes.memmove(memory._get().owned.ptr, pin.address, pin.size)
        return memory

    @staticmethod
    def _memory(use, ptr, size):
        if not ptr:
            raise MemoryError("the heap has no such memory now")
        memory = Memory()
        memory._use = _Use(_Allocation(use.owned, ptr, size))
        return memory

    def wait(self, timeout=None):
        """Wait until some memory that was freed in flight can be used again; whether
        any waits for that. TimeoutError when the time is over."""
        use = self._get()
        return _check(_timed(lambda ms: _lib.fbuf_heap_wait(use, ms), timeout)) > 0

    def trim(self, keep=0):
        """Of a lazy pool: give memory that is not in use back to the system; how much."""
        return _check(_lib.fbuf_heap_trim(self._get(), keep))

    def stats(self):
        stats = HeapStats()
        _check(_lib.fbuf_heap_stats_sized(self._get(), byref(stats), sizeof(stats)))
        return stats


    def view(self, capacity):
        """A View that can be written to, and grows while nobody else has it."""
        use = self._get()
        return View._of(_lib.fbuf_view_alloc(use, capacity), use.owned)

    # What queues of the heap wait for.

    def notices_fd(self):
        """What to poll: it is readable when notices() has something to do."""
        return _check(_lib.fbuf_queue_notices_fd(self._get()))

    def notices(self):
        """Call functions idle() of all its queues; how many."""
        use = self._get()
        with use.owned.lock:
            return _check(_lib.fbuf_queue_notices(use))

    def notice(self, entry):
        """Whether an Entry that Pool.ring_next() gave was of a queue, whose functions
        were called then."""
        use = self._get()
        entry = _Entry(entry.name, entry.data, entry.type, entry.sender, 0)
        with use.owned.lock:
            return _check(_lib.fbuf_queue_notice(use, byref(entry))) > 0


class Memory(_Memory):
    """Memory of a heap; Heap.alloc() makes it. What was sent may be in flight when it is
    freed: it is used again when it is not."""
    _what = "memory"

    @property
    def usable_size(self):
        owned = self._get().owned
        return _lib.fbuf_heap_usable_size(owned.heap.ptr, owned.ptr)

    def ref(self, offset=0, length=None):
        """In which buffer a byte is: its name, where in it, and how many of length
        bytes are there."""
        owned, name, where = self._get().owned, c_uint64(), c_size_t()
        length = owned.size - offset if length is None else length
        count = _check(_lib.fbuf_heap_ref(owned.heap.ptr, owned.ptr + offset, length,
                                          byref(name), byref(where)))
        return name.value, where.value, count


# What is wrapped, or queued, until the library says that it needs it no more.
_kept = {}
_keys = iter(range(1, 1 << 62))


@_Released
def _released(key):
    _kept.pop(key, None)


class View(_Closing):
    """Bytes with an owner, and two cursors between which they are readable;
    fbuf_view(3). Each object has a reference: close() releases it.

    One thread uses it at a time; another one takes a duplicate()."""
    _what = "view"

    @classmethod
    def _of(cls, ptr, needs=None):
        if not ptr:
            raise MemoryError("no memory for the view, or it has no such part")
        self = cls()
        self._use = _Use(_Pointer(ptr, _lib.fbuf_view_release, needs))
        return self

    def _part(self, ptr):
        return self._of(ptr, self._get().owned)

    @classmethod
    def alloc(cls, capacity):
        """Of ordinary memory; Heap.view() is of a heap's."""
        return cls._of(_lib.fbuf_view_alloc(None, capacity))

    @classmethod
    def wrap(cls, what, offset=0, length=None):
        """Of a Buffer, a Memory or any other bytes, all readable. They stay, and can be
        written if they could be."""
        piece, key = _Piece(what, offset, length), next(_keys)
        _kept[key] = piece
        wrap = _lib.fbuf_view_wrap if piece.readonly else _lib.fbuf_view_wrap_writable
        ptr = wrap(piece.address, piece.length, _released, key)
        if not ptr:
            del _kept[key]
        return cls._of(ptr)

    @classmethod
    def composite(cls, max_components=0):
        """Of others, one after the other; above so many they are copied into one."""
        return cls._of(_lib.fbuf_view_composite(max_components))

    @property
    def count(self):
        """How many references there are."""
        return _lib.fbuf_view_count(self._get())

    # Parts: they share the bytes, and have cursors of their own.

    def slice(self, index, length):
        return self._part(_lib.fbuf_view_retained_slice(self._get(), index, length))

    def duplicate(self):
        return self._part(_lib.fbuf_view_retained_duplicate(self._get()))

    def read_slice(self, length):
        """The next readable bytes; the read cursor goes past them."""
        return self._part(_lib.fbuf_view_read_retained_slice(self._get(), length))

    def read_only(self):
        return self._shared(_lib.fbuf_view_read_only(self._get()))

    def component(self, nr):
        return self._shared(_lib.fbuf_view_component(self._get(), nr))

    def _shared(self, ptr):
        """A part without a count of its own."""
        if ptr:
            _lib.fbuf_view_retain(ptr)
        return self._part(ptr)

    def aggregate(self):
        """A composite of what is readable."""
        return self._part(_lib.fbuf_view_aggregate(self._get()))

    def copy(self, index, length, heap=None):
        """Bytes of its own."""
        use = heap._get() if heap else None
        return self._of(_lib.fbuf_view_copy(self._get(), use, index, length),
                        use.owned if use else None)

    # Cursors.

    def __len__(self):
        """How many bytes are readable."""
        return _lib.fbuf_view_len(self._get())

    @property
    def capacity(self):
        return _lib.fbuf_view_capacity(self._get())

    @property
    def reader(self):
        return _lib.fbuf_view_reader(self._get())

    @property
    def writer(self):
        return _lib.fbuf_view_writer(self._get())

    @property
    def readonly(self):
        return bool(_lib.fbuf_view_is_read_only(self._get()))

    def set_cursors(self, reader, writer):
        _check(_lib.fbuf_view_set_cursors(self._get(), reader, writer))

    def clear(self):
        _lib.fbuf_view_clear(self._get())

    def skip(self, length):
        _check(_lib.fbuf_view_skip(self._get(), length))

    def truncate(self, length):
        _check(_lib.fbuf_view_truncate(self._get(), length))

    def ensure(self, length):
        """Room for so many bytes."""
        _check(_lib.fbuf_view_ensure(self._get(), length))

    def set_capacity(self, capacity):
        _check(_lib.fbuf_view_set_capacity(self._get(), capacity))

    def discard(self):
        """Drop what was read."""
        _check(_lib.fbuf_view_discard(self._get()))

    # Bytes.

    def pieces(self, offset=0, length=None):
        """The readable bytes, where they are: memoryviews, which keep them, and keep the
        view from moving."""
        use = self._get()
        if length is None:
            length = max(len(self) - offset, 0)
        room, count = 1, 2
        while count > room:
            room *= 4
            vectors = (_IoVec * room)()
            count = _check(_lib.fbuf_view_iovec(use, offset, length, vectors, room))
            if sum(v.iov_len for v in vectors[:count]) < length:
                count = room + 1
        keeps = self.duplicate()
        views = [_memory(v.iov_base, v.iov_len, keeps._get()) for v in vectors[:count]]
        return [v.toreadonly() for v in views] if self.readonly else views

    def space(self):
        """Where the next bytes are written, as a memoryview, for recv_into() and the like;
        wrote() says then how many."""
        size = c_size_t()
        ptr = _lib.fbuf_view_space(self._get(), byref(size))
        return _memory(ptr, size.value if ptr else 0, self.duplicate()._get())

    def wrote(self, length):
        _check(_lib.fbuf_view_wrote(self._get(), length))

    def get(self, index, length):
        data = ctypes.create_string_buffer(length)
        _check(_lib.fbuf_view_get(self._get(), index, data, length))
        return data.raw

    def set(self, index, data):
        pin = _Pin(data)
        _check(_lib.fbuf_view_set(self._get(), index, pin.address, pin.size))

    def read(self, length=None):
        """The next bytes; the read cursor goes past them."""
        length = len(self) if length is None else length
        data = ctypes.create_string_buffer(length)
        _check(_lib.fbuf_view_read(self._get(), data, length))
        return data.raw

    def write(self, data):
        pin = _Pin(data)
        _check(_lib.fbuf_view_write(self._get(), pin.address, pin.size))

    def write_view(self, other, length):
        """The next bytes of another view."""
        _check(_lib.fbuf_view_write_view(self._get(), other._get(), length))

    def __bytes__(self):
        """What is readable; the cursors stay."""
        return self.get(self.reader, len(self))

    # Composites.

    def add(self, component, *, flat=False):
        """Append what is readable there; flat: of a composite its components."""
        add = _lib.fbuf_view_add_flat if flat else _lib.fbuf_view_add
        _check(add(self._get(), _lib.fbuf_view_retain(component._get())))

    def insert(self, nr, component, *, advance=True):
        use = self._get()
        _check(_lib.fbuf_view_insert(use, nr, _lib.fbuf_view_retain(component._get()), advance))

    def components(self):
        """How many there are."""
        return _check(_lib.fbuf_view_components(self._get()))

    def remove(self, nr, count=1):
        _check(_lib.fbuf_view_remove(self._get(), nr, count))

    def consolidate(self, nr, count):
        """Copy so many into one."""
        _check(_lib.fbuf_view_consolidate(self._get(), nr, count))

    def discard_components(self):
        """Let go of those that were read."""
        _check(_lib.fbuf_view_discard_components(self._get()))

    def concat(self, other):
        """Append what is readable there, of a composite that is never copied."""
        _check(_lib.fbuf_view_concat(self._get(), other._get()))

    def replace(self, offset, length, other=None):
        """Put what is readable in another view, or nothing, in the place of bytes."""
        use = other._get() if other else None
        _check(_lib.fbuf_view_replace(self._get(), offset, length, use))


    def touch(self, hint=None):
        """Note that it was here, for reports of leaks."""
        _lib.fbuf_view_touch(self._get(), None if hint is None else hint.encode())


def view_leaks(level):
    """VIEW_LEAKS_*, for views made from now on; what it was. Reports go to the standard
    error."""
    return _check(_lib.fbuf_view_leaks(level))


def view_leaks_report(idle=0):
    """Report each watched view that was not touched for so many seconds; how many."""
    return _lib.fbuf_view_leaks_report(int(idle * 1000))


def view_check(on):
    """Check mode: fills idle memory, and looks whether it stays so. What it was."""
    return bool(_check(_lib.fbuf_view_check(on)))


def view_check_look():
    """Look now; how many bytes are filled."""
    return _lib.fbuf_view_check_look()


class _Queued:
    """What is in a queue, until the last function was called that is to be."""

    def __init__(self, keeps, taken, idle):
        self.keeps, self.taken, self.idle = keeps, taken, idle


@_Taken
def _taken(key, error):
    queued = _kept[key]
    if not queued.idle:
        del _kept[key]
    if queued.taken:
        queued.taken(error)


@_Released
def _idle(key):
    _kept.pop(key).idle()


_NOT_TAKEN, _NOT_IDLE = _Taken(), _Released()


class Queue(_Closing):
    """What a connection still has to send; fbuf_queue(3). For event loops: nothing waits.

    One thread at a time uses the queues of a heap: others wait."""
    _what = "queue"

    def __init__(self, heap, sock, *, limit=0, flags=0, send_flags=0):
        use, ptr = heap._get(), c_void_p()
        options = _QueueOptions(limit, flags, send_flags)
        _check(_lib.fbuf_queue_create_sized(byref(ptr), use, _fd(sock), byref(options),
                                            sizeof(options)))
        self.sock = sock
        self._use = _Use(_Pointer(ptr.value, _lib.fbuf_queue_destroy, use.owned))
        self._heap, self._lock = use.owned, use.owned.lock

    def close(self):
        """Let go of what is queued: functions taken() get -ECANCELED."""
        with self._lock:
            super().close()

    def send(self, what, taken=None, idle=None):
        """Queue a View, a Memory, or any bytes; BlockingIOError at the limit, and then
        nothing is queued. Bytes are copied; if a function is given, they are kept instead.
        taken(error) is called when the socket has all of them, with 0, or never will;
        then idle(), by Heap.notices() or flush(), when nobody refers to them."""
        with self._lock:
            use = self._get()
            if isinstance(what, View):
                self._send_view(use, what, taken, idle)
                return
            piece = _Piece(what, 0, None)
            ours = isinstance(piece.owned, _Allocation) and piece.owned.heap is self._heap
            if ours or taken or idle:
                self._kept(piece, taken, idle, lambda *functions: _lib.fbuf_queue_mem(
                    use, piece.address, piece.length, *functions))
            else:
                _check(_lib.fbuf_queue_copy(use, piece.address, piece.length))

    def _send_view(self, use, view, taken, idle):
        """A duplicate, whose cursors nobody moves."""
        ptr = _lib.fbuf_view_retained_duplicate(view._get())
        if not ptr:
            raise MemoryError
        try:
            self._kept(None, taken, idle, lambda *functions: _lib.fbuf_queue_view_with(
                use, ptr, *functions))
        except BaseException:
            _lib.fbuf_view_release(ptr)
            raise

    @staticmethod
    def _kept(keeps, taken, idle, call):
        if not (keeps or taken or idle):
            _check(call(_NOT_TAKEN, _NOT_IDLE, None))
            return
        key = next(_keys)
        _kept[key] = _Queued(keeps, taken, idle)
        result = call(_taken, _idle if idle else _NOT_IDLE, key)
        if result:
            del _kept[key]
        _check(result)

    def flush(self):
        """Send what is queued: whether all was taken. If not, wait for room, by events."""
        with self._lock:
            return _check(_lib.fbuf_queue_flush(self._get())) > 0

    def __len__(self):
        """Bytes that were not taken yet."""
        return _lib.fbuf_queue_len(self._get())

    def __bool__(self):
        return True

    @property
    def room(self):
        """How many more the limit allows."""
        return _lib.fbuf_queue_room(self._get())

    @property
    def events(self):
        """EPOLLOUT while something is queued, or 0."""
        return _lib.fbuf_queue_events(self._get())

    @staticmethod
    def fanout(queues, view):
        """Queue one View in many queues of one heap, and send; for each 1: all was taken,
        0: some is queued, or a negative errno value."""
        queues = list(queues)
        uses, results = [q._get() for q in queues], (c_int * len(queues))()
        if len({id(q._heap) for q in queues}) > 1:
            raise ValueError("queues of several heaps")
        if queues:
            array = (c_void_p * len(uses))(*(use.owned.ptr for use in uses))
            same = view.duplicate()
            with queues[0]._lock:
                _check(_lib.fbuf_queue_fanout(array, len(uses), same._get(), results))
        return list(results)


class Map(_Closing):
    """A part of a file in memory; fbuf_channel(3)."""
    _what = "map"

    def __init__(self, file, mode, position, size):
        ptr = c_void_p()
        _check(_lib.fbuf_map_open(byref(ptr), _fd(file), mode, position, size))
        self._use = _Use(_Pointer(ptr.value, _lib.fbuf_map_close))

    @property
    def view(self):
        """The memory, as a memoryview, which keeps it. What another one has cut off the
        file ends who reads it there, by SIGBUS: read() does not."""
        use = self._get()
        view = _memory(_lib.fbuf_map_addr(use), len(self), _Use(use.owned))
        return view.toreadonly() if self.mode == MAP_READ_ONLY else view

    def __len__(self):
        return _lib.fbuf_map_size(self._get())

    @property
    def mode(self):
        return _lib.fbuf_map_mode(self._get())

    def read(self, offset=0, length=None):
        """A copy of bytes: as many as there are."""
        length = max(len(self) - offset, 0) if length is None else length
        data = ctypes.create_string_buffer(length)
        count = _check(_lib.fbuf_map_read(self._get(), offset, data, length))
        return data.raw[:count]

    def force(self, offset=None, length=None):
        """What was written is on the disk then: all of it, or a range."""
        if offset is None and length is None:
            _check(_lib.fbuf_map_force(self._get()))
            return
        offset = offset or 0
        length = max(len(self) - offset, 0) if length is None else length
        _check(_lib.fbuf_map_force_range(self._get(), offset, length))

    def load(self):
        """Bring all of it into memory."""
        _check(_lib.fbuf_map_load(self._get()))

    @property
    def loaded(self):
        """Whether it is likely to be there."""
        return _check(_lib.fbuf_map_is_loaded(self._get())) > 0


def transfer_to(file, position, count, target, heap=None):
    """Write bytes of a file to a file, a socket or a pipe; how many."""
    use = heap._get() if heap else None
    return _check(_again(lambda: _lib.fbuf_transfer_to(use, _fd(file), position, count,
                                                       _fd(target))))


def transfer_from(file, position, count, source, heap=None):
    """Write bytes of a file, a socket or a pipe to a file; how many."""
    use = heap._get() if heap else None
    return _check(_again(lambda: _lib.fbuf_transfer_from(use, _fd(file), position, count,
                                                         _fd(source))))


def send_fd(sock, fd):
    """Hand a file descriptor, of Pool.share(), over an AF_UNIX socket."""
    _check(_again(lambda: _lib.fbuf_pool_fd_send(_fd(sock), _fd(fd))))


def recv_fd(sock):
    """Take one, for Pool.open()."""
    return _check(_again(lambda: _lib.fbuf_pool_fd_recv(_fd(sock))))


def backend():
    """What a new pool would get now: BACKEND_MODULE, BACKEND_USER, or 0."""
    return _lib.fbuf_backend()


def set_backend(wanted=0):
    """What new pools are to get; 0 is the library's own choice."""
    _check(_lib.fbuf_backend_set(wanted))


def backend_name(which):
    return _lib.fbuf_backend_name(which).decode()


def features(which=0):
    """FEATURE_* of a backend, or of what a new pool would get."""
    return _lib.fbuf_features(which)


def engine_name(engine):
    return _lib.fbuf_engine_name(engine).decode()


def version():
    """Of the library."""
    return _lib.fbuf_version().decode()

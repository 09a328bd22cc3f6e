"""What the parent does to its memory, so that children copy fewer pages of it. Linux, CPython.

A page is shared until the parent or a child writes to it. New objects are put into the holes between old ones, so a
child that makes a few of each size copies a page for each: the parent fills the holes before it forks.
"""

from __future__ import annotations

import ctypes
import gc
import sys

from leadstream_events.garbage import keep_what_is_loaded

# Objects up to 512 bytes lie in pools of their size, 16 apart (Objects/obmalloc.c; the same from Python 3.10 on).
_POOL, _POOL_HEADER, _STEP, _LARGEST = 16_384, 48, 16, 512
_MOST_POOLS = 5  # as much as is filled of a size: with another allocator there is no end to be found
_PAGE = 4096


def before_forks() -> list[bytes]:
    """Call it when everything is loaded. Returns what is to be kept as long as the process forks."""
    keep_what_is_loaded()
    gc.disable()  # a collection would write to what the children share
    sys._clear_type_cache()  # it counts references to names, and gives them back as other names take their places
    kept = _fill_pools()
    _fill_heap()
    return kept


def _fill_pools() -> list[bytes]:
    """Makes objects of each size until a whole pool was given in order: then there is no hole left."""
    kept: list[bytes] = []
    for size in range(48, _LARGEST + 1, _STEP):  # smaller ones come and go while this runs
        pool = (_POOL - _POOL_HEADER) // size
        in_order = last = 0
        for _ in range(_MOST_POOLS * pool):
            kept.append(bytes(size - sys.getsizeof(b"")))
            in_order = in_order + 1 if id(kept[-1]) == last + size else 1
            last = id(kept[-1])
            if in_order == pool:
                del kept[-pool:]
                break
    return kept


def _fill_heap() -> None:
    """The same for what C allocates and for larger objects, from large holes to small ones; glibc only."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "malloc_trim"):
        return
    libc.malloc.restype = libc.sbrk.restype = ctypes.c_void_p
    libc.malloc.argtypes, libc.free.argtypes = (ctypes.c_size_t,), (ctypes.c_void_p,)
    libc.malloc_trim(0)
    end = libc.sbrk(0) - _PAGE  # what lies behind is no hole
    for size in range(65_536, 0, -16):
        while (block := libc.malloc(size)) and block < end:
            pass  # kept for ever
        libc.free(block)

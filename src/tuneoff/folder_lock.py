"""One writer per results folder: an advisory lock that ends with its process, however that ends."""

from __future__ import annotations

import os
import sys
import weakref
from pathlib import Path

from tuneoff.errors import LedgerError

_FAR = 1 << 30  # Windows locks bytes against reading too; this one is beyond the holder's name.


class FolderLock:
    """The lock of `folder/.lock`, which holds the writer's process id for the message."""

    def __init__(self, folder: Path):
        self._path = folder / ".lock"
        self._file: int | None = None
        _locks.add(self)

    @property
    def held(self) -> bool:
        return self._file is not None

    def acquire(self) -> None:
        """Takes the lock at once, or raises LedgerError that names who holds it."""
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise LedgerError(f"{self._path.parent}: cannot be written to ({error})") from error
        try:
            _lock(file)
        except BlockingIOError:
            holder = os.pread(file, 20, 0) if os.name != "nt" else os.read(file, 20)
            os.close(file)
            raise LedgerError(
                f"{self._path.parent}: process {holder.decode().strip() or '?'} is writing to this "
                "folder; wait for it or stop it, or choose another folder (--out)"
            ) from None
        except OSError as error:
            os.close(file)
            raise LedgerError(
                f"{self._path}: this file system cannot lock files ({error}); "
                "choose a folder on a local disk (--out)"
            ) from error
        os.ftruncate(file, 0)
        os.write(file, f"{os.getpid()}\n".encode())
        self._file = file

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        os.lseek(file, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError from error
        finally:
            os.lseek(file, 0, os.SEEK_SET)
else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


_locks: weakref.WeakSet[FolderLock] = weakref.WeakSet()


def _forget_in_child() -> None:
    """A forked worker must not keep a dead parent's lock alive."""
    for lock in _locks:
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)

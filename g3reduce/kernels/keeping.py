"""Compiled loops are kept in files, since to compile one takes up to a second.

Numba's own files are not safe where nodes of several kinds share them: an index says which data
file has the code for which processor, and if two processes write at once, one may find the code of
the other. Here the name of a file tells all that the code depends on, and its content is checked.
With a file that cannot be read or written, the worst is that a loop is compiled again.

These are the only files that are executed. Nobody but their owner, who is the user or root, may
write into them or into their folder; else they are not read.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.runtime import rtsys
from numba.core.serialize import dumps

from ..spt3glog import unit_logger
from .claiming import found_or_claimed, release

logger = unit_logger(__name__)

_DIGEST_SIZE = hashlib.sha256().digest_size


def loop(signature: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function for arguments of these types, unless a file has it.

    Parameters
    ----------
    signature : numba signature

    Raises
    ------
    RuntimeError
        If numba is told not to compile.
    """
    if numba.config.DISABLE_JIT:
        raise RuntimeError("NUMBA_DISABLE_JIT is set")

    def compiled(function: Callable[..., Any]) -> Any:
        dispatcher = numba.njit(function)
        dispatcher._cache = kept = Kept(function)
        try:
            dispatcher.compile(signature)
        finally:
            kept.release()
        dispatcher.disable_compile()
        return dispatcher

    return compiled


class Kept(NullCache):  # type: ignore[misc]  # numba has no types
    """Where numba looks for the code of a function, and keeps it.

    Parameters
    ----------
    function : callable
        All that its file says counts as its source.
    """

    def __init__(self, function: Callable[..., Any]):
        self._name = function.__qualname__
        self._source = Path(function.__code__.co_filename).read_bytes()
        self._claim: Path | None = None

    def load_overload(self, signature: Any, context: Any) -> Any:
        """What is kept, or None: then numba loads all that it needs to compile, and does.

        Where another process compiles it, this one waits for the file.
        """
        rtsys.initialize(context)
        name = self._file_name(signature, context.codegen())
        found = self._look(name, context)
        folder = None if found is not None else next(_folders(make=True), None)
        if folder is not None:
            self._claim = folder / f"{name}.claim"
            found = found_or_claimed(self._claim, lambda: self._look(name, context))
            if found is not None:
                self._claim = None
        if found is None:
            logger.debug("%s is being compiled.", name)
        return found

    def release(self) -> None:
        """Let others no longer wait for this process."""
        if self._claim is not None:
            release(self._claim)

    def _look(self, name: str, context: Any) -> Any:
        """What is in a file of this name, or None."""
        for folder in _folders():
            try:
                content = _read(folder, name)
                digest, data = content[:_DIGEST_SIZE], content[_DIGEST_SIZE:]
                if hashlib.sha256(data).digest() == digest:
                    symbols, parts = pickle.loads(data)
                    # LLVM ends the process if there is no such symbol.
                    if all(map(llvmlite.binding.address_of_symbol, symbols)):
                        return CompileResult._rebuild(context, *parts)
                logger.debug("%s in %s cannot be used.", name, folder)
            except FileNotFoundError:
                continue
            except Exception as error:  # whatever it is, the function can be compiled
                logger.debug("%s in %s cannot be used: %r", name, folder, error)
        return None

    def save_overload(self, signature: Any, result: Any) -> None:
        """Keep it in the first folder that takes it. Whoever reads sees a whole file or none."""
        name = self._file_name(signature, result.codegen)
        module = result.library._final_module
        outside = (
            item.name
            for item in (*module.functions, *module.global_variables)
            if item.is_declaration and not item.name.startswith("llvm.")
        )
        data = dumps((list(outside), result._reduce()))
        for folder in _folders(make=True):
            try:
                _write(folder / name, hashlib.sha256(data).digest() + data)
                return
            except OSError as error:
                logger.debug("%s cannot be kept in %s: %s", name, folder, error)

    def _file_name(self, signature: Any, codegen: Any) -> str:
        versions = numba.__version__, llvmlite.__version__, sys.version
        depends_on = (self._source, self._name, signature, codegen.magic_tuple(), *versions)
        return f"{self._name}-{hashlib.sha256(repr(depends_on).encode()).hexdigest()[:32]}"


def _folders(make: bool = False) -> Iterator[Path]:
    """Where code is kept: the first is where the user says, the last one is on this node.

    Only those in which nobody else can put code.
    """
    for folder in _candidates():
        try:
            if make:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = folder.lstat()
        except OSError as error:
            if make:
                logger.debug("There is no folder %s for compiled code: %s", folder, error)
            continue
        if stat.S_ISDIR(found.st_mode) and _is_safe(found):
            yield folder
        else:
            logger.debug("Others may write into %s, so it is not used for compiled code.", folder)


def _candidates() -> Iterator[Path]:
    home = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    for parent in (
        os.environ.get("NUMBA_CACHE_DIR", ""),
        os.environ.get("XDG_CACHE_HOME", "") or os.path.expanduser(home),
    ):
        if os.path.isabs(parent):
            yield Path(parent, "g3reduce")
    try:
        yield Path(tempfile.gettempdir(), f"g3reduce-{os.geteuid()}")
    except FileNotFoundError:
        logger.debug("There is no folder for temporary files.")


def _is_safe(found: os.stat_result) -> bool:
    """Whether nobody but the user and root can write there. An access list shows in the mode."""
    others_write = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return found.st_uid in (0, os.geteuid()) and not others_write


def _read(folder: Path, name: str) -> bytes:
    """The content of a file, of which folder and file are looked at once they are open.

    Raises
    ------
    OSError
        If there is none; PermissionError if others may have written it.
    """
    inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=inside)
        with open(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if stat.S_ISREG(found.st_mode) and all(map(_is_safe, (found, os.fstat(inside)))):
                return file.read()
    finally:
        os.close(inside)
    raise PermissionError(f"others may write into {folder / name}")


def _write(path: Path, content: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise

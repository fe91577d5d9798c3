"""Where an export goes: a file or directory that is there whole, or not at all.

It is written beside its place under another name, made durable, and renamed. A run that ends early leaves nothing
under the final name; one that is killed leaves a hidden ``.NAME.…`` behind, which nobody takes for an export.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType

from tallystick.errors import UsageError

__all__ = ["Target"]


class Target:
    """A place for an export; a context manager that cleans up what was not :meth:`commit`-ted.

    Args:
        path: final name; must not be there yet, its directory must.
        directory: whether the export is a directory.

    Raises:
        UsageError: the name is taken, or there is no such directory.
        OSError: the directory cannot be written to.
    """

    def __init__(self, path: str | os.PathLike[str], *, directory: bool) -> None:
        self.path = Path(path)
        parent = self.path.absolute().parent
        if not parent.is_dir():
            raise UsageError("directory of the export does not exist", file=str(parent))
        if self.path.is_symlink() or self.path.exists():
            raise UsageError("there is something already", file=str(path), hint="exports overwrite nothing")
        self._directory = directory
        self._made = Path(tempfile.mkdtemp(prefix=f".{self.path.name}.", dir=parent))
        self.work = self._made if directory else self._made / self.path.name
        """Where to write meanwhile: a directory that is there, or a file that is not."""

    def __enter__(self) -> Target:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._made, ignore_errors=True)

    def commit(self) -> None:
        """Makes everything durable and gives it its name.

        Raises:
            UsageError: somebody else took the name meanwhile.
            OSError: it could not be written.
        """
        for path in sorted(self.work.iterdir()) if self._directory else [self.work]:
            path.chmod(0o644)
            _sync(path)
        if self._directory:
            self.work.chmod(0o755)
            _sync(self.work)
        try:
            # Neither takes a name that is in use: a link does not replace, a directory replaces only an empty one.
            if self._directory:
                self.work.rename(self.path)
            else:
                os.link(self.work, self.path)
        except OSError as error:
            if self.path.exists():
                raise UsageError("there is something already", file=str(self.path)) from error
            if self._directory:
                raise
            # A file system without links.
            self.work.rename(self.path)
        _sync(self.path.absolute().parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""The file of a backup: a tar of parts, the manifest with the digest of each, and the digest of that as the last.

It is not compressed as a whole: streams come compressed from the broker, and tables are compressed one by one. So the
size of a part, which stands before it, can be put there once the part is written, and none lies on the disk twice.
"""

import contextlib
import errno
import gzip
import hashlib
import io
import os
import secrets
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, BinaryIO, Self

from pydantic import ValidationError
from typing_extensions import Buffer

from schemas.backup import FORMAT, Manifest, Part
from schemas.errors import BackupError

HEAD = "devskyy-backup"
"""The first part. It says what this file is, and in which format, should a later one know another manifest."""
MANIFEST, DIGEST = "manifest.json", "manifest.sha256"
LARGEST_MANIFEST = 64 * 1024 * 1024
BLOCK = tarfile.BLOCKSIZE
READ = 512 * 1024
"""Bytes read at once; a stream is restored in messages of this size."""


class Writer:
    """Writes a backup beside its place, and puts it there once it is whole: `finish`. Before that nothing is there.

    Raises:
        BackupError: there is a file already, or it cannot be written.
    """

    def __init__(self, path: Path, *, replace: bool) -> None:
        self._path, self._replace = path, replace
        self._temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        self.parts: list[Part] = []
        if path.exists() and not (replace and path.is_file()):
            raise BackupError(f"there is something at {path} already", "name another file, or replace it with --force")
        with self._errors():
            self._file = os.fdopen(os.open(self._temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b")

    def __enter__(self) -> Self:
        with self.part(HEAD) as part:
            part.write(f"{FORMAT}\n".encode())
        self.parts.clear()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with contextlib.suppress(OSError):  # what is not written yet may not fit, and need not
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator["PartWriter"]:
        """Write one part; with an error, there is none of it."""
        start = self._file.tell()
        with self._errors():
            self._file.write(bytes(BLOCK))
            writer = PartWriter(name, self._file)
            try:
                yield writer
            except BaseException:
                self._file.seek(start)
                self._file.truncate()
                raise
            self._file.write(bytes(-writer.size % BLOCK))
            self._file.seek(start)
            about = tarfile.TarInfo(name)
            about.size, about.mode = writer.size, 0o600
            self._file.write(about.tobuf(tarfile.GNU_FORMAT))
            self._file.seek(0, os.SEEK_END)
        self.parts.append(writer.described())

    def finish(self, manifest: Manifest) -> int:
        """Write the manifest, and put the file in its place. Returns its size in bytes."""
        body = manifest.model_dump_json(exclude_none=True).encode()
        with self.part(MANIFEST) as part:
            part.write(body)
        with self.part(DIGEST) as part:
            part.write(hashlib.sha256(body).hexdigest().encode())
        with self._errors():
            self._file.write(bytes(2 * BLOCK))
            self._file.flush()
            os.fsync(self._file.fileno())
            self._put()
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
            return self._path.stat().st_size

    def _put(self) -> None:
        if not self._replace:
            try:
                os.link(self._temporary, self._path)  # unlike a rename, never in place of another
                return
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
                    raise
            if self._path.exists():  # some file systems have no links
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(self._path))
        self._temporary.replace(self._path)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                remedy = "make room there, or name a file on another disk; nothing of it was left"
                raise BackupError(f"the disk of {self._path} is full", remedy) from error
            remedy = "name a file in a folder that is there and that you may write to"
            raise BackupError(f"{self._path} cannot be written: {error.strerror}", remedy) from error


class PartWriter:
    """One part while it is written."""

    def __init__(self, name: str, file: IO[bytes]) -> None:
        self._name, self._file, self._digest = name, file, hashlib.sha256()
        self.size = 0
        self.said: dict[str, object] = {}
        """What the manifest says of it besides."""

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        self.size += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        """For whoever takes this for a file."""

    def described(self) -> Part:
        fields = {"name": self._name, "bytes": self.size, "sha256": self._digest.hexdigest(), **self.said}
        return Part.model_validate(fields)


class Reader:
    """A backup that is whole: all of it is read and compared before anything is given.

    Raises:
        BackupError: it cannot be read, is none, is damaged, or a newer version has made it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._places: dict[str, tuple[int, int]] = {}
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise BackupError(f"{path} cannot be read: {error.strerror}", "name a file of `devskyy backup`") from error
        try:
            self.bytes = os.fstat(self._file.fileno()).st_size
            self.manifest = self._checked()
        except (tarfile.TarError, OSError, EOFError, ValueError) as error:
            self._file.close()
            raise self._damaged(f"it cannot be read to its end ({error})") from error
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def chunks(self, name: str) -> Iterator[bytes]:
        """The bytes of a part."""
        place, left = self._places[name]
        while left > 0:
            self._file.seek(place)
            chunk = self._file.read(min(READ, left))
            if not chunk:
                raise self._damaged("it has become shorter")
            place, left = place + len(chunk), left - len(chunk)
            yield chunk

    def read(self, name: str) -> bytes:
        """All bytes of a small part."""
        return b"".join(self.chunks(name))

    def file(self, name: str) -> BinaryIO:
        """A part as a file."""
        return io.BufferedReader(_PartFile(self.chunks(name)))

    def lines(self, name: str) -> Iterator[bytes]:
        """The lines of a part that is compressed."""
        with gzip.open(self.file(name)) as lines:
            yield from lines

    def _tar(self) -> tarfile.TarFile:
        self._file.seek(0)
        return tarfile.open(fileobj=self._file, mode="r:")

    def _checked(self) -> Manifest:
        try:
            archive = self._tar()
            first = archive.next()
        except tarfile.TarError:
            first = None
        if first is None or first.name != HEAD:
            raise BackupError(f"{self.path} is no backup of `devskyy backup`", "name a file that it has made")
        digests: dict[str, str] = {}
        member: tarfile.TarInfo | None = first
        while member is not None:
            self._places[member.name] = (member.offset_data, member.size)
            digests[member.name] = self._digest(member.name)
            if member is first:
                self._check_format()
            member = archive.next()
        if MANIFEST not in digests or DIGEST not in digests:
            raise self._damaged("its end is missing")
        if self._places[MANIFEST][1] > LARGEST_MANIFEST or self.read(DIGEST).decode() != digests[MANIFEST]:
            raise self._damaged("its manifest is not what was written")
        try:
            manifest = Manifest.model_validate_json(self.read(MANIFEST))
        except ValidationError as error:
            raise self._damaged("its manifest cannot be read") from error
        if self.read(HEAD) != f"{manifest.format}\n".encode():
            raise self._damaged("its beginning is not what was written")
        told = {part.name: part.sha256 for part in manifest.parts}
        for name in told.keys() | digests.keys() - {HEAD, MANIFEST, DIGEST}:
            if told.get(name) != digests.get(name):
                raise self._damaged(f"its part {name} is not what was written")
        return manifest

    def _check_format(self) -> None:
        said = self.read(HEAD).decode().strip()
        if not said.isdigit():
            raise self._damaged("its beginning is not what was written")
        if int(said) > FORMAT:
            cause = f"{self.path} has format {said}, and this version knows formats up to {FORMAT}"
            raise BackupError(cause, "use the version of DevSkyy that made it, or a newer one")

    def _digest(self, name: str) -> str:
        digest = hashlib.sha256()
        for chunk in self.chunks(name):
            digest.update(chunk)
        return digest.hexdigest()

    def _damaged(self, how: str) -> BackupError:
        return BackupError(f"the backup {self.path} is damaged: {how}", "use another one; nothing was restored")


class _PartFile(io.RawIOBase):
    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._rest = chunks, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        into = memoryview(buffer).cast("B")
        count = min(len(into), len(self._rest))
        into[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

"""Recordings as files: written once a task has ended, read to run it again."""

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from schemas.errors import DevSkyyError, InvalidRequest, TooLarge, Unavailable
from schemas.recording import MAX_RECORDING_BYTES, Recording

if TYPE_CHECKING:
    from devskyy.client import AsyncClient
    from devskyy.wire import TaskOptions
    from schemas.task import Task, TaskRequest


class RecordingFile:
    """Where a recording is to go; that it can go there is seen before anything is started.

    Raises:
        InvalidRequest: it cannot.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._made = path, not path.exists()
        try:
            path.open("ab").close()
        except OSError as error:
            raise InvalidRequest("--record", f"{path} cannot be written: {error.strerror}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Leaves no empty file where there was none."""
        if self._made:
            self._path.unlink(missing_ok=True)

    async def write(self, client: "AsyncClient", task: "Task") -> DevSkyyError | None:
        """Fetch the recording of a task that has ended, and write it; why it was not is returned, as the task's answer
        is there all the same."""
        try:
            text = await client.recording(task.task_id)
            self._path.write_bytes(text.encode())
        except DevSkyyError as error:
            return error
        except OSError as error:
            return Unavailable(f"the recording was not written to {self._path}: {error.strerror}")
        self._made = False
        return None


def read_recording(path: Path, prompt: str | None, options: "TaskOptions") -> tuple[str, "TaskRequest"]:
    """The recording's text, and the task that it holds, which what else was said must not contradict.

    Raises:
        InvalidRequest: it is none, or was cut off or changed; or the prompt or an option is not the recorded one.
        TooLarge: it is larger than any platform takes.
    """
    try:
        if (size := path.stat().st_size) > MAX_RECORDING_BYTES:
            raise TooLarge(f"the recording {path}", size, MAX_RECORDING_BYTES)
        content = path.read_bytes()
    except OSError as error:
        raise InvalidRequest("--replay", f"{path}: {error.strerror}") from None
    try:
        recording = Recording.parse(content)
    except InvalidRequest as error:
        raise InvalidRequest("--replay", f"{path}: {error}") from None
    asked = recording.request
    for name, said in {"prompt": prompt, **options}.items():
        if said is not None and said != getattr(asked, name):
            raise InvalidRequest(name, f"is not as it was when {path} was recorded; leave it out, or record anew")
    return recording.dump(), asked

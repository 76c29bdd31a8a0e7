"""Files of the user's machine as inputs of a task."""

import base64
import mimetypes
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from schemas.errors import InvalidRequest, TooLarge
from schemas.problem import field_errors
from schemas.task import MAX_INPUT_BYTES, Input

CODE = {
    ".bash": "text/x-sh",
    ".c": "text/x-c",
    ".cc": "text/x-c++",
    ".cpp": "text/x-c++",
    ".cs": "text/x-csharp",
    ".css": "text/css",
    ".go": "text/x-go",
    ".h": "text/x-c",
    ".hpp": "text/x-c++",
    ".java": "text/x-java",
    ".js": "text/javascript",
    ".jsx": "text/jsx",
    ".kt": "text/x-kotlin",
    ".lua": "text/x-lua",
    ".mjs": "text/javascript",
    ".php": "text/x-php",
    ".pl": "text/x-perl",
    ".py": "text/x-python",
    ".pyi": "text/x-python",
    ".r": "text/x-r",
    ".rb": "text/x-ruby",
    ".rs": "text/x-rust",
    ".scala": "text/x-scala",
    ".sh": "text/x-sh",
    ".sql": "application/sql",
    ".swift": "text/x-swift",
    ".ts": "text/typescript",  # the registry of media types takes it for video
    ".tsx": "text/tsx",
    ".vue": "text/x-vue",
}
DATA = {
    ".csv": "text/csv",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".toml": "application/toml",
    ".tsv": "text/tab-separated-values",
    ".xml": "application/xml",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}
TEXT = {".log": "text/plain", ".md": "text/markdown", ".rst": "text/x-rst", ".txt": "text/plain"}

_REGISTRY = mimetypes.MimeTypes()
"""Python's own table: what a machine adds to it would make the same file another kind elsewhere."""


def read_inputs(paths: list[Path]) -> tuple[Input, ...]:
    """Raises:
    TooLarge: together they are more than a task may carry. Nothing is read then.
    InvalidRequest: one cannot be read, or is nothing that a task can carry.
    """
    try:
        size = sum(path.stat().st_size for path in paths)
        if size > MAX_INPUT_BYTES:
            raise TooLarge("the files given with --file", size, MAX_INPUT_BYTES)
        return tuple(to_input(path.name, path.read_bytes()) for path in paths)
    except OSError as error:
        raise InvalidRequest("--file", f"{error.filename}: {error.strerror}") from None


def to_input(name: str, content: bytes) -> Input:
    """The kind comes from the name; images, and what is no UTF-8 text, travel as base64.

    Raises:
        InvalidRequest: it is nothing that a task can carry.
    """
    kind, media_type = _kind(Path(name).suffix.lower())
    if kind != "image" and (text := _text(content)) is not None:
        return Input(kind=kind, name=name, media_type=media_type or "text/plain", text=text)
    if kind in ("text", "code"):
        kind = "data"
    encoded = base64.b64encode(content).decode()
    try:
        return Input(kind=kind, name=name, media_type=media_type or "application/octet-stream", base64=encoded)
    except ValidationError as error:
        raise InvalidRequest("--file", f"{name}: {field_errors(error)[0].message}") from None


def _kind(suffix: str) -> tuple[Literal["text", "code", "image", "data"], str | None]:
    if suffix in CODE:
        return "code", CODE[suffix]
    if suffix in DATA:
        return "data", DATA[suffix]
    if suffix in TEXT:
        return "text", TEXT[suffix]
    media_type = _REGISTRY.guess_type(f"file{suffix}")[0]
    match (media_type or "").partition("/")[0]:
        case "image":
            return "image", media_type
        case "text":
            return "text", media_type
        case "":
            return "text", None  # a Makefile, a licence; what is no text becomes data
        case _:
            return "data", media_type


def _text(content: bytes) -> str | None:
    if b"\0" in content:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None

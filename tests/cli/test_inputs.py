import base64
from pathlib import Path

import pytest

from devskyy.cli import inputs
from devskyy.cli.inputs import read_inputs, to_input
from schemas.errors import InvalidRequest, TooLarge

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(
    ("name", "kind", "media_type"),
    [
        ("notes.txt", "text", "text/plain"),
        ("README.md", "text", "text/markdown"),
        ("LICENSE", "text", "text/plain"),
        ("page.html", "text", "text/html"),
        ("main.PY", "code", "text/x-python"),
        ("app.ts", "code", "text/typescript"),
        ("table.csv", "data", "text/csv"),
        ("a.json", "data", "application/json"),
        ("a.yaml", "data", "application/yaml"),
    ],
)
def test_a_name_tells_the_kind_of_a_text(name: str, kind: str, media_type: str) -> None:
    # Given a file with text
    # When it becomes an input
    made = to_input(name, "grün".encode())
    # Then its kind and media type come from its name
    assert (made.kind, made.media_type, made.text, made.base64) == (kind, media_type, "grün", None)
    assert made.name == name


@pytest.mark.parametrize(("name", "media_type"), [("a.png", "image/png"), ("b.svg", "image/svg+xml")])
def test_images_travel_as_base64(name: str, media_type: str) -> None:
    # Given an image, be it text itself
    content = PNG if name == "a.png" else b"<svg/>"
    # When it becomes an input
    made = to_input(name, content)
    # Then its bytes are whole
    assert (made.kind, made.media_type) == ("image", media_type)
    assert base64.b64decode(made.base64 or "") == content


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"text with a \0"])
def test_what_no_task_can_carry_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    # Given a file that is neither text nor an image
    path = tmp_path / "blob.bin"
    path.write_bytes(b"\xff" + content)
    # When it becomes an input
    # Then it is named
    with pytest.raises(InvalidRequest, match=r"blob\.bin"):
        read_inputs([path])


def test_files_that_are_too_large_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given two files that are too large together
    monkeypatch.setattr(inputs, "MAX_INPUT_BYTES", 10)
    paths = [tmp_path / "a.txt", tmp_path / "b.txt"]
    for path in paths:
        path.write_text("123456")
    # When they become inputs
    # Then size and limit are named
    with pytest.raises(TooLarge, match=r"12 bytes.*10"):
        read_inputs(paths)


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    # Given a path without a file
    # When it becomes an input
    # Then it is named with the reason
    with pytest.raises(InvalidRequest, match="No such file"):
        read_inputs([tmp_path / "gone.txt"])

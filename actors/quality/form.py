"""JSON, code and tables: whether what claims to be one can be read as one."""

import ast
import csv
import json
import re
import textwrap
import warnings
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

from actors.quality.finding import Finding
from actors.quality.text import Block, Reading

MAX_PARSED = 1_000_000
"""Characters of JSON that are read; what is longer is not judged."""
MAX_CODE = 60_000
_PYTHON = ("python", "py", "python3")
_BRACES = (
    "javascript",
    "js",
    "typescript",
    "ts",
    "java",
    "c",
    "cpp",
    "c++",
    "csharp",
    "c#",
    "go",
    "rust",
    "rs",
    "css",
    "kotlin",
    "swift",
    "php",
)
_STRINGS = re.compile(r"\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|`[^`]*`|//[^\n]*|/\*.*?\*/", re.S)
_LOOKS_LIKE_JSON = re.compile(r"\s*(?:\{\s*(?:\"|\}|'|\w+\s*:)|\[\s*(?:[\[{\"\]]|-?\d+\s*[,\]]))")
_LOOKS_LIKE_PYTHON = re.compile(r"^(?:from \w[\w.]* import |import \w+|def \w+\(.*\).*:|class \w+.*:|@\w+)", re.M)


class NotJson(ValueError):
    """Why a text is no JSON."""


def json_of(text: str) -> Any:
    """The JSON that an answer holds: the whole of it, or its one block of code.

    Raises:
        NotJson: there is none, or it cannot be read.
    """
    bare = text.strip()
    block = re.fullmatch(r"(?:[^`{\[]{0,400}?)```+[ \t]*\w*\n(.*?)\n?[ \t]*```+.*", bare, re.S)
    source = block[1] if block else bare
    if len(source) > MAX_PARSED:
        raise NotJson(f"has more than {MAX_PARSED:,} characters")
    try:
        return json.loads(source, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise NotJson(str(error)[:200] or type(error).__name__) from None


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


def looks_like_json(reading: Reading) -> bool:
    return _LOOKS_LIKE_JSON.match(reading.text[:200]) is not None


def wrong(reading: Reading, schema: Mapping[str, Any] | None = None, json_asked: bool = False) -> list[Finding]:
    findings: list[Finding] = []
    if schema is not None or json_asked or looks_like_json(reading):
        findings += _json(reading, schema, schema is not None or json_asked)
    for block in reading.blocks:
        findings += _block(reading, block)
    if not reading.blocks and not findings and reading.whole:
        findings += _bare_code(reading)
    return findings[:20]


def parsed(reading: Reading, schema: Mapping[str, Any] | None, json_asked: bool) -> int:
    """How many pieces of the answer could be read by a parser at all."""
    known = sum(block.language in (*_PYTHON, *_BRACES, "json", "xml", "csv") for block in reading.blocks)
    return (
        known
        + (schema is not None or json_asked or looks_like_json(reading))
        + (_LOOKS_LIKE_PYTHON.search(reading.shown) is not None)
    )


def _json(reading: Reading, schema: Mapping[str, Any] | None, asked: bool) -> list[Finding]:
    whole = reading.place(0, len(reading.shown))
    try:
        value = json_of(reading.text)
    except NotJson as error:
        if not asked and not _meant_as_json(reading):
            return []
        return [
            Finding(
                "json",
                "accuracy",
                1.0 if asked else 0.8,
                f"it is no JSON: {error}",
                "give JSON and nothing else",
                whole,
            )
        ]
    if schema is None:
        return []
    import jsonschema
    import referencing

    try:
        kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
        kind.check_schema(schema)
        errors = []
        # A registry of its own: a reference to another document is not fetched.
        for one in kind(schema, registry=referencing.Registry()).iter_errors(value):
            errors.append(one)
            if len(errors) >= 5:
                break
    except Exception as error:  # a schema that is none, or refers to what is not here: nothing is known of the answer
        return [
            Finding("schema", "accuracy", 0.01, f"the schema cannot be used: {str(error)[:120]}", "mend the schema")
        ]
    return [
        Finding(
            "schema",
            "accuracy",
            0.8,
            f"{'.'.join(str(part) for part in one.absolute_path) or 'the answer'}: {one.message[:160]}",
            "give what the schema asks for",
            whole,
        )
        for one in errors
    ]


def _meant_as_json(reading: Reading) -> bool:
    text = reading.text[:2000]
    return len(re.findall(r"\"\s*:\s*|'\s*:\s*", text)) >= 1 or text.lstrip().startswith(("[{", "[["))


def _block(reading: Reading, block: Block) -> list[Finding]:
    place = reading.place(block.start, block.end)
    cut = not reading.whole and block.end > len(reading.shown) // 3
    if len(block.code) > MAX_CODE or cut or not block.closed:
        return []
    reason = _unreadable(block.language, block.code)
    if reason is None:
        return []
    return [
        Finding("code", "accuracy", 0.7, f"the block of {block.language} cannot be read: {reason}", "mend it", place)
    ]


def _unreadable(language: str, code: str) -> str | None:
    if language in _PYTHON:
        return _python(code)
    if language == "json":
        try:
            json.loads(code)
        except (ValueError, RecursionError) as error:
            return str(error)[:120]
        return None
    if language in _BRACES:
        plain = _STRINGS.sub("", code)
        for opens, closes in ("()", "[]", "{}"):
            if plain.count(opens) != plain.count(closes):
                return f"{plain.count(opens)} {opens!r} and {plain.count(closes)} {closes!r}"
        return None
    if language == "xml" and "<!" not in code:
        try:
            ElementTree.fromstring(code)
        except ElementTree.ParseError as error:
            return str(error)[:120]
        return None
    if language == "csv":
        widths = {len(row) for row in csv.reader(code.strip().splitlines()) if row}
        return f"rows of {sorted(widths)} cells" if len(widths) > 1 else None
    return None


def _python(code: str) -> str | None:
    source = textwrap.dedent(code)
    if re.search(r"^\s*(?:>>>|\.\.\.|[%!$])", source, re.M):
        return None  # a session, or a notebook's commands
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(source)
    except SyntaxError as error:
        if "print" in (error.msg or ""):
            return None  # Python 2
        return f"line {error.lineno}: {error.msg}"
    except (ValueError, RecursionError, MemoryError) as error:
        return str(error)[:120]
    return None


def _bare_code(reading: Reading) -> list[Finding]:
    """Python without a fence, where nothing else stands beside it."""
    text = reading.shown
    if not re.match(r"\s*(?:from \w|import \w|def \w|class \w|@\w|#)", text) or not _LOOKS_LIKE_PYTHON.search(text):
        return []
    reason = _python(text)
    prose = re.search(r"^[A-Z][a-z]+ [a-z]+ [a-z]+[^()=:]*\.$", text, re.M)
    if reason is None or prose or len(text) > MAX_CODE or ";" in text or "{" in text:
        return []
    return [
        Finding("code", "accuracy", 0.7, f"the code cannot be read: {reason}", "mend it", reading.place(0, len(text)))
    ]

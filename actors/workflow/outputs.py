"""Outputs of tasks: small ones stay where they are said, large ones lie in the object store."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgpack

from bus.blobs import Blobs
from schemas.errors import TooLarge
from schemas.message import check_plain
from schemas.workflow import MAX_OUTPUT_BYTES

INLINE_BYTES = 32 * 1024
"""Encoded. It travels in an event, in every snapshot, and in whatever shows the workflow."""


Store = Callable[[bytes], Awaitable[str]]
"""Stores bytes and gives their name."""


async def kept(store: Store, output: Any) -> dict[str, Any]:
    """An output as an outcome or an event says it: `output` as it is, or `blob`, where it lies, and its `bytes`.

    Raises:
        TooLarge: it is over 16 MB.
        ValueError: it is nothing that JSON could say.
        BusUnavailable: it was not stored.
    """
    try:
        packed: bytes = msgpack.packb(check_plain(output))
    except RecursionError:
        raise ValueError("the output is nested too deep") from None
    except ValueError as error:
        raise ValueError(f"the output {error}") from None
    if len(packed) <= INLINE_BYTES:
        return {"output": output}
    if len(packed) > MAX_OUTPUT_BYTES:
        raise TooLarge("the output", len(packed), MAX_OUTPUT_BYTES)
    return {"output": None, "blob": await store(packed), "bytes": len(packed)}


async def load(blobs: Blobs, name: str) -> Any:
    """An output that lies in the object store.

    Raises:
        DecodeError: it is not there; it may have grown too old.
        BusUnavailable: the store did not answer.
    """
    return msgpack.unpackb(await blobs.get(name))

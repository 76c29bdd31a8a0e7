"""Where the document is read."""

import asyncio

from fastapi import APIRouter
from fastapi.responses import Response

from serve.asyncapi.document import ASYNCAPI, written

MEDIA_TYPE = f"application/vnd.aai.asyncapi+yaml;version={ASYNCAPI}"

router = APIRouter(tags=["platform"])


@router.get(
    "/asyncapi.yaml",
    response_class=Response,
    responses={200: {"content": {MEDIA_TYPE: {"schema": {"type": "object"}}}, "description": "An AsyncAPI document"}},
)
async def asyncapi() -> Response:
    """What can be said to the platform over NATS, and what it says there."""
    return Response(await asyncio.to_thread(written), media_type=MEDIA_TYPE)

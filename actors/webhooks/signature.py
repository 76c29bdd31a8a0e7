"""The headers by which a receiver knows who sends, what, and when.

Source: Standard Webhooks 1.0.0, "Signature scheme" and "Webhook headers".
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable
from datetime import datetime

from schemas.webhook import key_of


def headers(delivery_id: str, at: datetime, body: bytes, secrets: Iterable[str]) -> dict[str, str]:
    """Those of one attempt; one signature for each secret, the present one's first.

    Args:
        at: the moment of the attempt, which receivers compare with their clock.
    """
    moment = str(int(at.timestamp()))
    signed = b".".join((delivery_id.encode(), moment.encode(), body))
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": moment,
        "webhook-signature": " ".join(_signature(secret, signed) for secret in secrets),
    }


def _signature(secret: str, signed: bytes) -> str:
    return "v1," + base64.b64encode(hmac.digest(key_of(secret), signed, hashlib.sha256)).decode()

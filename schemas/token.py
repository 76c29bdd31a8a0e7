"""JSON Web Tokens: what a caller may say of itself with one, and how it is called in tasks, budgets and costs."""

import hashlib
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from schemas.key import KeyScope
from schemas.message import Message, Moment, Strict, Text
from schemas.settings import DEFAULT_TENANT
from schemas.task import Name

Role = Literal["viewer", "operator", "admin"]
MIN_SECRET_BYTES = 32
"""Of HS256: as many as its hash has (RFC 7518, section 3.2)."""
_PLAIN = re.compile(r"[A-Za-z0-9-]{1,100}", re.ASCII)


def key_of(subject: str, tenant: str) -> str:
    """What the caller of a token goes by where others have a key's id.

    `jwt_ada` of the subject `ada`. Of any other tenant, or a subject that no bus subject can hold, such as a mail
    address, a hash tells apart what its readable part does not. Keys' ids hold no underscore, and plain subjects none
    either, so no two callers share a name.
    """
    if tenant == DEFAULT_TENANT and _PLAIN.fullmatch(subject):
        return f"jwt_{subject}"
    slug = re.sub(r"[^A-Za-z0-9]+", "-", subject[:60], flags=re.ASCII).strip("-") or "x"
    # Half a surrogate pair, which JSON can spell, counts too.
    whole = f"{tenant}\0{subject}".encode("utf-8", "surrogatepass")
    return f"jwt_{slug}_{hashlib.sha256(whole).hexdigest()[:16]}"


def _printable(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("is empty, or holds a character that cannot be printed")
    return text


class NewToken(Strict):
    """A token to be made."""

    sub: Annotated[Text, Field(max_length=200), AfterValidator(_printable)]
    """Whose it is."""
    role: Role = "operator"
    """`viewer` looks, `operator` also starts and stops tasks, `admin` also makes keys."""
    tenant: Name = DEFAULT_TENANT
    expires_at: Moment


class CreatedToken(Message):
    """A token that was just made. It is kept nowhere, and holds until its end whatever happens to it."""

    token: str = Field(repr=False)
    key: str
    """What its tasks, costs and entries in the audit log go by."""
    tenant: str
    scopes: tuple[KeyScope, ...]
    expires_at: Moment

"""The document of the doors over NATS, in AsyncAPI, and where it is read."""

from serve.asyncapi.document import document, written
from serve.asyncapi.door import router

__all__ = ["document", "router", "written"]

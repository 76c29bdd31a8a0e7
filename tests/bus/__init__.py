"""The bus, most of it on a real nats-server."""

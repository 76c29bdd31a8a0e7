"""The door for NATS clients."""

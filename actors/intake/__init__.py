"""The door for NATS clients: what they submit becomes an accepted task, or a workflow."""

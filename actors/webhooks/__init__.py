"""Webhooks: which events are told to whom, and the telling, signed and tried again."""

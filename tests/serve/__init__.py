"""The doors, without Ray."""

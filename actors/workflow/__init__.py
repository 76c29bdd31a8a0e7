"""A workflow: its definition looked through, its events folded, its next turn planned."""

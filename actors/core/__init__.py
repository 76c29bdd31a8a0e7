"""A coordinator and a gateway in one process."""

"""The Python SDK, on a platform that is simulated on a real socket."""

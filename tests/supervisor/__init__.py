"""The command line, on a platform that is simulated on a real socket."""

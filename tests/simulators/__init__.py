"""Stand-ins for the providers of others, on real sockets."""

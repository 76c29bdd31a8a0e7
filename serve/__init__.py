"""The way in: stateless HTTP doors on Ray Serve. No task lives in a handler; a client that goes away loses nothing."""

"""One process owns a local platform: it starts nats-server, Ray, Serve and the fleet, and ends exactly those."""

"""The projector without Ray and NATS, on real databases."""

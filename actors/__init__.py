"""Who acts: one folder per actor, a thin shell in `actor.py` and its trade in pure modules beside it."""

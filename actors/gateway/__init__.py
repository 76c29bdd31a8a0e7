"""The gateway: the only one that calls models and spends."""

"""The models that run inside the platform, so that everything works with no key at all."""

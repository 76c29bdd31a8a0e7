"""The agents' trade."""

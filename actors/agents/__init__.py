"""The agents: each a role, a prompt and an order of services, asked over its own subject."""

"""The gateway's trade: the order of services, the journal, the providers."""

"""The coordinator's trade: classification and staffing."""

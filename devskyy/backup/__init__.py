"""The whole state of a platform in one file, and back."""

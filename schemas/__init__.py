"""What is said: the values that travel between parts, that are kept, and that users see."""

"""What is said: bounds, round trips, and errors that cross processes."""

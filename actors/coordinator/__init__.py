"""The coordinator: classifies a task, staffs it, and carries it to its end."""

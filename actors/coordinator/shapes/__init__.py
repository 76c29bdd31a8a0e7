"""The shapes of a team: parallel, coordinated, hierarchical. Each is a function of a run and of what it works on."""

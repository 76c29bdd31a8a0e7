"""The command line. Modules here import what a command needs when it runs, so that `--help` answers at once."""

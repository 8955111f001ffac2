"""The commands, one a module. Light: what a command needs loads when it runs."""

"""Workers and commands, each with the real library, and where it has processes of its own in these."""

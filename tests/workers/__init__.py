"""Workers and commands, each with its real library, and in its processes where it has some."""

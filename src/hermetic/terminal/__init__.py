"""In a terminal: the processes of a host, and what their scopes do."""

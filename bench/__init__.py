"""What a session costs: measurements, run by `make bench`."""

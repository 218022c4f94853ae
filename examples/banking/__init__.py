"""The parts of the bank that ``examples/bank.py`` runs."""

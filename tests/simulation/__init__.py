"""One seed, one run: hermetic under asyncio with virtual time, on a driver that fails by plan."""

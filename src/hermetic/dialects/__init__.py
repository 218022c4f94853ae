"""What hermetic knows of each database family: one object per family, and nothing else."""

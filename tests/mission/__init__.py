"""What was asked for, row by row, written as a user of the articles would write it."""

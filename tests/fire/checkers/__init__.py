"""What a history must not show. Pure: each takes what was seen, and answers with violations."""

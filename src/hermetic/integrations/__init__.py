"""Web frameworks, task queues and command lines: a unit of work for what each of them runs."""

"""Azure Batch on this machine, really running its tasks; see `python -m tests.batch_service --help`."""

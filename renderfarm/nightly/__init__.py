"""Scheduled, incremental jobs: a list of shots, one run per night, and the report of the morning after."""

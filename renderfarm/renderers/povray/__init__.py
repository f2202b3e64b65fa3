"""All that is known about POV-Ray: its options, its scenes, its logs, and how it is run."""

"""The verbs, and a job's way from scene to film: inspected, prepared, looped until decided, made into more."""

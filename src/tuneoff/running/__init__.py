"""Running: worker processes, the order of cohorts, resume, retries, progress."""

"""Planning: what a study will run, in which cohorts, with how much memory and time."""

"""A study made over before it runs: a part of it, other models or data, a smaller scale, fairness.

Each module takes a `Study` and gives another; what then differs from the recipe stands in
`study.conditions`, so that the report can say it.
"""

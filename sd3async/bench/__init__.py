"""Measure how concurrent requests behave: loads in, raw samples out, reports from the samples.

`arrivals`, `stats`, `knee`, `bottleneck` and `compare` are pure; `load` runs one scenario,
`runner` a whole session, `samples` keeps what was seen, `report`, `plots` and `page` show it.
"""

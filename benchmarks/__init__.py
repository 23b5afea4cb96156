"""Benchmarks: this project's promises, measured beside what people use instead.

`python -m benchmarks` runs everything and writes a page, its data and its pictures. One file for
each question; the question stands at its top.
"""

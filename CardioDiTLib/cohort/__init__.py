"""Cohorts of thousands of hearts: planned, made by any number of workers that may be killed, checked, described."""

"""Filling what was not recorded, and variations of what was, with a generator that was trained for neither.

`complete.complete` and `vary.vary` are the entry points; `completer.Completer` keeps the networks.
"""

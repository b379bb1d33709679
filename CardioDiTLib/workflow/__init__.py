"""What can be asked for, one module a task: a request (a record), ``run``, and what came of it.

The command line, the worker and, through it, Slicer make the same requests; they only parse what they were given and
tell what came of it. Defaults stand in the requests and nowhere else.
"""

"""The parts of the Slicer module CardioDiT, one class a file. Nothing heavy is imported here: torch and monai live in
the worker process, never in the application.
"""

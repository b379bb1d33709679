"""A stand-in for the 3D Slicer application: real MRML libraries, and PySide6 made to behave like PythonQt.

Importing this package changes nothing; `slicer_standin.slicer_app.start()` does (see README.md).
"""

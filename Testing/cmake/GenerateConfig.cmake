# Slicer writes here what other extensions need to build against this one. Nothing of it is packaged.

"""What the application does around the MRML libraries: scene, module logics, reading and writing files, layout."""

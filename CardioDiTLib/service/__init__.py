"""What the worker process does: its protocol, its lanes and its jobs. `CardioDiTLib.worker` ties them together."""

"""The command line: arguments in, calls of the Python API, text out. It decides nothing."""

"""The command line as users meet it: real processes of the program, a real node."""

"""Command line: parse arguments, make one workflow call, print the result, return an exit code.

Nothing heavy is imported before arguments are parsed, so that ``--help`` answers at once.
"""

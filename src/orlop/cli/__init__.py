"""The command line: one module a command, and little in each.

A command reads its options, calls the image service (a daemon's, or one in this
process) and hands what it got to ``orlop.cli.render``. ``orlop.cli.connect``
makes the service, ``orlop.cli.main`` assembles the commands and turns errors
into one line and an exit code (``orlop.cli.exits``). No command decides anything
about images.

Modules here import little at the top, so that a command that prints a table
does not pay for those that draw bars or start a daemon.
"""

"""Each change of a store's file system fails once with each errno that it can have.

The calls are those of ``tests.crash.kills``; here they are not stopped, but fail.

    python -m tests.crash.errnos --injections 5000 --seed 1
"""

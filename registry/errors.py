"""Everything Sluice says no with: one small hierarchy, one exit code a class.

A message is one sentence for the person at the keyboard: what is wrong, then what to do.
"""


class SluiceError(Exception):
    """A failure that is told to a person without a traceback. Exit code 1."""

    exit_code = 1


class InvalidInput(SluiceError):
    """What the caller gave cannot be right: a bad name, weight, file or setting. Exit code 2."""

    exit_code = 2


class NotFound(SluiceError):
    """The job, model, version, environment or object that was named does not exist. Exit code 3."""

    exit_code = 3


class Refused(SluiceError):
    """It is well formed, but a rule forbids it: a hostile archive, a held version, a foreign change. Exit code 4."""

    exit_code = 4


class Conflict(SluiceError):
    """Another writer got there first and the intent no longer makes sense on what is there now. Exit code 5."""

    exit_code = 5


class Unavailable(SluiceError):
    """A store, an AWS service or a git remote could not be reached, after retries. Exit code 6."""

    exit_code = 6

"""What every script in Python has in common: steps with a name, and a count of those that passed."""

import sys
import traceback


class Steps:
    """Runs steps one by one. One that fails is told and counted; the others go on."""

    def __init__(self):
        self.made = 0
        self.passed = 0

    def step(self, name, function):
        """Runs `function`; gives what it gave, or None where it failed."""
        self.made += 1
        try:
            result = function()
        except Exception:  # noqa: BLE001 - whatever it is, it is told
            print(f"FAILED {name}", file=sys.stderr)
            traceback.print_exc()
            return None
        self.passed += 1
        return result

    def finish(self):
        """Tells the count in the form that `run` reads, and ends the program."""
        print(f"{self.passed} of {self.made}")
        sys.exit(self.passed != self.made)


def same(found, wanted):
    """Fails where they differ, with both."""
    if found != wanted:
        raise AssertionError(f"found {found!r}, wanted {wanted!r}")


def holds(condition, what):
    """Fails with `what` where the condition does not hold."""
    if not condition:
        raise AssertionError(what)


def fails(kind, function):
    """The call has to fail with this class of error; gives the error."""
    try:
        function()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was wanted, and the call succeeded")

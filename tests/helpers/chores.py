"""Tasks for a crew's processes, in a module that is quickly imported. Each reports its
process, and then misbehaves.
"""

import os
import resource
import signal
import time
from pathlib import Path

import numpy as np

from deepdream.errors import DreamError
from deepdream.nets import download


def wait(report, path):
    """Wait for a file; whether it is there, and not that the task is to stop."""
    report(pid=os.getpid())
    while not Path(path).exists():
        if report():
            return False
        time.sleep(0.01)
    return True


def go_on(report):
    """Do not stop when that is wanted."""
    report(pid=os.getpid())
    time.sleep(3600)


def die(report, how, is_told=False):
    """End as a crash, or the system, would end it; is_told: only once the task is to
    stop.
    """
    report(pid=os.getpid())
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while is_told and not report():
        time.sleep(0.01)
    {
        "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "abort": os.abort,
        "exit": lambda: os._exit(3),
    }[how]()


def fail(report, error):
    report(pid=os.getpid())
    raise error


def fail_strangely(report):
    """With what cannot be sent to another process."""
    raise DreamError(lambda: None)


def eat(report, megabytes):
    """The bytes of memory that this process has, with so many megabytes more than
    before.
    """
    full = np.ones(megabytes << 17)
    report(pid=os.getpid())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 * bool(full.all())


# In the place of the studio's tasks


def crash_on_picture(report, path, name):
    die(report, "abort")


def crash_on_film(report, recipe, files, out):
    folder = out.with_suffix(".frames")
    folder.mkdir()
    (folder / "000000.png").write_bytes(b"half a film")
    die(report, "kill")


def lack_weights(report, net, recipe, files, out):
    raise download.NoWeightsError(f"the weights of {recipe['model']} cannot be downloaded")

"""Becomes Triton: a process that ends when the server that started it is killed, for Triton would go on for ever.

    python triton_launch.py PARENT_PID COMMAND ...

Run as a file of its own, so that it imports nothing of ours. Source: prctl(2), PR_SET_PDEATHSIG, which exec keeps.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == int(sys.argv[1]):  # else it has died already
        os.execv(sys.argv[2], sys.argv[2:])

"""Faults for tests: on PYTHONPATH, it makes the decoder obey an order at the end of an image.

An order is ``LGS-FAULT`` and words: it stands for the decoder bug that a hostile image would hit.
The package itself knows nothing of it. A process with ``LGS_TEST_SIGNAL_AT_FORK`` in its
environment sends itself that signal when it has forked; ``LGS_TEST_SIGNAL_AT_IMPORT`` is a module
and the signal that comes while it loads.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
import time
from pathlib import Path

MARK = b"LGS-FAULT "
_hoard = []


def obey(order: str, *words: str) -> None:
    import ctypes  # only a fault pays for it

    if order == "segfault":
        ctypes.string_at(0)
    elif order == "signal":
        os.kill(os.getpid(), int(words[0]))
    elif order == "exit":
        os._exit(int(words[0]))
    elif order == "abort":
        os.abort()
    elif order == "hang":  # in C code, with the interpreter's lock held
        ctypes.PyDLL(None).sleep(1000)
    elif order == "sleep":
        time.sleep(float(words[0]))
    elif order == "note":  # say who has this image in work, and take long over it
        Path(words[0], str(os.getpid())).touch()
        time.sleep(0.2)
    elif order == "allocate":
        _hoard.append(bytearray(int(words[0])))
    elif order == "hoard":  # leave little to whoever comes next
        while True:
            _hoard.append(bytearray(1 << 20))
    elif order == "poison":  # this worker dies at the next image
        _hoard.append("poison")
    elif order == "shout":
        os.write(2, b"libsomething: warning: noise\n")
        os.write(1, b"more noise\n")
    elif order == "meet":  # say that this image is in work, and wait for the test
        Path(words[0]).touch()
        while not os.path.exists(words[1]):
            time.sleep(0.005)
    else:
        raise AssertionError(order)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != "lgs_cli.image_io":
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            decode = module.decode

            def decode_or_obey(data, **options):
                if "poison" in _hoard:
                    os.abort()
                data, _, order = data.partition(MARK)
                if order:
                    obey(*order.decode().split())
                return decode(data, **options)

            module.decode = decode_or_obey

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, _Finder())

if "LGS_TEST_SIGNAL_AT_FORK" in os.environ:
    _number = int(os.environ["LGS_TEST_SIGNAL_AT_FORK"])
    os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), _number))

if "LGS_TEST_SIGNAL_AT_IMPORT" in os.environ:
    _module, _signal = os.environ["LGS_TEST_SIGNAL_AT_IMPORT"].split()

    class _Interruption:
        """Python 3.11 turns what is raised in this method into a RuntimeError."""

        def __set_name__(self, owner, name):
            os.kill(os.getpid(), int(_signal))

    class _Interrupter(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name == _module:
                sys.meta_path.remove(self)
                type("Owner", (), {"attribute": _Interruption()})

    sys.meta_path.insert(0, _Interrupter())

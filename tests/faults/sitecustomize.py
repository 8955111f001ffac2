"""Faults for tests: on PYTHONPATH, it makes the decoder obey an order at the end of an image.

An order is ``LGS-FAULT`` and words: it stands for the decoder bug that a hostile image would hit.
The package itself knows nothing of it. A process with ``LGS_TEST_SIGNAL_AT_FORK`` in its
environment sends itself that signal when it has forked; ``LGS_TEST_SIGNAL_AT_IMPORT`` is a module
and the signal that comes while it loads. ``LGS_TEST_NETWORK_FAULT`` is an order that ONNX
networks obey: behind the number of batches before it, or behind ``load``.
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
    """Changes a module as soon as it has been loaded."""

    def __init__(self, name, change):
        self.name, self.change = name, change

    def find_spec(self, name, path=None, target=None):
        if name != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            self.change(module)

        spec.loader.exec_module = exec_module
        return spec


def _obey_images(image_io):
    decode = image_io.decode

    def decode_or_obey(data, **options):
        if "poison" in _hoard:
            os.abort()
        data, _, order = data.partition(MARK)
        if order:
            obey(*order.decode().split())
        return decode(data, **options)

    image_io.decode = decode_or_obey


def _break_networks(onnx_network):
    """Have every network obey an order after some batches, or when it is loaded."""
    when, *order = os.environ["LGS_TEST_NETWORK_FAULT"].split()
    network = onnx_network.OnnxNetwork
    if when == "load":
        network.__init__ = lambda *_: obey(*order)
        return
    answer, left = network.__call__, [int(when)]

    def answer_or_obey(self, x):
        if not left[0]:
            obey(*order)
        left[0] -= 1
        return answer(self, x)

    network.__call__ = answer_or_obey


sys.meta_path.insert(0, _Finder("lgs_cli.image_io", _obey_images))

if "LGS_TEST_NETWORK_FAULT" in os.environ:
    sys.meta_path.insert(0, _Finder("lgs_cli.defenses.onnx_network", _break_networks))

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

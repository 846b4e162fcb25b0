"""Free memory on each system: what that system is asked is faked, and what is made of the answer is checked."""

import ctypes
import os
import sys
from types import SimpleNamespace

import pytest

from scoread_qgis.workflows.memory import free_memory


@pytest.fixture
def without_proc(monkeypatch):
    """A system with neither psutil nor /proc, which says nothing."""
    monkeypatch.setitem(sys.modules, "psutil", None)
    there = os.path.exists
    monkeypatch.setattr(os.path, "exists", lambda path: path != "/proc/meminfo" and there(path))
    monkeypatch.setattr(os, "sysconf", lambda name: (_ for _ in ()).throw(ValueError("unrecognized configuration name")))


@pytest.mark.only_on("linux")
def test_linux(monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0.001 * total < free_memory() <= total


def test_mac(without_proc, monkeypatch):
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 4_000_000, "SC_PAGE_SIZE": 16384}.__getitem__)
    assert free_memory() == 4_000_000 * 16384 // 2


def test_windows(without_proc, monkeypatch):
    """GlobalMemoryStatusEx wants its structure of 64 bytes, and says so by the length that it holds."""

    def status(pointer):
        raw = (ctypes.c_uint64 * 8).from_address(ctypes.addressof(pointer._obj))
        assert raw[0] & 0xFFFFFFFF == 64
        raw[1], raw[2] = 16 * 2**30, 5 * 2**30  # all memory, and what is free
        return 1

    kernel = SimpleNamespace(kernel32=SimpleNamespace(GlobalMemoryStatusEx=status))
    monkeypatch.setattr(ctypes, "windll", kernel, raising=False)
    assert free_memory() == 5 * 2**30


def test_a_system_that_says_nothing(without_proc):
    assert free_memory() == 4 * 2**30

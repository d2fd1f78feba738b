"""What every test runs under."""

import os

# mmengine.hub would install packages by itself; a test that got there must fail instead.
os.environ.setdefault('PIP_REQUIRE_VIRTUALENV', '1')
# Before torch is loaded: some laws are exact with one thread only, as with `make test`.
os.environ.setdefault('OMP_NUM_THREADS', '1')
# Nothing may reach for the network.
os.environ.setdefault('HF_HUB_OFFLINE', '1')

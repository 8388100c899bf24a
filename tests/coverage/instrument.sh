#!/bin/sh
# What cargo calls in place of rustc for the crates of this repository, and for no others.
exec "$@" -C instrument-coverage

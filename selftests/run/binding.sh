#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The library's Python module, with the kernel's module under it.
here=$(cd "$(dirname "$0")" && pwd)
[ -c /dev/fbuf ] || { echo "1..0 # SKIP no /dev/fbuf: is the module loaded?"; exit 4; }
FBUF_BACKEND=module LD_LIBRARY_PATH=$here exec python3 "$here/test_fbuf.py"

# SPDX-License-Identifier: GPL-2.0
"""where.py PREFIX: the folder below PREFIX that this Python looks for modules in; as
Debian has it, dist-packages for /usr and /usr/local. Of other prefixes, as for virtual
environments, site-packages."""

import os
import site
import sys

LIB = f"python{sys.version_info[0]}.{sys.version_info[1]}"


def where(prefix):
    """The first one that has nothing but lib/python in between."""
    lib = os.path.join(prefix, "lib")
    for path in site.getsitepackages():
        folder, name = os.path.split(path)
        if name in ("dist-packages", "site-packages") and folder in (
                os.path.join(lib, "python3"), os.path.join(lib, LIB)):
            return path
    return os.path.join(lib, LIB, "site-packages")


print(where(os.path.normpath(sys.argv[1])))

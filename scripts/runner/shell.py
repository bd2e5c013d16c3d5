# SPDX-License-Identifier: GPL-2.0
"""What the files have that scripts source: variables of scripts/arch and scripts/iommu, what
lib.sh says of lanes."""
import functools
import os
import subprocess

SCRIPTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@functools.lru_cache(maxsize=None)
def words(path, name):
    """The words of variable @name, an array or not, as the file scripts/@path sets it."""
    command = '. "$0"; [[ -v $1 ]]; declare -n value=$1; printf "%s\\0" "${value[@]}"'
    text = subprocess.run(["bash", "-euc", command, os.path.join(SCRIPTS, path), name],
                          stdout=subprocess.PIPE, text=True, check=True).stdout
    return tuple(text.split("\0")[:-1])


def variable(path, name):
    """What @name is, which is no array."""
    return words(path, name)[0]


@functools.lru_cache(maxsize=None)
def said_by(*command):
    """Lines that a function of lib.sh prints."""
    return tuple(subprocess.run(["bash", "-euc", '. "$0"; "$@"', os.path.join(SCRIPTS, "lib.sh"), *command],
                                stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines())

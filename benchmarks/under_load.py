# SPDX-License-Identifier: GPL-2.0
"""Helper of under-load: which boots there are, and the table of what they gave."""
import collections
import json
import statistics
import sys

import figures
import matrix
import table

# The boots of this set of matrix.yaml, in strict mode, of which the first is the reference
SET = "cost"


def boots(arch, names):
    """(name, kernel parameters) of these boots, all if none is named, the reference first."""
    rows = matrix.Matrix().select(SET, table.users_lane(), arch, [""], "")
    strict = {row.name: row.append for row in rows
              if "iommu.strict=1" in row.append.split() and row.place == "inside"}
    wrong = set(names) - set(strict)
    if wrong:
        figures.fail(f"no such boot: {', '.join(sorted(wrong))}: {matrix.one_of(strict)}")
    first = next(iter(strict))
    return [(name, append) for name, append in strict.items() if not names or name in names or name == first]


def lines(path):
    """Median of the rounds of each work and boot, and as a factor of the first boot."""
    found = collections.defaultdict(lambda: collections.defaultdict(list))
    with open(path, encoding="utf-8") as file:
        for line in map(json.loads, file):
            found[line["work"]][line["name"]].append(line["instructions"])
    for work, by_boot in found.items():
        reference = statistics.median(next(iter(by_boot.values())))
        for name, rounds in by_boot.items():
            middle = statistics.median(rounds)
            yield (f"{work:12} {name:22} {middle:9.0f} {middle / reference:7.4f}"
                   f"   rounds {min(rounds):.0f} to {max(rounds):.0f}")


if __name__ == "__main__":
    if sys.argv[1] == "boots":
        for pair in boots(sys.argv[2], sys.argv[3:]):
            print("|".join(pair))
    else:
        print("\n".join(lines(sys.argv[2])))

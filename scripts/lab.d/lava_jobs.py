#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Usage: lava_jobs.py [--out DIR --url URL] ARCH...

A LAVA job, DIR/jobs/ROW.yaml, for each row of scripts/tests.yaml that says 'lab: true'
and is of one of these architectures, with the files in DIR/ARCH, which the lab finds at
URL.  Without --out and --url only the names of these rows.  Helper of scripts/lab.
"""
import argparse
import hashlib
import os
import shlex
import signal
import sys

import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "scripts/runner"))
import shell  # pylint: disable=wrong-import-position
import table  # pylint: disable=wrong-import-position

def of_arch(row, name):
    """The shell variable @name of the architecture of @row."""
    return shell.variable(f"arch/{row.arch}.sh", name)


def lab_rows(rows, archs):
    """Those of @rows that jobs are made of."""
    chosen = [row for row in table.choose(rows, [], True, table.users_lane()) if row.lab and row.arch in archs]
    for row in chosen:
        table.must_fit_lab(row)
    return chosen


def options(row):
    """QEMU's, but those that LAVA itself gives."""
    clock = ["-smp", str(row.smp)]
    if row.icount:
        clock = ["-smp", "1", "-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"]
    devices = [word for device in row.devices for word in ("-device", device)]
    return [*shell.words(f"iommu/{row.iommu_name()}.sh", "QEMU_MACHINE"), "-cpu", row.cpu or "max", "-no-reboot", *clock, *row.qemu, *devices]


def images(row, out, url):
    """The files that LAVA brings, with their sums."""
    def file(name, **more):
        with open(os.path.join(out, row.arch, name), "rb") as content:
            return {"url": f"{url}/{row.arch}/{name}",
                    "sha256sum": hashlib.file_digest(content, "sha256").hexdigest(), **more}
    append = f"{of_arch(row, 'BOOT_ARGS')} panic=-1 panic_on_warn=1 oops=panic {row.append}".strip()
    tarball = {"compression": "gz", "format": "tar"}
    return {
        "kernel": file(os.path.basename(of_arch(row, "KERNEL_IMAGE")),
                       image_arg=f'-kernel {{kernel}} -append "{append}"'),
        "initrd": file("initramfs.cpio.gz", image_arg="-initrd {initrd}", compression="gz", format="cpio.newc",
                       overlays={"lava": True,
                                 "kselftest": file("kselftest.tar.gz", path="/opt/kselftest", **tarball),
                                 "modules": file("modules.tar.gz", path="/", **tarball)}),
    }


def test(row):
    """What LAVA does in the guest."""
    command = row.command(load="modprobe {}")
    return {
        "metadata": {"format": "Lava-Test Test Definition 1.0", "name": row.name, "description": row.about},
        "run": {"steps": ["cd /opt/kselftest/dma", shlex.join(["lab-test", row.name, command, *row.skips])]},
    }


def job(row, out, url):
    """The job that @row is."""
    minutes = max(10, -(-row.timeout // 60))
    return {
        "job_name": f"dma-guards {row.name}",
        "device_type": "qemu",
        "visibility": "public",
        "timeouts": {"job": {"minutes": minutes + 15}, "action": {"minutes": 10}, "connection": {"minutes": 5}},
        "context": {"arch": row.arch, "no_kvm": True, "memory": row.memory, "extra_options": options(row)},
        "actions": [
            {"deploy": {"to": "tmpfs", "os": "oe", "images": images(row, out, url)}},
            {"boot": {"method": "qemu", "media": "tmpfs", "prompts": ["/ # "]}},
            {"test": {"timeout": {"minutes": minutes},
                      "definitions": [{"from": "inline", "name": row.name, "path": f"inline/{row.name}.yaml",
                                       "repository": test(row)}]}},
        ],
    }


def main():
    """The command: see above."""
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--out")
    parser.add_argument("--url")
    parser.add_argument("archs", nargs="+", metavar="ARCH")
    args = parser.parse_args()
    if not args.out:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        for row in lab_rows(table.load(), args.archs):
            if not args.out:
                print(row.name)
                continue
            with open(os.path.join(args.out, "jobs", f"{row.name}.yaml"), "w", encoding="utf-8") as file:
                yaml.safe_dump(job(row, args.out, args.url), file, sort_keys=False, width=1000)
    except table.TableError as err:
        sys.exit(f"lab: {err}")


if __name__ == "__main__":
    main()

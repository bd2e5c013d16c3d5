#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Usage: verify.py DIR OUT

Whether what scripts/lab made in DIR is complete, LAVA refuses what is no job, and a job
gives the results that scripts/vm does for its row.  Files go to OUT.  Helper of
scripts/checks/lab.
"""
import copy
import dataclasses
import gzip
import hashlib
import os
import re
import shlex
import subprocess
import sys
import tarfile
import time

import yaml

import lava_jobs  # pylint: disable=wrong-import-order # it adds scripts/runner to the path
import check
import ktap
import table

LIMIT = 600
# The one that is run has devices, options of QEMU's and a CPU of its own.
TRIED = check.of_lane("dma-buf.vt-d", table.users_lane(), ".")
IMAGES = ("bzImage", "Image")
MODULES = ("dma_edu", "dma_bar")
# What LAVA must not take: why, and what is done to a job that it takes.
BAD_JOBS = (
    ("required key not provided.*visibility", lambda job: job.pop("visibility")),
    ("extra keys not allowed.*timeuots", lambda job: job.update(timeuots={})),
    ("timeout is larger than job timeout", lambda job: job["timeouts"]["job"].update(minutes=1)),
    ("not a valid value|extra keys not allowed", lambda job: job["context"].update(extra_option="-nodefaults")),
    ("required key not provided.*kernel.*url", lambda job: job["actions"][0]["deploy"]["images"].update(kernel={})),
    ("run", lambda job: definition(job)["run"].update(steps="true")),
)
# Rows that cannot be jobs: why, and what differs from one that can.
BAD_ROWS = (
    ("disks", {"disks": (("nvme", "64M"),)}),
    ("external_port", {"external_port": True}),
    ("non_coherent", {"non_coherent": True}),
    ("panic", {"panic": "Kernel panic"}),
    ("variant 'debug'", {"variant": "debug"}),
    ("KTAP", {"expect": "any"}),
    ("IOMMU 'smmuv3'", {"iommu": "smmuv3"}),
    ("a program", {"run": "", "script": "lab"}),
)
# What lab-test tells LAVA of a command's results and of all.
LAB_TEST = (
    ("printf '1..1\\nok 1 a\\n'", "a pass", "pass"),
    ("printf '1..1\\nok 1 a\\n'; exit 1", "a pass", "fail"),
    ("printf '1..2\\nok 1 a\\n'", "a pass", "fail"),
    ("printf '1..1\\nok 1 a\\nok 2 b\\n'", "a pass,b pass", "fail"),
    ("printf '1..2\\nok 1 a\\nnot ok 2 - b # why\\n'", "a pass,b fail", "fail"),
    ("printf '1..2\\nok 1 a, as said\\nok 2 b b # SKIP why\\n'", "a_as_said pass,b_b skip", "pass"),
    ("printf '1..2\\nok 1 a\\nok 2 # SKIP why\\n'", "a pass", "fail"),
    ("printf '1..1\\nok 1 a # SKIP why\\n'", "a skip", "fail"),
    ("printf '1..2\\nok 1 a\\nok 2 b # SKIP or other\\n'", "a pass,b skip", "pass"),
    ("printf '1..2\\nok 1 a\\nok 2 b # SKIP why not\\n'", "a pass,b skip", "fail"),
    ("printf '1..1\\n    1..2\\n    ok 1 b\\n    ok 2 c # SKIP for nothing\\nok 1 a\\n'", "a pass", "fail"),
    ("echo '1..0 # SKIP for nothing'; exit 4", "", "fail"),
    ("printf '1..1\\n    1..2\\n    ok 1 b\\n    ok 2 c\\nok 1 a\\n'", "a pass", "pass"),
    ("echo '1..0 # SKIP why'; exit 4", "", "skip"),
    ("printf '1..1\\nnot ok 1 a\\n'; exit 4", "a fail", "fail"),
    ("true", "", "fail"),
)


class Wrong(Exception):
    """What is wrong, in one line."""


def say(text):
    """How far it is."""
    print(f"lab: {text}", file=sys.stderr, flush=True)


def must(good, text):
    """Wrong with @text, unless @good."""
    if not good:
        raise Wrong(text)


def read_job(path):
    """The job in a file."""
    with open(path, encoding="utf-8") as file:
        return yaml.safe_load(file)


def definition(job):
    """The test definition of a job."""
    return job["actions"][2]["test"]["definitions"][0]["repository"]


def files_of(job):
    """Each file that @job names."""
    images = job["actions"][0]["deploy"]["images"]
    overlays = images["initrd"]["overlays"]
    return images["kernel"], images["initrd"], overlays["kselftest"], overlays["modules"]


def path_of(file):
    """Where a file of a job is."""
    must(file["url"].startswith("file:///"), f"not on this machine: {file['url']}")
    return file["url"][len("file://"):]


def look_at_files(folder, jobs):
    """Each file that a job names is there, as the job has it, and whole."""
    say("each file that a job names is there, as the job has it")
    sums = {}
    for name, job in jobs.items():
        for file in files_of(job):
            path = path_of(file)
            if path not in sums:
                with open(path, "rb") as content:
                    sums[path] = hashlib.file_digest(content, "sha256").hexdigest()
            must(sums[path] == file["sha256sum"], f"{name}: {path} is another file")
        must(os.path.basename(path_of(files_of(job)[0])) in IMAGES, f"{name}: no kernel")
    for arch in {job["context"]["arch"] for job in jobs.values()}:
        with tarfile.open(f"{folder}/{arch}/kselftest.tar.gz") as tar:
            names = set(tar.getnames())
        for module in MODULES:
            must(f"./dma/test_modules/{module}.ko" in names, f"{arch}: no {module}.ko")
        with tarfile.open(f"{folder}/{arch}/modules.tar.gz") as tar:
            must(any(name.endswith("/swiotlb-kunit.ko") for name in tar.getnames()), f"{arch}: no KUnit modules")


def look_at_refusals(job, row, out):
    """LAVA refuses what is no job, and scripts/lab what cannot be one."""
    say("what is no job is refused")
    path = f"{out}/bad.yaml"
    for why, spoil in BAD_JOBS:
        bad = copy.deepcopy(job)
        spoil(bad)
        with open(path, "w", encoding="utf-8") as file:
            yaml.safe_dump(bad, file)
        run = subprocess.run([f"{table.ROOT}/scripts/validate-lava-jobs", path],
                             capture_output=True, text=True, check=False)
        must(run.returncode, f"LAVA takes what it must not for '{why}'")
        must(re.search(why, run.stderr), f"another reason than '{why}': {run.stderr.strip()}")
    for why, change in BAD_ROWS:
        try:
            lava_jobs.lab_rows([dataclasses.replace(row, **change)], [row.arch])
        except table.TableError as err:
            must(why in str(err), f"another reason than '{why}': {err}")
        else:
            raise Wrong(f"a job is made of a row that has '{why}'")


def make_root(job, root):
    """What LAVA makes of a job's initramfs and overlays, with a lava-test-case that
    writes down what it is told."""
    os.makedirs(root)
    _, initrd, *overlays = files_of(job)
    with gzip.open(path_of(initrd)) as file:
        subprocess.run(["cpio", "-id", "--quiet"], cwd=root, input=file.read(), check=True)
    for overlay in overlays:
        os.makedirs(root + overlay["path"], exist_ok=True)
        subprocess.run(["tar", "-xzf", path_of(overlay), "-C", root + overlay["path"]], check=True)
    scripts = {
        "bin/lava-test-case": '#!/bin/sh\necho "$1 $3" >>/told\n',
        "steps": "\n".join(definition(job)["run"]["steps"]) + "\n",
        "bad": "".join(f"lab-test row {shlex.quote(command)} why 'or [a-z]+'\necho -- >>/told\n" for command, _, _ in LAB_TEST),
        # The kernel writes to the same console, in the middle of lines.
        "all": "sh -e /steps\ncp /tmp/ktap /ktap\necho -- >>/told\nsh /bad\ndmesg -n 1\n"
               "echo; echo begin-ktap; cat /ktap; echo begin-told; cat /told; echo begin-end; poweroff -f\n",
    }
    for name, text in scripts.items():
        with open(f"{root}/{name}", "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(f"{root}/{name}", 0o755)


def run_job(job, row, out):
    """What a job prints in a guest of nothing but its files, as LAVA's device type qemu
    runs it: (KTAP, [what LAVA is told], by command)."""
    make_root(job, f"{out}/root")
    with open(f"{out}/initrd", "wb") as file:
        subprocess.run("find . | cpio -o -H newc -R 0:0 --quiet", shell=True, cwd=f"{out}/root", stdout=file, check=True)
    images = job["actions"][0]["deploy"]["images"]
    words = " ".join([*job["context"]["extra_options"], *(image["image_arg"] for image in images.values())])
    words = words.replace("{kernel}", path_of(images["kernel"])).replace("{initrd}", f"{out}/initrd")
    command = ["setpriv", "--pdeathsig", "KILL", lava_jobs.of_arch(row, "QEMU"), "-nographic",
               "-net", "nic,model=virtio,macaddr=52:54:00:12:34:58", "-net", "user",
               "-m", str(job["context"]["memory"]), "-monitor", "none", *shlex.split(words)]
    console, end = f"{out}/console", time.monotonic() + LIMIT
    with open(console, "wb") as file, subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file,
                                                       stderr=subprocess.STDOUT) as guest:
        try:
            while job["actions"][1]["boot"]["prompts"][0] not in read(console):
                must(guest.poll() is None and time.monotonic() < end, f"no prompt: see {console}")
                time.sleep(0.5)
            guest.stdin.write(b"sh /all\n")
            guest.stdin.flush()
            status = guest.wait(end - time.monotonic())
        except subprocess.TimeoutExpired as err:
            raise Wrong(f"the guest does not end: see {console}") from err
        finally:
            guest.kill()
    must(status == 0, f"the guest ended with {status}: see {console}")
    parts = re.split(r"^begin-.*\n", read(console), flags=re.M)
    must(len(parts) == 4, f"the guest's output is not whole: see {console}")
    return parts[1], [part.split("\n")[:-1] for part in parts[2].split("--\n")]


def read(path):
    """What a console said, without carriage returns."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read().replace("\r", "")


def told_of(results, row):
    """What LAVA must be told of results without nesting that pass."""
    told = [(name, "pass") for name in [*results.passed, row.name]] + [(name, "skip") for name in results.skipped]
    return sorted(f"{re.sub('[^A-Za-z0-9_.-]+', '_', name)} {result}" for name, result in told)


def try_job(job, row, out):
    """The job gives the results that scripts/vm gives for its row."""
    tree = f"{check.build_folder(row.arch, row.variant, row.version())}/source"
    say(f"{row.name} by scripts/vm")
    with open(f"{out}/vm.log", "wb") as log:
        status = subprocess.run(check.vm_command(row, f"{out}/vm"), stdout=log, stderr=subprocess.STDOUT,
                                check=False).returncode
    must(status == 0, f"scripts/vm does not pass {row.name}: see {out}/vm.log")
    say(f"{row.name} in a guest of its artefacts")
    text, told = run_job(job, row, f"{out}/run")
    ours, theirs = ktap.Results(tree, text), ktap.Results(tree, read(f"{out}/vm/result.log"))
    must(ours.fault() is None, f"the job's tests did not pass: {ours.fault()}: see {out}/run/console")
    for kind in ("passed", "skipped", "reasons"):
        must(getattr(ours, kind) == getattr(theirs, kind), f"{kind}: not the results of scripts/vm: see {out}")
    must(sorted(told[0]) == told_of(ours, row), f"LAVA is told other results: see {out}/run/console")
    must(len(told) == len(LAB_TEST) + 2, f"lab-test ended early: see {out}/run/console")
    for (command, cases, verdict), found in zip(LAB_TEST, told[1:]):
        want = (cases.split(",") if cases else []) + [f"row {verdict}"]
        must(found == want, f"lab-test of {command}: {found}, not {want}")
    return len(told[0])


def main():
    """The command: see above."""
    folder, out = sys.argv[1:]
    rows = {row.name: row for row in table.choose(table.load(), [], True, table.users_lane()) if row.lab}
    jobs = {name[:-len(".yaml")]: read_job(f"{folder}/jobs/{name}") for name in os.listdir(f"{folder}/jobs")}
    try:
        must(set(jobs) == set(rows) and jobs, f"not a job for each row: {sorted(set(jobs) ^ set(rows))}")
        look_at_files(folder, jobs)
        look_at_refusals(jobs[TRIED], rows[TRIED], out)
        cases = try_job(jobs[TRIED], rows[TRIED], out)
    except FileNotFoundError as err:
        sys.exit(f"lab: {err.filename} is not there")
    except Wrong as err:
        sys.exit(f"lab: {err}")
    say(f"{len(jobs)} jobs; {TRIED} tells LAVA of {cases} cases")


if __name__ == "__main__":
    main()

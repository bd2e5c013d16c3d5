# SPDX-License-Identifier: GPL-2.0
"""Columns of a table that were measured earlier, and when they may stand in it."""
import re

from figures import case_text, load
from matrix import ROOT

OPTION = re.compile(r"^(?:# )?(CONFIG_\w+)", re.M)
DEFINED = re.compile(r"^\+(?:menu)?config (\w+)$", re.M)


def options(fragment, patches):
    """The options that Kconfig.fragment asks for, and all that the patches bring: those
    that nobody can choose, because others select them, are in no fragment."""
    return {*OPTION.findall(fragment), *(f"CONFIG_{name}" for patch in patches for name in DEFINED.findall(patch))}


def configuration(text, without):
    """The lines of a .config, but for these options."""
    return {line for line in text.splitlines() if line.split("=")[0] not in without}


def compiler(text):
    """The line of a .config that says what has compiled the kernel."""
    return next((line for line in text.splitlines() if line.startswith("CONFIG_CC_VERSION_TEXT=")), "")


def difference(result, old, without):
    """Why figures of @old cannot stand beside those of @result, '' if they can.  The
    kernel with the options on is in both, and the one without them is built along
    with it; the options, @without, take no part."""
    new_kernel, old_kernel = (of["kernels"].get("on") for of in (result, old))
    if not new_kernel or not old_kernel:
        return "there is no kernel with the options on to compare with"
    if compiler(new_kernel["text"]) != compiler(old_kernel["text"]):
        return "another compiler"
    if result["qemu"] != old["qemu"]:
        return "another QEMU"
    if configuration(new_kernel["text"], without) != configuration(old_kernel["text"], without):
        return "another configuration of the kernel"
    releases = [{run["release"] for run in of["runs"] if run["kernel"] == "on"} for of in (result, old)]
    if releases[0] != releases[1]:
        return "another release of the kernel"
    return ""


def column(result, run):
    """A run of another file as a column of the table of @result, as far as it has the cases;
    None where it has none."""
    beside = next((new for new in result["runs"]
                   if (new["lane"], new["domain"]) == (run["lane"], run["domain"])), None)
    if not beside:
        return None
    wanted = {case_text(sample) for new in result["runs"] if new["cases"] == beside["cases"]
              for sample in new["samples"]}
    samples = [sample for sample in run["samples"] if case_text(sample) in wanted]
    if not samples:
        return None
    return dict(run, name=f"{run['name']} (kept)", cases=beside["cases"], samples=samples)


def beside(result, names, path, without):
    """What a result has of an earlier one: runs of these @names in the file @path, or
    the reason why not; @without are the options of the series."""
    shown = str(path.relative_to(ROOT))
    if not path.exists():
        return {"file": shown, "why": "there is no such file", "runs": []}
    old = load(path)
    why, runs = difference(result, old, without), []
    for name in names if not why else ():
        columns = [column(result, run) for run in old["runs"] if run["name"] == name and
                   run["lane"] == "icount" and run["domain"] in ("DMA", "DMA-FQ")]
        if None in columns or not columns:
            why, runs = f"none of the cases is in '{name}'", []
            break
        runs += columns
    return {"file": shown, "date": old["date"], "why": why, "runs": runs}

#!/usr/bin/env python3
"""Compares two JUnit files of a module of CPython's tests; prints the tests whose results differ.

Arguments: module, native file, sandbox file, file of explained differences (lines "MODULE PATTERN reason").
Exit status 1 if there is a difference that is not explained.
"""
import fnmatch
import sys
import xml.etree.ElementTree as tree


def results(path):
    """Result of each test by its name; None if the run did not end."""
    try:
        root = tree.parse(path).getroot()
    except (OSError, tree.ParseError):
        return None
    found = {}
    for case in root.iter("testcase"):
        kinds = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        # A test may appear again for each of its subtests: the worst counts.
        kind = max(kinds + [found.get(case.get("name"), "passed")], key=["passed", "skipped", "failure", "error"].index)
        found[case.get("name")] = kind
    return found


def explanations(path, module):
    with open(path) as lines:
        words = (line.split(None, 2) for line in lines if line.strip() and not line.startswith("#"))
        return [(pattern, why.strip()) for name, pattern, why in words if name in (module, "*")]


module, native, sandbox, explained = sys.argv[1:]
native, sandbox = results(native), results(sandbox)
if native is None or sandbox is None:
    ended = {True: "did not end", False: "ended"}
    print(f"{module}: natively it {ended[native is None]}, in the sandbox it {ended[sandbox is None]}")
    sys.exit(1)
known = explanations(explained, module)
unexplained = 0
for test in sorted(native.keys() | sandbox.keys()):
    here, there = native.get(test, "absent"), sandbox.get(test, "absent")
    if here == there:
        continue
    why = next((why for pattern, why in known if fnmatch.fnmatch(test, pattern)), None)
    unexplained += why is None
    print(f"  {test}: natively {here}, in the sandbox {there}: {why or 'NOT EXPLAINED'}")
failed = sum(kind in ("failure", "error") for kind in sandbox.values())
print(f"{module}: {len(sandbox)} tests, {failed} failed in the sandbox, {unexplained} unexplained differences")
sys.exit(unexplained > 0)

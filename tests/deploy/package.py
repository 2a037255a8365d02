"""Makes a Debian package from what `cargo metadata` says: [package.metadata.deb], as cargo-deb reads it.

    cargo metadata --no-deps --format-version 1 | python3 tests/deploy/package.py PROGRAM FILE.deb
"""

import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile

program, file = sys.argv[1:]
package = next(p for p in json.load(sys.stdin)["packages"] if p["name"] == "callbox")
deb = package["metadata"]["deb"]

with tempfile.TemporaryDirectory() as root:
    os.chmod(root, 0o755)

    def put(source, target, mode):
        path = os.path.join(root, target)
        if target.endswith("/"):
            path = os.path.join(path, os.path.basename(source))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        shutil.copyfile(source, path)
        os.chmod(path, int(mode, 8))

    for source, target, mode in deb["assets"]:
        if source == "target/release/callbox":
            put(program, "usr/bin/callbox", mode)
            continue
        found = glob.glob(source)
        assert found, f"no {source}"
        for one in found:
            put(one, target, mode)
    for script in os.listdir(deb["maintainer-scripts"]):
        put(os.path.join(deb["maintainer-scripts"], script), "DEBIAN/" + script, "755")
    with open(os.path.join(root, "DEBIAN/conffiles"), "w") as conffiles:
        conffiles.write("".join(name + "\n" for name in deb["conf-files"]))
    architecture = subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip()
    with open(os.path.join(root, "DEBIAN/control"), "w") as control:
        control.write(
            f"Package: {package['name']}\nVersion: {package['version']}-1\nArchitecture: {architecture}\n"
            f"Section: {deb['section']}\nPriority: {deb['priority']}\nMaintainer: {deb['maintainer']}\n"
            f"Description: {package['description']}\n {deb['extended-description']}\n"
        )
    subprocess.check_call(
        ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", root, file], stdout=subprocess.DEVNULL
    )

"""Writes <tool>.txt from <tool>.in: every package that the tools need, with its
version and the SHA-256 of each wheel that pip may choose on Linux, and on macOS with
an Apple processor, with Python 3.11 to 3.13.

    lock.py path/of/uv infra/checks/cfn.in

uv resolves. Its own export also lists source packages and the wheels of other
systems, which the checks never install.
"""

import pathlib
import re
import subprocess
import sys
import tempfile
import tomllib

PROJECT = """
[project]
name = "locked"
version = "0"
requires-python = ">=3.11,<3.14"
dependencies = {requirements}
[tool.uv]
package = false
no-build = true
environments = {systems}
"""

SYSTEMS = [
    f"sys_platform == '{system}' and platform_machine == '{machine}' and implementation_name == 'cpython'"
    for system, machine in (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"))
]

# <python tag>-<ABI>-<platform>.whl
WHEEL = re.compile(r"-(py\d[\w.]*|cp3\d+)-(none|abi3|cp3\d+)-(any|manylinux[\w.]*|macosx_[\w.]*|linux_\w+)\.whl$")
PYTHON = re.compile(r"python_(?:full_)?version (?:<|>=|<=|>|==) '[\d.]+'")


def resolve(uv, requirements):
    """Returns the packages of uv's lock file, and the marker of each."""
    with tempfile.TemporaryDirectory() as folder:
        project = pathlib.Path(folder, "pyproject.toml")
        project.write_text(PROJECT.format(requirements=requirements, systems=SYSTEMS))
        common = ["--quiet", "--project", folder, "--python", sys.executable]
        subprocess.run([uv, "lock", *common], check=True)
        command = [uv, "export", *common, "--no-hashes", "--no-header", "--no-annotate"]
        exported = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        packages = tomllib.loads(pathlib.Path(folder, "uv.lock").read_text())["package"]
    markers = {}
    for line in exported.splitlines():
        requirement, _, marker = line.partition(" ; ")
        versions = set(PYTHON.findall(marker))
        if len(versions) > 1:
            sys.exit(f"lock.py cannot shorten the marker of {line}")
        markers[requirement] = "".join(f" ; {version}" for version in versions)
    return packages, markers


def main(uv, source):
    source = pathlib.Path(source)
    requirements = [line for line in source.read_text().splitlines() if line and not line.startswith("#")]
    packages, markers = resolve(uv, requirements)
    if len({requirement.split("==")[0] + marker for requirement, marker in markers.items()}) < len(markers):
        sys.exit("two systems need two versions of a package, which lock.py cannot write")
    lines = [f"# make lock writes this file from {source.name}."]
    for package in packages:
        requirement = f"{package['name']}=={package.get('version')}"
        if requirement not in markers:
            continue
        hashes = sorted({wheel["hash"] for wheel in package["wheels"] if WHEEL.search(wheel["url"])})
        if not hashes:
            sys.exit(f"{requirement} has no wheel, and the checks build nothing")
        lines.append(" \\\n    ".join([requirement + markers.pop(requirement)] + [f"--hash={value}" for value in hashes]))
    if markers:
        sys.exit(f"uv's lock file lacks {sorted(markers)}")
    source.with_suffix(".txt").write_text("\n".join(lines) + "\n")


main(*sys.argv[1:])

# SPDX-License-Identifier: MIT
"""check_manual.py PROGRAM MANUAL…: every verb that the program's help lists, and every option of each, is in the
manual; what README shows as a command is one."""

import re
import subprocess
import sys


def said(program, *words):
    return subprocess.run([program, "help", *words], check=True, capture_output=True, text=True).stdout


def main(program, manual_path, readme_path):
    manual = open(manual_path, encoding="utf-8").read()
    readme = open(readme_path, encoding="utf-8").read()
    verbs = re.findall(r"^  ([a-z]+(?: [a-z]+)?)  +[A-Z]", said(program), re.M)
    wrong = [f"{verb}: not in {manual_path}" for verb in verbs if f"*{verb}*" not in manual]
    known = {}
    for verb in verbs:
        known[verb] = set(re.findall(r"--[a-z][a-z-]*", said(program, *verb.split())))
        wrong += [f"{verb} {option}: not in {manual_path}" for option in known[verb]
                  if option not in manual and option not in ("--help", "--version")]
    for line in re.findall(r"stagecoachctl ([a-z][^\n`|]*)", readme):
        verb = next((v for v in (" ".join(line.split()[:2]), line.split()[0]) if v in known), None)
        if not verb and not line.startswith(("parses", "speaks")):
            wrong.append(f"{readme_path}: there is no verb in \"stagecoachctl {line}\"")
            continue
        for option in re.findall(r"--[a-z][a-z-]*", line.split("#")[0]) if verb else ():
            if option not in known[verb]:
                wrong.append(f"{readme_path}: {verb} has no {option}")
    print("\n".join(wrong) or f"{len(verbs)} verbs are in the manual")
    return 1 if wrong or len(verbs) < 20 else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""gentg doctor."""

from __future__ import annotations

import argparse
import json

HELP = "Show what is installed, on which device, which models with their hashes, what is wrong and how to mend it."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the report for programs")


def run(args: argparse.Namespace) -> int:
    """Exit code 0 if GenTG can work here, else 1."""
    from inference_backend.pipeline.doctor import examine

    report = examine()
    if args.json:
        print(json.dumps(report, indent=2, ensure_ascii=False))
        return 0 if report["usable"] else 1
    print(f"GenTG {report['gentg']} (protocol {report['protocol']}, result file {report['result']})")
    for check in report["checks"]:
        print(f"  [{check['status']:>4}] {check['name']}: {check['detail']}")
        if check["fix"]:
            print(f"         {check['fix']}")
    print("Ready." if report["usable"] else "GenTG cannot work here until what is marked 'fail' is mended.")
    return 0 if report["usable"] else 1

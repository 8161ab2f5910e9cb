"""Runs every benchmark, or those named: ``python -m benchmarks stack body``."""

import importlib
import platform
import sys

ALL = (
    "stack",
    "body",
    "bearer",
    "tls_extension",
    "mutual_tls",
    "authorization",
    "rate_limit",
    "rate_limit_redis",
    "rate_limit_peers",
    "memory",
    "audit",
    "imports",
)


def main(names: list[str]) -> int:
    print(
        f"Python {platform.python_version()}, {platform.machine()}; CPU time, medians; goals are ratios, figures soft"
    )
    missed = 0
    for name in names or ALL:
        module = importlib.import_module(f"benchmarks.{name}")
        print(f"\n{name}: {module.__doc__.splitlines()[0]}")
        for row in module.rows():
            print(row)
            missed += row.is_met is False
    print(f"\n{missed} goals missed" if missed else "\nall goals met")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

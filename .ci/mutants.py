"""Make small wrong changes one at a time, and count how many of them the fast tests catch.

    make mutants                        every change, hours
    make mutants SAMPLE=200 SEED=0      a random sample of them
    make mutants ONLY='ann.loss.*'      those of these functions; several patterns are possible

pyproject.toml lists the changed files and the tests under tool.mutmut. The command prints each
change that no test caught. Its exit status is 1 if the tests catch less than 90 %.
"""

import argparse
import fnmatch
import random
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from mutmut import __main__ as mutmut
from mutmut.stats import status_by_exit_code

REQUIRED = 0.9
CAUGHT = ("killed", "timeout", "segfault", "caught by type check")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, help="how many changes; all without it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="*", help="patterns, as 'ann.loss.* ann.noise.*'")
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    gather, sample = mutmut.collect_source_file_mutation_data, []

    def draw(**options: Any) -> Any:
        """Gather as mutmut does, and return a sample, for which mutmut has no option."""
        mutants, files = gather(**options)
        patterns = arguments.only.split()
        mutants = [m for m in mutants if any(fnmatch.fnmatch(m[1], p) for p in patterns)]
        mutants.sort(key=lambda m: m[1])
        if arguments.sample is not None and arguments.sample < len(mutants):
            mutants = random.Random(arguments.seed).sample(mutants, arguments.sample)
        sample.extend(mutants)
        return mutants, files

    shutil.rmtree("mutants", ignore_errors=True)  # results of earlier tests
    mutmut.collect_source_file_mutation_data = draw
    mutmut._run((), arguments.jobs)
    statuses = {name: status_by_exit_code[data.exit_code_by_key[name]] for data, name, _ in sample}
    for data, name, _ in sample:
        if statuses[name] not in CAUGHT:
            print(f"\n{statuses[name]}: {name}")
            print(mutmut.get_diff_for_mutant(name, path=Path(data.path)))
    counts = Counter(statuses.values())
    share = sum(counts[status] for status in CAUGHT) / max(1, len(statuses))
    numbers = ", ".join(f"{number} {status}" for status, number in counts.most_common())
    print(f"\n{len(statuses)} changes: {numbers}; the tests catch {100 * share:.1f} %")
    return int(share < REQUIRED)


if __name__ == "__main__":
    sys.exit(main())

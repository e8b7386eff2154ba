"""Make small wrong changes one at a time, and count how many of them the fast tests catch.

    make mutants                        every change, hours
    make mutants SAMPLE=200 SEED=0      some of them, drawn at random
    make mutants ONLY='ann.loss.*'      those of these functions; or several patterns

What is changed and which tests run is in pyproject.toml, under tool.mutmut. It prints each change
that no test saw, and its exit status is 1 if the tests catch less than 90 %.
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

WANTED = 0.9
CAUGHT = ("killed", "timeout", "segfault", "caught by type check")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, help="how many changes; all without it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="*", help="patterns, as 'ann.loss.* ann.noise.*'")
    parser.add_argument("--jobs", type=int, default=1)
    words = parser.parse_args()
    gather, chosen = mutmut.collect_source_file_mutation_data, []

    def draw(**given: Any) -> Any:
        """Gather as mutmut does, and keep the sample; mutmut itself has no option for it."""
        found, files = gather(**given)
        patterns = words.only.split()
        found = [f for f in found if any(fnmatch.fnmatch(f[1], p) for p in patterns)]
        found.sort(key=lambda f: f[1])
        if words.sample is not None and words.sample < len(found):
            found = random.Random(words.seed).sample(found, words.sample)
        chosen.extend(found)
        return found, files

    shutil.rmtree("mutants", ignore_errors=True)  # results of earlier tests
    mutmut.collect_source_file_mutation_data = draw
    mutmut._run((), words.jobs)
    statuses = {name: status_by_exit_code[data.exit_code_by_key[name]] for data, name, _ in chosen}
    for data, name, _ in chosen:
        if statuses[name] not in CAUGHT:
            print(f"\n{statuses[name]}: {name}")
            print(mutmut.get_diff_for_mutant(name, path=Path(data.path)))
    counts = Counter(statuses.values())
    share = sum(counts[status] for status in CAUGHT) / max(1, len(statuses))
    told = ", ".join(f"{number} {status}" for status, number in counts.most_common())
    print(f"\n{len(statuses)} changes: {told}; the tests catch {100 * share:.1f} %")
    return int(share < WANTED)


if __name__ == "__main__":
    sys.exit(main())

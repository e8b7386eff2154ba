"""What a stage writes into a page that people write, between two markers."""

import re

BEGIN = "<!-- The index stage writes from here -->"
END = "<!-- to here. -->"
_BLOCK = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)


def replace_block(text: str, block: str) -> str:
    """Return a page's text with this block; without markers, it stays as it is."""
    return _BLOCK.sub(lambda _: f"{BEGIN}\n\n{block}\n\n{END}", text)

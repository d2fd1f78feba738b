"""Links and paths that the documentation names exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ('docs', 'projects', 'tools')
PAGES = [
    'README.md',
    *sorted(
        str(page.relative_to(ROOT)) for name in FOLDERS for page in (ROOT / name).rglob('*.md')
    ),
]
LINK = re.compile(r'\]\(([^)\s]+)\)')
NAMED = re.compile(
    r'(?<![\w/.])(?:tools|configs|benchmarks|demul_mm|tests|docs)/[\w./-]+\.(?:py|sh|md|svg|png)\b'
)

OF_THE_READER = re.compile(r'/(?:NAME|my_\w+|demul_mine)\.py$')  # files that the text tells to make


def anchors(page: Path) -> set[str]:
    """What `#...` may follow the name of a page: its headings, as GitHub writes them."""
    text = re.sub(r'^```.*?^```', '', page.read_text(), flags=re.M | re.S)
    headings = re.findall(r'^#+ (.*)$', text, flags=re.M)
    plain = (re.sub(r'\[([^\]]*)\]\([^)]*\)', r'\1', heading) for heading in headings)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in plain}


@pytest.mark.parametrize('name', PAGES)
def test_links_of_a_page_lead_somewhere(name):
    page = ROOT / name
    for link in LINK.findall(page.read_text()):
        if link.startswith(('http://', 'https://', 'mailto:')):
            continue
        path, _, anchor = link.partition('#')
        target = page.parent / path if path else page
        assert target.exists(), f'{name}: {link}'
        assert not anchor or anchor in anchors(target), f'{name}: {link}'


@pytest.mark.parametrize('name', PAGES)
def test_files_that_a_page_names_exist(name):
    missing = [
        path
        for path in NAMED.findall((ROOT / name).read_text())
        if not OF_THE_READER.search(path)
        and not (ROOT / path).exists()
        and not ((ROOT / name).parent / path).exists()
    ]
    assert not missing, f'{name}: {missing}'

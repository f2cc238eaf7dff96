"""A report as text and as a page: the same words and numbers, nothing of them read as markup."""

from html.parser import HTMLParser

import numpy as np
import pandas as pd

from lib.edits.report import Part, html, text

TABLE = pd.DataFrame({"family": ["HNF4 <b>&", "GATA"], "change": [-0.123456, 2.0], "seeds": [3, 4], "note": [None, np.nan]})
PARTS = [Part("what", ["chr1:5 A>C </section>"]), Part("latents", ["two are lost", TABLE]), Part("nothing", [TABLE[:0]])]


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.words, self.tags, self.loads = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.words.append(data)


def test_text_and_page_hold_the_same():
    plain, page = text("A report", PARTS), Page()
    page.feed(html("A report", PARTS))
    assert plain.splitlines()[:5] == ["A report", "========", "", "1 WHAT", "  chr1:5 A>C </section>"]
    assert "3 NOTHING" in plain
    for word in ("chr1:5 A>C </section>", "two are lost", "HNF4 <b>&", "-0.123", "2", "3", "GATA"):
        assert any(word == shown for shown in page.words) and word in plain
    assert "None" not in plain and "nan" not in plain and not {"None", "nan"} & set(page.words)
    assert page.tags.count("section") == 3 and page.tags.count("table") == 1 and "b" not in page.tags
    assert not page.loads and "script" not in page.tags and page.tags.count("th") == 4

"""The cleaner of captions: each of its steps, their order, and text it must leave alone."""

from __future__ import annotations

import pytest

from adapters.llamagen.captions import clean_caption

# Left as they are: prose, numbers in it, comparisons, Hangul and kana.
PROSE = [
    "a photo of a red fox, standing on snow.",
    "a cat, a dog and 2 birds; evening: rain",
    "3d render, 8k, 100% cotton",
    "a < b and c > d",
    "고양이 ねこ",
]
# What the published cleaner returns for each, where its two helper libraries change nothing.
DIRTY = {
    " A Red\tfox \n runs ": "a red fox runs",
    "a%20cat+sat": "a cat sat",
    "<person> walks": "person walks",
    "see https://x.org/y now": "see now",
    "http://foo.io/bar cat": "foo. io bar cat",  # only the scheme is known
    "visit www.example.com now": "visit now",
    "mail me@host.com please": "mail me please",
    "@nick a cat": "a cat",
    "<b>bold</b><!-- note --> text": "bold text",
    "A&amp;amp;B  <b>“Red”</b> — x \n circle’s ": 'a;b "red" - x circle\'s',
    "&quot;hi&quot; &amp; bye": '"hi" bye',
    "x &lt;b&gt; y": "x y",  # what one pass uncovers the next one removes
    "猫 cat": "cat",
    "a—b–c ‐ d": "a-b-c - d",
    "«quoted» `text´ twice": '"quoted" "text" twice',
    "server 192.168.0.1 room": "server room",
    "line\\nbreak": "line break",
    "#12 #1234 #12345 1234567 cats": "1234 cats",
    "photo IMG_0012.JPG of a cat.png": "photo of a",
    '"""wow""" it': '"wow" it',
    "wait... what": "wait what",
    "***SALE*** (50%) [new] a|b a/b c\\d": "sale 50% new a b a b c d",
    "hello . world": "hello world",
    "this-is-my-cute-cat": "this is my cute cat",
    "a-b-c_d": "a-b-c_d",
    "jc6640 jc6640vc 6640vc231 toy": "toy",
    "j2d1a2a thing": "thing",
    "dress worldwide free shipping": "dress",
    "free download wallpaper": "wallpaper",
    "click for details cat": "cat",
    "cat jpg images": "cat",
    "book page 12": "book",
    "1920x1080 wallpaper 4.5×6 x 12х34": "wallpaper x",
    "title : sub": "title: sub",
    "one,two.three": "one, two. three",
    "'quoted'": "quoted",
    "-start end-": "start end",
    ".hidden": "",
}


@pytest.mark.parametrize("text", PROSE)
def test_prose_stays(text: str) -> None:
    assert clean_caption(text) == text


@pytest.mark.parametrize(("text", "clean"), DIRTY.items())
def test_debris_goes(text: str, clean: str) -> None:
    assert clean_caption(text) == clean


def test_letters_are_made_plain() -> None:
    assert clean_caption("ﬁne Ｆｕｌｌ\u3000ａ\ufeff cafe\u0301\x07") == "fine full a café"
    assert clean_caption("a ‚low‛ „low‟ b") == "a 'low' \"low\" b"

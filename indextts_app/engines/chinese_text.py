"""
What espeak misreads in Chinese, written out in words before it is spoken.

wetext's grammar does most of it. The rules here are what version 0.1.8 of it was measured to get
wrong, each with its reason beside it, and the few syllables that espeak-ng 1.52 cannot pronounce.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache

_HANZI = "㐀-䶿一-鿿豈-﫿\U00020000-\U0003ffff"
_CHINESE = re.compile(f"[〇{_HANZI}]")
_NUMBER = r"\d+(?:\.\d+)?"

_PLAIN = str.maketrans("0123456789.-~", "零一二三四五六七八九点到到")
"""Digit by digit, as years and versions are read."""

_AS_DIALLED = str.maketrans("0123456789+", "零幺二三四五六七八九加")
"""Numbers that identify rather than count: 1 is yāo, and a written gap is a heard one."""

_Rewrite = str | Callable[[re.Match[str]], str]


def is_chinese(text: str) -> bool:
    """
    Whether any character of the text is Chinese, so that it must go to a Chinese voice.

    An English voice reads each hanzi as "Chinese letter"; the Chinese one switches for English.
    """
    return _CHINESE.search(text) is not None


def tidy(text: str) -> str:
    """
    The same text in the characters that espeak takes as text and as nothing else.

    Control characters go because U+0001 starts an espeak command (`\\x0199P` changes the pitch),
    format characters (zero-width, bidi) because they split words, private ones because espeak
    uses them inside. Runs of whitespace become one space, but a blank line, and in Chinese, which
    is not wrapped at spaces, any line break, stays a break: it is heard as a pause.
    """
    chinese = is_chinese(text)

    def gap(run: re.Match[str]) -> str:
        breaks = run[0].count("\n")
        return "\n\n" if breaks > 1 or (breaks and chinese) else " "

    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n")).translate(_NARROW)
    text = "".join(c for c in text if c.isspace() or unicodedata.category(c) not in _NOT_TEXT)
    return re.sub(r"\s+", gap, text.strip())


def write_out(text: str) -> str:
    """
    Chinese text with its numbers, units and signs written as the words a reader would say.

    Text without Chinese is returned unchanged: espeak reads English numbers well itself. Takes
    time linear in the length of the text (500 characters: a few ms, hostile ones under 0.2 s).
    """
    if not is_chinese(text):
        return text
    text = text.translate(_NARROW).translate(_SIGNS)
    for pattern, words in _BEFORE:
        text = pattern.sub(words, text)
    normalize = _wetext()
    text = "".join(normalize(part) if re.search("[0-9]", part) else part for part in _parts(text))
    for pattern, words in _AFTER:
        text = pattern.sub(words, text)
    return text


def respell(text: str) -> str:
    """
    The text with what espeak-ng 1.52 cannot pronounce in `[[phonemes]]` that it can.

    Its Chinese dictionary has no syllable -iong, so 雄 is read out as English "kshong two", and
    it does the same with 哪儿, 一会儿 and every other word in -儿. Phonemes that were in the text
    already are broken up first, so that what comes back may be spoken with phoneme input on.
    """
    text = text.replace("[[", "[ [").replace("[[", "[ [")
    text = re.sub(f"(?<=[{_HANZI}])[儿兒]", "·儿", text).replace("兒", "儿")
    text = re.sub("便宜(?!行事|之)", "骈宜", text)  # read as biànyí, and 骈 is a homophone
    return _IONG.sub(lambda char: f"[[{_PHONEMES[char[0]]}]]", text)


@cache
def _wetext() -> Callable[[str], str]:
    from wetext import Normalizer

    normalize: Callable[[str], str] = Normalizer(lang="zh", operator="tn").normalize
    return normalize


def _parts(text: str) -> list[str]:
    """Clause by clause: wetext's time is quadratic, and it doubles backslashes before quotes."""
    return re.split(r'([，。！？；…\n"\\]+)', text)


def _dialled(found: re.Match[str]) -> str:
    groups = re.findall(r"\+86|[^\s()（）+-]+", found[0])
    return "，".join(groups).translate(_AS_DIALLED)


def _spelled(found: re.Match[str]) -> str:
    return found[0].translate(_PLAIN)


def _money(found: re.Match[str]) -> str:
    sign, currency, low, high, scale = found.group("sign", "currency", "low", "high", "scale")
    amount = f"{low}到{high}" if high else low
    return f"{'负' if sign else ''}{amount}{scale or ''}{_CURRENCIES[currency]}"


def _fraction(found: re.Match[str]) -> str:
    over = unicodedata.normalize("NFKC", found[2]).replace("⁄", "/")
    return f"{found[1]}又{over}" if found[1] else over


def _over(found: re.Match[str]) -> str:
    """2025/11 is a month, 5/1 and 11/21 are days (as in wetext), all else is a fraction."""
    above, below = float(found[1]), int(found[2])
    if 1900 <= above < 2100 and 1 <= below <= 12:
        return f"{found[1]}年{below}月"
    if above in range(1, 13) and (below == 1 or (above >= 10 and 12 < below <= 31)):
        return f"{found[1]}月{below}日"
    return f"{'二' if below == 2 else below}分之{found[1]}"


def _range(found: re.Match[str]) -> str:
    low, high = found.groups()
    return f"{low}到{high}" if float(low) < float(high) else found[0]


def _decimal(found: re.Match[str]) -> str:
    sign, whole, fraction = found.groups()
    tens = {"10": "十", "11": "十一", "12": "十二"}[whole]
    return f"{'负' if sign else ''}{tens}点{fraction.translate(_PLAIN)}"


def _half_day(found: re.Match[str]) -> str:
    hour, minutes, half = found.groups()
    return f"{'上午' if half in 'aA' else '下午'}{hour}{minutes or '点'}"


_NOT_TEXT = frozenset({"Cc", "Cf", "Co", "Cs"})

_WIDE = (*range(0xFF10, 0xFF1A), *range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B))

_NARROW: dict[int, str] = {ord("µ"): "μ", **{wide: chr(wide - 0xFEE0) for wide in _WIDE}}
"""Full-width digits and letters, which espeak spells as code points."""

_SIGNS: dict[int, str] = {
    **dict(zip(map(ord, "％＋－−＄￥～〜／＝＠＆＃＊＜＞∶"), "%+--$¥~~/=@&#*<>:", strict=True)),
    **{ord(c): str(int(unicodedata.numeric(c))) for c in "①②③④⑤⑥⑦⑧⑨⑩ⅠⅡⅢⅣⅤⅥⅦⅧⅨⅩⅪⅫ"},
    **{
        square: unicodedata.normalize("NFKC", chr(square)).replace("2", "²").replace("3", "³")
        for square in range(0x3380, 0x33E0)
    },
}
"""One spelling of each sign for the rules; ㎡, ㎏ and their like as the units they show."""

_CURRENCIES = {"¥": "元", "$": "美元", "US$": "美元", "HK$": "港元", "€": "欧元", "£": "英镑"}

_EMERGENCY = {
    "110": "一百一十",
    "114": "一百一十四",
    "119": "一百一十九",
    "120": "一百二十",
    "122": "一百二十二",
}
"""Emergency numbers, which wetext dials before most measure words too."""

_COUNTED = "公斤|平|英里|美元|左右|以上|[次下台款种章节楼点倍间例站步届]"

_AREA_CODE = r"(?:(?:\+|00)86[- ]?[(（]?0?|[(（]?0)(?:10|2\d|[3-9]\d\d)[)）]?"

_AMOUNT = (
    r"(?P<sign>-)?(?P<currency>US\$|HK\$|[¥$€£]) ?"
    rf"(?P<low>{_NUMBER})(?: ?[-~到至] ?[¥$€£]?(?P<high>{_NUMBER}))?"
    r"(?P<scale>万亿|[百千]?[万亿萬億]|[百千])?元?"
)

_UNITS = {
    "mmHg": "毫米汞柱",
    "mAh": "毫安时",
    "kWh": "千瓦时",
    "kW": "千瓦",
    "W": "瓦",
    "V": "伏",
    "kHz": "千赫",
    "MHz": "兆赫",
    "GHz": "吉赫",
    "Hz": "赫兹",
    "dB": "分贝",
    "g": "克",
    "t": "吨",
    "℉": "华氏度",
    "‰": "‰",
}

_CODE = "号码|[编单账帐卡证学工]号|QQ号?|密码|验证码|邮编|[代编]码|尾号|房间号?|取件码|邀请码"

_WINS = "战胜|击败|[获取大险]胜|领先|落后|战平|逆转|不敌|告负|惜败|的比分"

_HOLIDAYS = "妇女节|劳动节|儿童节|国庆|大促|假期|活动|截止|黄金周|狂欢"

_BEFORE: tuple[tuple[re.Pattern[str], _Rewrite], ...] = tuple(
    (re.compile(pattern, re.ASCII), words)
    for pattern, words in (
        # Addresses: their digits are not numbers, their dots are said.
        (r"https?://", ""),
        (r"(?<=[A-Za-z0-9]{2})\.(?=[A-Za-z]{2})", "点"),
        (r"(?<=@)\d+|(?<!\d)\d+(?=@)", _spelled),
        # wetext reads ￥3,500 as "3 yuan, 500" and 5,000 as "5, 000".
        (r"(?<![\d,.])\d{1,3}(?:,\d{3})+(?!,?\d)", lambda found: found[0].replace(",", "")),
        (r"(?<=\d) ?[×*] ?(?=\d)|(?<=[1-9])[xX](?=\d)|(?<=\d0)[xX](?=\d)", "乘"),
        (rf"([{_HANZI}])々", r"\1\1"),
        # Telephone numbers: wetext knows the bare ones only, and takes +86 for "plus 86".
        (r"(?<![\d.])(?:(?:\+|00)86[- ]?)?1[3-9]\d[- ]?\d{4}[- ]?\d{4}(?!\d)", _dialled),
        (rf"(?<![\d.]){_AREA_CODE}[- ]?\d{{3,4}}[- ]?\d{{4}}(?!\d)", _dialled),
        (r"(?<![\d.])[48]00[- ]\d{3,4}[- ]\d{3,4}(?!\d)", _dialled),
        # Numbers that name something: read as a quantity, nobody recognises them.
        (rf"(?:(?:{_CODE})[是为:： ]{{0,3}})\d{{3,}}", _dialled),
        (r"(?<![\d.,¥$€£])\d{9,}(?<!0000)(?![\d.,万亿元人个次吨股])", _dialled),
        (r"(?<!\d)\d{3,4}(?=室|房间|号房|[pP](?![A-Za-z]))", _dialled),
        (r"(?<=[A-Za-z])(?!\d*00(?!\d))\d{3,5}(?![\d.,%元年])", _dialled),
        (r"(?<![\d.:/,-])0\d{2,}(?![\d.:/%-])", _dialled),
        (r"(?<!\d)\d{3}(?=事件|大促|晚会|购物节|工作制)", _spelled),
        (
            r"(?<!\d)(?:(?:19|20)\d\d[-~])?(?:19|20)\d\d(?=[届级款版春夏秋冬]|财年|学年|赛季)",
            _spelled,
        ),
        (
            rf"(?<![\d.打拨叫警])(?:{'|'.join(_EMERGENCY)})(?={_COUNTED}|/\d\d\d? ?mmHg)",
            lambda found: _EMERGENCY[found[0]],
        ),
        # Versions and IP addresses lose a dot in wetext; 2026.11.21 is a date and stays.
        (
            r"(?<![\d.])(?!(?:19|20)\d\d\.\d{1,2}\.\d{1,2}(?![\d.]))\d+(?:\.\d+){2,}",
            _spelled,
        ),
        (r"(?<=\d)．(?=\d)", "."),
        (r"(?<=\d)：(?=\d)", ":"),
        # Amounts: ¥12.5万 is "1 yuan 2.5万" in wetext, US$ and -¥ are unknown to it.
        (_AMOUNT, _money),
        (r"(?<=\d)\$", "美元"),
        # Ranges: wetext reads them before few units, and as a subtraction before the rest.
        (rf"(?<![\d.])({_NUMBER})%? ?[-~–—至到] ?(?={_NUMBER}%)", r"\1%到"),
        (r"(?<=\d) ?[–—] ?(?=\d)", "-"),
        (r"(?<=[℃%年月日号时点])[–—~](?=-?\d)", "到"),
        # Scores: a hyphen is a subtraction in wetext, a colon a time of day.
        (rf"(?<![\d.:-])(\d{{1,3}}) ?[-:] ?(\d{{1,3}})(?= ?(?:{_WINS}))", r"\1比\2"),
        (r"(比分[^\d\n]{0,4})(\d{1,3}) ?[-:] ?(\d{1,3})(?!\d)", r"\1\2比\3"),
        (
            rf"(?<![\d.\-/A-Za-z:])({_NUMBER}) ?[-~] ?({_NUMBER})(?![\d\-~/=:]|\.\d)",
            _range,
        ),
        (r"(\d)([A-Za-z]{1,3})[-~](\d{1,9}(?:\.\d{1,9})?)(?=\2)", r"\1\2到\3"),
        (r"(:\d\d)[-~](?=\d{1,2}:\d\d)", r"\1到"),
        # IndexTTS-2 and GPT-4 are names, not "minus two"; nor is IndexTTS-2支持 "two 支".
        (r"(?<=[A-Za-z])-?2(?![\d.A-Za-z])", " 二"),
        (r"(?<=[A-Za-z]\+\+)(?=\d)", " "),
        (r"(?<=[A-Za-z])-(?=\d)", " "),
        (r"([A-Za-z]\d{1,4}(?:\.\d{1,4})?)-(?=\d)", r"\1 "),
        (r"(?<!\d)((?:19|20)\d0)s(?![A-Za-z])", r"\1年代"),
        (r"(?<!\d)(\d+)(?:st|nd|rd|th)(?![A-Za-z])", r"第\1"),
        # Times of day: 3pm and half past midnight are unknown to wetext.
        (r"(?<![\d:])(\d{1,2})(:\d\d)? ?([aApP])\.?[mM](?![A-Za-z])", _half_day),
        (r"(?<![\d:])0:(?=\d\d(?![\d:]))(\d\d)", r"0点\1分"),
        # Dates: 2月2日 becomes 两日, 05月 "zero five", 11/21/2026 a fraction.
        (r"(?<!\d)0(?=[1-9][月日号])", ""),
        (r"(?<![\d.])2(?=日(?![游内后前间票]))", "二"),
        (
            r"(?<![\d/])(0?[1-9]|1[0-2])/(1[3-9]|2\d|3[01])/((?:19|20)\d\d)(?![\d/])",
            r"\3年\1月\2日",
        ),
        (rf"(?<![\d.])(1[0-2]|[1-9])\.(\d{{1,2}})(?={_HOLIDAYS})", r"\1月\2日"),
        (r"(?<!\d)([13-9])000(?=多?年)", r"\1千"),
        (r"(?<!\d)2000(?=多?年(?:的?历史|以?前))", "两千"),
        # 10.5 to 12.31 are dates in wetext unless it knows the unit.
        (r"((?<![\w%℃)])-)?(?<![\d.])(1[0-2])\.(\d+)(?![\d.A-Za-z%℃‰°μ])", _decimal),
        # Two: 两次 and 两倍, but 二单元 and 二手, where wetext has it the other way round.
        (r"(?<![\d.第/])2(?=[次倍](?!方|元))", "两"),
        (r"(?<![\d.])2(?=单元|线|手(?!机))", "二"),
        (r"(\d?)([½⅓⅔¼¾⅕⅛])", _fraction),
        (r"(?<=[\d十])/(\d{2,3})(?= ?mmHg)", r"比\1"),
        # wetext reads 8/10分 as "0分 of 1" and 约1/2 as "about 1, of 2".
        (r"第(\d{1,4})/(\d{1,4})([页章集题])", r"第\1\3，共\2\3"),
        (rf"(?<![\d/.])({_NUMBER})/(\d{{1,4}})(?![\d/.%])", _over),
        (r"(?<=[\d十][次个片粒])/(?=[天日周月年分小])", "每"),
        # Signs between numbers.
        (r"(?<=\d) ?÷ ?(?=\d)", "除以"),
        (r"(?<=[\d万亿]) ?\+", "加"),
        (r"(?<![\dA-Za-z~])~(?=\d)", "约"),
        (r"<(?= ?\d)", "小于"),
        (r">(?= ?\d)", "大于"),
        (r"(?<=\d)′", "分"),
        (r"(?<=\d)″", "秒"),
        (rf"({_NUMBER})‰", r"千分之\1"),
        # Units that wetext does not know, or knows by half: 5000mAh is "5000米 Ah".
        (
            rf"(?<=\d) ?({'|'.join(_UNITS)})(?![A-Za-z²³/])",
            lambda found: _UNITS[found[1]],
        ),
    )
)

_AFTER: tuple[tuple[re.Pattern[str], _Rewrite], ...] = tuple(
    (re.compile(pattern, re.ASCII), words)
    for pattern, words in (
        # Signs that espeak says in English in the middle of a Chinese sentence.
        (r"=+", "等于"),
        (r"≈", "约等于"),
        (r"±", "正负"),
        (r"(?<!\+)\+(?!\+)", "加"),
        (r"(?<![A-Za-z])&|&(?![A-Za-z])", "和"),
        (r"@", "艾特"),
        (r"%", "百分号"),
        (r"℃", "摄氏度"),
        (r"\*+|(?<![A-Za-z])#+", ""),
        (r"~+", "～"),
        (r"\\+", " "),
        (rf"(?<=[{_HANZI}])/+(?=[{_HANZI}])", "、"),
        (r"/+", " "),
    )
)

_PHONEMES = {
    char: f"{initial}j'ong{tone}"
    for initial, tone, chars in (
        ("S;", 55, "兄凶兇匈汹洶胸讻芎"),
        ("S;", 35, "雄熊"),
        ("tS;h", 35, "穷窮穹琼瓊茕煢邛"),
        ("tS;", 214, "窘炯迥囧"),
    )
    for char in chars
}
"""espeak's own phonemes of xin, qun and jin with the -ong of yong."""

_IONG = re.compile(f"[{''.join(_PHONEMES)}]")

"""What a Chinese text promises to sound like, as words on paper."""

from __future__ import annotations

import time
import unicodedata

import pytest

from indextts_app.engines.chinese_text import is_chinese, respell, tidy, write_out


def read(text: str) -> str:
    return write_out(tidy(text))


@pytest.mark.parametrize(
    ("written", "words"),
    [
        # Dates and years
        ("2025年我们去北京。", "二零二五年我们去北京。"),
        ("今天是2026/11/21。", "今天是二零二六年十一月二十一日。"),
        ("今天是2026-11-21，星期六。", "今天是二零二六年十一月二十一日，星期六。"),
        ("11/21/2026发布", "二零二六年十一月二十一日发布"),
        ("2026.11.21发布", "二零二六年十一月二十一日发布"),
        ("生于1998年3月5日", "生于一九九八年三月五日"),
        ("2025年2月2日", "二零二五年二月二日"),
        ("05月06日", "五月六日"),
        ("5/1假期", "五月一日假期"),
        ("2024-2025学年", "二零二四到二零二五学年"),
        ("五千年和5000年历史", "五千年和五千年历史"),
        ("3000年前", "三千年前"),
        ("1990s的音乐", "一九九零年代的音乐"),
        # Times of day
        ("会议14:30开始", "会议十四点三十分开始"),
        ("6:05起床", "六点零五分起床"),
        ("下午3点5分", "下午三点五分"),
        ("0:30出发", "零点三十分出发"),
        ("3pm开会", "下午三点开会"),
        ("营业时间9:00—18:00。", "营业时间九点到十八点。"),
        ("下午2:00-4:30开会", "下午两点到四点三十分开会"),
        # Telephone numbers and other numbers that name something
        ("电话13800138000。", "电话幺三八零零幺三八零零零。"),
        ("请拨010-12345678", "请拨零幺零，幺二三四五六七八"),
        ("请拨（010）12345678", "请拨零幺零，幺二三四五六七八"),
        ("请拨+86 138 0013 8000", "请拨加八六，幺三八，零零幺三，八零零零"),
        ("请拨+86-13800138000", "请拨加八六，幺三八零零幺三八零零零"),
        ("请拨+86 10 1234 5678", "请拨加八六，幺零，幺二三四，五六七八"),
        ("客服400-800-8888", "客服四零零，八零零，八八八八"),
        ("拨打120", "拨打幺二零"),
        ("心率120次/分钟", "心率一百二十次每分钟"),
        ("验证码是483920", "验证码是四八三九二零"),
        ("订单号20250101123456", "订单号二零二五零幺零幺幺二三四五六"),
        ("区号0571", "区号零五七幺"),
        ("G1234次列车", "G幺二三四次列车"),
        ("B座1203室", "B座幺二零三室"),
        ("邮箱abc@163.com", "邮箱abc艾特一六三点com"),
        # Percentages, temperatures, signs
        ("涨了50%。", "涨了百分之五十。"),
        ("涨了3-5%", "涨了百分之三到百分之五"),
        ("５％到10%", "百分之五到百分之十"),
        ("千分率3‰", "千分率千分之三"),
        ("气温-3℃。", "气温负三摄氏度。"),
        ("气温−3°C到5°C", "气温负三摄氏度到五摄氏度"),
        ("气温-3~5℃", "气温负三到五摄氏度"),
        ("零下3℃", "零下三摄氏度"),
        ("误差±5", "误差正负五"),
        # Money
        ("价格¥19.99", "价格十九点九九元"),
        ("价格￥3,500。", "价格三千五百元。"),
        ("价格$5.20。", "价格五点二零美元。"),
        ("US$1,200左右", "一千二百美元左右"),
        ("约12.5万元", "约十二点五万元"),
        ("赚了¥12.5万", "赚了十二点五万元"),
        ("共1,234.50元", "共一千二百三十四点五零元"),
        ("¥100-200之间", "一百到两百元之间"),
        ("亏损-¥20", "亏损负二十元"),
        # Ranges, fractions, scores, counting
        ("3-5天", "三到五天"),
        ("2-3次", "二到三次"),
        ("第3–5章", "第三到五章"),
        ("3kg-5kg大米", "三千克到五千克大米"),
        ("1/2的人", "二分之一的人"),
        ("2025/11/3和2025/11", "二零二五年十一月三日和二零二五年十一月"),
        ("打了9.5/10分", "打了十分之九点五分"),
        ("约1/2的人", "约二分之一的人"),
        ("得了8/10分", "得了十分之八分"),
        ("第1/10页", "第一页，共十页"),
        ("2½杯", "二又二分之一杯"),
        ("比分3:2", "比分三比二"),
        ("以3-2战胜对手", "以三比二战胜对手"),
        ("共5,000人", "共五千人"),
        ("涨到10.5", "涨到十点五"),
        ("算式1+1=2", "算式一加一等于二"),
        ("500g×2袋", "五百克乘两袋"),
        # Units
        ("5kg苹果", "五千克苹果"),
        ("时速100km/h", "时速每小时一百公里"),
        ("面积100㎡", "面积一百平方米"),
        ("电池5000mAh", "电池五千毫安时"),
        ("5g盐和5G网络", "五克盐和五G网络"),
        # Names and versions
        ("１２３元和Ａ座", "一百二十三元和A座"),
        ("v1.2.3版本", "v一点二点三版本"),
        ("Python 3.11版", "Python 三点一一版"),
        ("IndexTTS-2支持中文", "IndexTTS 二支持中文"),
        ("Qwen2.5-7B模型", "Qwen二点五 七B模型"),
        ("IP是192.168.1.1", "IP是一九二点一六八点一点一"),
        # What people type
        ("**重点**内容", "重点内容"),
        ("好的~", "好的～"),
        ("@张三 你好", "艾特张三 你好"),
        ('他说"3天"和\\路径1', '他说"三天"和 路径一'),
        ("C++和C#语言", "C++和C#语言"),
        ("人々", "人人"),
        ("你好，世界。", "你好，世界。"),
    ],
)
def test_a_reader_would_say_these_words(written: str, words: str) -> None:
    """Numbers, dates, money, units and signs become the words that a reader would say."""
    assert read(written) == words


@pytest.mark.parametrize("text", ["On 2026-11-21 at 14:30 I paid $5.20.", "", "12,5 %", "😀"])
def test_text_without_chinese_is_unchanged(text: str) -> None:
    """What espeak's English voice reads well itself is left to it."""
    assert write_out(text) == text
    assert not is_chinese(text)


@pytest.mark.parametrize("text", ["〇", "a中b", "㐀", "𠮷"])
def test_one_hanzi_makes_a_text_chinese(text: str) -> None:
    """Rare hanzi and the zero count as Chinese too."""
    assert is_chinese(text)


def test_nothing_that_steers_espeak_or_cannot_be_heard_remains() -> None:
    """Command, control, format and private characters are dropped, letters kept."""
    assert tidy("\x0199P你\u200b好\u202e\ufeff，\x00世\ue03c界\x7f") == "99P你好，世界"


def test_line_breaks_are_heard_in_chinese_and_not_in_wrapped_english() -> None:
    """A Chinese line ends with a pause; an English one only where a paragraph does."""
    assert tidy(" 床前明月光\r\n疑是地上霜 ") == "床前明月光\n\n疑是地上霜"
    assert tidy("a wrapped \n line\n\nand  a\tparagraph") == "a wrapped line\n\nand a paragraph"


def test_decomposed_and_compatible_letters_become_the_usual_ones() -> None:
    """Full-width letters and split accents are read as the letters that they show."""
    assert tidy("ＧＰＵ１２ cafe\u0301") == "GPU12 café"


def test_missing_syllables_are_spelled_and_foreign_spelling_is_broken_up() -> None:
    """Only this program's own phonemes are phonemes: what the text had in brackets is not."""
    assert respell("英雄") == "英[[S;j'ong35]]"
    assert respell("哪儿有花兒") == "哪·儿有花·儿"
    for text in ("[[t'a]]", "[[[[t'a]]]]", "[" * 501):
        assert "[[" not in respell(text)


HOSTILE = """1 1, - 1- 1: 1/ ¥ ¥1- 1. 0. 一 年1 点1 0 +86 %1 1%- (1 1~ a1 @1 1@ [ 86 1x 10.5- "1
    比分 比分1 1\\ 儿 010- 1,111, 1年 ~ 雄 1月2日 12:30"""


@pytest.mark.parametrize("unit", [*HOSTILE.split(), "\n", "1 ", "\u200b"])
def test_hostile_text_takes_no_time(unit: str) -> None:
    """500 characters of anything are written out within a second of work."""
    text = "中" + (unit * 500)[:499]
    read("中1")
    start = time.thread_time()
    respell(read(text))
    assert time.thread_time() - start < 1.0


def test_reading_twice_changes_nothing_more() -> None:
    """What was written out has no digit left and stays as it is."""
    once = read("2025年11月21日14:30，￥3,500，5kg，-3℃，13800138000，v1.2.3。")
    assert not any(unicodedata.category(c) == "Nd" for c in once)
    assert read(once) == once

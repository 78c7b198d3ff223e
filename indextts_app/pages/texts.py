"""Every sentence of the page, in both languages."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from indextts_app.engines.base import Translated

LANGUAGES = ("en", "zh")

TEXTS: Mapping[str, Translated] = MappingProxyType(
    {
        "title": Translated("IndexTTS-2 Speech", "IndexTTS-2 语音合成"),
        "subtitle": Translated(
            "Text in, checked audio out, every request traceable.",
            "输入文本，输出经过检查的音频，每次请求都可追溯。",
        ),
        "engine": Translated("Engine", "引擎"),
        "engine_loading": Translated(
            "The engine is still loading, the choices appear in a moment.",
            "引擎正在加载，选项马上就会出现。",
        ),
        "model": Translated("Model", "模型"),
        # What is asked.
        "text": Translated("Text", "文本"),
        "text_placeholder": Translated(
            "What should be said? Chinese, English, or both.",
            "想说什么？中文、英文或中英混合都可以。",
        ),
        "examples": Translated("Examples", "示例"),
        "example_chinese": Translated("Chinese", "中文"),
        "example_english": Translated("English", "英文"),
        "example_mixed": Translated("Numbers, dates, money", "数字、日期与金额"),
        "example_emotional": Translated("With emotion", "带情感"),
        "speaker": Translated("Speaker", "发音人"),
        "emotion": Translated("Emotion", "情感"),
        "pace": Translated("Pace", "语速"),
        "pace_info": Translated("1 = the speaker's own", "1 = 发音人本来的语速"),
        "format": Translated("Format", "格式"),
        "reference": Translated("Reference recording (optional)", "参考音频（可选）"),
        "reference_audio": Translated(
            "WAV, FLAC, MP3, OGG or M4A; the first 15 s are used",
            "WAV、FLAC、MP3、OGG 或 M4A，只使用前 15 秒",
        ),
        "generate": Translated("Generate speech", "合成语音"),
        "generating": Translated("Working …", "合成中 …"),
        "cancel": Translated("Cancel", "取消"),
        # The emotions; the Chinese names are those of IndexTTS-2's own page.
        "emotion_neutral": Translated("Neutral", "中性"),
        "emotion_happy": Translated("Happy", "喜"),
        "emotion_angry": Translated("Angry", "怒"),
        "emotion_sad": Translated("Sad", "哀"),
        "emotion_afraid": Translated("Afraid", "惧"),
        "emotion_disgusted": Translated("Disgusted", "厌恶"),
        "emotion_melancholic": Translated("Melancholic", "低落"),
        "emotion_surprised": Translated("Surprised", "惊喜"),
        "emotion_calm": Translated("Calm", "平静"),
        # While it runs.
        "waiting": Translated("Waiting for a free worker", "正在排队等待"),
        "position": Translated(
            "Number {position} in the queue, {ahead} ahead of you.",
            "排在第 {position} 位，前面还有 {ahead} 个请求。",
        ),
        "position_next": Translated("You are next, one moment please.", "下一个就是您，请稍候。"),
        "working": Translated("Now: {stage}", "正在进行：{stage}"),
        "starting": Translated("The request is on its way", "请求已发出"),
        "elapsed": Translated("{seconds:.1f} s", "{seconds:.1f} 秒"),
        # What came of it.
        "idle": Translated("The audio will appear here", "音频会显示在这里"),
        "idle_more": Translated(
            "With it: a verdict on the signal, a request_id, and where the time went.",
            "同时给出信号判定、请求编号，以及时间花在了哪里。",
        ),
        "audio": Translated("Audio", "音频"),
        "duration": Translated("Duration", "时长"),
        "size": Translated("Size", "大小"),
        "rtf": Translated("RTF", "实时率"),
        "rtf_help": Translated(
            "time of work per second of audio; below 1 is faster than real time",
            "每秒音频所用的处理时间；小于 1 即快于实时",
        ),
        "loudness": Translated("Loudness", "响度"),
        "seconds": Translated("{value:.2f} s", "{value:.2f} 秒"),
        "request_id": Translated("request_id", "请求编号"),
        "copy": Translated("Copy", "复制"),
        "copied": Translated("Copied", "已复制"),
        "read_as": Translated("Read as", "读作"),
        "failed": Translated("No audio was made", "没有合成音频"),
        "cancelled": Translated("Cancelled", "已取消"),
        "cancelled_more": Translated(
            "The request was stopped and its worker is free again. Generate whenever you like.",
            "请求已停止，合成进程已释放，可以随时重新合成。",
        ),
        "quote_id": Translated(
            "Quote this id when you report a problem.", "反馈问题时请附上这个编号。"
        ),
        "verdict_ok": Translated("Signal ok", "信号正常"),
        "verdict_ok_more": Translated(
            "Audible, undistorted, and as long as the text needs.",
            "听得见、不失真，时长与文本相称。",
        ),
        "verdict_silent": Translated("Silent", "静音"),
        "verdict_silent_more": Translated(
            "Nothing will be heard. Generate again or change the text.",
            "几乎听不到声音，请重新合成或修改文本。",
        ),
        "verdict_clipped": Translated("Clipped", "削波失真"),
        "verdict_clipped_more": Translated(
            "Loud passages will crackle. Generate again or take another speaker.",
            "响的地方会有破音，请重新合成或换一个发音人。",
        ),
        "verdict_truncated": Translated("Cut short", "被截断"),
        "verdict_truncated_more": Translated(
            "Too short for this text: words are missing. Generate again.",
            "相对文本过短，会漏读内容，请重新合成。",
        ),
        "verdict_wrong_format": Translated("Wrong format", "格式不符"),
        "verdict_wrong_format_more": Translated(
            "May play at the wrong speed and pitch, or not at all. Generate again.",
            "播放时语速音高可能不对，甚至无法播放，请重新合成。",
        ),
        "privacy": Translated(
            "Texts are not stored, audio is deleted after {hours:g} h. "
            "A request_id is all that support needs.",
            "文本不留存，音频 {hours:g} 小时后删除。凭请求编号即可查询。",
        ),
        # Where the time went.
        "times": Translated("Where the time went", "耗时分布"),
        "total": Translated("Total", "总耗时"),
        "stage_queue": Translated("Queue", "排队"),
        "stage_text_prep": Translated("Text processing", "文本处理"),
        "stage_speaker_enc": Translated("Reference, voice", "参考音频/音色"),
        "stage_acoustic": Translated("Acoustic model", "声学模型"),
        "stage_vocoder": Translated("Vocoder", "声码器"),
        "stage_acoustic_vocoder": Translated("Acoustic + vocoder (one)", "声学+声码（合一）"),
        "stage_post": Translated("Post-processing", "后处理"),
        "stage_other": Translated("Other", "其余"),
    }
)


def say(key: str, language: str, **details: object) -> str:
    """The sentence `key` in `zh`, or else in English, with its details filled in."""
    translated = TEXTS[key]
    return (translated.zh if language == "zh" else translated.en).format(**details)


def say_name(kind: str, name: str, language: str) -> str:
    """The name of an emotion, a stage or a verdict; one that has none yet is shown as it is."""
    key = f"{kind}_{name}"
    return say(key, language) if key in TEXTS else name


def browser_key(key: str) -> str:
    """The name of a sentence in the browser's table, where Gradio has names of its own."""
    return f"indextts_{key}"


def browser_table(language: str) -> dict[str, str]:
    """All sentences of one language, for the browser to choose from."""
    return {browser_key(key): getattr(translated, language) for key, translated in TEXTS.items()}

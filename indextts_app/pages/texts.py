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
        "example_blended": Translated("Blended emotions", "混合情感"),
        "example_described": Translated("Emotion in words", "文字描述情感"),
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
        # The voice, where the engine takes it from a recording.
        "voice": Translated("Voice", "音色"),
        "voice_stored": Translated("A stored speaker", "已保存的发音人"),
        "voice_recording": Translated("A recording", "音色参考音频"),
        "voice_audio": Translated(
            "Whose voice it is: WAV, FLAC, MP3, OGG or M4A; the first 15 s are used",
            "音色参考：WAV、FLAC、MP3、OGG 或 M4A，只使用前 15 秒",
        ),
        "speaker_name": Translated("Name", "名称"),
        "speaker_name_hint": Translated("To find this voice again", "方便以后再用这个音色"),
        "speaker_save": Translated("Save as speaker", "保存为发音人"),
        "speaker_delete": Translated("Delete this speaker", "删除该发音人"),
        "speaker_delete_really": Translated(
            "Delete this speaker and its recording?", "确定删除该发音人及其录音？"
        ),
        "name_needed": Translated(
            "Give it a name: one line of 1 to {most} characters.",
            "请取一个名称：一行，1 到 {most} 个字。",
        ),
        "speaker_saved": Translated("Saved: {name}", "已保存：{name}"),
        "speaker_deleted": Translated("The speaker is deleted.", "该发音人已删除。"),
        "speaker_not_there": Translated(
            "There is no recording yet. Upload or record one.", "还没有音频，请先上传或录制。"
        ),
        # The emotion, where the engine has more than names for it.
        "mode_speaker": Translated("As the speaker", "与音色参考相同"),
        "mode_preset": Translated("By name", "按名称"),
        "mode_reference": Translated("A recording", "情感参考音频"),
        "mode_vector": Translated("Sliders", "情感滑块"),
        "mode_text": Translated("In words", "文字描述"),
        "emotion_audio": Translated(
            "Whose feeling it is: WAV, FLAC, MP3, OGG or M4A; the first 15 s are used",
            "情感参考：WAV、FLAC、MP3、OGG 或 M4A，只使用前 15 秒",
        ),
        "emotion_text": Translated("Describe the emotion", "情感描述"),
        "emotion_text_hint": Translated(
            "For instance: frightened, out of breath. Empty = as the text itself sounds.",
            "例如：惊恐，上气不接下气。留空则依据文本本身判断。",
        ),
        "emotion_weight": Translated("Weight of the emotion", "情感权重"),
        "vector_sum": Translated("Sum", "总和"),
        "vector_rule": Translated(
            "Each weight is multiplied by a bias of its emotion; where the sum is then above "
            "{scaled:g}, all are scaled down to it. A sum over {highest:g} is refused.",
            "各权重先乘以该情感的偏置系数，若总和仍超过 {scaled:g} 则整体缩放到 {scaled:g}；"
            "滑块总和超过 {highest:g} 时拒绝合成。",
        ),
        # The rest of what may be asked.
        "play_live": Translated("Play while it is made", "边合成边播放"),
        "seed": Translated("Seed", "随机种子"),
        "seed_info": Translated("The same seed gives the same audio", "相同种子得到相同音频"),
        "seed_random": Translated("random", "随机"),
        "seed_new": Translated("New random", "换一个"),
        "seed_again": Translated("Use this seed again", "下次沿用该种子"),
        "delivery": Translated("Segments and delivery", "分段与朗读"),
        "advanced": Translated("Advanced: how tokens are generated", "高级：生成参数"),
        "reset": Translated("Reset to defaults", "恢复默认值"),
        "language_auto": Translated("Automatic", "自动判断"),
        "language_zh": Translated("Chinese", "中文"),
        "language_zhen": Translated("Chinese and English", "中英混合"),
        "language_en": Translated("English", "英语"),
        "language_ja": Translated("Japanese", "日语"),
        "language_es": Translated("Spanish", "西班牙语"),
        "language_ar": Translated("Arabic", "阿拉伯语"),
        # How the text will be cut.
        "segment_number": Translated("No.", "序号"),
        "segment_text": Translated("Segment", "分段内容"),
        "segment_tokens": Translated("Tokens", "Token 数"),
        "segment_over": Translated("over the limit of {limit}", "超过上限 {limit}"),
        "segments_none": Translated(
            "Type a text to see how it will be cut into segments.",
            "输入文本后，这里会显示它将如何分段。",
        ),
        # Terms and their readings.
        "glossary": Translated("Glossary: readings of terms", "术语词汇读音"),
        "glossary_term": Translated("Term", "术语"),
        "glossary_zh": Translated("In Chinese", "中文读法"),
        "glossary_en": Translated("In English", "英文读法"),
        "glossary_add": Translated("Add", "添加"),
        "glossary_delete": Translated("Delete", "删除"),
        "glossary_choose": Translated("Term to delete", "要删除的术语"),
        "glossary_none": Translated("There are no terms yet.", "还没有术语。"),
        "glossary_saved": Translated("The glossary has the term now.", "术语已保存。"),
        "glossary_deleted": Translated("The term is deleted.", "该术语已删除。"),
        # All fields under one name.
        "presets": Translated("Presets: all settings under one name", "预设：保存全部设置"),
        "preset": Translated("Preset", "预设"),
        "preset_load": Translated("Load", "加载"),
        "preset_delete": Translated("Delete", "删除"),
        "preset_delete_really": Translated("Delete this preset?", "确定删除该预设？"),
        "preset_name": Translated("Name", "名称"),
        "preset_description": Translated("Description", "说明"),
        "preset_save": Translated("Save", "保存"),
        "preset_saved": Translated("Saved: {name}", "已保存：{name}"),
        "preset_loaded": Translated("Loaded: {name}", "已加载：{name}"),
        "preset_deleted": Translated("The preset is deleted.", "该预设已删除。"),
        "field_speaker": Translated("Speaker", "发音人"),
        "field_speed": Translated("Pace", "语速"),
        "field_format": Translated("Format", "格式"),
        "field_seed": Translated("Seed", "随机种子"),
        "field_emotion": Translated("Emotion", "情感"),
        "field_emotion_mode": Translated("Emotion from", "情感来源"),
        "field_emotion_weight": Translated("Weight of the emotion", "情感权重"),
        "field_emotion_vector": Translated("Weights of the emotions", "各情感权重"),
        "field_emotion_text": Translated("Description of the emotion", "情感描述"),
        "field_reference": Translated("Voice", "音色"),
        "field_emotion_reference": Translated("Recording of the emotion", "情感参考音频"),
        "on": Translated("on", "开"),
        "off": Translated("off", "关"),
        "preset_recording": Translated("a recording", "一段录音"),
        "preset_nothing": Translated("Choose one first.", "请先选择一项。"),
        "preset_unfit": Translated(
            "The engine in use does not have everything that this preset sets: {names}.",
            "当前引擎不支持该预设中的部分设置：{names}。",
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
        "segment_of": Translated("Segment {number} of {count}", "第 {number} 段，共 {count} 段"),
        # What this browser made lately.
        "history": Translated("Recent results", "最近的结果"),
        "history_note": Translated(
            "The last {most} results with their texts and settings, kept in this browser only and "
            "not on the server. Whoever uses this browser can see them.",
            "最近 {most} 个结果及其文本和设置，仅保存在本浏览器中，服务器不保存；"
            "使用本浏览器的人都能看到。",
        ),
        "history_none": Translated("Nothing yet.", "还没有结果。"),
        "history_keep": Translated("Remember what I make", "记住我的结果"),
        "history_clear": Translated("Forget all", "全部清除"),
        "history_listen": Translated("Listen", "播放"),
        "history_save": Translated("Save", "下载"),
        "history_again": Translated("Make again", "再次合成"),
        "history_again_seed": Translated("Again, same seed", "用相同种子再次合成"),
        "history_recording": Translated(
            "A recording came with it, which is not kept here: add it before making it again.",
            "当时附有录音，此处不保存；再次合成前请重新添加。",
        ),
        "history_gone": Translated(
            "The file is no longer kept (files are deleted after {hours:g} hours, or earlier where "
            "there is no room). Make it again.",
            "文件已不再保留（{hours:g} 小时后删除，空间不足时更早），可再次合成。",
        ),
        "history_unreachable": Translated(
            "The service cannot be reached. Try again.", "无法连接服务，请重试。"
        ),
        "history_failed": Translated("No audio", "未生成"),
        "made_before": Translated("From the cache", "来自缓存"),
        "made_before_more": Translated(
            "The same was asked before, so that this is the same audio, under an id of its own.",
            "此前有过相同请求，因此直接返回相同音频，编号为本次请求的编号。",
        ),
        "live": Translated("Playing while it is made", "边合成边播放"),
        "starting": Translated("The request is on its way", "请求已发出"),
        # A table of texts.
        "batch": Translated("Batch: a table of texts", "批量合成：文本表"),
        "batch_note": Translated(
            "CSV with a column 'text', or JSON Lines; further columns: speaker, emotion, "
            "speed, format, seed, name. What is set above holds for rows that do not name their "
            "own. It is worked off while nobody else waits, and goes on when you close the page.",
            "含“文本”（或 text）列的 CSV，或 JSON Lines；"
            "其他列：发音人、情感、语速、格式、种子、名称。"
            "行内未填的项使用上方的设置。无人等待时在后台合成，关闭页面后仍会继续。",
        ),
        "batch_file": Translated(
            "Table (.csv, .tsv, .txt, .jsonl)", "表格（.csv、.tsv、.txt、.jsonl）"
        ),
        "batch_begin": Translated("Begin batch", "开始批量合成"),
        "batch_end": Translated("Cancel batch", "取消批量任务"),
        "batch_id": Translated("Batch id", "任务编号"),
        "batch_waiting": Translated("Waiting for its turn", "等待开始"),
        "batch_running": Translated("At work", "进行中"),
        "batch_finished": Translated("Finished", "已完成"),
        "batch_cancelled": Translated("Cancelled", "已取消"),
        "batch_done": Translated(
            "{done} of {total} rows, {bad} without audio",
            "已完成 {done} / {total} 行，{bad} 行无音频",
        ),
        "batch_left": Translated("About {minutes} min left.", "大约还剩 {minutes} 分钟。"),
        "batch_broken": Translated(
            "Lines that cannot be read: {lines}. The others are done.",
            "无法解析的行：{lines}。其余照常合成。",
        ),
        "batch_download": Translated("Download archive (ZIP)", "下载压缩包（ZIP）"),
        "batch_row": Translated("Row", "行"),
        "batch_line": Translated("Line", "文件行"),
        "batch_state": Translated("State", "状态"),
        "batch_result": Translated("Result", "结果"),
        "batch_more": Translated(
            "and {count} more, all in the archive's manifest.csv",
            "另有 {count} 行，均见压缩包内 manifest.csv",
        ),
        "status_pending": Translated("pending", "待处理"),
        "status_running": Translated("running", "进行中"),
        "status_success": Translated("done", "成功"),
        "status_degraded": Translated("flawed", "有瑕疵"),
        "status_failed": Translated("failed", "失败"),
        "status_rejected": Translated("refused", "被拒"),
        "status_timeout": Translated("timed out", "超时"),
        "status_cancelled": Translated("cancelled", "已取消"),
        "remaining": Translated(", about {seconds} s left", "，约剩 {seconds} 秒"),
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
        "segments": Translated("Segments", "分段数"),
        "hints": Translated("Good to know", "提示"),
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
            "Words are missing: too short for this text, or cut at its end. Generate again.",
            "有内容没有读出：相对文本过短，或结尾被截断。请重新合成。",
        ),
        "verdict_wrong_format": Translated("Wrong format", "格式不符"),
        "verdict_wrong_format_more": Translated(
            "May play at the wrong speed and pitch, or not at all. Generate again.",
            "播放时语速音高可能不对，甚至无法播放，请重新合成。",
        ),
        "log_in": Translated("Log in", "登录"),
        "log_out": Translated("Log out", "退出登录"),
        "log_in_more": Translated(
            "Log in with your API key. The operator of this service makes one for you.",
            "请用 API 密钥登录，密钥由本服务的运维人员发放。",
        ),
        "api_key": Translated("API key", "API 密钥"),
        "privacy": Translated(
            "Texts are not stored (those of a batch until it has ended), audio is deleted after "
            "{hours:g} h. A request_id is all that support needs.",
            "文本不留存（批量任务的保留到任务结束），音频 {hours:g} 小时后删除。"
            "凭请求编号即可查询。",
        ),
        # Where the time went.
        "times": Translated("Where the time went", "耗时分布"),
        "total": Translated("Total", "总耗时"),
        "stage_queue": Translated("Queue", "排队"),
        "stage_text_prep": Translated("Text processing", "文本处理"),
        "stage_emotion_text": Translated("Emotion from words", "文字判断情感"),
        "stage_speaker_enc": Translated("Reference, voice", "参考音频/音色"),
        "stage_acoustic": Translated("Acoustic model", "声学模型"),
        "stage_vocoder": Translated("Vocoder", "声码器"),
        "stage_acoustic_vocoder": Translated("Acoustic + vocoder (one)", "声学+声码（合一）"),
        "stage_engine_http": Translated("Other speech server", "外部语音服务器"),
        "part_engine_http_connect": Translated("of which connecting", "其中建立连接"),
        "part_engine_http_first_byte": Translated("of which first byte", "其中等待首字节"),
        "part_engine_http_download": Translated("of which download", "其中下载"),
        "part_acoustic_gpt": Translated("of which tokens (GPT)", "其中 GPT"),
        "part_acoustic_s2mel": Translated("of which spectrogram", "其中 s2mel"),
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

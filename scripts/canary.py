"""
Ask the running service for one sentence and compare the answer with its golden audio.

First, once somebody has listened to it: scripts/canary.py --learn. Then every few minutes by a
timer (deploy/systemd/indextts-canary.timer). What came of it is a line `canary.finished` in a log
folder of its own, a Prometheus textfile where --textfile names a folder, and the exit status.
"""

from __future__ import annotations

import argparse
import fcntl
import io
import json
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import httpx
import numpy as np
import soundfile
from numpy.typing import NDArray

import observability
from indextts_app import settings
from observability import canary, current, observe, record, stage
from scripts import terminal

SOURCE_HEADER = {"X-Request-Source": "canary"}
SENTENCE = "今天天气很好，一共花了三百二十五块。The train leaves at half past nine."
SEED = 20_260_101
"""Of the engines that take one, so that their answers can be compared at all."""

SAME, DRIFTED, UNANSWERED = 0, 1, 2


class Unanswered(Exception):
    """The service gave no audio; one sentence in each language. The line says it failed."""

    status = "failed"
    code = "canary_unanswered"

    def __init__(self, *, en: str, zh: str) -> None:
        super().__init__(en)
        self.en = en
        self.zh = zh


class Drifted(Exception):
    """The answer is not what it was; the line says that it is degraded."""

    status = "degraded"
    code = "canary_drift"

    def __init__(self, found: canary.Comparison) -> None:
        super().__init__(f"Drifted: {', '.join(found.drifts)}.")
        self.found = found


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service said, and under which id."""

    samples: NDArray[np.int16]
    rate: int
    request_id: str


def main() -> int:
    """Exit status 0 as it was, 1 drifted, 2 no answer, nothing to compare with, or not told."""
    asked = _arguments()
    try:
        asked.headers = {**SOURCE_HEADER, **_key_header(asked.api_key_file)}
    except settings.SettingsError as error:
        return _say(asked, str(error), str(error), UNANSWERED)
    except (OSError, UnicodeError) as error:
        return _say(
            asked,
            f"The API key cannot be read from {asked.api_key_file} ({type(error).__name__}).",
            f"无法从 {asked.api_key_file} 读取 API 密钥（{type(error).__name__}）。",
            UNANSWERED,
        )
    try:
        asked.log_dir.mkdir(parents=True, exist_ok=True)
        lock = (asked.log_dir / ".canary.lock").open("w")
    except OSError as error:
        return _cannot_write(asked, "--log-dir", asked.log_dir, error)
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return _say(
                asked,
                f"Another canary writes to {asked.log_dir}: give each its own --log-dir.",
                f"另一个巡检正在写入 {asked.log_dir}，请为每个巡检指定各自的 --log-dir。",
                UNANSWERED,
            )
        observability.setup(asked.log_dir, stdout=False)
        return _run(asked)


def _run(asked: argparse.Namespace) -> int:
    began, at = time.perf_counter(), time.time()
    found: canary.Comparison | None = None
    answered = True
    try:
        found = _listen(asked)
        result = _told(asked, found)
    except Drifted as drifted:
        found = drifted.found
        result = _told(asked, found)
    except (Unanswered, canary.NoGolden) as reason:
        answered = isinstance(reason, canary.NoGolden)
        result = _say(asked, reason.en, reason.zh, UNANSWERED)
    if asked.textfile and not asked.learn:
        seconds = time.perf_counter() - began
        try:
            canary.write_metrics(
                asked.textfile, asked.name, at=at, seconds=seconds, answered=answered, found=found
            )
        except OSError as error:
            return _cannot_write(asked, "--textfile", asked.textfile, error)
    return result


@observe("canary", fields=lambda asked: {"source": "canary", "text_len": len(asked.text)})
def _listen(asked: argparse.Namespace) -> canary.Comparison | None:
    """The comparison, or None when the answer was learned."""
    with (
        stage("ask"),
        httpx.Client(
            base_url=asked.url, timeout=asked.timeout, headers=asked.headers, trust_env=False
        ) as client,
    ):
        if (observation := current()) and observation.traceparent:
            client.headers["traceparent"] = observation.traceparent
        question, speaks_with_seed = _question(client, asked)
        record(canary=asked.name, engine=question.engine, speaker=question.speaker)
        if speaks_with_seed:
            question = replace(question, seed=SEED)
            record(seed=SEED)
        answer = _answer(client, question)
    record(service_request_id=answer.request_id, sample_rate=answer.rate)
    if asked.learn:
        path = canary.learn(asked.golden, question, answer.samples, answer.rate)
        record(learned=path.name)
        return None
    reference, reference_rate = canary.golden(asked.golden, question)
    with stage("compare"):
        found = canary.compared(
            answer.samples,
            answer.rate,
            reference,
            reference_rate,
            exact=question.exact,
            limits=canary.Limits(mel_cepstral_db=asked.max_mel_cepstral_db, stoi=asked.min_stoi),
        )
    figures = {name: value for name, value in asdict(found).items() if name != "drifts"}
    record(**figures, drift=",".join(found.drifts) or None)
    if found.drifts:
        raise Drifted(found)
    return found


def _key_header(file: Path | None) -> dict[str, str]:
    """The API key that goes with every question, from the file or the setting; none without."""
    if file is not None:
        return {"Authorization": f"Bearer {file.read_text('ascii').strip()}"}
    key = settings.load().api_key
    return {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}


def _question(client: httpx.Client, asked: argparse.Namespace) -> tuple[canary.Question, bool]:
    """What is asked: of the service's engine, a speaker who is exact if it has one."""
    offer = _got(client.get, "/speakers").json()
    speakers = [one["id"] for one in offer["speakers"]]
    if not speakers and not asked.speaker:
        raise Unanswered(
            en="The service has no speaker. Make one, or name one with --speaker.",
            zh="该服务没有发音人，请先创建，或用 --speaker 指定。",
        )
    engine = offer["engine"]
    exact = next((one for one in speakers if (engine, one) in canary.EXACT_SPEAKERS), None)
    speaker = asked.speaker or exact or speakers[0]
    question = canary.Question(engine=engine, speaker=speaker, text=asked.text)
    return question, bool(offer.get("seed"))


def _answer(client: httpx.Client, question: canary.Question) -> Answer:
    body = {
        name: value
        for name, value in asdict(question).items()
        if name != "engine" and value is not None
    }
    answer = _got(client.post, "/tts", json={**body, "format": "wav"})
    try:
        samples, rate = soundfile.read(io.BytesIO(answer.content), dtype="int16")
    except soundfile.SoundFileError:
        raise Unanswered(
            en="The service answered, but not with a WAV file.",
            zh="服务有应答，但返回的不是 WAV 文件。",
        ) from None
    return Answer(samples, rate, answer.headers.get("X-Request-ID", ""))


def _got(method, path: str, **sent: object) -> httpx.Response:  # type: ignore[no-untyped-def]  # noqa: ANN001
    try:
        answer: httpx.Response = method(path, **sent)
        answer.raise_for_status()
    except httpx.HTTPStatusError as error:
        response = error.response
        record(service_request_id=response.headers.get("X-Request-ID"))
        if response.status_code == httpx.codes.UNAUTHORIZED:
            raise Unanswered(
                en=f"The service wants an API key in force ({_code(response)}). Make one with "
                "scripts/api_key.py new canary, and give it by INDEXTTS_API_KEY or --api-key-file.",
                zh=f"服务要求有效的 API 密钥（{_code(response)}）。"
                "请用 scripts/api_key.py new canary 生成，"
                "并通过 INDEXTTS_API_KEY 或 --api-key-file 提供。",
            ) from None
        raise Unanswered(
            en=f"{path} answered {response.status_code} ({_code(response)}).",
            zh=f"{path} 返回 {response.status_code}（{_code(response)}）。",
        ) from None
    except httpx.HTTPError as error:
        raise Unanswered(
            en=f"The service does not answer ({type(error).__name__}). Check --url and whether it "
            "runs.",
            zh=f"服务没有应答（{type(error).__name__}），请检查 --url 以及服务是否在运行。",
        ) from None
    return answer


def _code(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"])[:40]
    except (ValueError, KeyError, TypeError):
        return "no reason given"


def _told(asked: argparse.Namespace, found: canary.Comparison | None) -> int:
    if found is None:
        return _say(
            asked,
            f"Learned: the golden audio is in {asked.golden}.",
            f"已记录：基准音频在 {asked.golden}。",
            SAME,
        )
    if asked.json:
        print(json.dumps(asdict(found), ensure_ascii=False))
        return DRIFTED if found.drifts else SAME
    if found.drifts:
        named = ", ".join(found.drifts)
        return _say(
            asked,
            f"Drifted ({named}): {_figures(found)}.",
            f"音频有漂移（{named}）：{_figures(found)}。",
            DRIFTED,
        )
    return _say(asked, f"As it was: {_figures(found)}.", f"与基准一致：{_figures(found)}。", SAME)


def _figures(found: canary.Comparison) -> str:
    return ", ".join(
        f"{name} {value}"
        for name, value in asdict(found).items()
        if name != "drifts" and value is not None
    )


def _cannot_write(asked: argparse.Namespace, option: str, folder: Path, error: OSError) -> int:
    why = type(error).__name__
    return _say(
        asked,
        f"{folder} cannot be written ({why}), so nothing there tells of this run. Give the "
        f"canary's user the right to write there, or name another folder with {option}.",
        f"无法写入 {folder}（{why}），因此那里没有本次巡检的记录。"
        f"请给巡检所用的用户写权限，或用 {option} 指定其他目录。",
        UNANSWERED,
    )


def _say(asked: argparse.Namespace, en: str, zh: str, status: int) -> int:
    print(zh if asked.language == "zh" else en, file=sys.stderr if status == UNANSWERED else None)
    return status


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    limits = canary.Limits()
    parser.add_argument("--url", default="http://127.0.0.1:7860", help="the service")
    parser.add_argument("--api-key-file", type=Path, help="file with the key (INDEXTTS_API_KEY)")
    parser.add_argument("--learn", action="store_true", help="keep the answer as the golden one")
    parser.add_argument(
        "--golden", type=Path, default=Path("canary"), help="folder of golden audio"
    )
    parser.add_argument("--text", default=SENTENCE, help="the sentence that is asked")
    parser.add_argument("--speaker", help="whom to ask; if absent an exact speaker, else the first")
    parser.add_argument("--name", type=_name, default="default", help="of this canary, its label")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds to wait")
    parser.add_argument("--textfile", type=Path, help="folder of node_exporter's textfiles")
    parser.add_argument("--log-dir", type=Path, default=Path("logs-canary"), help="its own log")
    parser.add_argument(
        "--max-mel-cepstral-db",
        type=float,
        default=limits.mel_cepstral_db,
        help="most that the spectrum may be away; not for exact speakers",
    )
    parser.add_argument(
        "--min-stoi",
        type=float,
        default=limits.stoi,
        help="least intelligibility beside the golden; not for exact speakers",
    )
    parser.add_argument("--language", choices=terminal.LANGUAGES, default=terminal.language())
    parser.add_argument("--json", action="store_true", help="the figures for programs")
    return parser.parse_args()


def _name(text: str) -> str:
    if not canary.NAME.fullmatch(text):
        raise argparse.ArgumentTypeError("up to 40 of a-z, 0-9 and _")
    return text


if __name__ == "__main__":
    sys.exit(main())

"""
An ordinary IndexTTS-2 script; the two marked lines give it its log and its metrics.

    python attach_script.py checkpoints voice.wav "Hello." hello.wav
"""

import sys

import soundfile
from indextts.infer_v2 import IndexTTS2

import observability  # the first line

model_dir, voice, text, output = sys.argv[1:]
tts = IndexTTS2(cfg_path=f"{model_dir}/config.yaml", model_dir=model_dir)
observability.attach(tts)  # and the second

rate, samples = tts.infer(spk_audio_prompt=voice, text=text, output_path=None)
soundfile.write(output, samples, rate)

"""
Writes a tiny random checkpoint that the unmodified IndexTTS2 class loads and speaks with on a CPU.

    MODEL_PYTHON tests/tiny_checkpoint.py FOLDER [--version 2.5] [--codes 40] [--full] [--no-qwen]

Run by the model's own interpreter, the one that has `indextts`. What comes out is noise of a known
length: every segment of text becomes `--codes` acoustic tokens, the last of which says stop. The
layout is that of the real weights with everything in `hf_cache`, so that the constructor touches no
network.

What the code of IndexTTS-2 holds fixed stays as it is: 1280 channels in the GPT, 1024 in w2v-bert
and 17 of its layers, CAMPPlus, 73 emotion rows. Unless `--full` is given, weights whose loaders
tolerate missing keys are left out (42 MB instead of 669 MB); they are then random at every load,
and `torch.manual_seed` before it makes two loads the same.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
from pathlib import Path

import torch

VERSIONS = ("2", "2.5")
CODES = 64
"""Entries of the semantic codebook; the real one has 8192."""
START, STOP = CODES, CODES + 1
TEXT_TOKENS = {"2": 600, "2.5": 2600}
EMOTION_ROWS = (3, 17, 2, 8, 4, 5, 10, 24)

EMOTION = {
    "高兴": 0.6,
    "愤怒": 0.0,
    "悲伤": 0.1,
    "恐惧": 0.0,
    "反感": 0.0,
    "低落": 0.0,
    "惊讶": 0.2,
    "自然": 0.1,
}
"""What the language model answers to every text that it is asked to read an emotion out of."""

QWEN_DIR = "qwen0.6bemo4-merge"
BIGVGAN = {
    "resblock": "1",
    "upsample_rates": [4, 4, 2, 2, 2, 2],
    "upsample_kernel_sizes": [8, 8, 4, 4, 4, 4],
    "upsample_initial_channel": 64,
    "resblock_kernel_sizes": [3],
    "resblock_dilation_sizes": [[1, 3, 5]],
    "use_tanh_at_final": False,
    "use_bias_at_final": False,
    "activation": "snakebeta",
    "snake_logscale": True,
    "num_mels": 80,
    "num_freq": 1025,
    "n_fft": 1024,
    "hop_size": 256,
    "win_size": 1024,
    "sampling_rate": 22050,
    "fmin": 0,
    "fmax": None,
    "segment_size": 65536,
}


def config(version: str) -> dict[str, object]:
    """The model's config.yaml: real where the code depends on it, tiny where it does not."""
    encoder = {
        "output_size": 16,
        "linear_units": 16,
        "attention_heads": 2,
        "num_blocks": 1,
        "input_layer": "conv2d2",
        "perceiver_mult": 1,
    }
    codec = {
        "codebook_size": CODES,
        "hidden_size": 1024,
        "codebook_dim": 8,
        "vocos_dim": 16,
        "vocos_intermediate_dim": 16,
        "vocos_num_layers": 1,
    }
    spectrum = {"n_fft": 1024, "win_length": 1024, "hop_length": 256, "n_mels": 80, "fmin": 0}
    return {
        "dataset": {"bpe_model": "bpe.model", "sample_rate": 24000},
        "gpt": {
            "model_dim": 1280,
            "max_mel_tokens": 1815,
            "max_text_tokens": 600,
            "heads": 20,
            "use_mel_codes_as_input": True,
            "mel_length_compression": 1024,
            "layers": 1,
            "number_text_tokens": TEXT_TOKENS[version],
            "number_mel_codes": CODES + 2,
            "start_mel_token": START,
            "stop_mel_token": STOP,
            "start_text_token": 0,
            "stop_text_token": 1,
            "train_solo_embeddings": False,
            "condition_type": "conformer_perceiver",
            "condition_module": encoder,
            "emo_condition_module": encoder,
        },
        "semantic_codec": codec if version == "2" else {**codec, "downsample_scale": 2},
        "s2mel": {
            "preprocess_params": {"sr": 22050, "spect_params": {**spectrum, "fmax": "None"}},
            "dit_type": "DiT",
            "reg_loss_type": "l1",
            "style_encoder": {"dim": 192},
            "length_regulator": {
                "channels": 32,
                "is_discrete": False,
                "in_channels": 1024,
                "content_codebook_size": 16,
                "sampling_ratios": [1, 1, 1, 1],
                "vector_quantize": False,
                "n_codebooks": 1,
                "quantizer_dropout": 0.0,
                "f0_condition": False,
                "n_f0_bins": 512,
            },
            "DiT": {
                "hidden_dim": 32,
                "num_heads": 2,
                "depth": 3,
                "class_dropout_prob": 0.1,
                "block_size": 8192,
                "in_channels": 80,
                "style_condition": True,
                "final_layer_type": "wavenet",
                "target": "mel",
                "content_dim": 32,
                "content_codebook_size": 16,
                "content_type": "discrete",
                "f0_condition": False,
                "n_f0_bins": 512,
                "content_codebooks": 1,
                "is_causal": False,
                "long_skip_connection": True,
                "zero_prompt_speech_token": False,
                "time_as_token": False,
                "style_as_token": False,
                "uvit_skip_connection": True,
                "add_resblock_in_transformer": False,
            },
            "wavenet": {
                "hidden_dim": 32,
                "num_layers": 2,
                "kernel_size": 5,
                "dilation_rate": 1,
                "p_dropout": 0.2,
                "style_condition": True,
            },
        },
        "gpt_checkpoint": "gpt.pth",
        "w2v_stat": "wav2vec2bert_stats.pt",
        "s2mel_checkpoint": "s2mel.pth",
        "emo_matrix": "feat2.pt",
        "spk_matrix": "feat1.pt",
        "emo_num": list(EMOTION_ROWS),
        "qwen_emo_path": f"{QWEN_DIR}/",
        "vocoder": {"type": "bigvgan", "name": "nvidia/bigvgan_v2_22khz_80band_256x"},
        "version": float(version),
    }


def write(folder: Path, *, version: str, codes: int, full: bool, qwen: bool) -> None:
    """Write every file that the constructor reads."""
    from omegaconf import OmegaConf

    torch.manual_seed(0)
    cache = folder / "hf_cache"
    (cache / "bigvgan").mkdir(parents=True, exist_ok=True)
    cfg = OmegaConf.create(config(version))
    OmegaConf.save(cfg, folder / "config.yaml")
    _write_matrices(folder)
    _write_gpt(folder / "gpt.pth", cfg, version=version, codes=codes, full=full)
    _write_s2mel(folder / "s2mel.pth", cfg, version=version)
    if version == "2":
        _write_bpe(folder / "bpe.model")
        _write_codec(cache / "semantic_codec_model.safetensors", cfg)
    else:
        _write_byte_ranks(folder / "multilingual_zh_ja_yue_char_del.tiktoken")
        _write_codec_25(folder / "codec.pth", cfg)
    _write_campplus(cache / "campplus_cn_common.bin")
    _write_bigvgan(cache / "bigvgan")
    _write_w2v_bert(cache / "w2v-bert-2.0", full=full)
    if qwen:
        _write_qwen(folder / QWEN_DIR)


def _write_matrices(folder: Path) -> None:
    stats = {"mean": torch.zeros(1024), "var": torch.ones(1024)}
    torch.save(stats, folder / "wav2vec2bert_stats.pt")
    torch.save(torch.randn(sum(EMOTION_ROWS), 192), folder / "feat1.pt")
    torch.save(torch.randn(sum(EMOTION_ROWS), 1280) * 0.02, folder / "feat2.pt")


def _write_bpe(path: Path) -> None:
    import sentencepiece

    lines = [
        "HELLO WORLD , THIS IS A TEST .",
        "THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG !",
        "WHAT IS IT ?",
        "你 好 世 界 , 欢 迎 大 家 来 体 验 .",
        "今 天 天 气 真 好 ! 是 不 是 ?",
        "- ' … . , ! ? A B C 0 1 2 3",
        " ".join("ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
        " ".join("0123456789.,!?-'…"),
    ]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines * 20),
        model_writer=model,
        vocab_size=400,
        model_type="bpe",
        character_coverage=1.0,
        hard_vocab_limit=False,
        bos_id=0,
        eos_id=1,
        unk_id=2,
        pad_id=-1,
        minloglevel=2,
    )
    path.write_bytes(model.getvalue())


def _write_byte_ranks(path: Path) -> None:
    path.write_text("".join(f"{base64.b64encode(bytes([i])).decode()} {i}\n" for i in range(256)))


def _write_gpt(path: Path, cfg: object, *, version: str, codes: int, full: bool) -> None:
    """A transformer that passes its input on, and a stop token that its position alone calls."""
    from indextts.gpt.model_v2 import UnifiedVoice

    gpt = UnifiedVoice(**cfg.gpt, **({} if version == "2" else {"spk_cond_mode": "campplus"}))
    with torch.no_grad():
        for block in gpt.gpt.h:
            for projection in (block.attn.c_proj, block.mlp.c_proj):
                projection.weight.zero_()
                projection.bias.zero_()
        gpt.mel_embedding.weight[:, 0] = 0.0
        gpt.mel_pos_embedding.emb.weight[:, 0] = 0.0
        gpt.mel_pos_embedding.emb.weight[codes:, 0] = 10.0
        # The start token is no entry of the codebook: one would be an IndexError, silently None.
        gpt.mel_head.weight[START].zero_()
        gpt.mel_head.bias[START] = -1e4
        # A logit of about -20 before `codes` and of 8 after it. A wider gap leaves beam sampling
        # fewer candidates than it draws.
        gpt.mel_head.weight[STOP].zero_()
        gpt.mel_head.weight[STOP, 0] = 0.784
        gpt.mel_head.bias[STOP] = -20.0
    weights = gpt.state_dict()
    if not full:
        shaped = ("mel_pos_embedding", "mel_embedding", "mel_head")
        weights = {
            # One zero seen as many takes four bytes on disk.
            name: value.clone() if value.any() else torch.zeros(1).expand(value.shape)
            for name, value in weights.items()
            if name.startswith(shaped) or "c_proj" in name
        }
    torch.save({"model": weights}, path)


def _write_s2mel(path: Path, cfg: object, *, version: str) -> None:
    from indextts.s2mel.modules.commons import MyModel

    s2mel = MyModel(cfg.s2mel, use_gpt_latent=version == "2")
    torch.save({"net": {name: part.state_dict() for name, part in s2mel.models.items()}}, path)


def _write_codec(path: Path, cfg: object) -> None:
    import safetensors.torch
    from indextts.codec.maskgct_codec import build_semantic_codec

    safetensors.torch.save_model(build_semantic_codec(cfg.semantic_codec), path)


def _write_codec_25(path: Path, cfg: object) -> None:
    from indextts.codec.models import EnhancedCodec

    codec = EnhancedCodec(**cfg.semantic_codec, cfg=cfg.semantic_codec)
    torch.save({"model": codec.state_dict()}, path)


def _write_campplus(path: Path) -> None:
    from indextts.s2mel.modules.campplus.DTDNN import CAMPPlus

    torch.save(CAMPPlus(feat_dim=80, embedding_size=192).state_dict(), path)


def _write_bigvgan(folder: Path) -> None:
    from indextts.s2mel.modules.bigvgan.bigvgan import BigVGAN
    from indextts.s2mel.modules.bigvgan.env import AttrDict

    (folder / "config.json").write_text(json.dumps(BIGVGAN))
    vocoder = BigVGAN(AttrDict(BIGVGAN))
    with torch.no_grad():
        last = dict(vocoder.conv_post.named_parameters())
        gain = "weight_g" if "weight_g" in last else "parametrizations.weight.original0"
        last[gain].fill_(0.5)  # audible; at 4.0 it clips
    torch.save({"generator": vocoder.state_dict()}, folder / "bigvgan_generator.pt")


def _write_w2v_bert(folder: Path, *, full: bool) -> None:
    import safetensors.torch
    from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2BertConfig, Wav2Vec2BertModel

    cfg = Wav2Vec2BertConfig(
        hidden_size=1024,
        num_hidden_layers=17,
        num_attention_heads=1,
        intermediate_size=8,
        feature_projection_input_dim=160,
        conv_depthwise_kernel_size=3,
        output_hidden_size=1024,
        position_embeddings_type=None,
        vocab_size=None,
    )
    features = SeamlessM4TFeatureExtractor(
        feature_size=80, num_mel_bins=80, sampling_rate=16000, stride=2, padding_value=1
    )
    features.save_pretrained(folder)
    if full:
        Wav2Vec2BertModel(cfg).save_pretrained(folder)
        return
    cfg.architectures = ["Wav2Vec2BertModel"]
    cfg.save_pretrained(folder)
    one_of_them = {"feature_projection.layer_norm.weight": torch.ones(160)}
    safetensors.torch.save_file(one_of_them, folder / "model.safetensors", {"format": "pt"})


def _write_qwen(folder: Path) -> None:
    """A language model of which each token has one successor: the answer, then the end."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    end, go, answer, size = 1, 2, 3, 16
    special = {"unk_token": "<unk>", "eos_token": "<eos>", "pad_token": "<eos>"}
    vocabulary = {"<unk>": 0, "<eos>": end, "<go>": go}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, special["unk_token"]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["<eos>", "<go>"])
    # Not special, so that decoding keeps it.
    tokenizer.add_tokens([AddedToken(json.dumps(EMOTION, ensure_ascii=False), normalized=False)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_input_names=["input_ids", "attention_mask"],
        **special,
    )
    fast.chat_template = (
        "{% for m in messages %}{{ m['content'] }} {% endfor %}"
        "{% if add_generation_prompt %}<go>{% endif %}"
    )
    fast.save_pretrained(folder)

    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=size,
            hidden_size=size,
            intermediate_size=size,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
            max_position_embeddings=4096,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=end,
            pad_token_id=end,
        )
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.model.norm.weight.fill_(1.0)
        for layer in model.model.layers:
            layer.input_layernorm.weight.fill_(1.0)
            layer.post_attention_layernorm.weight.fill_(1.0)
        model.model.embed_tokens.weight.copy_(torch.eye(size))
        model.lm_head.weight[answer, go] = 5.0
        model.lm_head.weight[end, answer] = 5.0
    model.generation_config.do_sample = False
    model.half().save_pretrained(folder)


def main() -> None:
    """Read the arguments and write the files."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--version", choices=VERSIONS, default="2")
    parser.add_argument("--codes", type=int, default=40, help="acoustic tokens of each segment")
    parser.add_argument("--full", action="store_true", help="write every weight")
    parser.add_argument("--no-qwen", dest="qwen", action="store_false")
    given = parser.parse_args()
    write(given.folder, version=given.version, codes=given.codes, full=given.full, qwen=given.qwen)


if __name__ == "__main__":
    main()

"""Models of transformers, each so small that it is built and run in a moment; nothing is downloaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

Inputs = dict[str, torch.Tensor]


class Tiny(NamedTuple):
    """How to build a model, by the names of its configuration and class, and what it is called with."""

    config: str
    model: str
    inputs: Callable[[], Inputs]
    settings: dict[str, Any]

    def build(self) -> tuple[nn.Module, Inputs]:
        import transformers

        torch.manual_seed(0)
        config = getattr(transformers, f"{self.config}Config")(**self.settings)
        return getattr(transformers, self.model)(config).eval(), self.inputs()


def tokens() -> Inputs:
    return {"input_ids": torch.randint(3, 60, (2, 12))}


def two_sequences() -> Inputs:
    return {"input_ids": torch.randint(3, 60, (2, 12)), "decoder_input_ids": torch.randint(3, 60, (2, 6))}


def image() -> Inputs:
    return {"pixel_values": torch.randn(2, 3, 32, 32)}


def sound() -> Inputs:
    return {"input_values": torch.randn(1, 1600)}


def spectrum() -> Inputs:
    return {"input_features": torch.randn(1, 8, 40), "decoder_input_ids": torch.randint(3, 60, (1, 4))}


def series() -> Inputs:
    return {
        "past_values": torch.randn(2, 17),
        "past_time_features": torch.randn(2, 17, 1),
        "past_observed_mask": torch.ones(2, 17),
        "future_values": torch.randn(2, 4),
        "future_time_features": torch.randn(2, 4, 1),
    }


def patches() -> Inputs:
    return {"past_values": torch.randn(2, 32, 2)}


def decisions() -> Inputs:
    return {
        "states": torch.randn(1, 5, 4),
        "actions": torch.randn(1, 5, 2),
        "rewards": torch.randn(1, 5, 1),
        "returns_to_go": torch.randn(1, 5, 1),
        "timesteps": torch.arange(5)[None],
        "attention_mask": torch.ones(1, 5),
    }


VOCABULARY = {"vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
ENCODER = VOCABULARY | {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
DECODER = ENCODER | {"num_key_value_heads": 2}
HEADS = DECODER | {"head_dim": 8}
GPT = {"vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
T5 = {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4} | {
    "decoder_start_token_id": 0
}
SEQ2SEQ = VOCABULARY | {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "decoder_start_token_id": 2,
}
POSITIONS = {"max_position_embeddings": 64}
VISION = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
}
SPEECH = {
    "vocab_size": 32,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": (16, 16),
    "conv_stride": (4, 4),
    "conv_kernel": (8, 8),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
WINDOWS = {
    "image_size": 32,
    "patch_size": 2,
    "embed_dim": 16,
    "depths": [1, 1],
    "num_heads": [2, 4],
    "window_size": 4,
}
RELATIVE = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}


def _of_one_kind(names: str, ending: str, inputs: Callable[[], Inputs], settings: dict[str, Any]) -> list[Tiny]:
    return [Tiny(name, f"{name}{ending}", inputs, settings) for name in names.split()]


MODELS = [
    *_of_one_kind("Bert Roberta MPNet XLMRoberta Camembert RoFormer GPTNeoX Persimmon", "Model", tokens, ENCODER),
    *_of_one_kind("StableLm Starcoder2 Olmo Olmo2 Cohere Granite", "Model", tokens, HEADS),
    Tiny("Glm", "GlmModel", tokens, HEADS),
    *_of_one_kind("Llama Qwen3 Gemma", "ForCausalLM", tokens, HEADS),
    *_of_one_kind("Qwen2 Phi Phi3", "ForCausalLM", tokens, DECODER),
    *_of_one_kind("Mistral Gemma2", "ForCausalLM", tokens, HEADS | {"sliding_window": 8}),
    Tiny("Gemma3Text", "Gemma3ForCausalLM", tokens, HEADS | {"sliding_window": 8}),
    *_of_one_kind("GPTJ CodeGen", "Model", tokens, GPT | {"rotary_dim": 8}),
    *_of_one_kind("T5 MT5", "Model", two_sequences, T5),
    *_of_one_kind(
        "Bart MBart Pegasus Marian Blenderbot M2M100 PLBart", "Model", two_sequences, SEQ2SEQ | POSITIONS
    ),
    *_of_one_kind("ViT DeiT Beit Dinov2 ViTMAE ViTMSN IJepa CLIPVision SiglipVision", "Model", image, VISION),
    *_of_one_kind("Wav2Vec2 Hubert WavLM SEW", "Model", sound, SPEECH),
    *_of_one_kind("Swin Swinv2", "Model", image, WINDOWS),
    *_of_one_kind("Albert Electra ConvBert", "Model", tokens, ENCODER | {"embedding_size": 16}),
    Tiny("CLIPText", "CLIPTextModel", tokens, ENCODER),
    Tiny("GPT2", "GPT2LMHeadModel", tokens, GPT),
    Tiny("Deberta", "DebertaModel", tokens, ENCODER | RELATIVE | {"max_relative_positions": 16}),
    Tiny("DebertaV2", "DebertaV2Model", tokens, ENCODER | RELATIVE | {"position_buckets": 8}),
    Tiny("Longformer", "LongformerModel", tokens, ENCODER | {"attention_window": 4}),
    Tiny("BigBird", "BigBirdModel", tokens, ENCODER | {"attention_type": "original_full"}),
    Tiny(
        "Nystromformer", "NystromformerModel", tokens, ENCODER | {"num_landmarks": 4, "segment_means_seq_len": 12}
    ),
    Tiny(
        "MobileBert",
        "MobileBertModel",
        tokens,
        ENCODER
        | {"embedding_size": 32, "true_hidden_size": 32, "intra_bottleneck_size": 32, "bottleneck_size": 0},
    ),
    Tiny(
        "DistilBert",
        "DistilBertModel",
        tokens,
        {
            "vocab_size": 64,
            "dim": 32,
            "n_layers": 2,
            "n_heads": 4,
            "hidden_dim": 48,
            "max_position_embeddings": 64,
        },
    ),
    Tiny(
        "Funnel",
        "FunnelModel",
        tokens,
        {"vocab_size": 64, "block_sizes": [1, 1], "d_model": 32, "n_head": 4, "d_head": 8, "d_inner": 48},
    ),
    Tiny(
        "XLNet", "XLNetModel", tokens, {"vocab_size": 64, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48}
    ),
    Tiny(
        "XLM",
        "XLMModel",
        tokens,
        {"vocab_size": 64, "emb_dim": 32, "n_layers": 2, "n_heads": 4, "max_position_embeddings": 64},
    ),
    Tiny(
        "GPTNeo",
        "GPTNeoModel",
        tokens,
        {
            "vocab_size": 64,
            "hidden_size": 32,
            "num_layers": 2,
            "attention_types": [[["global", "local"], 1]],
            "num_heads": 4,
            "max_position_embeddings": 64,
        },
    ),
    Tiny(
        "OPT",
        "OPTModel",
        tokens,
        {
            "vocab_size": 64,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "ffn_dim": 48,
            "max_position_embeddings": 64,
            "word_embed_proj_dim": 32,
        },
    ),
    Tiny("Bloom", "BloomModel", tokens, {"vocab_size": 64, "hidden_size": 32, "n_layer": 2, "n_head": 4}),
    Tiny(
        "Falcon",
        "FalconModel",
        tokens,
        {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
    ),
    Tiny(
        "Mpt",
        "MptModel",
        tokens,
        {"vocab_size": 64, "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 64},
    ),
    Tiny("Mixtral", "MixtralForCausalLM", tokens, HEADS | {"num_local_experts": 4}),
    Tiny(
        "Qwen2Moe",
        "Qwen2MoeForCausalLM",
        tokens,
        DECODER | {"num_experts": 4, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16},
    ),
    Tiny(
        "Mamba",
        "MambaModel",
        tokens,
        {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
    ),
    Tiny(
        "Mamba2",
        "Mamba2Model",
        tokens,
        {
            "vocab_size": 64,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "state_size": 4,
            "num_heads": 8,
            "head_dim": 8,
            "n_groups": 1,
            "chunk_size": 4,
        },
    ),
    Tiny(
        "Rwkv",
        "RwkvModel",
        tokens,
        {
            "vocab_size": 64,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "attention_hidden_size": 32,
            "intermediate_size": 48,
        },
    ),
    Tiny(
        "RecurrentGemma",
        "RecurrentGemmaModel",
        tokens,
        ENCODER | {"num_key_value_heads": 1, "lru_width": 32, "attention_window_size": 8, "num_hidden_layers": 3},
    ),
    Tiny(
        "LED",
        "LEDModel",
        two_sequences,
        SEQ2SEQ
        | {
            "attention_window": 4,
            "max_encoder_position_embeddings": 64,
            "max_decoder_position_embeddings": 64,
        },
    ),
    Tiny(
        "ConvNext",
        "ConvNextModel",
        image,
        {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2},
    ),
    Tiny(
        "ResNet",
        "ResNetModel",
        image,
        {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]},
    ),
    Tiny(
        "Levit",
        "LevitModel",
        image,
        {
            "image_size": 32,
            "hidden_sizes": [16, 32, 48],
            "num_attention_heads": [1, 2, 3],
            "depths": [1, 1, 1],
            "key_dim": [8, 8, 8],
        },
    ),
    Tiny(
        "Whisper",
        "WhisperModel",
        spectrum,
        SEQ2SEQ | {"num_mel_bins": 8, "max_source_positions": 20, "max_target_positions": 32},
    ),
    Tiny(
        "TimeSeriesTransformer",
        "TimeSeriesTransformerModel",
        series,
        {
            "prediction_length": 4,
            "context_length": 10,
            "num_time_features": 1,
            "d_model": 16,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "lags_sequence": [1, 2, 3, 4, 5, 6, 7],
        },
    ),
    Tiny(
        "PatchTST",
        "PatchTSTModel",
        patches,
        {
            "num_input_channels": 2,
            "context_length": 32,
            "patch_length": 4,
            "patch_stride": 4,
            "d_model": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "ffn_dim": 32,
        },
    ),
    Tiny(
        "DecisionTransformer",
        "DecisionTransformerModel",
        decisions,
        {"state_dim": 4, "act_dim": 2, "hidden_size": 32, "n_layer": 2, "n_head": 4, "max_ep_len": 16},
    ),
]

ASK_FOR_A_GPU = frozenset(("Mixtral", "Qwen2Moe"))
"""Their experts are multiplied by a kernel that is chosen by what the GPU can do."""

"""Names of the speech models: nickname -> (class, options)."""

from typing import Any

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "mossformer": ("tasks.speech.models:MossFormer", {}),
    "mossformer_s": ("tasks.speech.models:MossFormer", {"dim": 256, "depth": 24, "encoder_dim": 256}),
    "mossformer_m": ("tasks.speech.models:MossFormer", {"dim": 384, "depth": 25, "encoder_dim": 384}),
    "mossformer_l": ("tasks.speech.models:MossFormer", {"dim": 512, "depth": 24, "encoder_dim": 512}),
    "mossformer2": ("tasks.speech.models:MossFormer2", {}),
    "mossformer2_s": ("tasks.speech.models:MossFormer2", {"dim": 384, "depth": 25, "encoder_dim": 384}),
}

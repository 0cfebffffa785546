"""Models of this task by nickname: ``gated.create_model("gateformer", input_size=96, horizon=24)``."""

from typing import Any

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "gateformer": ("tasks.timeseries.models:Gateformer", {}),
}

"""What a module is for, in words that are the same in every architecture.

Known by the last parts of its name, as Hugging Face models call them.
"""

from __future__ import annotations

import re

ROLES = (
    "query",
    "key",
    "value",
    "qkv",
    "attention_output",
    "ffn_up",
    "ffn_gate",
    "ffn_down",
    "pooler",
    "norm",
    "embedding",
    "other",
)
LINEAR_ROLES = ROLES[:8]

_PATTERNS: tuple[tuple[str, str], ...] = (
    (r"(self\.query|q_proj|query_proj|q_lin|Attention\.q|q_attn)$", "query"),
    (r"(self\.key|k_proj|key_proj|k_lin|Attention\.k)$", "key"),
    (r"(self\.value|v_proj|value_proj|v_lin|Attention\.v)$", "value"),
    (r"(attn\.c_attn|query_key_value|qkv_proj|Wqkv)$", "qkv"),
    (r"(attention\.output\.dense|attn\.c_proj|out_lin|o_proj|Attention\.o|attention\.out_proj"
     r"|self_attn\.out_proj|attention\.dense|attn\.Wo)$", "attention_output"),
    (r"(mlp\.gate_proj|DenseReluDense\.wi_0)$", "ffn_gate"),
    (r"(intermediate\.dense|\.ffn|mlp\.c_fc|lin1|up_proj|DenseReluDense\.wi|DenseReluDense\.wi_1"
     r"|dense_h_to_4h|fc1|mlp\.Wi|gate_up_proj)$", "ffn_up"),
    (r"(output\.dense|ffn_output|mlp\.c_proj|lin2|down_proj|DenseReluDense\.wo|dense_4h_to_h|fc2|mlp\.Wo)$",
     "ffn_down"),
    (r"(pooler\.dense)$", "pooler"),
)  # fmt: skip


def role(name: str, kind: str) -> str:
    """The role of the module `name` of a kind (`linear`, `norm`, `embedding`, `other`)."""
    if kind != "linear":
        return kind
    for pattern, found in _PATTERNS:
        if re.search(pattern, name):
            return found
    return "other"


def block(name: str) -> int | None:
    """The first number in a dotted name: the index of its block; None outside of blocks."""
    found = re.search(r"\.(\d+)(\.|$)", name)
    return int(found.group(1)) if found else None

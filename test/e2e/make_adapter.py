#!/usr/bin/env python3
"""A LoRA adapter of random weights for the tiny model of run-real-engine.sh. usage: make_adapter.py MODEL_DIR OUT_DIR SEED
Runs in the engine's own Python (torch, safetensors)."""
import json
import os
import sys

import torch
from safetensors.torch import save_file

model, out, seed = sys.argv[1:]
with open(os.path.join(model, "config.json"), encoding="utf-8") as f:
    c = json.load(f)
rank, hidden = 8, c["hidden_size"]
sizes = {"q_proj": c["num_attention_heads"] * c["head_dim"], "v_proj": c["num_key_value_heads"] * c["head_dim"]}
torch.manual_seed(int(seed))
weights = {}
for layer in range(c["num_hidden_layers"]):
    for part, wide in sizes.items():
        at = f"base_model.model.model.layers.{layer}.self_attn.{part}."
        weights[at + "lora_A.weight"] = (torch.randn(rank, hidden) * 0.2).to(torch.bfloat16)
        weights[at + "lora_B.weight"] = (torch.randn(wide, rank) * 0.2).to(torch.bfloat16)
os.makedirs(out, exist_ok=True)
save_file(weights, os.path.join(out, "adapter_model.safetensors"))
with open(os.path.join(out, "adapter_config.json"), "w", encoding="utf-8") as f:
    json.dump({"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": rank, "lora_dropout": 0.0,
               "bias": "none", "target_modules": sorted(sizes), "base_model_name_or_path": model}, f)

"""Builds, exports and runs a small spline-form transformer encoder in PyTorch.

    pip install torch safetensors numpy
    python docs/export_example.py repository/tiny/1     # writes config.json and model.safetensors
    splineserve --model-repository repository

Prints an input and PyTorch's output for it, to compare with the server's. Module names are the tensor names of the model
format, so that `state_dict()` is what the server reads.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn


class Attention(nn.Module):
    """relu(scale * Q K^T) V / number of visible keys: piecewise cubic in its input."""

    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(d, d) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            proj(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        gates = torch.relu(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5)
        return self.o_proj((gates @ v / x.shape[1]).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Piecewise linear."""

    def __init__(self, d: int, units: int) -> None:
        super().__init__()
        self.up_proj, self.down_proj = nn.Linear(d, units), nn.Linear(units, d)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(torch.relu(self.up_proj(x)))


class Layer(nn.Module):
    def __init__(self, d: int, heads: int, units: int) -> None:
        super().__init__()
        self.self_attn, self.ffn = Attention(d, heads), FeedForward(d, units)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(x)
        return x + self.ffn(x)


class Encoder(nn.Module):
    def __init__(self, size: int, d: int, heads: int, units: int, layers: int) -> None:
        super().__init__()
        self.input_proj = nn.Linear(size, d)
        self.layers = nn.ModuleList(Layer(d, heads, units) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        x = self.input_proj(x)
        for layer in self.layers:
            x = layer(x)
        return x


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.head = Encoder(size=4, d=16, heads=2, units=32, layers=2), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x).mean(dim=1))


def export(model: Model, folder: Path) -> None:
    config = {
        "model_type": "spline_transformer", "architecture": "encoder",
        "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "num_encoder_layers": 2,
        "attention_activation": "relu", "hidden_act": "relu", "norm": "none",
        "input": {"kind": "vectors", "size": 4}, "head": {"kind": "linear", "size": 3, "pooling": "mean"},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / "model.safetensors")


if __name__ == "__main__":
    torch.manual_seed(1)
    model = Model()  # train it here
    export(model, Path(sys.argv[1]))
    rows = torch.randn(1, 5, 4).round(decimals=2)
    print("\n".join(",".join(f"{value:g}" for value in row) for row in rows[0].tolist()))
    print("PyTorch:", model(rows)[0].tolist())

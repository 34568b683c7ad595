"""Networks as ONNX, TorchScript and exported programs. May import: torch, networks, gentg_blender.core."""

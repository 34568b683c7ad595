"""Networks as ONNX, TorchScript and exported programs. May import networks, core and torch."""

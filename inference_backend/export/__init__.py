"""Networks as ONNX, TorchScript and exported programs. May import networks, lifting.weights, torch, onnxruntime."""

"""Our networks elsewhere: timm, ONNX, torch.export, and files of weights."""

"""Free 3D joints -> a rigid animated skeleton in a level world. May import gentg_blender.core,
inference_backend.lifting.lifted, numpy and scipy."""

"""The Sonoscope library: audio, encoders, sparse autoencoders, factors, and the store they are published to."""

__version__ = "0.1.0.dev0"

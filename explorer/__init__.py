"""The Sonoscope library: audio, encoders, sparse autoencoders, factors, and the store they are published to."""

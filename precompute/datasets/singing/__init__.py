"""Generated singing whose every parameter is known: a source-filter voice, singers, techniques, exercises, corpora."""

"""MediaPipe's hand networks as a plugin of hmr: hands of photos and videos, without training."""

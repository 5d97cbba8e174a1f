"""The Kubernetes API emulator's own process: kinds, defaults, server-side apply, store, HTTP."""

"""An example's own tests run where it is installed as a stranger's: test_plugins_example.py of hmr-core does that."""

collect_ignore_glob = ["*/tests/*"]

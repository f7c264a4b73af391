"""What `hmr doctor` looks at, one subject a file; each check gives findings and never ends the others."""

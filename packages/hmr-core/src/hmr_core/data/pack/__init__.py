"""`hmr-pack/1`: a data set in one HDF5 file. docs/data.md specifies it."""

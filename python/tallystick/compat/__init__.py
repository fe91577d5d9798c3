"""Other packages' names over this engine, so that scripts written for them run by changing an import."""

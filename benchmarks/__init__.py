"""What renderfarm costs and saves, measured against what people would type instead: `make bench`."""

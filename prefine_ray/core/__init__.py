"""What every room uses: files, seeds, provenance."""

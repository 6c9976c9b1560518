"""Everything that runs on Ray: actors, the Train worker, the Tune sweep."""

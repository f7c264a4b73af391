"""Pictures of results: reads them, changes nothing."""

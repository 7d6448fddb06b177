"""Evidence: announced, uploaded straight to the store, looked at, sealed, and given out again."""

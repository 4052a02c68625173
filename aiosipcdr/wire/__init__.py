"""The vendor's wire format: signatures, queries and answers; sans-IO."""

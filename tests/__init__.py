"""The tests; their folders mirror the product's."""

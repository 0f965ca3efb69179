"""Map frames as pixels: what must agree, their running sum, digests."""

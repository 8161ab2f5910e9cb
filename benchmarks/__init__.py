"""``make bench``: what the library costs, beside what people use today, in one run. Ratios beside their goals."""

"""Files that hold many images: tar archives as WebDataset writes them, and Parquet tables."""

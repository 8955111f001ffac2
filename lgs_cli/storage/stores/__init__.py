"""Object stores: images by URL, as ``s3://bucket/prefix``, through fsspec."""

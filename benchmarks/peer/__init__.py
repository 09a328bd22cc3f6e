"""leadstream as a peer of a black-box yardstick for lead pipelines: see docs/performance.md."""

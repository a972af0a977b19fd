"""What is asserted: one pytest module per kind of failure, and the subjects they run against."""

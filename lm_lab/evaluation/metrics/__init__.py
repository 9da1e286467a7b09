"""What is measured of a trained model beside its likelihood, one metric per file."""

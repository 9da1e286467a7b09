"""The site of the documents: pages of reference, written from the code, and the build."""

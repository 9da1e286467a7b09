"""The functions and classes of `import lm_lab`: runs, configs, studies and laws in Python."""

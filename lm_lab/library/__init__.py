"""What `import lm_lab` offers: runs, configs, studies and laws in Python, composed of the rest."""

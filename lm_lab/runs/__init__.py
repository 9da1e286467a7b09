"""The directories of runs and sweeps: readable and testable without models or training.

durable, reading, locks, sealed    files and folders that survive crashes, and how they are read
config, records, history, events   config.json; environment, metrics and result; TensorBoard
arrays, commits, checkpoint        a state on the disk, the folder of commits, saving and restoring
peers                              the processes that train a run together, and what they exchange
sweep, status, trust, versions     sweep.json and results.csv; how far a run is; whose code stored
                                   files may name; what they said in earlier releases
"""

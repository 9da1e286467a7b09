"""Models of other libraries, read and written: one file an architecture, found by its name.

A file of this package that has ARCHITECTURES is a mapping, and exports

    ARCHITECTURES   its names in the "architectures" of a foreign config.json
    FAMILY          the family of lm_lab/models that it becomes
    read_config     (foreign config) -> settings of that family's Config;
                    UserError naming a field that is not supported
    write_config    (Config) -> a complete foreign config;
                    UserError naming a setting that the architecture does not have
    rules           (Config) -> the mapping.Rules of its tensors

and, if need be,

    IGNORED         fnmatch patterns of foreign tensors without information (buffers, tied copies)
    RENAMED         endings of foreign names in older files, to those of today
    PREFIX          the prefix of the rules' names, which files of a bare model lack
    BARE            names of the architecture without its head, read if the head is the embedding
    COPIES          foreign tensors that repeat the embedding; one that differs is refused
    OPTIONAL        foreign tensors that are zeros where a file has none
    NOT_ADAPTED     modules that PEFT refuses to adapt, and the settings that leave them out

A foreign field that read_config does not read is named in a warning, unless interop/fields.py lists
it as harmless. Our dropout is that of the residual stream, for which transformers has one or two
fields; its other dropouts are named in a warning too. PyTorch is imported only where a PyTorch file
is read, transformers never.
"""

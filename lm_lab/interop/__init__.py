"""Models of other libraries, read and written: one file an architecture, found by its name.

A file of this package that has ARCHITECTURES is a mapping, and exports

    ARCHITECTURES   the names under which a foreign config.json lists it in "architectures"
    FAMILY          the family of lm_lab/models that it becomes
    read_config     (foreign config) -> fields of that family's Config; UserError naming a field that is not supported
    write_config    (Config) -> a whole foreign config; UserError naming a setting that the architecture has not
    rules           (Config) -> the mapping.Rules of its tensors
    IGNORED         optional: fnmatch patterns of foreign tensors that carry nothing (buffers, tied copies)
    RENAMED         optional: endings of foreign names as older files have them, to those of today
    PREFIX          optional: what stands before the names of the rules, and is left out where a bare model was saved
    BARE            optional: names of the architecture without its head, read where the head is the embedding
    COPIES          optional: foreign tensors that are the embedding again; one that differs is refused
    OPTIONAL        optional: foreign tensors that are zeros where a file has none
    NOT_ADAPTED     optional: modules that PEFT refuses to adapt, and which settings of ours leave them out

A foreign field that read_config asks for nowhere is named in a warning, unless interop/fields.py
lists it as harmless. Dropout is that of what enters the stream, of which transformers has one or
two fields; others are named, too. PyTorch and transformers are imported nowhere but where a PyTorch
file is read.
"""

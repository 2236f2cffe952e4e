"""The fast path: the same parameters and the same adapter file as PEFT's LoRA, through our own forward and backward.

`attach` says which models it can run and takes over their encoder's forward pass (`engine`); `layer_function` is one
encoder layer as one autograd function, `layer` its parts; `sites` are the linear layers in it with their low-rank
updates (`members`); `masks` are dropout masks that cost no memory; `attention` keeps no scores where they are large.
"""

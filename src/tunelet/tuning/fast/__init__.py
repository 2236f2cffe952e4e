"""The fast path: the same parameters and the same adapter file as PEFT's LoRA, through our own forward and backward.

`engine` takes over the encoder's forward pass of a model that `tuning.methods` made ready; `layer` is one encoder layer
as one autograd function; `sites` are the linear layers in it, with their low-rank updates; `masks` are dropout masks
that cost no memory; `attention` keeps no scores where they would be large.
"""

"""NAO: search by gradient ascent in the latent space of a learned encoder and decoder. Importing this package imports
no torch.
"""

from nni_plugins.spaces.lazy import lazy

__getattr__, __dir__ = lazy(
    __name__,
    {
        "codecs": ["Codec", "ParameterCodec", "SpaceCodec"],
        "controller": ["Controller"],
        "proposals": ["Proposals", "propose"],
        "search": ["NAOResult", "nao"],
        "settings": ["ControllerSettings", "NAOSettings", "ProposalSettings"],
        "tokens": ["Swap", "Tokens"],
        "training": ["min_max", "train"],
    },
)

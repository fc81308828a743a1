"""From a folder of images to a network, in one call: what ``nni-plugins auto`` does."""

from nni_plugins.spaces.lazy import lazy

__getattr__, __dir__ = lazy(__name__, {"run": ["auto"], "plan": ["Request"], "look": ["look"]})

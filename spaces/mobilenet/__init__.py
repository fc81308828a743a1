"""The space of inverted residual blocks that ProxylessNAS introduced (Cai et al., ICLR 2019), with RLNAS' 21 blocks."""

from .space import RLNAS_MOBILENET, MobileNetLike

__all__ = ["RLNAS_MOBILENET", "MobileNetLike"]

"""What weight sharing does to the ranking of recurrent cells (Yu et al., "Evaluating the Search Phase of NAS", ICLR
2020, section 5).
"""

from nni_plugins.spaces.lazy import lazy

__getattr__, __dir__ = lazy(
    __name__,
    {
        "amount": ["Amounts", "amounts"],
        "cells": ["Cells", "amount_cells", "whole_space"],
        "measures": [
            "KeyAgreement",
            "RunAgreement",
            "Study",
            "ceiling",
            "key_agreement",
            "run_agreements",
            "twin_gaps",
        ],
        "report": ["content", "write_sharing_study"],
        "training": ["Rankings", "shared_run"],
    },
)

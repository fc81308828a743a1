"""What NAO-V2 printed of its ranking study: Luo et al., "Understanding and Improving One-shot Neural Architecture
Optimization", 2019, tables 2 to 4. 50 architectures of NAO's space on CIFAR-10, one run each.

Table 2 mixes schedules: its rows of 5 and 30 epochs are table 4's dependent ones, that of 50 epochs is table 4's
independent one. Two of the printed pairwise accuracies (.440024 and .458876) are no multiple of 1/1225, so they are not
exactly the share of 50 architectures' pairs.
"""

from __future__ import annotations

from typing import NamedTuple


class Printed(NamedTuple):
    """Pairwise accuracy and Spearman's rho as printed."""

    pairwise: float
    spearman: float


ARCHITECTURES = 50

EPOCHS: dict[int, Printed] = {
    5: Printed(0.435918, -0.195060),
    10: Printed(0.440024, -0.185894),
    20: Printed(0.444898, -0.180936),
    30: Printed(0.573061, 0.185634),
    50: Printed(0.600000, 0.288480),
}
"""Table 2: by the epochs of the supernet's training."""

EPOCHS_OF_SIZES = 5
"""Of the supernets in table 3."""

SIZES: dict[str, Printed] = {
    "random": Printed(0.435918, -0.195060),
    "diverse": Printed(0.435918, -0.195060),
    "similar": Printed(0.502040, 0.103343),
}
"""Table 3: after 5 epochs, by whether the architectures are of diverse or similar sizes. What it calls diverse are the
randomly drawn ones of table 2, so the number stands beside both."""

SCHEDULES: dict[tuple[int, str], Printed] = {
    (5, "dependent"): Printed(0.435918, -0.195060),
    (5, "independent"): Printed(0.458876, -0.122690),
    (30, "dependent"): Printed(0.573061, 0.185634),
    (30, "independent"): Printed(0.595918, 0.271773),
    (50, "dependent"): Printed(0.562449, 0.167600),
    (50, "independent"): Printed(0.600000, 0.288480),
}
"""Table 4: by epochs and the period of the learning rate's cosine, three trainings long (dependent) or one
(independent).
"""

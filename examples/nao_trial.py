"""A trial for ``tuner: NAO``, or any other tuner of NNI: look a cell up in a table instead of training it.

Started by ``nnictl create --config examples/nao_nasbench201_table.yml``. Your own trial trains a network here and
reports its accuracy.

    python nao_trial.py                          # the project's table of 125 three-node cells on digits
    python nao_trial.py --table nb201_table.csv.gz --metric cifar10_val_200 --report cifar10_test_200
"""

from __future__ import annotations

import argparse

import nni

from nni_plugins.evaluators.tables.table import digits_table, nasbench201_table
from nni_plugins.portal.reporting import own_parameters


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", help="the full table of NAS-Bench-201, or its folder; default: the table of digits")
    parser.add_argument("--metric", default="accuracy", help="what the tuner is told")
    parser.add_argument("--report", nargs="*", default=[], help="other metrics that the portal shows")
    arguments = parser.parse_args()
    table = digits_table() if arguments.table is None else nasbench201_table(arguments.table)
    choices = (
        own_parameters()
    )  # nni.get_next_parameter(), after NNI has noted this trial: metrics that come before that are lost
    architecture = table.space.architecture(choices)
    others = {metric: table.value(architecture, metric) for metric in arguments.report}
    nni.report_final_result({"default": table.value(architecture, arguments.metric), **others})


if __name__ == "__main__":
    main()

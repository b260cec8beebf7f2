"""The contracts of methods, data sets and backbones as checks, for parts of this house and of any other.

Each raises AssertionError with a message that says what is wrong, and leaves the part as it was. In a test:

    def test_contract():
        check_method(MyMethod(load_backbone("clip-tiny")))
"""

from composir.testing.backbone import check_backbone
from composir.testing.dataset import check_dataset
from composir.testing.method import check_method

__all__ = ["check_backbone", "check_dataset", "check_method"]

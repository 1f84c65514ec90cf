"""What every driver has to do, tried with this one: ``pytest test_cupboard.py``."""

import pytest
from extrapypi_cupboard import Cupboard

from extrapypi.contract import StorageContract


class TestCupboard(StorageContract):
    @pytest.fixture
    def storage(self, tmp_path):
        return Cupboard(folder=str(tmp_path / "cupboard"))

import pytest

pytest.register_assert_rewrite("tests.engines.contract.suite")

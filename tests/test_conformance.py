"""Every family passes the suite."""

import pytest

from lib.models import adapter as door
from lib.models import conformance
from tests.zoo import ZOO


@pytest.fixture(scope="module", params=ZOO)
def kind(request, tmp_path_factory):
    folder = ZOO[request.param].save(tmp_path_factory.mktemp(request.param), seed=0)
    return door.load(folder), ZOO[request.param].records


@pytest.mark.parametrize("name", conformance.CHECKS)
def test_every_family_passes(kind, name):
    function, sign, bound = conformance.CHECKS[name]
    value = function(*kind)
    assert value <= bound if sign == "<=" else value >= bound

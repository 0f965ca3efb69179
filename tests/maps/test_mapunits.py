"""Units of files, against astropy's."""

import astropy.units
import numpy as np
import pytest
from spt3g import core

from g3reduce import InputError
from g3reduce.maps.mapunits import MAP, WEIGHTED_MAP, WEIGHTS, name_of, unit_for, unit_in


@pytest.mark.parametrize("text", ["K", "mK", "uK", "K^-1", "uK^-1", "K^-2", "uK-2", "1 / K2", "nK"])
def test_values_are_what_astropy_makes_of_the_unit(text):
    unit = unit_in(text, "map.fits")
    values = np.array([3.0, -0.5])
    unit.to_g3(values)
    expected = astropy.units.Quantity([3.0, -0.5], text).to_value(f"mK^{unit.power}")
    np.testing.assert_allclose(values, expected * core.G3Units.mK**unit.power, rtol=1e-14)
    assert unit.type == core.G3TimestreamUnits.Tcmb


@pytest.mark.parametrize("text", ["K_CMB", "K_cmb", "Kcmb", "(K_CMB)", "K (CMB)", " K "])
def test_kelvin_of_the_cmb_in_many_words(text):
    assert unit_in(text, "map.fits") == unit_in("K", "map.fits")


def test_other_units():
    assert str(unit_in("uK_RJ", "map.fits").type) == "Trj"
    assert unit_in("hits", "map.fits") == unit_in("", "map.fits") == ("None", 0, 0)
    with pytest.raises(InputError, match=r"map\.fits: the unit is 'MJy/sr'; expected kelvin"):
        unit_in("MJy/sr", "map.fits")


@pytest.mark.parametrize("prefix", ["", "m", "u"])
@pytest.mark.parametrize("power", [MAP, WEIGHTED_MAP, WEIGHTS])
def test_names_are_read_again(prefix, power):
    unit = unit_for(core.G3TimestreamUnits.Tcmb, power, prefix)
    assert unit_in(name_of(unit), "map.fits") == unit_in(name_of(unit, plain=True), "") == unit
    values = np.array([1.5])
    unit.from_g3(values)
    unit.to_g3(values)
    np.testing.assert_allclose(values, 1.5, rtol=3e-16)

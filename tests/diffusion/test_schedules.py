"""Noise schedules against their closed forms."""

import math

import numpy as np
import pytest

from inference_backend.diffusion.schedules import SCHEDULES, alpha_bar


def test_linear_is_the_product_of_ho_et_als_betas():
    want = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    np.testing.assert_allclose(alpha_bar("linear").numpy(), want, rtol=1e-12)
    assert float(alpha_bar("linear")[-1]) == pytest.approx(4.036e-5, rel=1e-3)  # the paper's known end


def test_cosine_is_nichol_and_dhariwals():
    def f(n):
        return math.cos((n / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2

    want = [f(n + 1) / f(0) for n in range(999)]  # the last beta is clipped
    np.testing.assert_allclose(alpha_bar("cosine")[:-1].numpy(), want, rtol=1e-9)
    assert float(alpha_bar("cosine")[-1]) == pytest.approx(want[-1] * 1e-3)


def test_sqrt_is_diffusion_lms():
    want = [(1 - math.sqrt((n + 1) / 1000 + 1e-4)) / (1 - math.sqrt(1e-4)) for n in range(990)]
    np.testing.assert_allclose(alpha_bar("sqrt")[:990].numpy(), want, rtol=1e-9)


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("levels", [10, 100, 1000])
def test_the_signal_falls_from_nearly_all_to_nearly_nothing(kind, levels):
    a = alpha_bar(kind, levels).numpy()
    assert a.shape == (levels,) and (np.diff(a) < 0).all()
    assert 0 < a[-1] < 0.02 and a[0] < 1
    assert a[0] > (0.6 if levels == 10 else 0.85)


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match="linear, sqrt, cosine"):
        alpha_bar("quadratic")

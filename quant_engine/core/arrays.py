"""Array type aliases: the shape is in the name."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

FloatVector: TypeAlias = npt.NDArray[np.float64]
"""Shape (T,) or (N,), float64."""

FloatMatrix: TypeAlias = npt.NDArray[np.floating]
"""Shape (T, N), float64 or float32, C order, NaN = not available."""

BoolMatrix: TypeAlias = npt.NDArray[np.bool_]
"""Shape (T, N), bool."""

CodeMatrix: TypeAlias = npt.NDArray[np.int16]
"""Shape (T, N), int16 category codes, -1 = unknown."""

TimeVector: TypeAlias = npt.NDArray[np.datetime64]
"""Shape (T,), datetime64[D] sessions or datetime64[us] UTC bar closes."""

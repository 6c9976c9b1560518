"""`prefine_ray.policies.forward_definition`, compiled by Numba: the same bits, many times as fast.

LLVM keeps the order of operations and fuses none as long as no `fastmath` allows it (a test reads the machine code).
What runs at once is different outputs, never the terms of one sum: each step multiplies one input of a row with
the weights of 16 outputs, which are a vector value here (`_load`, `_store`, `_add_product`); LLVM makes it one AVX-512
register, two of AVX2 or four of SSE.
"""

# mypy: disable-error-code="call-arg, var-annotated, no-untyped-def, type-arg, arg-type"
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, models, register_model
from numpy.typing import NDArray

from prefine_ray.policies import forward_definition
from prefine_ray.policies.forward_definition import Parameters, Singles

LANES = 16
STRIP = 2 * LANES  # outputs whose weights lie together, input after input; layers are filled up to whole strips
ROWS = 32  # observations that go through all layers together: their activations stay in the L1 cache

_ONE = np.float32(1.0)
_TANH_LIMIT, _TANH_SMALL = forward_definition.TANH_LIMIT, forward_definition.TANH_SMALL
_A1, _A3, _A5, _A7, _A9, _A11, _A13 = forward_definition.TANH_ABOVE
_B0, _B2, _B4, _B6 = forward_definition.TANH_BELOW
_LOG2_E, _LN2_HIGH, _LN2_LOW = forward_definition.LOG2_E, forward_definition.LN2_HIGH, forward_definition.LN2_LOW
_EXP_SERIES = forward_definition.EXP_SERIES
_PLAIN, _RELU, _TANH = 0, 1, 2  # what follows a layer


class CompiledPolicies:
    """P policies, laid out for the compiled kernel."""

    def __init__(self, parameters: Parameters):
        architecture = parameters.architecture
        self._act_dim = architecture.act_dim
        self._sizes = np.array(architecture.layer_sizes, dtype=np.int64)
        self._flags = np.array([architecture.activation == "tanh", architecture.squash, parameters.log_std is None])
        self._bounds = np.array((*architecture.log_std_bounds, architecture.observation_limit), dtype=np.float32)
        self._mean, self._std = parameters.obs_mean[:, 0], parameters.obs_std[:, 0]
        self._sigmas = np.zeros((len(parameters.obs_mean), architecture.act_dim), dtype=np.float32)
        if parameters.log_std is not None:
            self._sigmas = forward_definition.exp(forward_definition.clip(parameters.log_std[:, 0], *self._bounds[:2]))
        layers = zip(parameters.weights, parameters.biases, strict=True)
        self._packed = np.concatenate([part for layer in layers for part in _packed(*layer)], axis=1).ravel()
        self._buffer = 2 * ROWS * (max(architecture.layer_sizes) + -max(architecture.layer_sizes) % STRIP)
        self._no_noise = np.zeros((0, 0, 0), dtype=np.float32)

    def act(self, observations: Singles, noise: Singles | None, temperature: float) -> Singles:
        """See `forward_definition.act`."""
        actions = np.empty((*observations.shape[:2], self._act_dim), dtype=np.float32)
        noises = self._no_noise if noise is None else _plain(noise)
        scale = np.float32(temperature)
        policies = (self._mean, self._std, self._packed, self._sigmas, self._sizes, self._flags, self._bounds)
        _act_all(_plain(observations), noises, scale, *policies, np.empty(self._buffer, np.float32), actions)
        return actions


def _plain(values: NDArray) -> Singles:
    """As the kernel takes arrays: contiguous, and writable (Numba tells read-only ones apart)."""
    return np.require(values, np.float32, ["C", "W"])


def _packed(weight: Singles, bias: Singles) -> tuple[Singles, Singles]:
    """A layer's biases and weights, each [P, some]: filled up with zeros to whole strips, strip after strip."""
    population, fan_in, fan_out = weight.shape
    fill = [(0, 0), (0, 0), (0, -fan_out % STRIP)]
    strips = np.pad(weight, fill).reshape(population, fan_in, -1, STRIP).transpose(0, 2, 1, 3)
    return np.pad(bias, fill).reshape(population, -1), strips.reshape(population, -1)


# ---------------------------------------------------------------------- vectors of 16 outputs

_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_UNDEFINED = ir.Constant(_VECTOR, ir.Undefined)
_FIRST = ir.Constant(ir.IntType(32), 0)
_ALL_FIRST = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)


class _Lanes(types.Type):
    def __init__(self) -> None:
        super().__init__("prefine_lanes")


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)


_lanes = _Lanes()


def _address(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _VECTOR.as_pointer())


@intrinsic
def _load(_: Any, array: Any, index: Any) -> Any:
    """The 16 values of a flat float32 array from `index` on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = _address(context, builder, signature.args[0], *arguments)
        return builder.load(address, align=4)

    return _lanes(array, types.intp), generate


@intrinsic
def _store(_: Any, array: Any, index: Any, value: Any) -> Any:
    """Writes 16 values into a flat float32 array from `index` on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = _address(context, builder, signature.args[0], *arguments[:2])
        builder.store(arguments[2], address, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, _lanes), generate


@intrinsic
def _add_product(_: Any, total: Any, factor: Any, values: Any) -> Any:
    """total + factor * values in each of the 16 lanes, rounded after the product and after the sum."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, scalar, vector = arguments
        factors = builder.shuffle_vector(builder.insert_element(_UNDEFINED, scalar, _FIRST), _UNDEFINED, _ALL_FIRST)
        return builder.fadd(sums, builder.fmul(factors, vector))

    return _lanes(_lanes, types.float32, _lanes), generate


@intrinsic
def _relu(_: Any, values: Any) -> Any:
    """`forward_definition.relu` in each of the 16 lanes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        zero = _everywhere(0.0)
        return builder.select(builder.fcmp_ordered("<", arguments[0], zero), zero, arguments[0])

    return _lanes(_lanes), generate


@intrinsic
def _tanh_lanes(_: Any, values: Any) -> Any:
    """`forward_definition.tanh` in each of the 16 lanes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def chosen(condition: str, bound: float, other: Any) -> Any:  # the bound where `values` are beyond it
            limit = _everywhere(bound)
            return builder.select(builder.fcmp_ordered(condition, arguments[0], limit), limit, other)

        def polynomial(coefficients: tuple) -> Any:  # of x squared
            total = _everywhere(coefficients[-1])
            for coefficient in coefficients[-2::-1]:
                total = builder.fadd(builder.fmul(square, total), _everywhere(coefficient))
            return total

        x = chosen("<", -_TANH_LIMIT, chosen(">", _TANH_LIMIT, arguments[0]))
        square = builder.fmul(x, x)
        above = builder.fmul(x, polynomial(forward_definition.TANH_ABOVE))
        ratio = builder.fdiv(above, polynomial(forward_definition.TANH_BELOW))
        small = builder.and_(
            builder.fcmp_ordered("<", arguments[0], _everywhere(_TANH_SMALL)),
            builder.fcmp_ordered(">", arguments[0], _everywhere(-_TANH_SMALL)),
        )
        return builder.select(small, arguments[0], ratio)

    return _lanes(_lanes), generate


def _everywhere(value: float) -> Any:
    return ir.Constant(_VECTOR, [float(value)] * LANES)


# ---------------------------------------------------------------------- the kernel


_OPTIONS: Any = {"nogil": True, "error_model": "numpy"}
_inlined = njit(**_OPTIONS)  # compiled with what calls it


def _kept(signature: str) -> Callable[[Callable], Any]:
    """Compiles at once, or takes what an earlier process has kept beside this file or in the user's cache folder."""

    def compiled(function: Callable) -> Any:
        try:
            return njit(signature, cache=True, **_OPTIONS)(function)
        except RuntimeError:  # no folder to keep it in can be written
            return njit(signature, **_OPTIONS)(function)

    return compiled


@_inlined
def _keep(buffer, place, values, then):
    if then == _TANH:
        values = _tanh_lanes(values)
    elif then == _RELU:
        values = _relu(values)
    _store(buffer, place, values)


@_inlined
def _rows_4(buffer, source, target, packed, first, fan_in, fan_out, stride, then):
    """A layer for four rows that start at `source` in `buffer`, to `target` there, a strip at a time."""
    s1, s2, s3 = source + stride, source + 2 * stride, source + 3 * stride
    place = first + (fan_out + STRIP - 1) // STRIP * STRIP  # of the weights; the biases are at `first`
    for column in range(0, fan_out, STRIP):
        a0, b0 = _load(packed, first + column), _load(packed, first + column + LANES)
        a1, a2, a3, b1, b2, b3 = a0, a0, a0, b0, b0, b0
        for k in range(fan_in):
            wa, wb = _load(packed, place), _load(packed, place + LANES)
            x0, x1, x2, x3 = buffer[source + k], buffer[s1 + k], buffer[s2 + k], buffer[s3 + k]
            a0, b0 = _add_product(a0, x0, wa), _add_product(b0, x0, wb)
            a1, b1 = _add_product(a1, x1, wa), _add_product(b1, x1, wb)
            a2, b2 = _add_product(a2, x2, wa), _add_product(b2, x2, wb)
            a3, b3 = _add_product(a3, x3, wa), _add_product(b3, x3, wb)
            place += STRIP
        near = target + column
        far = near + LANES
        _keep(buffer, near, a0, then)
        _keep(buffer, far, b0, then)
        _keep(buffer, near + stride, a1, then)
        _keep(buffer, far + stride, b1, then)
        _keep(buffer, near + 2 * stride, a2, then)
        _keep(buffer, far + 2 * stride, b2, then)
        _keep(buffer, near + 3 * stride, a3, then)
        _keep(buffer, far + 3 * stride, b3, then)


@_inlined
def _row(buffer, source, target, packed, first, fan_in, fan_out, stride, then):
    """A layer for one row, two strips at a time; the last one twice where their number is odd."""
    weights = first + (fan_out + STRIP - 1) // STRIP * STRIP
    last = (fan_out - 1) // STRIP * STRIP
    for column in range(0, fan_out, 2 * STRIP):
        other = column + STRIP if column < last else column
        a, b = _load(packed, first + column), _load(packed, first + column + LANES)
        c, d = _load(packed, first + other), _load(packed, first + other + LANES)
        near, far = weights + column * fan_in, weights + other * fan_in
        for k in range(fan_in):
            x = buffer[source + k]
            a = _add_product(a, x, _load(packed, near))
            b = _add_product(b, x, _load(packed, near + LANES))
            c = _add_product(c, x, _load(packed, far))
            d = _add_product(d, x, _load(packed, far + LANES))
            near += STRIP
            far += STRIP
        _keep(buffer, target + column, a, then)
        _keep(buffer, target + column + LANES, b, then)
        _keep(buffer, target + other, c, then)
        _keep(buffer, target + other + LANES, d, then)


@_inlined
def _clip(x, low, high):
    return low if x < low else (high if x > high else x)


@_inlined
def _tanh(value):
    x = _clip(value, -_TANH_LIMIT, _TANH_LIMIT)
    s = x * x
    above = s * (s * (s * (s * (s * (s * _A13 + _A11) + _A9) + _A7) + _A5) + _A3) + _A1
    below = s * (s * (s * _B6 + _B4) + _B2) + _B0
    return value if abs(value) < _TANH_SMALL else x * above / below


@_inlined
def _exp(value):
    x = float(value)
    power = math.floor(x * _LOG2_E + 0.5)
    rest = (x - power * _LN2_HIGH) - power * _LN2_LOW
    series = 0.0
    for place in range(len(_EXP_SERIES) - 1, -1, -1):  # 0 times anything plus the last coefficient is that
        series = series * rest + _EXP_SERIES[place]
    return np.float32(math.ldexp(series, power))


@_kept(
    "void(float32[:,:,::1], float32[:,:,::1], float32, float32[:,::1], float32[:,::1], float32[::1], "
    "float32[:,::1], int64[::1], boolean[::1], float32[::1], float32[::1], float32[:,:,::1])"
)
def _act_all(observations, noise, temperature, mean, std, packed, sigmas, sizes, flags, bounds, buffer, actions):
    """Fills `actions` [P, B, act_dim].

    `noise` is empty for mean actions; `bounds` are those of log sigma and the limit of normalised observations;
    `buffer` [2 * ROWS * stride] is scratch.
    """
    members, batch, obs_dim = observations.shape
    act_dim, layers = actions.shape[2], len(sizes) - 1
    with_tanh, squash, second_head = flags[0], flags[1], flags[2]
    stride = len(buffer) // (2 * ROWS)
    for member in range(members):
        for start in range(0, batch, ROWS):
            count = batch - start if batch - start < ROWS else ROWS
            source, target = 0, ROWS * stride  # in the buffer
            for row in range(count):
                for k in range(obs_dim):
                    x = (observations[member, start + row, k] - mean[member, k]) / std[member, k]
                    buffer[row * stride + k] = _clip(x, -bounds[2], bounds[2])
            first = member * (len(packed) // members)
            for layer in range(layers):
                fan_in, fan_out = sizes[layer], sizes[layer + 1]
                then = _PLAIN if layer == layers - 1 else (_TANH if with_tanh else _RELU)
                for row in range(0, count, 4):  # rows from `count` on hold anything, and their results go nowhere
                    here, there = source + row * stride, target + row * stride
                    if row == count - 1:
                        _row(buffer, here, there, packed, first, fan_in, fan_out, stride, then)
                    else:
                        _rows_4(buffer, here, there, packed, first, fan_in, fan_out, stride, then)
                source, target = target, source
                first += (fan_out + STRIP - 1) // STRIP * STRIP * (fan_in + 1)
            for row in range(count):
                for k in range(act_dim):
                    x = buffer[source + row * stride + k]
                    if len(noise):
                        sigma = sigmas[member, k]
                        if second_head:
                            log_std = buffer[source + row * stride + act_dim + k]
                            sigma = _exp(_clip(log_std, bounds[0], bounds[1]))
                        x = x + (temperature * sigma) * noise[member, start + row, k]
                    actions[member, start + row, k] = _tanh(x) if squash else _clip(x, -_ONE, _ONE)

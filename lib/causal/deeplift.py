"""DeepLIFT's multipliers of any torch function: an input and its reference run side by side, and the backward pass is theirs.

Inside `rules()` a batch is n inputs and then their n references, and what autograd gives is no gradient but a multiplier: what an op's
output changes from reference to input, by what its input changes. Linear ops keep their own. The rules for the others are complete,
so that multiplier times change, summed over what came in, is the change of the score (summation to delta):

- an element-wise function: rescale, change out by change in, the derivative halfway where that is 0 by 0
  (Shrikumar et al. 2017, arXiv 1704.02685);
- a product of two things that change, element-wise or of matrices (attention's q.k and weights.v, a norm's centred values by their
  scale): the midpoint, each factor by the mean of the other, which is exact for what is bilinear;
- softmax: its Jacobian, with the logarithmic mean of the two probabilities where the probability is;
- layer norm, RMS norm, scaled dot-product attention, a quotient: composed of these.

What a comparison of two changing values decides has no rule and is not seen: it shows in what is missing of the sum.

captum's DeepLift (0.9) reads modules only, none of them GELU or a product, so that a transformer's are left at plain gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

#: Ops that are linear in all that changes, or change nothing (Tensor.to, shapes), by name: their gradient is their multiplier.
LINEAR = {
    "linear", "conv1d", "add", "sub", "rsub", "neg", "sum", "mean", "cumsum", "view", "view_as", "reshape", "flatten", "unflatten",
    "transpose", "swapaxes", "permute", "t", "squeeze", "unsqueeze", "expand", "expand_as", "repeat", "repeat_interleave", "tile",
    "cat", "concat", "stack", "split", "chunk", "tensor_split", "unbind", "getitem", "select", "narrow", "index_select", "gather",
    "take_along_dim", "contiguous", "clone", "to", "type", "float", "double", "half", "bfloat16", "type_as", "dropout", "pad", "roll",
    "flip", "tril", "triu", "masked_fill", "where", "movedim", "positive", "setitem", "unfold", "diagonal", "get", "fft_rfft",
    "fft_irfft",
}  # fmt: skip
#: Functions of each element alone.
ELEMENTWISE = {
    "relu", "relu6", "gelu", "silu", "elu", "selu", "celu", "leaky_relu", "mish", "softplus", "sigmoid", "logsigmoid", "hardswish",
    "hardsigmoid", "tanh", "hardtanh", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "reciprocal", "square", "erf", "sin", "cos",
    "abs", "clamp", "clip",
}  # fmt: skip
#: Products, which are linear where one factor only changes.
PRODUCTS = {"mul": torch.mul, "multiply": torch.mul, "matmul": torch.matmul, "bmm": torch.bmm, "mm": torch.mm, "einsum": torch.einsum}


class Rules(TorchFunctionMode):
    """Inside, every torch function of something that asks for its gradient runs under its rule.

    Parameters must not ask for theirs. Raises NotImplementedError for an op that has no rule, by its name.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name, inside = _name(func), [*_tensors(args), *_tensors(tuple(kwargs.values()))]
        changing = [x for x in inside if x.requires_grad]
        if not changing or name in LINEAR:
            return func(*args, **kwargs)
        if name in RULES:
            return RULES[name](*args, **kwargs)
        if name in ELEMENTWISE and len(changing) == 1:
            return elementwise(lambda x: func(x, *args[1:], **kwargs), args[0])
        if name in PRODUCTS:
            return _product(PRODUCTS[name], args, kwargs)
        out = func(*args, **kwargs)
        if any(x.requires_grad for x in _tensors((out,))):
            raise NotImplementedError(f"DeepLIFT has no rule for {name}")
        return out


def _name(func: Callable) -> str:
    """add of torch.add, Tensor.add, Tensor.__add__, __radd__ and add_; what is not linear keeps the mark of writing in place."""
    name = getattr(func, "__name__", str(func))
    if name.startswith("__"):
        bare = name.strip("_")
        known = {"radd": "add", "rmul": "mul", "iadd": "add", "isub": "sub", "rtruediv": "rdiv", "truediv": "div", "rpow": "rpow"}
        return known.get(bare, bare)
    return name[:-1] if name.endswith("_") and name[:-1] in LINEAR else name


def _tensors(values: tuple | list) -> list[Tensor]:
    """All tensors in arguments, those in lists among them."""
    out = []
    for value in values:
        if isinstance(value, Tensor):
            out.append(value)
        elif isinstance(value, tuple | list):
            out += _tensors(value)
    return out


# ---- rules ----------------------------------------------------------------------------------------------------------


def _halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs and references of what changes: the halves of its first axis. NotImplementedError where they cannot be."""
    if x.ndim == 0 or len(x) % 2:
        raise NotImplementedError(f"DeepLIFT needs inputs and references on the first axis, here of shape {tuple(x.shape)}")
    return x.chunk(2)


def _twice(x: Tensor) -> Tensor:
    return torch.cat([x, x])


class _Elementwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, f: Callable) -> Tensor:
        y = f(x)
        ctx.save_for_backward(x, y)
        ctx.f = f
        return y

    @staticmethod
    def backward(ctx, g: Tensor) -> tuple:
        (x, x0), (y, y0) = map(_halves, ctx.saved_tensors)
        dx, dy, halfway = x - x0, y - y0, ((x + x0) / 2).detach().requires_grad_()
        with torch.enable_grad():
            slope = torch.autograd.grad(ctx.f(halfway).sum(), halfway)[0]
        small = torch.finfo(x.dtype).eps ** 0.5  # where neither changes by more, the quotient is rounding and the derivative is not
        far = (dy.abs() > small * (y + y0).abs() / 2) | (dx.abs() > small * halfway.detach().abs().clamp_min(1))
        return g * _twice(torch.where(far, dy / torch.where(far, dx, 1), slope)), None


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, f: Callable, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        ctx.f = f
        return f(a, b)

    @staticmethod
    def backward(ctx, g: Tensor) -> tuple:
        means = [_twice(sum(_halves(x)) / 2).detach().requires_grad_() for x in ctx.saved_tensors]
        with torch.enable_grad():
            return None, *torch.autograd.grad(ctx.f(*means), means, g)


class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, dim: int) -> Tensor:
        log = F.log_softmax(x, dim)
        ctx.save_for_backward(log)
        ctx.dim = dim
        return log.exp()

    @staticmethod
    def backward(ctx, g: Tensor) -> tuple:
        """p_i changes by l_i (change of x_i - change of lse), l the logarithmic mean, and lse, since both sum to 1, by l.x / sum of l."""
        log, log0 = _halves(ctx.saved_tensors[0])
        change = log - log0
        far = change.abs() > torch.finfo(log.dtype).eps ** 0.5  # not so of a letter that is masked in both
        mean = torch.where(far, (log.exp() - log0.exp()) / torch.where(far, change, 1), ((log + log0) / 2).exp())
        mean = _twice(mean)
        own = mean * g
        return own - mean * own.sum(ctx.dim, keepdim=True) / mean.sum(ctx.dim, keepdim=True), None


def elementwise(f: Callable, x: Tensor) -> Tensor:
    """f(x) under the rescale rule. f: of each element alone; x: [2 n, ...], inputs and then references."""
    return _Elementwise.apply(x, f)


def product(a: Tensor, b: Tensor, f: Callable = torch.mul) -> Tensor:
    """f(a, b), which is bilinear, under the midpoint rule where both change. a, b: [2 n, ...], inputs and then references."""
    return _Product.apply(f, a, b) if a.requires_grad and b.requires_grad else f(a, b)


def _product(f: Callable, args: tuple, kwargs: dict) -> Tensor:
    if f is torch.einsum:
        equation, *operands = args
        operands = list(operands[0]) if len(operands) == 1 and not isinstance(operands[0], Tensor) else operands
        if sum(x.requires_grad for x in operands) > 1 and len(operands) > 2:
            raise NotImplementedError(f"DeepLIFT has no rule for a product of {len(operands)} ({equation})")
        return product(*operands, lambda a, b: torch.einsum(equation, a, b)) if len(operands) == 2 else f(equation, *operands)
    a, b = [*args, *kwargs.values()][:2]
    return product(a, b, f) if isinstance(a, Tensor) and isinstance(b, Tensor) else f(a, b)


def softmax(x: Tensor, dim: int = -1, dtype: torch.dtype | None = None, **_) -> Tensor:
    """Softmax under its rule. x: [2 n, ...], inputs and then references; dim: not the first."""
    return _Softmax.apply(x if dtype is None else x.to(dtype), dim)


def _power(x, exponent) -> Tensor:
    if isinstance(exponent, Tensor) and exponent.requires_grad:
        raise NotImplementedError("DeepLIFT has no rule for a power that changes")
    return elementwise(lambda x: x**exponent, x)


def _quotient(a, b, *, rounding_mode=None) -> Tensor:
    if not (isinstance(b, Tensor) and b.requires_grad):
        return torch.div(a, b)
    b = elementwise(torch.reciprocal, b)
    return product(a, b) if isinstance(a, Tensor) else a * b


def layer_norm(x: Tensor, shape, weight=None, bias=None, eps: float = 1e-5) -> Tensor:
    """Layer norm as a product of centred values and their scale. x: [2 n, ...], inputs and then references."""
    axes = tuple(range(-len(tuple(shape)), 0))
    centred = x - x.mean(axes, keepdim=True)
    return _scaled(centred, axes, weight, eps) if bias is None else _scaled(centred, axes, weight, eps) + bias


def _rms_norm(x: Tensor, shape, weight=None, eps: float | None = None) -> Tensor:
    return _scaled(x, tuple(range(-len(tuple(shape)), 0)), weight, torch.finfo(x.dtype).eps if eps is None else eps)


def _scaled(x: Tensor, axes: tuple, weight: Tensor | None, eps: float) -> Tensor:
    """x by the root of its mean square."""
    scale = elementwise(lambda v: (v + eps).rsqrt(), product(x, x).mean(axes, keepdim=True))
    return product(x, scale) if weight is None else product(x, scale) * weight


def _sum_and_product(c, a, b, *, beta=1, alpha=1) -> Tensor:
    added = alpha * product(a, b, torch.matmul)
    return added + beta * c if beta else added


def _attention(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False) -> Tensor:
    if enable_gqa:
        k, v = (x.repeat_interleave(q.shape[-3] // x.shape[-3], -3) for x in (k, v))
    logits = product(q, k.transpose(-2, -1), torch.matmul) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(logits.shape[-2:], dtype=torch.bool, device=q.device).tril()
    if attn_mask is not None:
        logits = logits.masked_fill(~attn_mask, -math.inf) if attn_mask.dtype == torch.bool else logits + attn_mask
    return product(softmax(logits), v, torch.matmul)


#: name -> what runs in its place
RULES = {
    "softmax": softmax, "pow": _power, "float_power": _power, "div": _quotient, "divide": _quotient, "true_divide": _quotient,
    "rdiv": lambda x, a: _quotient(a, x), "addmm": _sum_and_product, "baddbmm": _sum_and_product, "layer_norm": layer_norm,
    "rms_norm": _rms_norm, "scaled_dot_product_attention": _attention,
}  # fmt: skip


# ---- contributions --------------------------------------------------------------------------------------------------


def contributions(f: Callable[[Tensor], Tensor], x: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """What each element of x adds to f(x) - f(reference): [n, ...], and what is missing of that sum: [n].

    f: [2 n, ...] -> [2 n], of inputs and then references. x, reference: [n, ...]. Raises NotImplementedError for an op without a rule.
    """
    both = torch.cat([x, reference]).detach().requires_grad_()
    with torch.enable_grad(), Rules():
        y, y0 = _halves(f(both))
        multipliers = torch.autograd.grad(y.sum(), both)[0][: len(x)]
    given = multipliers * (x - reference)
    return given.detach(), (y - y0 - given.flatten(1).sum(1)).detach()

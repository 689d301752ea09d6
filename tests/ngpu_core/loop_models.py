"""Every model once more, number by number in plain Python: written from the papers, not the code.

Nothing here knows tensors: a state is nested lists, and a sum is a loop. Parameters come as nested
lists under the names that `initialize` gives them.
"""

from math import exp, sqrt, tanh
from typing import Any

from ngpu_core.config import ModelConfig

#: (B, columns, rows, maps)
Images = list[Any]


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def clip(x: float, low: float, high: float) -> float:
    return min(max(x, low), high)


def dot(weights: list[float], values: list[float]) -> float:
    return sum(w * v for w, v in zip(weights, values, strict=True))


def zeros(*shape: int) -> Any:
    return [zeros(*shape[1:]) for _ in range(shape[0])] if shape else 0.0


def convolved(image: Any, weight: Any, bias: list[float], constant: float = 0.0) -> Any:
    """Kernel 3 × 3 (row, column) over (columns, rows, maps); beyond the image are zeros."""
    columns, rows = len(image), len(image[0])
    out = zeros(columns, rows, len(weight))
    for x in range(columns):
        for y in range(rows):
            for o, kernel in enumerate(weight):
                value = bias[o] + constant
                for dy in (-1, 0, 1):
                    for dx in (-1, 0, 1):
                        if 0 <= x + dx < columns and 0 <= y + dy < rows:
                            for i, entry in enumerate(image[x + dx][y + dy]):
                                value += kernel[i][dy + 1][dx + 1] * entry
                out[x][y][o] = value
    return out


def each(function: Any, *images: Any) -> Any:
    """A function of the numbers at the same place of several images."""
    if not isinstance(images[0], list):
        return function(*images)
    return [each(function, *parts) for parts in zip(*images, strict=True)]


class LoopNeuralGPU:
    """One seed's Neural GPU on one batch, with all of its padding (SPECS B.1)."""

    def __init__(self, model: ModelConfig, parameters: Any, task: int = 0) -> None:
        self.model = model
        self.parameters = parameters
        self.task = [float(slot == task) for slot in range(4)] if model.task_id else []

    def logits(self, inputs: Any, mask: Any, keeps: Any | None, padded: int) -> Any:
        """(B, L, classes) of symbols (B, rows, L), mask (B, L), keeps (time, B, columns, …)."""
        model, length = self.model, len(mask[0])
        mask = [[*map(float, one), *[0.0] * (padded - length)] for one in mask]
        states = [self.embedded(one, padded) for one in inputs]
        steps = [int(sum(one)) + model.extra_steps for one in mask]
        if model.layer_scale < 1:
            rounds = -(-int(model.layer_scale * padded) // model.weight_copies)
            steps = [min(count, rounds * model.weight_copies) for count in steps]
        sums = zeros(len(states), padded, model.height, model.filters)
        for time in range(max(steps)):
            new = self.step(time, states, mask, keeps[time] if keeps else None)
            for b, count in enumerate(steps):
                if time < count:
                    sums[b] = each(lambda a, s: a + s, sums[b], new[b])
                if time < count or model.output_layer == 1:
                    states[b] = new[b]
        final = sums if model.output_layer == 1 else states
        weight, bias = self.parameters["output.weight"], self.parameters["output.bias"]
        return [
            [[dot(weight[c], one[x][0]) + bias[c] for c in range(len(bias))] for x in range(length)]
            for one in final
        ]

    def embedded(self, symbols: Any, padded: int) -> Any:
        image = zeros(padded, self.model.height, self.model.filters)
        for y, row in enumerate(symbols):
            for x, symbol in enumerate(row):
                if symbol:
                    image[x][y] = [tanh(value) for value in self.parameters["embedding"][symbol]]
        return image

    def step(self, time: int, states: Images, mask: Any, keep: Any | None) -> Images:
        copy = time % self.model.weight_copies
        new = []
        for b, state in enumerate(states):
            if keep:
                state = each(lambda s, k: s * k, state, keep[b])
            unit = self.residual if self.model.unit == "resnet" else self.gated
            new.append(unit(copy, state, mask[b]))
        return self.normalized(copy, new, mask) if self.model.batch_norm else new

    def own(self, name: str, copy: int) -> Any:
        return self.parameters[name][copy]

    def with_task(self, state: Any) -> Any:
        return [[[*self.task, *cell] for cell in column] for column in state]

    def gated(self, copy: int, state: Any, mask: Any) -> Any:
        model, maps = self.model, self.model.filters
        for layer in range(model.layers):
            weight = self.own(f"gru{layer}.gates.weight", copy)
            bias = self.own(f"gru{layer}.gates.bias", copy)
            gates = each(self.gate, convolved(self.with_task(state), weight, bias, 1.0))
            passed = zeros(len(state), model.height, maps)
            for x, column in enumerate(state):
                for y, cell in enumerate(column):
                    passed[x][y] = [gates[x][y][i] * cell[i] for i in range(maps)]
            weight = self.own(f"gru{layer}.candidate.weight", copy)
            bias = self.own(f"gru{layer}.candidate.bias", copy)
            candidate = convolved(self.with_task(passed), weight, bias)
            new = zeros(len(state), model.height, maps)
            for x, column in enumerate(state):
                for y, cell in enumerate(column):
                    for i in range(maps):
                        u, c = gates[x][y][maps + i], self.candidate(candidate[x][y][i])
                        new[x][y][i] = (u * cell[i] + (1 - u) * c) * mask[x]
            state = new
        return state

    def gate(self, x: float) -> float:
        q = self.model.gate_cutoff
        return sigmoid(x) if q < 1.01 else clip(q * sigmoid(x) - (q - 1) / 2, 0, 1)

    def candidate(self, x: float) -> float:
        q = self.model.tanh_cutoff
        return tanh(x) if q < 1.01 else clip(q * tanh(x), -1, 1)

    def residual(self, copy: int, state: Any, mask: Any) -> Any:
        before = state
        for layer in range(self.model.layers):
            weight = self.own(f"convolution{layer}.weight", copy)
            bias = self.own(f"convolution{layer}.bias", copy)
            state = convolved(self.with_task(state), weight, bias)
            if layer == self.model.layers - 1:
                state = each(lambda s, b: s + b, state, before)
            for x, column in enumerate(state):
                for cell in column:
                    for i, value in enumerate(cell):
                        cell[i] = max(0.0, value * mask[x])
        return state

    def normalized(self, copy: int, states: Images, mask: Any) -> Images:
        gamma, beta = self.own("norm.gamma", copy), self.own("norm.beta", copy)
        counted = [
            (b, x, y)
            for b in range(len(states))
            for x in range(len(states[b]))
            for y in range(self.model.height)
            if self.model.batch_norm == 1 or mask[b][x]
        ]
        new = zeros(len(states), len(states[0]), self.model.height, self.model.filters)
        for i in range(self.model.filters):
            values = [states[b][x][y][i] for b, x, y in counted]
            mean = sum(values) / len(values)
            variance = sum((value - mean) ** 2 for value in values) / len(values)
            for b, state in enumerate(states):
                for x, column in enumerate(state):
                    for y, cell in enumerate(column):
                        around = (cell[i] - mean) / sqrt(variance + 1e-3)
                        new[b][x][y][i] = around * gamma[i] + beta[i]
        return new


class LoopDiagonal:
    """One seed's diagonal Neural GPU on one sequence (SPECS D)."""

    def __init__(self, model: ModelConfig, parameters: Any) -> None:
        self.model = model
        self.parameters = parameters
        self.saturation = 0.0

    def logits(self, symbols: list[int], mask: list[int], keeps: Any | None) -> Any:
        """(L, classes); keeps (time, L, maps): time 0 is the first state's."""
        p, maps, length = self.parameters, self.model.filters, len(symbols)
        state = zeros(length, maps)
        for x, symbol in enumerate(symbols):
            for i in range(maps):
                value = self.squash(p["input.weight"][symbol][i] + p["input.bias"][i], length)
                state[x][i] = value * (keeps[0][x][i] if keeps else 1) * mask[x]
        for time in range(length):
            if keeps and self.model.dropout_on == "state" and time > 0:
                state = each(lambda s, k: s * k, state, keeps[time])
            state = self.step(state, mask, keeps[time + 1] if keeps else None)
        return [
            [dot(weight, cell) + bias for weight, bias in zip(
                p["output.weight"], p["output.bias"], strict=True)]
            for cell in state
        ]  # fmt: skip

    def step(self, state: Any, mask: list[int], keep: Any | None) -> Any:
        p, maps = self.parameters, self.model.filters
        gates = each(self.gate, self.convolved(state, p["gates.weight"], p["gates.bias"]))
        passed = [[gates[x][i] * cell[i] for i in range(maps)] for x, cell in enumerate(state)]
        proposal = self.convolved(passed, p["candidate.weight"], p["candidate.bias"])
        new = zeros(len(state), maps)
        for x in range(len(state)):
            for i in range(maps):
                candidate = self.squash(proposal[x][i])
                if keep and self.model.dropout_on in ("reference", "candidate"):
                    candidate *= keep[x][i]
                u = gates[x][maps + i]
                new[x][i] = (u * self.shifted(state, x, i) + (1 - u) * candidate) * mask[x]
        return new

    def shifted(self, state: Any, x: int, i: int) -> float:
        third = self.model.filters // 3
        if self.model.diagonal_gates and i >= self.model.filters - third:
            return state[x + 1][i] if x + 1 < len(state) else 0.0
        if self.model.diagonal_gates and i >= self.model.filters - 2 * third:
            return state[x - 1][i] if x > 0 else 0.0
        return state[x][i]

    def convolved(self, state: Any, weight: Any, bias: list[float]) -> Any:
        out = zeros(len(state), len(bias))
        for x in range(len(state)):
            for o, kernel in enumerate(weight):
                out[x][o] = bias[o]
                for d in (-1, 0, 1):
                    if 0 <= x + d < len(state):
                        for i, value in enumerate(state[x + d]):
                            out[x][o] += kernel[i][d + 1] * value
        return out

    def gate(self, x: float) -> float:
        if self.model.soft_nonlinearities:
            return sigmoid(x)
        self.saturation += max(abs(x) - 0.9, 0)
        return clip((x + 1) / 2, 0, 1)

    def squash(self, x: float, weight: float = 1.0) -> float:
        if self.model.soft_nonlinearities:
            return tanh(x)
        self.saturation += weight * max(abs(x) - 0.9, 0)
        return clip(x, -1, 1)


class LoopLSTMAttention:
    """One seed's encoder and decoder on one sequence (the family's docstring)."""

    def __init__(self, model: ModelConfig, parameters: Any) -> None:
        self.model = model
        self.parameters = parameters

    def logits(
        self, symbols: list[int], mask: list[int], keeps: Any | None, told: list[int] | None
    ) -> Any:
        """(L, classes); keeps (L, 2·layers, units); told the right symbols, or reads its own."""
        p, units, layers = self.parameters, self.model.filters, self.model.layers
        cells, outputs = zeros(layers, units), zeros(layers, units)
        memory = []
        for x, symbol in enumerate(symbols):
            value = p["input.embedding"][symbol]
            for layer in range(layers):
                if keeps:
                    value = each(lambda v, k: v * k, value, keeps[x][layer])
                if mask[x]:
                    cells[layer], outputs[layer] = self.cell(
                        f"encoder{layer}", value, cells[layer], outputs[layer]
                    )
                value = outputs[layer]
            memory.append(value)
        answers, last, glimpse = [], 0, [0.0] * units
        for x in range(len(symbols)):
            value = self.linear("merge", [*p["output.embedding"][last], *glimpse])
            for layer in range(layers):
                if keeps:
                    value = each(lambda v, k: v * k, value, keeps[x][layers + layer])
                cells[layer], outputs[layer] = self.cell(
                    f"decoder{layer}", value, cells[layer], outputs[layer]
                )
                value = outputs[layer]
            glimpse = self.glimpse(memory, mask, value)
            answers.append(self.linear("output", [*value, *glimpse]))
            own = max(range(len(answers[-1])), key=answers[-1].__getitem__)
            last = own if told is None else told[x]
        return answers

    def linear(self, name: str, values: list[float]) -> list[float]:
        weight = self.parameters[f"{name}.weight"]
        bias = self.parameters.get(f"{name}.bias", [0.0] * len(weight[0]))
        return [
            sum(values[i] * weight[i][o] for i in range(len(values))) + bias[o]
            for o in range(len(bias))
        ]

    def cell(
        self, name: str, value: list[float], cell: list[float], output: list[float]
    ) -> tuple[list[float], list[float]]:
        units = self.model.filters
        gates = self.linear(name, [*value, *output])
        new_cell, new_output = [0.0] * units, [0.0] * units
        for i in range(units):
            enter, new, forget, leave = (gates[part * units + i] for part in range(4))
            new_cell[i] = sigmoid(forget + 1) * cell[i] + sigmoid(enter) * tanh(new)
            new_output[i] = sigmoid(leave) * tanh(new_cell[i])
        return new_cell, new_output

    def glimpse(self, memory: Any, mask: list[int], query: list[float]) -> list[float]:
        asked = self.linear("attention.query", query)
        scores = {}
        for x, value in enumerate(memory):
            if mask[x]:
                key = self.linear("attention.key", value)
                match = [tanh(k + a) for k, a in zip(key, asked, strict=True)]
                scores[x] = sum(
                    m * v[0]
                    for m, v in zip(match, self.parameters["attention.vector"], strict=True)
                )
        total = sum(exp(score) for score in scores.values())
        return [
            sum(exp(score) / total * memory[x][i] for x, score in scores.items())
            for i in range(self.model.filters)
        ]

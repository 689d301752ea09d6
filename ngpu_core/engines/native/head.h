// The first and the last layer of both families: symbols to maps, maps to the cross-entropy.
#pragma once

#include <cmath>

#include "row.h"
#include "step.h"

// The sequences of a row: unit u, lane s of a vector is sequence first + u · SEQUENCES + s.
template <int SEQUENCES>
struct Sequences {
    const Batch& batch;
    int first, count;

    int units() const { return (count + SEQUENCES - 1) / SEQUENCES; }
    // The sequence of a lane, or -1 where the last unit is not full.
    int in_lane(int unit, int s) const {
        const int index = unit * SEQUENCES + s;
        return index < count ? first + index : -1;
    }
    // A vector with a value for each sequence of a unit; 0 where there is none.
    template <class Value>
    Vector lanes(int unit, Value value) const {
        Vector result;
        for (int lane = 0; lane < LANES; ++lane) {
            const int sequence = in_lane(unit, lane % SEQUENCES);
            result[lane] = sequence < 0 ? 0.0f : value(sequence);
        }
        return result;
    }
};

// The output layer's weights (classes, maps) and biases, or their gradients.
template <class Number>
struct Head {
    int classes, maps;
    Number* weight;
    Number* bias;
};

// Logits of the first row of a state; what they cost, their gradients, and how many are wrong.
//
// `masked`: whether only positions that hold anything cost and only target symbols count; else all.
// `state_gradient` (null: forward only) must be zero and receives the gradient of the state.
template <int SEQUENCES>
Costs read_out(const Row& row, int vectors, const Sequences<SEQUENCES>& sequences, bool masked,
               const Head<const float>& head, const float* state, float* state_gradient,
               const Head<float>& gradient) {
    const Batch& batch = sequences.batch;
    Costs costs;
    std::vector<float> values(head.maps), change(head.maps), slopes(head.classes);
    std::vector<float> by_map(size_t(head.maps) * head.classes);  // so that classes lie side by side
    for (int one = 0; one < head.classes; ++one)
        for (int map = 0; map < head.maps; ++map)
            by_map[size_t(map) * head.classes + one] = head.weight[size_t(one) * head.maps + map];
    for (int unit = 0; unit < row.units; ++unit)
        for (int s = 0; s < SEQUENCES; ++s) {
            const int sequence = sequences.in_lane(unit, s);
            if (sequence < 0) continue;
            int64_t wrong = 0;
            for (int position = 0; position < row.columns; ++position) {
                const size_t cell = size_t(row.column(unit, position)) * row.height * vectors * LANES;
                const size_t place = size_t(sequence) * row.columns + position;
                float* logits = batch.logits + place * head.classes;
                for (int map = 0; map < head.maps; ++map)
                    values[map] = state[cell + map * SEQUENCES + s];
                std::copy_n(head.bias, head.classes, logits);
                for (int map = 0; map < head.maps; ++map) {
                    const float* weight = by_map.data() + size_t(map) * head.classes;
                    for (int one = 0; one < head.classes; ++one)
                        logits[one] += weight[one] * values[map];
                }
                const float* best = std::max_element(logits, logits + head.classes);
                const int64_t target = batch.targets[place];
                if (!masked || target > 0) {
                    ++costs.symbols;
                    wrong += best - logits != target;
                }
                if (!state_gradient || (masked && !batch.seen(sequence, position))) continue;
                const float largest = *best;
                float sum = 0;
                for (int one = 0; one < head.classes; ++one)
                    sum += slopes[one] = std::exp(logits[one] - largest);
                costs.loss += double(batch.weight) * (std::log(sum) + largest - logits[target]);
                std::fill(change.begin(), change.end(), 0.0f);
                for (int one = 0; one < head.classes; ++one) {
                    const float slope = batch.weight * (slopes[one] / sum - (one == target));
                    const float* out = head.weight + size_t(one) * head.maps;
                    float* out_gradient = gradient.weight + size_t(one) * head.maps;
                    gradient.bias[one] += slope;
                    for (int map = 0; map < head.maps; ++map) {
                        out_gradient[map] += slope * values[map];
                        change[map] += slope * out[map];
                    }
                }
                for (int map = 0; map < head.maps; ++map)
                    state_gradient[cell + map * SEQUENCES + s] = change[map];
            }
            costs.wrong_symbols += wrong;
            costs.wrong_sequences += wrong > 0;
        }
    return costs;
}

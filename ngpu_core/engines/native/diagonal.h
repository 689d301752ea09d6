// The diagonal Neural GPU's recurrence (SPECS D), forward and backward, for a few sequences at a time.
//
// A time step maps a row of cells s (m maps each) to
//
//     [r, u] = hard_sigmoid(conv(s; W_ru) + b_ru)          hard_sigmoid(x) = clip((x + 1)/2, 0, 1)
//     c = hard_tanh(conv(r·s; W_c) + b_c)                  hard_tanh(x) = clip(x, -1, 1)
//     s' = mask · (k·c + u·(shift(s) - k·c))               k: scaled dropout mask
//
// where shift moves a third of the maps one cell right and a third left. Every pre-activation x costs
// w·max(|x| - 0.9, 0) (saturation); since |x| > 0.9 shows in r, u and c, these need not be kept apart.
// With D the gradient of s', and conv' and shift' the gradients through conv and shift, backwards
//
//     D ← mask · D,   dc = D·(1 - u)·k·[|c| < 1] + w·sign,   p = conv'(dc; W_c)
//     d[r, u] = ½·[0 < r, u < 1]·[p·s, D·(shift(s) - k·c)] + w·sign
//     D ← shift'(D·u) + p·r + conv'(d[r, u]; W_ru)
//
// Kept a time step: s, [r, u], c. Only every `segment`-th state outlives the forward pass.
#pragma once

#include "kernel.h"
#include "recurrence.h"

template <int SEQUENCES>
class Diagonal {
   public:
    // Packed once a step, read by all threads.
    struct Weights {
        const float *gates, *gates_bias, *gates_back, *candidate, *candidate_bias, *candidate_back;
    };
    // Of one chunk of the batch.
    struct Gradients {
        KernelGradient gates, candidate;
        float *gates_bias, *candidate_bias;
        float *table, *head_weight, *head_bias;
        float *first, *end;  // all of them lie in between

        void finish() const {
            gates.zero_if_none();
            candidate.zero_if_none();
        }
    };

    explicit Diagonal(const Step& step)
        : step_(step),
          gates_{2, step.maps, 1},
          candidate_{1, step.maps, 1},
          vectors_(candidate_.vectors()) {}

    bool training() const { return step_.gradient != nullptr; }

    size_t weight_floats() const {
        const size_t forward = gates_.forward().size() + candidate_.forward().size();
        return 2 * forward + 3 * size_t(vectors_) * LANES + 8 * 16;
    }

    Weights pack(Memory& memory) const {
        Weights weights{};
        const auto part = [&](const auto& kernel, int which, const float*& forward,
                              const float*& bias, const float*& back) {
            float* packed = memory.take(kernel.forward().size());
            kernel.pack_forward(step_.parameter[which], packed);
            forward = packed;
            packed = memory.take(size_t(kernel.parts) * vectors_ * LANES);
            kernel.pack_bias(step_.parameter[which + 1], 0, packed);
            bias = packed;
            if (!training()) return;
            packed = memory.take(kernel.backward().size());
            kernel.pack_backward(step_.parameter[which], packed);
            back = packed;
        };
        part(gates_, 2, weights.gates, weights.gates_bias, weights.gates_back);
        part(candidate_, 4, weights.candidate, weights.candidate_bias, weights.candidate_back);
        return weights;
    }

    size_t gradient_floats() const {
        return gates_.forward().size() + candidate_.forward().size() +
               3 * size_t(vectors_) * LANES + size_t(step_.input_symbols) * step_.maps +
               size_t(step_.output_symbols) * (step_.maps + 1) + 8 * 16;
    }

    Gradients begin_gradients(Memory& memory) const {
        Gradients gradients;
        gradients.first = memory.next();
        gradients.gates = gates_.gradient(memory);
        gradients.candidate = candidate_.gradient(memory);
        float* const sums = memory.next();
        gradients.gates_bias = memory.take(2 * size_t(vectors_) * LANES);
        gradients.candidate_bias = memory.take(size_t(vectors_) * LANES);
        gradients.table = memory.take(size_t(step_.input_symbols) * step_.maps);
        gradients.head_weight = memory.take(size_t(step_.output_symbols) * step_.maps);
        gradients.head_bias = memory.take(step_.output_symbols);
        gradients.end = memory.next();
        std::fill(sums, gradients.end, 0.0f);
        return gradients;
    }

    // Gradients of all chunks into torch's order. A symbol's maps are weight + bias: both get the table's.
    void unpack(const Gradients& from) const {
        float* const* to = step_.gradient;
        gates_.unpack(from.gates.numbers, from.gates_bias, to[2], to[3]);
        candidate_.unpack(from.candidate.numbers, from.candidate_bias, to[4], to[5]);
        std::copy_n(from.table, size_t(step_.input_symbols) * step_.maps, to[0]);
        std::fill_n(to[1], step_.maps, 0.0f);
        for (int symbol = 0; symbol < step_.input_symbols; ++symbol)
            for (int map = 0; map < step_.maps; ++map)
                to[1][map] += from.table[symbol * step_.maps + map];
        std::copy_n(from.head_weight, size_t(step_.output_symbols) * step_.maps, to[6]);
        std::copy_n(from.head_bias, step_.output_symbols, to[7]);
    }

    // Run sequences first … first + count - 1 of a batch and add their gradients.
    Costs run(const Batch& batch, int first, int count, const Weights& weights,
              Gradients* gradients) const {
        Run run{*this, {batch, first, count}, weights, gradients};
        return run.all();
    }

   private:
    struct Run {
        const Diagonal& net;
        Sequences<SEQUENCES> sequences;
        const Weights& weights;
        Gradients* gradients;
        Row row{};
        Workspace work{};
        int times = 0, vectors = 0;
        std::vector<Vector> mask, counted, from_left, from_right;
        std::unique_ptr<Kept> kept;
        float *reset = nullptr;  // r·s, where it is at work
        float *change = nullptr, *gate_change = nullptr, *candidate_change = nullptr,
              *passed = nullptr;
        double excess = 0;

        Costs all() {
            const Step& step = net.step_;
            row = {sequences.units(), sequences.batch.columns, 1};
            vectors = net.vectors_;
            times = row.columns;
            mask = seen_positions(sequences);
            for (int unit = 0; unit < row.units; ++unit)
                counted.push_back(sequences.lanes(unit, [](int) { return 1.0f; }));
            mark_thirds();
            kept = std::make_unique<Kept>(row, vectors, times, 1, step.segment,
                                          gradients != nullptr);
            const auto sizes =
                workspace_of_unit(row, net.gates_, net.candidate_, gradients != nullptr);
            Memory memory(Use::run, kept->floats(gradients ? 6 : 1) + sizes.floats());
            kept->take(memory);
            reset = kept->array(memory, 1);
            work = Workspace::take(memory, sizes);
            embed();
            const float* last = kept->forward([&](int from, int to) { forward(from, to, true); });
            const Head<const float> head{step.output_symbols, step.maps, step.parameter[6],
                                         step.parameter[7]};
            if (!gradients)
                return read_out<SEQUENCES>(row, vectors, sequences, false, head, last, nullptr, {});
            for (float** one : {&change, &candidate_change, &passed})
                *one = kept->array(memory, 1);
            gate_change = kept->array(memory, 2);
            std::fill_n(change, row.size(vectors), 0.0f);
            Costs costs = read_out<SEQUENCES>(
                row, vectors, sequences, false, head, last, change,
                {step.output_symbols, step.maps, gradients->head_weight, gradients->head_bias});
            kept->backward([&](int from, int to) { forward(from, to, false); },
                           [&](int from, int to) { backward(from, to); });
            embed_backward();
            costs.excess = excess;
            return costs;
        }

        // Which maps the diagonal shift takes from the cell to the left, and which to the right.
        void mark_thirds() {
            const int maps = net.step_.maps, third = maps / 3;
            for (int v = 0; v < vectors; ++v) {
                Vector left{}, right{};
                for (int lane = 0; lane < LANES; ++lane) {
                    const int map = (v * LANES + lane) / SEQUENCES;
                    left[lane] = map >= maps - 2 * third && map < maps - third;
                    right[lane] = map >= maps - third && map < maps;
                }
                from_left.push_back(left);
                from_right.push_back(right);
            }
        }

        // visit(symbol, lane's sequence, first float of the cell) for every symbol, pads too.
        template <class Visit>
        void each_symbol(Visit visit) const {
            const Batch& batch = sequences.batch;
            row.each_cell(vectors, [&](int unit, int position, int, size_t cell) {
                for (int s = 0; s < SEQUENCES; ++s) {
                    const int sequence = sequences.in_lane(unit, s);
                    if (sequence < 0) continue;
                    visit(batch.symbol(sequence, 0, position), s, cell);
                }
            });
        }

        // The first state: hard_tanh(weight + bias), dropped out and masked.
        void embed() {
            const int maps = net.step_.maps;
            float* state = kept->state[0];
            std::fill_n(state, row.size(vectors), 0.0f);
            each_symbol([&](int64_t symbol, int s, size_t cell) {
                for (int map = 0; map < maps; ++map) {
                    const float x = preactivation(symbol, map);
                    // The input layer acts once and costs as often as the recurrence.
                    excess += times * std::max(std::abs(x) - 0.9, 0.0);
                    state[cell + map * SEQUENCES + s] = std::min(1.0f, std::max(-1.0f, x));
                }
            });
            const Mask<SEQUENCES> keep(sequences, net.step_.maps, 1, 0);
            each_vector([&](int unit, int position, int v, size_t place) {
                at(state + place) *=
                    keep(unit, position, 0, v) * mask[unit * row.columns + position];
            });
        }

        float preactivation(int64_t symbol, int map) const {
            return net.step_.parameter[0][symbol * net.step_.maps + map] +
                   net.step_.parameter[1][map];
        }

        void embed_backward() {
            const int maps = net.step_.maps;
            const float weight = times * sequences.batch.saturation;
            const Mask<SEQUENCES> keep(sequences, net.step_.maps, 1, 0);
            each_vector([&](int unit, int position, int v, size_t place) {
                at(change + place) *= keep(unit, position, 0, v) * mask[unit * row.columns + position];
            });
            each_symbol([&](int64_t symbol, int s, size_t cell) {
                for (int map = 0; map < maps; ++map) {
                    const float x = preactivation(symbol, map);
                    float slope = std::abs(x) <= 1 ? change[cell + map * SEQUENCES + s] : 0.0f;
                    if (std::abs(x) > 0.9f) slope += x > 0 ? weight : -weight;
                    gradients->table[symbol * maps + map] += slope;
                }
            });
        }

        // visit(unit, position, vector of the cell, place in an array) for every vector.
        template <class Visit>
        void each_vector(Visit visit) const {
            row.each_cell(vectors, [&](int unit, int position, int, size_t cell) {
                for (int v = 0; v < vectors; ++v) visit(unit, position, v, cell + v * LANES);
            });
        }

        Vector shifted(const float* s, size_t place, int v) const {
            const ptrdiff_t column = ptrdiff_t(vectors) * LANES;
            const Vector left = from_left[v], right = from_right[v];
            return (1.0f - left - right) * at(s + place) + left * at(s + place - column) +
                   right * at(s + place + column);
        }

        static Vector over(Vector x) {
            const Vector size = x < 0.0f ? -x : x;
            return size > 0.9f ? size - 0.9f : every(0.0f);
        }

        void forward(int from, int to, bool count) {
            for (int time = from; time < to; ++time) step_forward(time, time - from, count);
        }

        // Where a vector of a cell lies in an array whose cells have `size`.
        static size_t place(const Cell& cell, int size, int v) {
            return (cell.index * size + v) * LANES;
        }

        void step_forward(int time, int index, bool count) {
            const float* s = kept->state[index];
            float *next = kept->state[index + 1], *ru = kept->gates[index],
                  *c = kept->candidate[index];
            Vector costs{};
            convolve<SEQUENCES>(
                row, net.gates_.forward(), weights.gates, s, work,
                [&](const Cell& cell, int v, Vector sum) {
                    const Vector x = sum + at(weights.gates_bias + v * LANES);
                    const Vector y = clamp(0.5f * x + 0.5f, 0.0f, 1.0f);
                    costs += counted[cell.unit] * over(x);
                    at(ru + place(cell, 2 * vectors, v)) = y;
                    if (v >= vectors) return;
                    at(reset + place(cell, vectors, v)) = y * at(s + place(cell, vectors, v));
                });
            const Mask<SEQUENCES> keep(sequences, net.step_.maps, 1, time + 1);
            convolve<SEQUENCES>(
                row, net.candidate_.forward(), weights.candidate, reset, work,
                [&](const Cell& cell, int v, Vector sum) {
                    const size_t here = place(cell, vectors, v);
                    const Vector u = at(ru + place(cell, 2 * vectors, vectors + v));
                    const Vector x = sum + at(weights.candidate_bias + v * LANES);
                    costs += counted[cell.unit] * over(x);
                    const Vector y = clamp(x, -1.0f, 1.0f);
                    at(c + here) = y;
                    const Vector kept_y = keep(cell.unit, cell.column, 0, v) * y;
                    at(next + here) = mask[cell.unit * row.columns + cell.column] *
                                      (kept_y + u * (shifted(s, here, v) - kept_y));
                });
            if (count) excess += total(costs);
        }

        // The saturation's gradient of a pre-activation, from its sign where it is beyond 0.9.
        Vector pushed(Vector low, Vector high, Vector x, Vector weight) const {
            return x > high ? weight : x < low ? -weight : every(0.0f);
        }

        void backward(int from, int to) {
            for (int time = to - 1; time >= from; --time) step_backward(time, time - from);
        }

        void step_backward(int time, int index) {
            const float *s = kept->state[index], *ru = kept->gates[index],
                        *c = kept->candidate[index];
            const float weight = sequences.batch.saturation;
            std::vector<Vector> candidate_sum(vectors, Vector{}), gate_sum(2 * vectors, Vector{});
            const Mask<SEQUENCES> keep(sequences, net.step_.maps, 1, time + 1);
            each_vector([&](int unit, int position, int v, size_t place) {
                const size_t cell = place - v * LANES;
                const Vector cost = weight * counted[unit];
                const Vector d = mask[unit * row.columns + position] * at(change + place);
                const Vector u = at(ru + 2 * cell + (vectors + v) * LANES);
                const Vector y = at(c + place);
                const Vector factor = keep(unit, position, 0, v);
                const Vector inside = (y > -1.0f) & (y < 1.0f) ? every(1.0f) : every(0.0f);
                const Vector dc = d * (1.0f - u) * factor * inside +
                                  pushed(every(-0.9f), every(0.9f), y, cost);
                const Vector open = (u > 0.0f) & (u < 1.0f) ? every(0.5f) : every(0.0f);
                const Vector du = open * d * (shifted(s, place, v) - factor * y) +
                                  pushed(every(0.05f), every(0.95f), u, cost);
                at(candidate_change + place) = dc;
                at(gate_change + 2 * cell + (vectors + v) * LANES) = du;
                at(passed + place) = d * u;
                candidate_sum[v] += dc;
                gate_sum[vectors + v] += du;
            });
            const ptrdiff_t column = ptrdiff_t(vectors) * LANES;
            convolve<SEQUENCES>(
                row, net.candidate_.backward(), weights.candidate_back, candidate_change, work,
                [&](const Cell& cell, int v, Vector p) {
                    const size_t here = place(cell, vectors, v);
                    const Vector cost = weight * counted[cell.unit];
                    const Vector r = at(ru + place(cell, 2 * vectors, v));
                    const Vector open = (r > 0.0f) & (r < 1.0f) ? every(0.5f) : every(0.0f);
                    const Vector dr =
                        open * p * at(s + here) + pushed(every(0.05f), every(0.95f), r, cost);
                    const Vector left = from_left[v], right = from_right[v];
                    at(gate_change + place(cell, 2 * vectors, v)) = dr;
                    at(change + here) = p * r + (1.0f - left - right) * at(passed + here) +
                                        left * at(passed + here + column) +
                                        right * at(passed + here - column);
                    at(reset + here) = r * at(s + here);
                    gate_sum[v] += dr;
                });
            convolve<SEQUENCES>(row, net.gates_.backward(), weights.gates_back, gate_change, work,
                                [&](const Cell& cell, int v, Vector sum) {
                                    at(change + place(cell, vectors, v)) += sum;
                                });
            add_kernel_gradient<SEQUENCES>(row, net.candidate_.forward(), reset, candidate_change,
                                           gradients->candidate, work);
            add_kernel_gradient<SEQUENCES>(row, net.gates_.forward(), s, gate_change,
                                           gradients->gates, work);
            for (int v = 0; v < vectors; ++v)
                at(gradients->candidate_bias + v * LANES) += candidate_sum[v];
            for (int v = 0; v < 2 * vectors; ++v)
                at(gradients->gates_bias + v * LANES) += gate_sum[v];
        }
    };

    const Step& step_;
    Kernel<SEQUENCES> gates_, candidate_;
    int vectors_;
};

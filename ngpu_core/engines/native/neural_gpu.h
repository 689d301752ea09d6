// The Neural GPU's recurrence (SPECS B.1), forward and backward, for a few sequences at a time.
//
// A layer (one convolutional GRU) maps a state s to
//
//     [r, g] = gate(conv(s; W_rg) + b_rg + 1)      gate(x) = clip(q·sigmoid(x) - (q - 1)/2, 0, 1)
//     c = tanh(conv(r·s; W_c) + b_c)
//     s' = mask · (g·s + (1 - g)·c)
//
// (a plain sigmoid where q < 1.01) and, with D the gradient of s', conv' the gradient through conv
// and gate' the gate's derivative, backwards
//
//     D ← mask · D,   dc = D·(1 - g)·(1 - c²),   p = conv'(dc; W_c)         (gradient of r·s)
//     d[r, g] = gate'·[p·s, D·(s - c)],   D ← D·g + p·r + conv'(d[r, g]; W_rg)
//
// A time step is a dropout and all layers, with the weight copy t mod copies; a sequence that has had
// its steps stays as it is. Kept a layer and time: s, [r, g], c. Only every `segment`-th state
// outlives the forward pass; the steps between are computed again before their backward pass.
#pragma once

#include "kernel.h"
#include "recurrence.h"

template <int SEQUENCES>
class NeuralGpu {
   public:
    // Packed once a step, read by all threads.
    struct Weights {
        std::vector<const float*> gates, gates_bias, gates_back, candidate, candidate_bias,
            candidate_back;  // by copy · layers + layer
        const float* embedding;  // tanh of it, filled up, symbol 0 zero: (symbols, filled)
    };
    // Of one chunk of the batch.
    struct Gradients {
        std::vector<KernelGradient> gates, candidate;
        std::vector<float*> gates_bias, candidate_bias;
        float *embedding, *head_weight, *head_bias;
        float *first, *end;  // all of them lie in between

        void finish() const {
            for (const KernelGradient& one : gates) one.zero_if_none();
            for (const KernelGradient& one : candidate) one.zero_if_none();
        }
    };

    explicit NeuralGpu(const Step& step)
        : step_(step),
          gates_{2, step.maps, 3},
          candidate_{1, step.maps, 3},
          vectors_(candidate_.vectors()),
          filled_(candidate_.filled()) {}

    int parts() const { return step_.copies * step_.layers; }
    bool training() const { return step_.gradient != nullptr; }

    size_t weight_floats() const {
        const size_t forward = gates_.forward().size() + candidate_.forward().size();
        const size_t biases = 3 * size_t(vectors_) * LANES;
        return parts() * (forward * (training() ? 2 : 1) + biases + 6 * 16) +
               size_t(step_.input_symbols) * filled_ + 64;
    }

    Weights pack(Memory& memory) const {
        Weights weights;
        for (int copy = 0; copy < step_.copies; ++copy)
            for (int layer = 0; layer < step_.layers; ++layer) {
                const float* const* from = step_.parameter + 1 + 4 * layer;
                const auto part = [&](const auto& kernel, int which, float plus, auto& forward,
                                      auto& bias, auto& back) {
                    const float* weight = from[which] + copy * kernel.weights();
                    float* packed = memory.take(kernel.forward().size());
                    kernel.pack_forward(weight, packed);
                    forward.push_back(packed);
                    packed = memory.take(size_t(kernel.parts) * vectors_ * LANES);
                    kernel.pack_bias(from[which + 1] + copy * kernel.biases(), plus, packed);
                    bias.push_back(packed);
                    if (!training()) return;
                    packed = memory.take(kernel.backward().size());
                    kernel.pack_backward(weight, packed);
                    back.push_back(packed);
                };
                part(gates_, 0, 1.0f, weights.gates, weights.gates_bias, weights.gates_back);
                part(candidate_, 2, 0.0f, weights.candidate, weights.candidate_bias,
                     weights.candidate_back);
            }
        float* table = memory.take(size_t(step_.input_symbols) * filled_);
        std::fill_n(table, size_t(step_.input_symbols) * filled_, 0.0f);
        for (int symbol = 1; symbol < step_.input_symbols; ++symbol)
            for (int map = 0; map < step_.maps; ++map)
                table[symbol * filled_ + map] =
                    std::tanh(step_.parameter[0][symbol * step_.maps + map]);
        weights.embedding = table;
        return weights;
    }

    size_t gradient_floats() const {
        const size_t kernels = gates_.forward().size() + candidate_.forward().size();
        return parts() * (kernels + 3 * size_t(vectors_) * LANES + 4 * 16) +
               size_t(step_.input_symbols) * step_.maps +
               size_t(step_.output_symbols) * (step_.maps + 1) + 64;
    }

    Gradients begin_gradients(Memory& memory) const {
        Gradients gradients;
        gradients.first = memory.next();
        for (int part = 0; part < parts(); ++part) {
            gradients.gates.push_back(gates_.gradient(memory));
            gradients.candidate.push_back(candidate_.gradient(memory));
        }
        float* const sums = memory.next();
        for (int part = 0; part < parts(); ++part) {
            gradients.gates_bias.push_back(memory.take(2 * size_t(vectors_) * LANES));
            gradients.candidate_bias.push_back(memory.take(size_t(vectors_) * LANES));
        }
        gradients.embedding = memory.take(size_t(step_.input_symbols) * step_.maps);
        gradients.head_weight = memory.take(size_t(step_.output_symbols) * step_.maps);
        gradients.head_bias = memory.take(step_.output_symbols);
        gradients.end = memory.next();
        std::fill(sums, gradients.end, 0.0f);
        return gradients;
    }

    // Gradients of all chunks into torch's order.
    void unpack(const Gradients& from) const {
        float* const* to = step_.gradient;
        for (int copy = 0; copy < step_.copies; ++copy)
            for (int layer = 0; layer < step_.layers; ++layer) {
                const int part = copy * step_.layers + layer;
                float* const* layer_to = to + 1 + 4 * layer;
                gates_.unpack(from.gates[part].numbers, from.gates_bias[part],
                              layer_to[0] + copy * gates_.weights(),
                              layer_to[1] + copy * gates_.biases());
                candidate_.unpack(from.candidate[part].numbers, from.candidate_bias[part],
                                  layer_to[2] + copy * candidate_.weights(),
                                  layer_to[3] + copy * candidate_.biases());
            }
        float* const* head_to = to + 1 + 4 * step_.layers;
        std::copy_n(from.embedding, size_t(step_.input_symbols) * step_.maps, to[0]);
        std::copy_n(from.head_weight, size_t(step_.output_symbols) * step_.maps, head_to[0]);
        std::copy_n(from.head_bias, step_.output_symbols, head_to[1]);
    }

    // Run sequences first … first + count - 1 of a batch and add their gradients.
    Costs run(const Batch& batch, int first, int count, const Weights& weights,
              Gradients* gradients) const {
        Run run{*this, {batch, first, count}, weights, gradients};
        return run.all();
    }

   private:
    struct Run {
        const NeuralGpu& net;
        Sequences<SEQUENCES> sequences;
        const Weights& weights;
        Gradients* gradients;
        Row row{};
        Workspace work{};
        int times = 0, vectors = 0;
        std::vector<int> steps;  // time steps of each sequence
        bool unequal = false;    // whether some sequence ends before `times`
        std::vector<Vector> mask;
        std::unique_ptr<Kept> kept;
        float *reset = nullptr;  // r·s, where it is at work
        float *change = nullptr, *held = nullptr, *gate_change = nullptr, *candidate_change = nullptr;

        Costs all() {
            const Step& step = net.step_;
            const Batch& batch = sequences.batch;
            row = {sequences.units(), batch.columns, step.height};
            vectors = net.vectors_;
            for (int index = 0; index < sequences.count; ++index) {
                steps.push_back(step.extra_steps);
                for (int position = 0; position < row.columns; ++position)
                    steps.back() += batch.seen(sequences.first + index, position);
            }
            times = *std::max_element(steps.begin(), steps.end());
            unequal = *std::min_element(steps.begin(), steps.end()) < times;
            mask = seen_positions(sequences);
            kept = std::make_unique<Kept>(row, vectors, times, step.layers, step.segment,
                                          gradients != nullptr);
            const auto sizes =
                workspace_of_unit(row, net.gates_, net.candidate_, gradients != nullptr);
            Memory memory(Use::run, kept->floats(gradients ? 6 : 1) + sizes.floats());
            kept->take(memory);
            reset = kept->array(memory, 1);
            work = Workspace::take(memory, sizes);
            embed();
            const auto ahead = [&](int from, int to) { forward(from, to); };
            const float* last = kept->forward(ahead);
            const Head<const float> head{step.output_symbols, step.maps,
                                         step.parameter[step.parameters - 2],
                                         step.parameter[step.parameters - 1]};
            if (!gradients)
                return read_out<SEQUENCES>(row, vectors, sequences, true, head, last, nullptr, {});
            for (float** one : {&change, &held, &candidate_change})
                *one = kept->array(memory, 1);
            gate_change = kept->array(memory, 2);
            std::fill_n(change, row.size(vectors), 0.0f);
            const Costs costs = read_out<SEQUENCES>(
                row, vectors, sequences, true, head, last, change,
                {step.output_symbols, step.maps, gradients->head_weight, gradients->head_bias});
            kept->backward(ahead, [&](int from, int to) { backward(from, to); });
            embed_backward();
            return costs;
        }

        int part(int time, int layer) const {
            return time % net.step_.copies * net.step_.layers + layer;
        }

        // The embedded symbols: tanh of the table in the first rows, zero elsewhere.
        void embed() {
            const Batch& batch = sequences.batch;
            float* state = kept->state[0];
            std::fill_n(state, row.size(vectors), 0.0f);
            each_symbol([&](int64_t symbol, int s, size_t cell) {
                const float* from = weights.embedding + symbol * net.filled_;
                for (int map = 0; map < net.step_.maps; ++map)
                    state[cell + map * SEQUENCES + s] = from[map];
            }, batch);
        }

        void embed_backward() {
            each_symbol([&](int64_t symbol, int s, size_t cell) {
                const float* value = weights.embedding + symbol * net.filled_;
                float* to = gradients->embedding + symbol * net.step_.maps;
                for (int map = 0; map < net.step_.maps; ++map)
                    to[map] += change[cell + map * SEQUENCES + s] * (1 - value[map] * value[map]);
            }, sequences.batch);
        }

        // Symbols other than pad: visit(symbol, lane's sequence, first float of the cell).
        template <class Visit>
        void each_symbol(Visit visit, const Batch& batch) const {
            row.each_cell(vectors, [&](int unit, int position, int height, size_t cell) {
                if (height >= batch.rows) return;
                for (int s = 0; s < SEQUENCES; ++s) {
                    const int sequence = sequences.in_lane(unit, s);
                    if (sequence < 0) continue;
                    const int64_t symbol = batch.symbol(sequence, height, position);
                    if (symbol) visit(symbol, s, cell);
                }
            });
        }

        // 1 in the lanes of sequences that take part in a time step.
        Vector active(int unit, int time) const {
            return sequences.lanes(unit, [&](int sequence) {
                return time < steps[sequence - sequences.first] ? 1.0f : 0.0f;
            });
        }

        void forward(int from, int to) {
            const int layers = net.step_.layers;
            for (int time = from; time < to; ++time) {
                const int base = (time - from) * layers;
                drop(kept->state[base], time);
                for (int layer = 0; layer < layers; ++layer)
                    layer_forward(part(time, layer), base + layer);
                if (unequal) restore(kept->state[base + layers], kept->state[base], time);
            }
        }

        // Put back the sequences that had had their steps.
        void restore(float* now, const float* before, int time) const {
            row.each_cell(vectors, [&](int unit, int, int, size_t cell) {
                const Vector running = active(unit, time);
                for (int v = 0; v < vectors; ++v) {
                    const size_t place = cell + v * LANES;
                    at(now + place) = running != 0.0f ? at(now + place) : at(before + place);
                }
            });
        }

        // Multiply by the dropout mask of a time, in the sequences that are running.
        void drop(float* array, int time) const {
            const Mask<SEQUENCES> keep(sequences, net.step_.maps, row.height, time);
            if (!keep.drops()) return;
            row.each_cell(vectors, [&](int unit, int position, int height, size_t cell) {
                const Vector running = unequal ? active(unit, time) : every(1.0f);
                for (int v = 0; v < vectors; ++v) {
                    const Vector factor = keep(unit, position, height, v);
                    at(array + cell + v * LANES) *= running != 0.0f ? factor : every(1.0f);
                }
            });
        }

        Vector gate(Vector x) const {
            const float cutoff = net.step_.gate_cutoff;
            const Vector y = sigmoid(x);
            return cutoff < 1.01f ? y : clamp(cutoff * y - (cutoff - 1) / 2, 0.0f, 1.0f);
        }

        // The gate's derivative from its value; 0 where it was clipped.
        Vector gate_slope(Vector y) const {
            const float cutoff = net.step_.gate_cutoff;
            if (cutoff < 1.01f) return y * (1.0f - y);
            const Vector u = y + (cutoff - 1) / 2;  // q times the sigmoid
            return (y <= 0.0f) | (y >= 1.0f) ? every(0.0f) : u - u * u * (1 / cutoff);
        }

        // Where a vector of a cell lies in an array whose cells have `size`.
        static size_t place(const Cell& cell, int size, int v) {
            return (cell.index * size + v) * LANES;
        }

        void layer_forward(int part, int index) {
            const float* s = kept->state[index];
            float* next = kept->state[index + 1];
            float *rg = kept->gates[index], *c = kept->candidate[index];
            convolve<SEQUENCES>(
                row, net.gates_.forward(), weights.gates[part], s, work,
                [&](const Cell& cell, int v, Vector sum) {
                    const Vector y = gate(sum + at(weights.gates_bias[part] + v * LANES));
                    at(rg + place(cell, 2 * vectors, v)) = y;
                    if (v >= vectors) return;
                    at(reset + place(cell, vectors, v)) = y * at(s + place(cell, vectors, v));
                });
            convolve<SEQUENCES>(
                row, net.candidate_.forward(), weights.candidate[part], reset, work,
                [&](const Cell& cell, int v, Vector sum) {
                    const size_t here = place(cell, vectors, v);
                    const Vector seen = mask[cell.unit * row.columns + cell.column];
                    const Vector g = at(rg + place(cell, 2 * vectors, vectors + v));
                    const Vector y =
                        hyperbolic_tangent(sum + at(weights.candidate_bias[part] + v * LANES));
                    at(c + here) = y;
                    at(next + here) = seen * (y + g * (at(s + here) - y));
                });
        }

        void backward(int from, int to) {
            const int layers = net.step_.layers;
            for (int time = to - 1; time >= from; --time) {
                if (unequal) hold(time);
                for (int layer = layers - 1; layer >= 0; --layer)
                    layer_backward(part(time, layer), (time - from) * layers + layer);
                drop(change, time);
                if (unequal)
                    row.each_cell(vectors, [&](int, int, int, size_t cell) {
                        for (int v = 0; v < vectors; ++v)
                            at(change + cell + v * LANES) += at(held + cell + v * LANES);
                    });
            }
        }

        // Set the gradients of sequences aside that a time step leaves as they are.
        void hold(int time) {
            row.each_cell(vectors, [&](int unit, int, int, size_t cell) {
                const Vector running = active(unit, time);
                for (int v = 0; v < vectors; ++v) {
                    Vector& d = at(change + cell + v * LANES);
                    at(held + cell + v * LANES) = (1.0f - running) * d;
                    d *= running;
                }
            });
        }

        void layer_backward(int part, int index) {
            const float *s = kept->state[index], *rg = kept->gates[index],
                        *c = kept->candidate[index];
            std::vector<Vector> candidate_sum(vectors, Vector{}), gate_sum(2 * vectors, Vector{});
            row.each_cell(vectors, [&](int unit, int position, int, size_t cell) {
                const Vector seen = mask[unit * row.columns + position];
                for (int v = 0; v < vectors; ++v) {
                    const size_t place = cell + v * LANES;
                    const Vector d = seen * at(change + place);
                    const Vector g = at(rg + 2 * cell + (vectors + v) * LANES);
                    const Vector y = at(c + place);
                    const Vector dc = d * (1.0f - g) * (1.0f - y * y);
                    const Vector dg = d * (at(s + place) - y) * gate_slope(g);
                    at(candidate_change + place) = dc;
                    at(gate_change + 2 * cell + (vectors + v) * LANES) = dg;
                    at(change + place) = d * g;
                    candidate_sum[v] += dc;
                    gate_sum[vectors + v] += dg;
                }
            });
            convolve<SEQUENCES>(
                row, net.candidate_.backward(), weights.candidate_back[part], candidate_change, work,
                [&](const Cell& cell, int v, Vector p) {
                    const size_t here = place(cell, vectors, v);
                    const Vector r = at(rg + place(cell, 2 * vectors, v));
                    const Vector dr = p * at(s + here) * gate_slope(r);
                    at(gate_change + place(cell, 2 * vectors, v)) = dr;
                    at(change + here) += p * r;
                    at(reset + here) = r * at(s + here);
                    gate_sum[v] += dr;
                });
            convolve<SEQUENCES>(row, net.gates_.backward(), weights.gates_back[part], gate_change,
                                work, [&](const Cell& cell, int v, Vector sum) {
                                    at(change + place(cell, vectors, v)) += sum;
                                });
            add_kernel_gradient<SEQUENCES>(row, net.candidate_.forward(), reset, candidate_change,
                                           gradients->candidate[part], work);
            add_kernel_gradient<SEQUENCES>(row, net.gates_.forward(), s, gate_change,
                                           gradients->gates[part], work);
            for (int v = 0; v < vectors; ++v)
                at(gradients->candidate_bias[part] + v * LANES) += candidate_sum[v];
            for (int v = 0; v < 2 * vectors; ++v)
                at(gradients->gates_bias[part] + v * LANES) += gate_sum[v];
        }
    };

    const Step& step_;
    Kernel<SEQUENCES> gates_, candidate_;
    int vectors_, filled_;
};

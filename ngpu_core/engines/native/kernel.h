// A convolution's weights as torch keeps them, and in the order the row convolutions want.
#pragma once

#include <vector>

#include "convolution.h"

// Weights (parts · maps, maps, taps, 3): `parts` convolutions of equal size over one input, so that a
// gate's reset and update parts are one convolution. Maps are filled up with zeros to whole vectors.
template <int SEQUENCES>
struct Kernel {
    static constexpr int step = std::max(LANES / SEQUENCES, INPUTS);
    int parts, maps, taps;

    int filled() const { return (maps + step - 1) / step * step; }
    int vectors() const { return filled() * SEQUENCES / LANES; }
    KernelShape forward() const { return {SEQUENCES, taps, filled(), parts * vectors()}; }
    // Of the gradient of the input: the outputs' gradients come in, the inputs' go out.
    KernelShape backward() const { return {SEQUENCES, taps, parts * filled(), vectors()}; }

    KernelGradient gradient(Memory& memory) const {
        return {memory.take(forward().size()), forward().size()};
    }

    size_t weights() const { return size_t(parts) * maps * maps * taps * 3; }
    size_t biases() const { return size_t(parts) * maps; }

    void pack_forward(const float* weights, float* packed) const {
        if (filled() > maps) std::fill_n(packed, forward().size(), 0.0f);
        each_weight([&](size_t from, size_t to, size_t) { packed[to] = weights[from]; });
    }

    void pack_backward(const float* weights, float* packed) const {
        if (filled() > maps) std::fill_n(packed, backward().size(), 0.0f);
        each_weight([&](size_t from, size_t, size_t to) { packed[to] = weights[from]; });
    }

    void pack_bias(const float* biases, float plus, float* packed) const {
        std::fill_n(packed, parts * vectors() * LANES, 0.0f);
        for (int part = 0; part < parts; ++part)
            for (int map = 0; map < maps; ++map)
                for (int s = 0; s < SEQUENCES; ++s)
                    packed[(part * filled() + map) * SEQUENCES + s] =
                        biases[part * maps + map] + plus;
    }

    // A packed gradient in torch's order; of the biases every sequence has its own.
    void unpack(const float* packed, const float* packed_bias, float* weights,
                float* biases) const {
        each_weight([&](size_t to, size_t from, size_t) { weights[to] = packed[from]; });
        for (int part = 0; part < parts; ++part)
            for (int map = 0; map < maps; ++map) {
                const float* from = packed_bias + (part * filled() + map) * SEQUENCES;
                biases[part * maps + map] = SEQUENCES == 1 ? from[0] : from[0] + from[1];
            }
    }

   private:
    // Call visit(place in torch's order, packed forward, packed backward) for every weight.
    template <class Visit>
    void each_weight(Visit visit) const {
        if (taps == 3) each_weight_of<3>(visit);
        else each_weight_of<1>(visit);
    }

    template <int TAPS, class Visit>
    void each_weight_of(Visit visit) const {
        std::vector<KernelShape::Place> inputs;  // as outputs of the way back
        for (int map = 0; map < maps; ++map) inputs.push_back(backward().of_output(map));
        size_t index = 0;
        for (int part = 0; part < parts; ++part)
            for (int map = 0; map < maps; ++map) {
                const int output = part * filled() + map;  // counted with what fills up
                const KernelShape::Place place = forward().of_output(output);
                for (int input = 0; input < maps; ++input) {
                    const size_t ahead = place.of(0, input), back = inputs[input].of(0, output);
                    for (int dy = 0; dy < TAPS; ++dy)
                        for (int dx = 0; dx < 3; ++dx, ++index) {
                            const int tap = dx * TAPS + dy;
                            visit(index, ahead + tap * place.tap,
                                  back + (3 * TAPS - 1 - tap) * inputs[input].tap);
                        }
                }
            }
    }
};

// What the convolutions of a unit of either family need.
template <int SEQUENCES>
Workspace::Sizes workspace_of_unit(const Row& row, const Kernel<SEQUENCES>& gates,
                                   const Kernel<SEQUENCES>& candidate, bool training) {
    if (!training)
        return Workspace::sizes(row, {gates.forward(), candidate.forward()});
    return Workspace::sizes(row, {gates.forward(), candidate.forward(), gates.backward()});
}

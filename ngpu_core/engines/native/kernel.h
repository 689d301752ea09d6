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
    KernelShape forward() const { return {taps, filled(), parts * vectors()}; }
    // Of the gradient of the input: the outputs' gradients come in, the inputs' go out.
    KernelShape backward() const { return {taps, parts * filled(), vectors()}; }

    size_t weights() const { return size_t(parts) * maps * maps * taps * 3; }
    size_t biases() const { return size_t(parts) * maps; }

    void pack_forward(const float* weights, float* packed) const {
        std::fill_n(packed, forward().size(), 0.0f);
        each_weight([&](int output, int input, size_t from, const auto& places, const auto&) {
            each_tap([&](int dx, int dy) {
                float* to = packed + at_tap(forward(), places[output], input, dx, dy);
                for (int s = 0; s < SEQUENCES; ++s) to[s] = weights[from + dy * 3 + dx];
            });
        });
    }

    void pack_backward(const float* weights, float* packed) const {
        std::fill_n(packed, backward().size(), 0.0f);
        each_weight([&](int output, int input, size_t from, const auto&, const auto& places) {
            each_tap([&](int dx, int dy) {
                float* to =
                    packed + at_tap(backward(), places[input], output, 2 - dx, taps - 1 - dy);
                for (int s = 0; s < SEQUENCES; ++s) to[s] = weights[from + dy * 3 + dx];
            });
        });
    }

    void pack_bias(const float* biases, float plus, float* packed) const {
        std::fill_n(packed, parts * vectors() * LANES, 0.0f);
        for (int part = 0; part < parts; ++part)
            for (int map = 0; map < maps; ++map)
                for (int s = 0; s < SEQUENCES; ++s)
                    packed[(part * filled() + map) * SEQUENCES + s] =
                        biases[part * maps + map] + plus;
    }

    // Sum the lanes of a packed gradient into torch's order.
    void unpack(const float* packed, const float* packed_bias, float* weights,
                float* biases) const {
        each_weight([&](int output, int input, size_t to, const auto& places, const auto&) {
            each_tap([&](int dx, int dy) {
                const float* from = packed + at_tap(forward(), places[output], input, dx, dy);
                weights[to + dy * 3 + dx] = SEQUENCES == 1 ? from[0] : from[0] + from[1];
            });
        });
        for (int part = 0; part < parts; ++part)
            for (int map = 0; map < maps; ++map) {
                const float* from = packed_bias + (part * filled() + map) * SEQUENCES;
                biases[part * maps + map] = SEQUENCES == 1 ? from[0] : from[0] + from[1];
            }
    }

   private:
    using Places = std::vector<KernelShape::Place>;

    // Call visit(output, input, first tap in torch's order, places of the outputs, of the inputs);
    // outputs are counted with the maps that fill up.
    template <class Visit>
    void each_weight(Visit visit) const {
        Places outputs, inputs;
        for (int map = 0; map < parts * filled(); ++map)
            outputs.push_back(forward().of_lane(map * SEQUENCES));
        for (int map = 0; map < filled(); ++map)
            inputs.push_back(backward().of_lane(map * SEQUENCES));
        size_t index = 0;
        for (int part = 0; part < parts; ++part)
            for (int map = 0; map < maps; ++map)
                for (int input = 0; input < maps; ++input, index += taps * 3)
                    visit(part * filled() + map, input, index, outputs, inputs);
    }

    template <class Visit>
    void each_tap(Visit visit) const {
        for (int dy = 0; dy < taps; ++dy)
            for (int dx = 0; dx < 3; ++dx) visit(dx, dy);
    }

    static size_t at_tap(const KernelShape& shape, const KernelShape::Place& place, int input,
                         int dx, int dy) {
        return place.start + (size_t(dx * shape.taps + dy) * shape.inputs + input) * place.stride;
    }
};

// What the convolutions of a unit of either family need.
template <int SEQUENCES>
Workspace::Sizes workspace_of_unit(const Row& row, const Kernel<SEQUENCES>& gates,
                                   const Kernel<SEQUENCES>& candidate, bool training) {
    if (!training)
        return Workspace::sizes(row, SEQUENCES, {gates.forward(), candidate.forward()});
    return Workspace::sizes(row, SEQUENCES,
                            {gates.forward(), candidate.forward(), gates.backward()});
}

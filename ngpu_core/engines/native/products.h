// The matrix products at a point: a few tiles times three vectors of outputs, held in registers.
//
// `in` is (tiles, inputs), `out` (tiles, SIZE vectors), tiles some stride apart. Every input is spread
// over a vector once and meets SIZE vectors.
//
// A kernel's numbers lie in pairs of inputs, each with SIZE vectors of outputs. Where sequences are
// interleaved two vectors of these 2 · SIZE are one, the first in its even and the second in its odd
// lanes: no number is stored twice.
#pragma once

#include <array>
#include <utility>

#include "vectors.h"

constexpr int BLOCK = 3;                     // most vectors of outputs in a register tile
constexpr int INPUTS = LANES == 16 ? 8 : 4;  // inputs in a register tile of the kernel's gradient

// Floats of a pair of inputs in a kernel.
template <int SEQUENCES>
constexpr size_t pair_floats(int size) {
    return size_t(2) * size * LANES / SEQUENCES;
}

// A vector of a pair of inputs.
template <int SEQUENCES>
inline Vector of_pair(const float* pair, int index) {
    if constexpr (SEQUENCES == 1) return at(pair + index * LANES);
    const Vector two = at(pair + index / 2 * LANES);
    return index % 2 ? Pairs::odds(two) : Pairs::evens(two);
}

// out[t] = Σ_i in[t, i] · kernel[i]
template <int SEQUENCES, int TILES, int SIZE>
void multiply(const float* in, ptrdiff_t in_tile, int inputs, const float* kernel, float* out,
              ptrdiff_t out_tile) {
    Vector sums[TILES][SIZE];
#pragma GCC unroll 8
    for (int t = 0; t < TILES; ++t)
#pragma GCC unroll 3
        for (int v = 0; v < SIZE; ++v) sums[t][v] = Vector{};
    for (int input = 0; input < inputs; input += 2, kernel += pair_floats<SEQUENCES>(SIZE)) {
#pragma GCC unroll 2
        for (int one = 0; one < 2; ++one, in += SEQUENCES) {
            Vector weights[SIZE];
#pragma GCC unroll 3
            for (int v = 0; v < SIZE; ++v) weights[v] = of_pair<SEQUENCES>(kernel, one * SIZE + v);
#pragma GCC unroll 8
            for (int t = 0; t < TILES; ++t) {
                const Vector value = splat<SEQUENCES>(in + t * in_tile);
#pragma GCC unroll 3
                for (int v = 0; v < SIZE; ++v) sums[t][v] += value * weights[v];
            }
        }
    }
#pragma GCC unroll 8
    for (int t = 0; t < TILES; ++t)
#pragma GCC unroll 3
        for (int v = 0; v < SIZE; ++v) at(out + t * out_tile + v * LANES) = sums[t][v];
}

using Multiply = void (*)(const float*, ptrdiff_t, int, const float*, float*, ptrdiff_t);

// `multiply` of a number of tiles and of vectors, both from 1.
template <int SEQUENCES>
struct Multiplies {
    template <int... T>
    static constexpr std::array<std::array<Multiply, BLOCK>, POSITIONS> table(
        std::integer_sequence<int, T...>) {
        return {{{{multiply<SEQUENCES, T + 1, 1>, multiply<SEQUENCES, T + 1, 2>,
                   multiply<SEQUENCES, T + 1, 3>}}...}};
    }
    static constexpr auto all = table(std::make_integer_sequence<int, POSITIONS>{});
};

// kernel_gradient[i] = Σ_t in[t, i] · out_gradient[t]
template <int SEQUENCES, int SIZE>
void multiply_gradient(const float* in, ptrdiff_t in_tile, int tiles, int inputs,
                       const float* out_gradient, ptrdiff_t out_tile, float* kernel_gradient) {
    for (int first = 0; first < inputs; first += INPUTS) {
        Vector sums[INPUTS][SIZE];
#pragma GCC unroll 8
        for (int input = 0; input < INPUTS; ++input)
#pragma GCC unroll 3
            for (int v = 0; v < SIZE; ++v) sums[input][v] = Vector{};
        const float* values = in + first * SEQUENCES;
        const float* gradient = out_gradient;
        for (int t = 0; t < tiles; ++t, values += in_tile, gradient += out_tile) {
            Vector gradients[SIZE];
#pragma GCC unroll 3
            for (int v = 0; v < SIZE; ++v) gradients[v] = at(gradient + v * LANES);
#pragma GCC unroll 8
            for (int input = 0; input < INPUTS; ++input) {
                const Vector value = splat<SEQUENCES>(values + input * SEQUENCES);
#pragma GCC unroll 3
                for (int v = 0; v < SIZE; ++v) sums[input][v] += value * gradients[v];
            }
        }
        float* to = kernel_gradient + first / 2 * pair_floats<SEQUENCES>(SIZE);
#pragma GCC unroll 24
        for (int index = 0; index < INPUTS * SIZE; index += SEQUENCES) {
            Vector sum = sums[index / SIZE][index % SIZE];
            if constexpr (SEQUENCES == 2) {
                const Vector next = sums[(index + 1) / SIZE][(index + 1) % SIZE];
                sum = Pairs::alternating(sum + Pairs::swapped(sum), next + Pairs::swapped(next));
            }
            at(to + index / SEQUENCES * LANES) = sum;
        }
    }
}

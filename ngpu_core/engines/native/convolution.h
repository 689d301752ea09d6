// Same-padded convolutions of a row with a kernel 3 columns wide and 1 or 3 cells high, the gradient
// of their kernels, and the order in memory that both want.
//
//     out[x, y, o] = start[o] + Σ_dx Σ_dy Σ_i in[x + dx, y + dy, i] · kernel[dx, dy, i, o]
//
// A register tile is a few neighbouring cells times up to three vectors of outputs; every input value
// is spread over a vector once and meets three vectors of the kernel. Taps above and below the state
// are left out rather than multiplied by zero. The gradient of the input is the same function with the
// kernel flipped and transposed; the gradient of the kernel has a tile of inputs times three vectors.
#pragma once

#include <array>
#include <utility>

#include "row.h"

constexpr int BLOCK = 3;                                // most vectors of outputs in a tile
constexpr int INPUTS = LANES == 16 ? 8 : 4;             // inputs in a tile of the kernel's gradient

// Outputs in blocks of at most three vectors, as equal as can be.
struct Blocks {
    int vectors;
    int count() const { return (vectors + BLOCK - 1) / BLOCK; }
    int first(int block) const { return block * vectors / count(); }
    int size(int block) const { return first(block + 1) - first(block); }
};

// Where a kernel's numbers lie: block of outputs, column tap, row tap, input, vector of the block.
struct KernelShape {
    int taps;     // rows of the kernel: 1 or 3
    int inputs;   // maps a cell of the input has, filled up to whole vectors
    int vectors;  // vectors a cell of the output has

    size_t size() const { return size_t(3) * taps * inputs * vectors * LANES; }
    size_t block(int first_vector) const { return size_t(3) * taps * inputs * first_vector * LANES; }
    size_t tap(int dx, int dy, int block_size) const {
        return size_t(dx * taps + dy) * inputs * block_size * LANES;
    }

    // Where the numbers of the output in a lane (of all vectors of a cell) lie: from `start`, a
    // `stride` apart, one for each tap and input.
    struct Place {
        size_t start, stride;
    };
    Place of_lane(int lane) const {
        const Blocks blocks{vectors};
        int index = 0;
        while (blocks.first(index + 1) * LANES <= lane) ++index;
        const int first = blocks.first(index);
        return {block(first) + lane - first * LANES, size_t(blocks.size(index)) * LANES};
    }
};

// Adds the taps of one row of the kernel to the cells LO..HI of each column of a tile.
template <int SEQUENCES, int ROWS, int COLUMNS, int SIZE, int LO, int HI>
inline __attribute__((always_inline)) void add_taps(
    Vector (&sums)[ROWS][COLUMNS][SIZE], const float* in, ptrdiff_t column, ptrdiff_t cell,
    int inputs, const float* kernel) {
    if constexpr (LO < HI) {
        for (int input = 0; input < inputs; ++input) {
            Vector weights[SIZE];
#pragma GCC unroll 3
            for (int v = 0; v < SIZE; ++v) weights[v] = at(kernel + v * LANES);
            kernel += SIZE * LANES;
#pragma GCC unroll 4
            for (int row = LO; row < HI; ++row)
#pragma GCC unroll 8
                for (int x = 0; x < COLUMNS; ++x) {
                    const Vector value = splat<SEQUENCES>(in + x * column + row * cell);
#pragma GCC unroll 3
                    for (int v = 0; v < SIZE; ++v) sums[row][x][v] += value * weights[v];
                }
            in += SEQUENCES;
        }
    }
}

struct Tile {
    const float* in;       // cell left of the tile's first one
    ptrdiff_t in_column, in_cell;
    int inputs, taps;
    bool top, bottom;      // whether the tile touches the state's first and last row
    const float* kernel;
    const float* start;    // what the sums begin with: a bias (strides 0) or the output itself
    ptrdiff_t start_column, start_cell;
    float* out;
    ptrdiff_t out_column, out_cell;
};

template <int SEQUENCES, int ROWS, int COLUMNS, int SIZE>
void convolve_tile(const Tile& tile) {
    Vector sums[ROWS][COLUMNS][SIZE];
#pragma GCC unroll 4
    for (int row = 0; row < ROWS; ++row)
#pragma GCC unroll 8
        for (int x = 0; x < COLUMNS; ++x)
#pragma GCC unroll 3
            for (int v = 0; v < SIZE; ++v)
                sums[row][x][v] =
                    at(tile.start + x * tile.start_column + row * tile.start_cell + v * LANES);
    const size_t tap = size_t(tile.inputs) * SIZE * LANES;
    for (int dx = 0; dx < 3; ++dx) {
        const float* in = tile.in + dx * tile.in_column;
        const float* kernel = tile.kernel + dx * tile.taps * tap;
        const auto add = [&](auto lo, auto hi, int shift, const float* row_of_kernel)
                             __attribute__((always_inline)) {
            add_taps<SEQUENCES, ROWS, COLUMNS, SIZE, lo(), hi()>(
                sums, in + shift * tile.in_cell, tile.in_column, tile.in_cell, tile.inputs,
                row_of_kernel);
        };
        using Zero = std::integral_constant<int, 0>;
        using One = std::integral_constant<int, 1>;
        using All = std::integral_constant<int, ROWS>;
        using Fewer = std::integral_constant<int, ROWS - 1>;
        if (tile.taps == 1) {
            add(Zero{}, All{}, 0, kernel);
            continue;
        }
        if (tile.top) add(One{}, All{}, -1, kernel);
        else add(Zero{}, All{}, -1, kernel);
        add(Zero{}, All{}, 0, kernel + tap);
        if (tile.bottom) add(Zero{}, Fewer{}, 1, kernel + 2 * tap);
        else add(Zero{}, All{}, 1, kernel + 2 * tap);
    }
#pragma GCC unroll 4
    for (int row = 0; row < ROWS; ++row)
#pragma GCC unroll 8
        for (int x = 0; x < COLUMNS; ++x)
#pragma GCC unroll 3
            for (int v = 0; v < SIZE; ++v)
                at(tile.out + x * tile.out_column + row * tile.out_cell + v * LANES) =
                    sums[row][x][v];
}

using TileFunction = void (*)(const Tile&);

// The tile function of a number of rows, columns (1-based) and vectors (1-based).
template <int SEQUENCES, int ROWS>
struct TileFunctions {
    static constexpr int most = POSITIONS / ROWS;
    template <int... C>
    static constexpr std::array<std::array<TileFunction, BLOCK>, most> table(
        std::integer_sequence<int, C...>) {
        return {{{{convolve_tile<SEQUENCES, ROWS, C + 1, 1>, convolve_tile<SEQUENCES, ROWS, C + 1, 2>,
                   convolve_tile<SEQUENCES, ROWS, C + 1, 3>}}...}};
    }
    static constexpr auto all = table(std::make_integer_sequence<int, most>{});
};

// Where the sums of a convolution begin.
enum class Start { bias, output };

template <int SEQUENCES, int ROWS>
void convolve_rows(const Row& row, int first_row, const KernelShape& shape, const float* kernel,
                   const float* in, Start start, const float* bias, float* out) {
    constexpr int most = TileFunctions<SEQUENCES, ROWS>::most;
    const ptrdiff_t in_cell = shape.inputs * SEQUENCES, out_cell = shape.vectors * LANES;
    const int tiles = (row.columns + most - 1) / most;
    const Blocks blocks{shape.vectors};
    for (int block = 0; block < blocks.count(); ++block) {
        const int first = blocks.first(block), size = blocks.size(block);
        for (int unit = 0; unit < row.units; ++unit)
            for (int index = 0; index < tiles; ++index) {
                const int from = index * row.columns / tiles, to = (index + 1) * row.columns / tiles;
                const int column = row.column(unit, from);
                Tile tile;
                tile.in_column = row.height * in_cell;
                tile.in_cell = in_cell;
                tile.in = in + (column - 1) * tile.in_column + first_row * in_cell;
                tile.inputs = shape.inputs;
                tile.taps = shape.taps;
                tile.top = first_row == 0;
                tile.bottom = first_row + ROWS == row.height;
                tile.kernel = kernel + shape.block(first);
                tile.out_column = row.height * out_cell;
                tile.out_cell = out_cell;
                tile.out = out + column * tile.out_column + first_row * out_cell + first * LANES;
                const bool biased = start == Start::bias;
                tile.start = biased ? bias + first * LANES : tile.out;
                tile.start_column = biased ? 0 : tile.out_column;
                tile.start_cell = biased ? 0 : tile.out_cell;
                TileFunctions<SEQUENCES, ROWS>::all[to - from - 1][size - 1](tile);
            }
    }
}

// Convolve a row. `bias` has `shape.vectors` vectors, or the output is added to.
template <int SEQUENCES>
void convolve(const Row& row, const KernelShape& shape, const float* kernel, const float* in,
              Start start, const float* bias, float* out) {
    int first = 0;
    for (; first + 4 <= row.height; first += 4)
        convolve_rows<SEQUENCES, 4>(row, first, shape, kernel, in, start, bias, out);
    for (; first + 2 <= row.height; first += 2)
        convolve_rows<SEQUENCES, 2>(row, first, shape, kernel, in, start, bias, out);
    for (; first < row.height; ++first)
        convolve_rows<SEQUENCES, 1>(row, first, shape, kernel, in, start, bias, out);
}

// Adds to a kernel's gradient what a few inputs and a block of outputs contribute at one tap.
template <int SEQUENCES, int SIZE>
void add_kernel_tile(const Row& row, int dx, int dy, const float* in, ptrdiff_t in_cell,
                     const float* out_gradient, ptrdiff_t out_cell, float* kernel_gradient) {
    Vector sums[INPUTS][SIZE];
#pragma GCC unroll 8
    for (int input = 0; input < INPUTS; ++input)
#pragma GCC unroll 3
        for (int v = 0; v < SIZE; ++v)
            sums[input][v] = at(kernel_gradient + (input * SIZE + v) * LANES);
    const int from = std::max(0, -dy), to = std::min(row.height, row.height - dy);
    for (int unit = 0; unit < row.units; ++unit)
        for (int position = 0; position < row.columns; ++position) {
            const ptrdiff_t cell = ptrdiff_t(row.column(unit, position)) * row.height + from;
            const float* value = in + (cell + dx * row.height + dy) * in_cell;
            const float* gradient = out_gradient + cell * out_cell;
            for (int y = from; y < to; ++y, value += in_cell, gradient += out_cell) {
                Vector gradients[SIZE];
#pragma GCC unroll 3
                for (int v = 0; v < SIZE; ++v) gradients[v] = at(gradient + v * LANES);
#pragma GCC unroll 8
                for (int input = 0; input < INPUTS; ++input) {
                    const Vector spread = splat<SEQUENCES>(value + input * SEQUENCES);
#pragma GCC unroll 3
                    for (int v = 0; v < SIZE; ++v) sums[input][v] += spread * gradients[v];
                }
            }
        }
#pragma GCC unroll 8
    for (int input = 0; input < INPUTS; ++input)
#pragma GCC unroll 3
        for (int v = 0; v < SIZE; ++v)
            at(kernel_gradient + (input * SIZE + v) * LANES) = sums[input][v];
}

// Add the gradient of a kernel, given the convolution's input and the gradient of its output.
template <int SEQUENCES>
void add_kernel_gradient(const Row& row, const KernelShape& shape, const float* in,
                         const float* out_gradient, float* kernel_gradient) {
    const ptrdiff_t in_cell = shape.inputs * SEQUENCES, out_cell = shape.vectors * LANES;
    const Blocks blocks{shape.vectors};
    for (int block = 0; block < blocks.count(); ++block) {
        const int first = blocks.first(block), size = blocks.size(block);
        const auto add = size == 1   ? add_kernel_tile<SEQUENCES, 1>
                         : size == 2 ? add_kernel_tile<SEQUENCES, 2>
                                     : add_kernel_tile<SEQUENCES, 3>;
        for (int dx = 0; dx < 3; ++dx)
            for (int dy = 0; dy < shape.taps; ++dy)
                for (int input = 0; input < shape.inputs; input += INPUTS)
                    add(row, dx - 1, shape.taps == 3 ? dy - 1 : 0, in + input * SEQUENCES, in_cell,
                        out_gradient + first * LANES, out_cell,
                        kernel_gradient + shape.block(first) + shape.tap(dx, dy, size) +
                            size_t(input) * size * LANES);
    }
}

// Same-padded convolutions of a row with a kernel 3 columns wide and 1 or 3 cells high, the gradient
// of their kernels, and the order in memory that both want.
//
//     out[x, y, o] = start[o] + Σ_dx Σ_dy Σ_i in[x + dx, y + dy, i] · kernel[dx, dy, i, o]
//
// The row is cut into tiles of 4 columns (and 4 cells in height), whose values at Winograd's points
// are multiplied point by point (winograd.h, products.h): some tiles at a time, so that what a thread
// works on stays in its cache. A kernel goes to the points when it is used: kept there, it would be
// four times as large. The gradient of the input is the same function with the kernel flipped and
// transposed.
#pragma once

#include <algorithm>

#include "memory.h"
#include "products.h"
#include "row.h"
#include "winograd.h"

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

constexpr int TILES = 48;  // tiles at the points at a time, at most

// A row as tiles.
template <bool ROWS>
struct Tiles {
    static constexpr int side_rows = along_rows<ROWS>(SIDE);
    const Row& row;

    int across() const { return (row.columns + SIDE - 1) / SIDE; }
    int high() const { return (row.height + side_rows - 1) / side_rows; }
    int count() const { return row.units * across() * high(); }

    // Some cells around a tile in an array: (x, y) lies at first + x · column + y · cell, and is a cell
    // of the state where left <= x < right and top <= y < bottom.
    template <class Float>
    struct Window {
        Float* first;
        ptrdiff_t column, cell;
        int left, right, top, bottom;

        bool holds(int x, int y) const { return x >= left && x < right && y >= top && y < bottom; }
        Float* at(int x, int y) const { return first + x * column + y * cell; }
    };
    // Of a tile, from `before` cells before its first output; cells of the array have `size` floats.
    template <class Float>
    Window<Float> window(int tile, int before, Float* array, ptrdiff_t size) const {
        const int strip = tile / across(), x = tile % across() * SIDE - before;
        const int y = strip % high() * side_rows - (ROWS ? before : 0);
        Window<Float> window;
        window.column = row.height * size;
        window.cell = size;
        window.first = array + row.column(strip / high(), x) * window.column + y * size;
        window.left = -x;
        window.right = row.columns - x;
        window.top = -y;
        window.bottom = row.height - y;
        return window;
    }
};

// What a thread needs for its convolutions: some tiles' inputs and one block of their outputs at all
// points, and that block's kernel or its gradient there.
struct Workspace {
    float *inputs, *outputs, *kernel;

    static constexpr size_t points(int taps) { return taps == 3 ? POINTS * POINTS : POINTS; }
    // Floats of a tile of cells at the points. A vector more than they are: tiles a power of two
    // apart would meet in the cache.
    static constexpr size_t tile(int taps, int vectors) { return (points(taps) * vectors + 1) * LANES; }

    // For convolutions of a row whose cells have at most `vectors` vectors, `inputs` maps.
    static size_t floats(const Row& row, int taps, int vectors, int inputs) {
        return tiles(row, taps) * (tile(taps, vectors) + tile(taps, BLOCK)) +
               points(taps) * (inputs * BLOCK + 1) * LANES + 3 * 16;
    }
    static Workspace take(Memory& memory, const Row& row, int taps, int vectors, int inputs) {
        Workspace work;
        work.inputs = memory.take(tiles(row, taps) * tile(taps, vectors));
        work.outputs = memory.take(tiles(row, taps) * tile(taps, BLOCK));
        work.kernel = memory.take(points(taps) * (inputs * BLOCK + 1) * LANES);
        return work;
    }

   private:
    static int tiles(const Row& row, int taps) {
        const int all = taps == 3 ? Tiles<true>{row}.count() : Tiles<false>{row}.count();
        return std::min(all, TILES);
    }
};

// A point of a tile, counted through.
template <bool ROWS>
constexpr int point(int x, int y) {
    return x * along_rows<ROWS>(POINTS) + y;
}

// Take `count` tiles from `first` on to the points: (tile, point, `vectors` vectors). A tile is
// Transform::from cells a side, beginning `before` cells before its outputs.
template <class Transform, bool ROWS, int BEFORE>
void tiles_to_points(const Row& row, int first, int count, const float* array, int cell_vectors,
                     int vectors, float* to) {
    constexpr int from = Transform::from, rows = along_rows<ROWS>(from);
    const size_t tile = Workspace::tile(ROWS ? 3 : 1, vectors);
    for (int index = 0; index < count; ++index) {
        const auto window =
            Tiles<ROWS>{row}.window(first + index, BEFORE, array, ptrdiff_t(cell_vectors) * LANES);
        // The column beside a sequence is there, and zero.
        const bool wide = window.right + BEFORE >= from;
        const bool whole = wide && window.top <= 0 && window.bottom >= rows;
        const bool edged = wide && window.top == 1 && window.bottom == rows - 1;
        for (int v = 0; v < vectors; ++v) {
            float* here = to + index * tile + v * LANES;
            const auto read = [&](int x, int y) { return at(window.at(x, y) + v * LANES); };
            const auto write = [&](int x, int y, Vector value) {
                at(here + point<ROWS>(x, y) * vectors * LANES) = value;
            };
            if (whole) transform<Transform, ROWS>(read, write);
            else if (edged) transform<Transform, ROWS, 1>(read, write);
            else
                transform<Transform, ROWS>(
                    [&](int x, int y) { return window.holds(x, y) ? read(x, y) : Vector{}; },
                    write);
        }
    }
}

// A block of a kernel from its taps to the points, or its gradient back, which is added.
template <bool ROWS>
void kernel_to_points(const float* taps, int numbers, float* points) {
    for (int place = 0; place < numbers; place += LANES)
        transform<TapsToPoints, ROWS>(
            [&](int x, int y) {
                return at(taps + size_t(x * along_rows<ROWS>(3) + y) * numbers + place);
            },
            [&](int x, int y, Vector value) {
                at(points + size_t(point<ROWS>(x, y)) * (numbers + LANES) + place) = value;
            });
}

template <bool ROWS>
void add_points_to_kernel(const float* points, int numbers, float* taps) {
    for (int place = 0; place < numbers; place += LANES)
        transform<PointsToTaps, ROWS>(
            [&](int x, int y) {
                return at(points + size_t(point<ROWS>(x, y)) * (numbers + LANES) + place);
            },
            [&](int x, int y, Vector value) {
                at(taps + size_t(x * along_rows<ROWS>(3) + y) * numbers + place) += value;
            });
}

// Where the sums of a convolution begin.
enum class Start { bias, output };

// One block of outputs of some tiles, from the points to where they belong.
template <bool ROWS, int SIZE>
void points_to_outputs(const Row& row, int first, int count, const float* from, Start start,
                       const float* bias, float* out, int cell_vectors) {
    constexpr size_t tile = Workspace::tile(ROWS ? 3 : 1, SIZE);
    for (int index = 0; index < count; ++index) {
        const auto window =
            Tiles<ROWS>{row}.window(first + index, 0, out, ptrdiff_t(cell_vectors) * LANES);
        const bool whole = window.right >= SIDE && window.bottom >= along_rows<ROWS>(SIDE);
        for (int v = 0; v < SIZE; ++v) {
            const float* here = from + index * tile + v * LANES;
            const Vector begin = start == Start::bias ? at(bias + v * LANES) : Vector{};
            transform<ToOutputs, ROWS>(
                [&](int x, int y) { return at(here + point<ROWS>(x, y) * SIZE * LANES); },
                [&](int x, int y, Vector value) {
                    if (!whole && !window.holds(x, y)) return;
                    Vector& to = at(window.at(x, y) + v * LANES);
                    to = value + (start == Start::bias ? begin : to);
                });
        }
    }
}

template <int SEQUENCES, bool ROWS>
void convolve_tiles(const Row& row, const KernelShape& shape, const float* kernel, const float* in,
                    Start start, const float* bias, float* out, const Workspace& work) {
    constexpr int points = POINTS * along_rows<ROWS>(POINTS);
    const size_t in_cell = size_t(shape.inputs) * SEQUENCES;
    const Blocks blocks{shape.vectors};
    const int all = Tiles<ROWS>{row}.count(), parts = (all + TILES - 1) / TILES;
    for (int part = 0; part < parts; ++part) {
        const int first = int64_t(part) * all / parts;
        const int count = int64_t(part + 1) * all / parts - first;
        const size_t in_tile = Workspace::tile(shape.taps, in_cell / LANES);
        tiles_to_points<ToPoints, ROWS, 1>(row, first, count, in, in_cell / LANES, in_cell / LANES,
                                        work.inputs);
        for (int block = 0; block < blocks.count(); ++block) {
            const int vector = blocks.first(block), size = blocks.size(block);
            const size_t tile = Workspace::tile(shape.taps, size);
            const int numbers = shape.inputs * size * LANES;
            kernel_to_points<ROWS>(kernel + shape.block(vector), numbers, work.kernel);
            const int groups = (count + POSITIONS - 1) / POSITIONS;
            for (int group = 0; group < groups; ++group) {
                const int from = group * count / groups, to = (group + 1) * count / groups;
                const auto multiply = Multiplies<SEQUENCES>::all[to - from - 1][size - 1];
                for (int point = 0; point < points; ++point)
                    multiply(work.inputs + from * in_tile + point * in_cell, in_tile, shape.inputs,
                             work.kernel + size_t(point) * (numbers + LANES),
                             work.outputs + size_t(point) * size * LANES, tile);
                const auto finish = size == 1   ? points_to_outputs<ROWS, 1>
                                    : size == 2 ? points_to_outputs<ROWS, 2>
                                                : points_to_outputs<ROWS, 3>;
                finish(row, first + from, to - from, work.outputs, start,
                       bias + (start == Start::bias ? vector * LANES : 0), out + vector * LANES,
                       shape.vectors);
            }
        }
    }
}

// Convolve a row. `bias` has `shape.vectors` vectors, or the output is added to.
template <int SEQUENCES>
void convolve(const Row& row, const KernelShape& shape, const float* kernel, const float* in,
              Start start, const float* bias, float* out, const Workspace& work) {
    if (shape.taps == 3)
        convolve_tiles<SEQUENCES, true>(row, shape, kernel, in, start, bias, out, work);
    else convolve_tiles<SEQUENCES, false>(row, shape, kernel, in, start, bias, out, work);
}

template <int SEQUENCES, bool ROWS>
void add_gradient_of_tiles(const Row& row, const KernelShape& shape, const float* in,
                           const float* out_gradient, float* kernel_gradient,
                           const Workspace& work) {
    constexpr int points = POINTS * along_rows<ROWS>(POINTS);
    const size_t in_cell = size_t(shape.inputs) * SEQUENCES;
    const Blocks blocks{shape.vectors};
    const int all = Tiles<ROWS>{row}.count(), parts = (all + TILES - 1) / TILES;
    for (int part = 0; part < parts; ++part) {
        const int first = int64_t(part) * all / parts;
        const int count = int64_t(part + 1) * all / parts - first;
        const size_t in_tile = Workspace::tile(shape.taps, in_cell / LANES);
        tiles_to_points<ToPoints, ROWS, 1>(row, first, count, in, in_cell / LANES, in_cell / LANES,
                                        work.inputs);
        for (int block = 0; block < blocks.count(); ++block) {
            const int vector = blocks.first(block), size = blocks.size(block);
            const size_t tile = Workspace::tile(shape.taps, size);
            const int numbers = shape.inputs * size * LANES;
            tiles_to_points<OutputsToPoints, ROWS, 0>(row, first, count,
                                                   out_gradient + vector * LANES, shape.vectors,
                                                   size, work.outputs);
            const auto multiply = size == 1   ? multiply_gradient<SEQUENCES, 1>
                                  : size == 2 ? multiply_gradient<SEQUENCES, 2>
                                              : multiply_gradient<SEQUENCES, 3>;
            for (int point = 0; point < points; ++point)
                multiply(work.inputs + point * in_cell, in_tile, count, shape.inputs,
                         work.outputs + size_t(point) * size * LANES, tile,
                         work.kernel + size_t(point) * (numbers + LANES));
            add_points_to_kernel<ROWS>(work.kernel, numbers, kernel_gradient + shape.block(vector));
        }
    }
}

// Add the gradient of a kernel, given the convolution's input and the gradient of its output.
template <int SEQUENCES>
void add_kernel_gradient(const Row& row, const KernelShape& shape, const float* in,
                         const float* out_gradient, float* kernel_gradient,
                         const Workspace& work) {
    if (shape.taps == 3)
        add_gradient_of_tiles<SEQUENCES, true>(row, shape, in, out_gradient, kernel_gradient, work);
    else add_gradient_of_tiles<SEQUENCES, false>(row, shape, in, out_gradient, kernel_gradient, work);
}

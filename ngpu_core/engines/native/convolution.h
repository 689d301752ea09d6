// Same-padded convolutions of a row with a kernel 3 columns wide and 1 or 3 cells high, the gradient
// of their kernels, and the order in memory that both want.
//
//     sum[x, y, o] = Σ_dx Σ_dy Σ_i in[x + dx, y + dy, i] · kernel[dx, dy, i, o]
//
// What becomes of a sum is the caller's to say: it is handed over in a register.
//
// The row is cut into tiles of 4 columns (and 4 cells in height), whose values at Winograd's points
// are multiplied point by point (winograd.h, products.h): some tiles at a time, so that what a thread
// works on stays in its cache. A kernel goes to the points when it is used: kept there, it would be
// four times as large. A small one does so as a whole, and meets a few tiles at a time; a large one
// block by block, each meeting many tiles. The gradient of the input is the same function with the
// kernel flipped and transposed.
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

// Floats at the points up to which a kernel is small.
constexpr size_t SMALL_KERNEL = size_t(1) << 17;
// Tiles at the points at a time, at most; a line's have a sixth of a plane's points. A small kernel
// meets fewer.
constexpr int most_tiles(int taps) { return taps == 3 ? 48 : 192; }
constexpr int few_tiles(int taps) { return most_tiles(taps) / 3; }

// Where a kernel's numbers lie: block of outputs, column tap, row tap, pair of inputs, of which
// products.h tells the rest.
struct KernelShape {
    int sequences;  // that are interleaved
    int taps;       // rows of the kernel: 1 or 3
    int inputs;     // maps a cell of the input has, filled up to whole vectors
    int vectors;    // vectors a cell of the output has

    size_t size() const { return block(vectors); }
    // Of a tap of a block.
    size_t tap(int block_size) const { return size_t(inputs) * block_size * LANES / sequences; }
    // At the points; a vector more between two of them, which a power of two apart would meet in the
    // cache. A block there takes as much as the largest.
    int points() const { return taps == 3 ? POINTS * POINTS : POINTS; }
    size_t point(int block_size) const { return tap(block_size) + LANES; }
    size_t block_at_points() const { return points() * point(BLOCK); }
    size_t size_at_points() const { return Blocks{vectors}.count() * block_at_points(); }
    bool small() const { return size_at_points() <= SMALL_KERNEL; }
    size_t block(int first_vector) const { return 3 * taps * tap(first_vector); }

    // Where the numbers of an output lie.
    struct Place {
        size_t start[2], pair, tap;  // of the first pair's inputs; what is between two pairs, two taps
        size_t of(int tap_index, int input) const {
            return start[input % 2] + input / 2 * pair + tap_index * tap;
        }
    };
    Place of_output(int map) const {
        const Blocks blocks{vectors};
        const int maps = LANES / sequences, vector = map / maps, lane = map % maps * sequences;
        int index = 0;
        while (blocks.first(index + 1) <= vector) ++index;
        const int first = blocks.first(index), size = blocks.size(index);
        Place place{{}, tap(size) / inputs * 2, tap(size)};
        for (int input = 0; input < 2; ++input) {
            const int in_pair = input * size + vector - first;
            place.start[input] =
                block(first) + in_pair / sequences * LANES + lane + in_pair % sequences;
        }
        return place;
    }
};

// A row as tiles.
template <bool ROWS>
struct Tiles {
    static constexpr int side_rows = along_rows<ROWS>(SIDE);
    const Row& row;

    int across() const { return (row.columns + SIDE - 1) / SIDE; }
    int high() const { return (row.height + side_rows - 1) / side_rows; }
    int count() const { return row.units * across() * high(); }

    struct Place {
        int unit, column, height;  // of the tile's first output
    };
    Place place(int tile) const {
        const int strip = tile / across();
        return {strip / high(), tile % across() * SIDE, strip % high() * side_rows};
    }

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
        const Place outputs = place(tile);
        const int x = outputs.column - before, y = outputs.height - (ROWS ? before : 0);
        Window<Float> window;
        window.column = row.height * size;
        window.cell = size;
        window.first = array + row.column(outputs.unit, x) * window.column + y * size;
        window.left = -x;
        window.right = row.columns - x;
        window.top = -y;
        window.bottom = row.height - y;
        return window;
    }
};

// What a thread needs for its convolutions: some tiles' inputs and one block of their outputs at all
// points, and there a small kernel or one block of a large one, or the gradient of a block.
struct Workspace {
    float *inputs, *outputs, *kernel;

    // Floats of a tile of cells at the points. A vector more than they are: tiles a power of two
    // apart would meet in the cache.
    static constexpr size_t tile(int taps, int vectors) {
        return (size_t(taps == 3 ? POINTS * POINTS : POINTS) * vectors + 1) * LANES;
    }

    // Its sizes, for convolutions of a row with kernels of these shapes.
    struct Sizes {
        size_t inputs = 0, outputs = 0, kernel = 0;
        size_t floats() const { return inputs + outputs + kernel + 3 * 16; }
    };
    static Sizes sizes(const Row& row, std::initializer_list<KernelShape> shapes) {
        Sizes most;
        for (const KernelShape& shape : shapes) {
            const int all = shape.taps == 3 ? Tiles<true>{row}.count() : Tiles<false>{row}.count();
            const int tiles = std::min(all, most_tiles(shape.taps));
            const int vectors = shape.inputs * shape.sequences / LANES;
            most.inputs = std::max(most.inputs, tiles * tile(shape.taps, vectors));
            most.outputs = std::max(most.outputs, tiles * tile(shape.taps, BLOCK));
            most.kernel = std::max(
                most.kernel, shape.small() ? shape.size_at_points() : shape.block_at_points());
        }
        return most;
    }
    static Workspace take(Memory& memory, const Sizes& sizes) {
        return {memory.take(sizes.inputs), memory.take(sizes.outputs), memory.take(sizes.kernel)};
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

// A block of a kernel from its taps to the points, or its gradient back: added, or the first one.
template <bool ROWS>
void kernel_to_points(const float* taps, const KernelShape& shape, int size, float* points) {
    const size_t numbers = shape.tap(size);
    for (size_t place = 0; place < numbers; place += LANES)
        transform<TapsToPoints, ROWS>(
            [&](int x, int y) { return at(taps + (x * along_rows<ROWS>(3) + y) * numbers + place); },
            [&](int x, int y, Vector value) {
                at(points + point<ROWS>(x, y) * shape.point(size) + place) = value;
            });
}

template <bool ROWS, bool ADDED>
void points_to_kernel(const float* points, const KernelShape& shape, int size, float* taps) {
    const size_t numbers = shape.tap(size);
    for (size_t place = 0; place < numbers; place += LANES)
        transform<PointsToTaps, ROWS>(
            [&](int x, int y) { return at(points + point<ROWS>(x, y) * shape.point(size) + place); },
            [&](int x, int y, Vector value) {
                Vector& tap = at(taps + (x * along_rows<ROWS>(3) + y) * numbers + place);
                tap = ADDED ? tap + value : value;
            });
}

// A cell of the state: the sequences it belongs to, its place there and in an array.
struct Cell {
    int unit, column, height;
    size_t index;
};

// One block of outputs of some tiles, from the points to finish(cell, vector of the block, sum).
template <bool ROWS, int SIZE, class Finish>
void points_to_sums(const Row& row, int first, int count, const float* from, Finish finish) {
    constexpr int rows = along_rows<ROWS>(SIDE);
    constexpr size_t tile = Workspace::tile(ROWS ? 3 : 1, SIZE);
    const Tiles<ROWS> tiles{row};
    for (int index = 0; index < count; ++index) {
        const auto place = tiles.place(first + index);
        const int across = std::min(SIDE, row.columns - place.column);
        const int high = std::min(rows, row.height - place.height);
        for (int v = 0; v < SIZE; ++v) {
            const float* here = from + index * tile + v * LANES;
            Vector sums[SIDE][rows];
            transform<ToOutputs, ROWS>(
                [&](int x, int y) { return at(here + point<ROWS>(x, y) * SIZE * LANES); },
                [&](int x, int y, Vector value) { sums[x][y] = value; });
            for (int x = 0; x < across; ++x)
                for (int y = 0; y < high; ++y) {
                    Cell cell{place.unit, place.column + x, place.height + y, 0};
                    cell.index = size_t(row.column(cell.unit, cell.column)) * row.height + cell.height;
                    finish(cell, v, sums[x][y]);
                }
        }
    }
}

// Part: the tiles that are at the points at a time. Block: the outputs that a register tile holds.
// Group: the tiles that one does, whose sums are handed over while they are in the innermost cache.
template <int SEQUENCES, bool ROWS, class Finish>
void convolve_tiles(const Row& row, const KernelShape& shape, const float* kernel, const float* in,
                    const Workspace& work, Finish finish) {
    const size_t in_cell = size_t(shape.inputs) * SEQUENCES;
    const size_t in_tile = Workspace::tile(shape.taps, in_cell / LANES);
    const Blocks blocks{shape.vectors};
    const bool small = shape.small();
    const auto block_to_points = [&](int block, float* to) {
        kernel_to_points<ROWS>(kernel + shape.block(blocks.first(block)), shape,
                               blocks.size(block), to);
    };
    for (int block = 0; small && block < blocks.count(); ++block)
        block_to_points(block, work.kernel + block * shape.block_at_points());
    const int all = Tiles<ROWS>{row}.count(), most = small ? few_tiles(shape.taps) : most_tiles(shape.taps);
    const int parts = (all + most - 1) / most;
    for (int part = 0; part < parts; ++part) {
        const int first = int64_t(part) * all / parts;
        const int count = int64_t(part + 1) * all / parts - first;
        tiles_to_points<ToPoints, ROWS, 1>(row, first, count, in, in_cell / LANES, in_cell / LANES,
                                           work.inputs);
        for (int block = 0; block < blocks.count(); ++block) {
            const int vector = blocks.first(block), size = blocks.size(block);
            const size_t tile = Workspace::tile(shape.taps, size);
            float* numbers = work.kernel + (small ? block * shape.block_at_points() : 0);
            if (!small) block_to_points(block, numbers);
            const int groups = (count + POSITIONS - 1) / POSITIONS;
            for (int group = 0; group < groups; ++group) {
                const int from = group * count / groups, to = (group + 1) * count / groups;
                const auto multiply = Multiplies<SEQUENCES>::all[to - from - 1][size - 1];
                for (int point = 0; point < shape.points(); ++point)
                    multiply(work.inputs + from * in_tile + point * in_cell, in_tile, shape.inputs,
                             numbers + point * shape.point(size),
                             work.outputs + size_t(point) * size * LANES, tile);
                const auto hand_over = [&](auto vectors) {
                    points_to_sums<ROWS, vectors()>(
                        row, first + from, to - from, work.outputs,
                        [&](const Cell& cell, int v, Vector sum) { finish(cell, vector + v, sum); });
                };
                if (size == 1) hand_over(std::integral_constant<int, 1>{});
                else if (size == 2) hand_over(std::integral_constant<int, 2>{});
                else hand_over(std::integral_constant<int, 3>{});
            }
        }
    }
}

// Convolve a row: finish(cell, vector of outputs, sum) for each.
template <int SEQUENCES, class Finish>
void convolve(const Row& row, const KernelShape& shape, const float* kernel, const float* in,
              const Workspace& work, Finish finish) {
    if (shape.taps == 3) convolve_tiles<SEQUENCES, true>(row, shape, kernel, in, work, finish);
    else convolve_tiles<SEQUENCES, false>(row, shape, kernel, in, work, finish);
}

// Where the gradient of a kernel is summed. Its numbers are anything before the first is there: to
// write them is cheaper than to add to zeros.
struct KernelGradient {
    float* numbers;
    size_t size;
    bool begun = false;

    void zero_if_none() const {
        if (!begun) std::fill_n(numbers, size, 0.0f);
    }
};

template <int SEQUENCES, bool ROWS>
void add_gradient_of_tiles(const Row& row, const KernelShape& shape, const float* in,
                           const float* out_gradient, KernelGradient& kernel_gradient,
                           const Workspace& work) {
    const size_t in_cell = size_t(shape.inputs) * SEQUENCES;
    const Blocks blocks{shape.vectors};
    const int all = Tiles<ROWS>{row}.count(), most = most_tiles(shape.taps);
    const int parts = (all + most - 1) / most;
    for (int part = 0; part < parts; ++part) {
        const int first = int64_t(part) * all / parts;
        const int count = int64_t(part + 1) * all / parts - first;
        const size_t in_tile = Workspace::tile(shape.taps, in_cell / LANES);
        tiles_to_points<ToPoints, ROWS, 1>(row, first, count, in, in_cell / LANES, in_cell / LANES,
                                        work.inputs);
        for (int block = 0; block < blocks.count(); ++block) {
            const int vector = blocks.first(block), size = blocks.size(block);
            const size_t tile = Workspace::tile(shape.taps, size);
            tiles_to_points<OutputsToPoints, ROWS, 0>(row, first, count,
                                                   out_gradient + vector * LANES, shape.vectors,
                                                   size, work.outputs);
            const auto multiply = size == 1   ? multiply_gradient<SEQUENCES, 1>
                                  : size == 2 ? multiply_gradient<SEQUENCES, 2>
                                              : multiply_gradient<SEQUENCES, 3>;
            for (int point = 0; point < shape.points(); ++point)
                multiply(work.inputs + point * in_cell, in_tile, count, shape.inputs,
                         work.outputs + size_t(point) * size * LANES, tile,
                         work.kernel + point * shape.point(size));
            const auto to_taps = kernel_gradient.begun ? points_to_kernel<ROWS, true>
                                                       : points_to_kernel<ROWS, false>;
            to_taps(work.kernel, shape, size, kernel_gradient.numbers + shape.block(vector));
        }
        kernel_gradient.begun = true;
    }
}

// Add the gradient of a kernel, given the convolution's input and the gradient of its output.
template <int SEQUENCES>
void add_kernel_gradient(const Row& row, const KernelShape& shape, const float* in,
                         const float* out_gradient, KernelGradient& kernel_gradient,
                         const Workspace& work) {
    if (shape.taps == 3)
        add_gradient_of_tiles<SEQUENCES, true>(row, shape, in, out_gradient, kernel_gradient, work);
    else add_gradient_of_tiles<SEQUENCES, false>(row, shape, in, out_gradient, kernel_gradient, work);
}

// A row of sequences in memory: what one thread works on at a time.
//
// A unit is SEQUENCES sequences interleaved in the lanes of its vectors. A row lays `units` of them
// side by side with a zero column before, between and after:
//
//     0 | unit 0: columns | 0 | unit 1: columns | 0        column = height cells = height · maps
//
// so that who looks one column beside a sequence finds zeros.
#pragma once

#include <algorithm>
#include <cstddef>

#include "vectors.h"

struct Row {
    int units, columns, height;

    int width() const { return units * (columns + 1) + 1; }
    int column(int unit, int position) const { return unit * (columns + 1) + 1 + position; }
    // Floats of an array whose cells have this many vectors.
    size_t size(int vectors) const { return size_t(width()) * height * vectors * LANES; }

    // Zero the columns between units, which kernels read.
    void clear_gaps(float* array, int vectors) const {
        const size_t column_size = size_t(height) * vectors * LANES;
        for (int unit = 0; unit <= units; ++unit)
            std::fill_n(array + unit * (columns + 1) * column_size, column_size, 0.0f);
    }

    // Call visit(unit, position, height, first float of the cell) for every cell of an array.
    template <class Visit>
    void each_cell(int vectors, Visit visit) const {
        const size_t cell = size_t(vectors) * LANES;
        for (int unit = 0; unit < units; ++unit)
            for (int position = 0; position < columns; ++position)
                for (int row = 0; row < height; ++row)
                    visit(unit, position, row,
                          (size_t(column(unit, position)) * height + row) * cell);
    }
};

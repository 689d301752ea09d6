// Winograd's minimal filtering F(4, 3): four outputs of a filter with three taps from six products.
//
// For a filter g, inputs d (six) and outputs y (four),
//
//     y = Aᵀ[(G·g) ⊙ (Bᵀ·d)]
//
// where G·g and Bᵀ·d are values at six points of the polynomials whose product the convolution is
// (Lavin & Gray 2016, "Fast algorithms for convolutional neural networks"). In the plane the same is
// done along both axes: 36 products for 16 outputs where nine taps need 144. Products of several maps
// are summed before Aᵀ, so each point is a matrix product over maps.
//
// The points are 0, ±P, ±1/P and infinity with P = 2/3: of the symmetric ones these lose least in
// float32 (rms error 2.4 times that of a plain sum; 0, ±1, ±2, infinity lose 4.7 times).
//
// Backwards: the gradient of y is taken to the points by A, and that of G·g to g by Gᵀ.
#pragma once

#include "vectors.h"

constexpr float P = 2.0f / 3, Q = 1.5f;  // P · Q = 1
constexpr float P2 = P * P, Q2 = Q * Q;
// What the values of a filter at ±P and ±1/P are divided by.
constexpr float AT_P = 1 / (2 * P2 * (P2 - Q2)), AT_Q = 1 / (2 * Q2 * (Q2 - P2));

constexpr int SIDE = 4;     // outputs of a tile along an axis
constexpr int POINTS = 6;   // points, and inputs of a tile, along an axis

// Bᵀ: six inputs to the points.
struct ToPoints {
    static constexpr int from = POINTS, to = POINTS;
    template <class Read, class Write>
    static inline __attribute__((always_inline)) void act(Read read, Write write) {
        const Vector d0 = read(0), d1 = read(1), d2 = read(2), d3 = read(3), d4 = read(4),
                     d5 = read(5);
        const Vector even_p = d4 - Q2 * d2, odd_p = P * d3 - Q * d1;
        const Vector even_q = d4 - P2 * d2, odd_q = Q * d3 - P * d1;
        write(0, (d0 + d4) - (P2 + Q2) * d2);
        write(1, even_p + odd_p);
        write(2, even_p - odd_p);
        write(3, even_q + odd_q);
        write(4, even_q - odd_q);
        write(5, (d1 + d5) - (P2 + Q2) * d3);
    }
};

// Aᵀ: the points to four outputs.
struct ToOutputs {
    static constexpr int from = POINTS, to = SIDE;
    template <class Read, class Write>
    static inline __attribute__((always_inline)) void act(Read read, Write write) {
        const Vector p0 = read(1), p1 = read(2), q0 = read(3), q1 = read(4);
        const Vector even_p = p0 + p1, odd_p = P * (p0 - p1);
        const Vector even_q = q0 + q1, odd_q = Q * (q0 - q1);
        write(0, read(0) + even_p + even_q);
        write(1, odd_p + odd_q);
        write(2, P2 * even_p + Q2 * even_q);
        write(3, (P2 * odd_p + read(5)) + Q2 * odd_q);
    }
};

// A: the gradients of four outputs to the points.
struct OutputsToPoints {
    static constexpr int from = SIDE, to = POINTS;
    template <class Read, class Write>
    static inline __attribute__((always_inline)) void act(Read read, Write write) {
        const Vector y0 = read(0), y1 = read(1), y2 = read(2), y3 = read(3);
        const Vector even_p = y0 + P2 * y2, odd_p = P * (y1 + P2 * y3);
        const Vector even_q = y0 + Q2 * y2, odd_q = Q * (y1 + Q2 * y3);
        write(0, y0);
        write(1, even_p + odd_p);
        write(2, even_p - odd_p);
        write(3, even_q + odd_q);
        write(4, even_q - odd_q);
        write(5, y3);
    }
};

// G: three taps to the points.
struct TapsToPoints {
    static constexpr int from = 3, to = POINTS;
    template <class Read, class Write>
    static inline __attribute__((always_inline)) void act(Read read, Write write) {
        const Vector g0 = read(0), g1 = read(1), g2 = read(2);
        const Vector even_p = AT_P * g0 + (AT_P * P2) * g2, odd_p = (AT_P * P) * g1;
        const Vector even_q = AT_Q * g0 + (AT_Q * Q2) * g2, odd_q = (AT_Q * Q) * g1;
        write(0, g0);
        write(1, even_p + odd_p);
        write(2, even_p - odd_p);
        write(3, even_q + odd_q);
        write(4, even_q - odd_q);
        write(5, g2);
    }
};

// Gᵀ: the gradients at the points to those of three taps.
struct PointsToTaps {
    static constexpr int from = POINTS, to = 3;
    template <class Read, class Write>
    static inline __attribute__((always_inline)) void act(Read read, Write write) {
        const Vector p0 = read(1), p1 = read(2), q0 = read(3), q1 = read(4);
        const Vector even_p = AT_P * (p0 + p1), odd_p = AT_P * (p0 - p1);
        const Vector even_q = AT_Q * (q0 + q1), odd_q = AT_Q * (q0 - q1);
        write(0, read(0) + even_p + even_q);
        write(1, P * odd_p + Q * odd_q);
        write(2, (P2 * even_p + read(5)) + Q2 * even_q);
    }
};

// How a tile of a plane (ROWS true) or of a line is seen: its size along the rows.
template <bool ROWS>
constexpr int along_rows(int size) {
    return ROWS ? size : 1;
}

// A transform along both axes of a tile, or along its columns only: read(x, y), write(x, y, value).
// The first and the last EDGE cells of every column are zero and not read.
template <class Transform, bool ROWS, int EDGE = 0, class Read, class Write>
inline __attribute__((always_inline)) void transform(Read read, Write write) {
    if constexpr (ROWS) {
        Vector half[Transform::from][Transform::to];
#pragma GCC unroll 6
        for (int y = 0; y < Transform::from; ++y)
            if (y >= EDGE && y < Transform::from - EDGE)
                Transform::act([&](int x) { return read(x, y); },
                               [&](int x, Vector value) { half[y][x] = value; });
            else
                for (int x = 0; x < Transform::to; ++x) half[y][x] = Vector{};
#pragma GCC unroll 6
        for (int x = 0; x < Transform::to; ++x)
            Transform::act([&](int y) { return half[y][x]; },
                           [&](int y, Vector value) { write(x, y, value); });
    } else {
        Transform::act([&](int x) { return read(x, 0); },
                       [&](int x, Vector value) { write(x, 0, value); });
    }
}

// Vectors of the processor this file is compiled for, and the few functions the networks need.
//
// A vector holds LANES floats: LANES / SEQUENCES neighbouring maps of SEQUENCES sequences, interleaved
// (map 0 of sequence a, map 0 of b, map 1 of a, …). With two sequences a vector, 24 maps fill three
// vectors of 16 lanes to the last one; with one, kernels need not be stored twice.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
constexpr int LANES = 16;
constexpr int POSITIONS = 8;  // tiles in registers at a time; times 3 vectors each = 24 accumulators
#elif defined(__AVX2__)
constexpr int LANES = 8;
constexpr int POSITIONS = 4;
#else
constexpr int LANES = 4;
constexpr int POSITIONS = 4;
#endif
constexpr int BYTES = LANES * sizeof(float);

typedef float Vector __attribute__((vector_size(BYTES), may_alias));
typedef int32_t Integers __attribute__((vector_size(BYTES), may_alias));
typedef uint32_t Words __attribute__((vector_size(BYTES), may_alias));

inline Vector& at(float* place) { return *reinterpret_cast<Vector*>(place); }
inline const Vector& at(const float* place) { return *reinterpret_cast<const Vector*>(place); }

// A scalar in every lane. Subtracting nothing is how the vector extension says "broadcast".
inline Vector every(float value) { return value - Vector{}; }

// One map of a cell, each sequence's own value in each of its lanes.
template <int SEQUENCES>
inline Vector splat(const float* values) {
    if constexpr (SEQUENCES == 1) return every(*values);
    typedef double Doubles __attribute__((vector_size(BYTES)));
    double pair;
    std::memcpy(&pair, values, sizeof pair);
    return reinterpret_cast<Vector>(pair - Doubles{});
}

// Lanes exchanged in pairs; every even lane twice, every odd lane twice; even ones of one, odd ones of
// another.
template <int... LANE>
struct LanePairs {
    static Vector swapped(Vector x) { return __builtin_shufflevector(x, x, (LANE ^ 1)...); }
    static Vector evens(Vector x) { return __builtin_shufflevector(x, x, (LANE & ~1)...); }
    static Vector odds(Vector x) { return __builtin_shufflevector(x, x, (LANE | 1)...); }
    static Vector alternating(Vector even, Vector odd) {
        return __builtin_shufflevector(even, odd, (LANE % 2 ? LANES + LANE : LANE)...);
    }
};
template <int... LANE>
LanePairs<LANE...> lane_pairs(std::integer_sequence<int, LANE...>);
using Pairs = decltype(lane_pairs(std::make_integer_sequence<int, LANES>{}));

// What is no number stays none. A comparison and a choice would be several instructions.
inline Vector clamp(Vector x, float low, float high) {
#if defined(__AVX512F__)
    return _mm512_min_ps(every(high), _mm512_max_ps(every(low), x));
#elif defined(__AVX2__)
    return _mm256_min_ps(every(high), _mm256_max_ps(every(low), x));
#else
    x = x < low ? every(low) : x;
    return x > high ? every(high) : x;
#endif
}

inline float total(Vector x) {
    float sum = 0;
    for (int lane = 0; lane < LANES; ++lane) sum += x[lane];
    return sum;
}

// exp to 3 units in the last place: 2^n · polynomial(r), |r| <= ln 2 / 2.
inline Vector exponential(Vector x) {
    x = clamp(x, -87.0f, 87.0f);
    const float magic = 12582912.0f;  // 1.5 · 2^23: adding it rounds to an integer
    Vector shifted = x * 1.44269504f + magic;
    Vector n = shifted - magic;
    Vector r = x - n * 0.693145752f;
    r = r - n * 1.42860677e-6f;
    Vector p = every(1.0f / 720);
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    Integers power = (reinterpret_cast<Integers>(shifted) << 23) + (127 << 23);
    return p * reinterpret_cast<Vector>(power);
}

inline Vector sigmoid(Vector x) { return 1.0f / (1.0f + exponential(-x)); }

inline Vector hyperbolic_tangent(Vector x) { return 2.0f * sigmoid(2.0f * x) - 1.0f; }

// The element hash of ngpu_core/dropout.py, word for word.
inline Words hashed(Words row, Words element) {
    Words x = row + element * 0x9E3779B9u;
    x = (x ^ (x >> 16)) * 0x21F0AAADu;
    x = (x ^ (x >> 15)) * 0xD35A2D97u;
    return x ^ (x >> 15);
}

// What follows the gradient of one seed: the pull between weight copies, the norm, the optimizer.
//
// The formulas are those of ngpu_core/optimizers.py and relaxation.py. Each sum here takes one
// product, which leaves a compiler no choice of what to fuse: a number comes out the same in a whole
// vector and in what is left at the end of a row.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

// Weight copies in a row: one after the other from `start`, each of so many values.
struct Copies {
    int64_t start, copies, values;
};

// One seed's step; `descent.py` declares the same structures for ctypes. Rows are (N,).
struct Descent {
    int64_t values;                  // N
    float* parameters;
    float* gradients;                // the pull is added to them
    float *first, *second;           // the optimizer's slots
    const Copies* relaxed;
    int32_t relaxed_count, active;   // whether the parameters may change
    float pull, rate, epsilon;       // of this step; what the rate is corrected by is in it
    float follow_first, follow_second;  // 1 - decay of each slot
    float clip_norm;                 // of the whole gradient; AdaMax clips each number instead
};

// Add the gradient of pull · Σ |copy - mean|².
inline void add_pull(const Descent& descent, const Copies& relaxed) {
    constexpr int CHUNK = 512;  // so many values of every copy stay in cache
    const float weight = 2 * descent.pull, share = 1.0f / relaxed.copies;
    for (int64_t from = 0; from < relaxed.values; from += CHUNK) {
        const int count = std::min<int64_t>(CHUNK, relaxed.values - from);
        float mean[CHUNK] = {};
        for (int64_t copy = 0; copy < relaxed.copies; ++copy) {
            const int64_t place = relaxed.start + copy * relaxed.values + from;
            const float* weights = descent.parameters + place;
            for (int i = 0; i < count; ++i) mean[i] += share * weights[i];
        }
        for (int64_t copy = 0; copy < relaxed.copies; ++copy) {
            const int64_t place = relaxed.start + copy * relaxed.values + from;
            const float* weights = descent.parameters + place;
            float* gradients = descent.gradients + place;
#pragma GCC ivdep
            for (int i = 0; i < count; ++i) gradients[i] += weight * (weights[i] - mean[i]);
        }
    }
}

// The norm of the gradient; infinite where float32 cannot hold its square.
inline float gradient_norm(const Descent& descent) {
    constexpr int SUMS = 32;  // side by side, so that they fill vectors; double: rows are long
    double sums[SUMS] = {};
    const float* gradients = descent.gradients;
    int64_t place = 0;
    for (; place + SUMS <= descent.values; place += SUMS)
        for (int i = 0; i < SUMS; ++i) sums[i] += double(gradients[place + i]) * gradients[place + i];
    for (; place < descent.values; ++place)
        sums[place % SUMS] += double(gradients[place]) * gradients[place];
    double sum = 0;
    for (double one : sums) sum += one;
    return std::sqrt(float(sum));
}

inline void adam(const Descent& descent, float norm) {
    const float scale = descent.clip_norm / std::max(norm, descent.clip_norm);
    const float follow_first = descent.follow_first, follow_second = descent.follow_second;
    const float rate = descent.rate, epsilon = descent.epsilon;
    const float* gradients = descent.gradients;
    float *parameters = descent.parameters, *first = descent.first, *second = descent.second;
#pragma GCC ivdep
    for (int64_t i = 0; i < descent.values; ++i) {
        const float clipped = scale * gradients[i];
        const float moment = first[i] + follow_first * (clipped - first[i]);
        const float square = second[i] + follow_second * (clipped * clipped - second[i]);
        first[i] = moment;
        second[i] = square;
        parameters[i] -= rate * moment / (std::sqrt(square) + epsilon);
    }
}

inline void adamax(const Descent& descent, float) {
    const float follow_first = descent.follow_first, keep = 1 - descent.follow_second;
    const float rate = descent.rate, epsilon = descent.epsilon;
    const float* gradients = descent.gradients;
    float *parameters = descent.parameters, *first = descent.first, *maximum = descent.second;
#pragma GCC ivdep
    for (int64_t i = 0; i < descent.values; ++i) {
        const float bound = 1e-4f + 1.2f * maximum[i];
        const float clipped = std::min(std::max(gradients[i], -bound), bound);
        const float moment = first[i] + follow_first * (clipped - first[i]);
        const float largest = std::max(keep * maximum[i], std::abs(clipped));
        first[i] = moment;
        maximum[i] = largest;
        parameters[i] -= rate * moment / (largest + epsilon);
    }
}

// Whether the gradient is finite. If it is not, or the seed not active, it keeps what it has.
template <class Optimizer>
bool descend(const Descent& descent, Optimizer optimizer) {
    if (descent.pull != 0)
        for (int index = 0; index < descent.relaxed_count; ++index)
            add_pull(descent, descent.relaxed[index]);
    const float norm = gradient_norm(descent);
    const bool finite = std::isfinite(norm);
    if (finite && descent.active) optimizer(descent, norm);
    return finite;
}

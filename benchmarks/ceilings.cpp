// What the machine can do at most: fused multiply-adds in registers, bytes read from memory.
// Compiled for the processor it runs on, so the vectors are the widest there are.

#include <chrono>
#include <cstddef>

#if defined(__AVX512F__)
constexpr int vector_bytes = 64;
#elif defined(__AVX__)
constexpr int vector_bytes = 32;
#else
constexpr int vector_bytes = 16;
#endif
typedef float vector __attribute__((vector_size(vector_bytes)));
constexpr int lanes = vector_bytes / sizeof(float);

// Independent chains: two units of latency 4 need eight; the rest is margin.
constexpr int chains = 12;
constexpr long block = 100'000;

using clock_type = std::chrono::steady_clock;

static double since(clock_type::time_point start) {
    return std::chrono::duration<double>(clock_type::now() - start).count();
}

// Operations a second of one thread; a multiply-add counts two.
extern "C" double fma_rate(double seconds) {
    vector sums[chains];
    const vector factor = vector{} + 0.999f, term = vector{} + 0.001f;
#pragma GCC unroll 16
    for (int i = 0; i < chains; ++i) sums[i] = vector{} + static_cast<float>(i);
    long blocks = 0;
    double taken = 0;
    const auto start = clock_type::now();
    do {
        for (long k = 0; k < block; ++k) {
#pragma GCC unroll 16
            for (int i = 0; i < chains; ++i) sums[i] = sums[i] * factor + term;
        }
        ++blocks;
        taken = since(start);
    } while (taken < seconds);
    vector total = vector{};
#pragma GCC unroll 16
    for (int i = 0; i < chains; ++i) total += sums[i];
    volatile float kept = total[0];
    (void)kept;
    return 2.0 * chains * lanes * block * blocks / taken;
}

// Bytes a second that one thread reads from an aligned buffer it goes through again and again.
extern "C" double read_rate(const float* buffer, std::size_t bytes, double seconds) {
    constexpr int streams = 8;
    const vector* values = reinterpret_cast<const vector*>(buffer);
    const std::size_t count = bytes / sizeof(vector) / streams * streams;
    vector sums[streams];
#pragma GCC unroll 8
    for (int i = 0; i < streams; ++i) sums[i] = vector{};
    long passes = 0;
    double taken = 0;
    const auto start = clock_type::now();
    do {
        for (std::size_t k = 0; k < count; k += streams) {
#pragma GCC unroll 8
            for (int i = 0; i < streams; ++i) sums[i] += values[k + i];
        }
        ++passes;
        taken = since(start);
    } while (taken < seconds);
    vector total = vector{};
#pragma GCC unroll 8
    for (int i = 0; i < streams; ++i) total += sums[i];
    volatile float kept = total[0];
    (void)kept;
    return static_cast<double>(count) * sizeof(vector) * passes / taken;
}

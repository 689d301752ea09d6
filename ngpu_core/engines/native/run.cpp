// The exported functions. Errors are returned as a message, or null.
#include <chrono>
#include <exception>
#include <memory>

#include "diagonal.h"
#include "neural_gpu.h"

namespace {

// A network over a step: weights packed once, the batch in chunks with gradients of their own.
//
// What is added to what depends on the chunks and not on the threads, so that a seed's numbers are
// the same on every number of threads.
template <class Network>
void run_step(Step& step) {
    const Network network(step);
    Memory weight_memory(network.weight_floats());
    const auto weights = network.pack(weight_memory);
    struct Chunk {
        std::unique_ptr<Memory> memory;
        typename Network::Gradients gradients;
        std::vector<Costs> costs;
    };
    std::vector<Chunk> chunks(step.chunks);
    in_threads(step.chunks, step.threads, [&](int index) {
        Chunk& chunk = chunks[index];
        if (network.training()) {
            chunk.memory = std::make_unique<Memory>(network.gradient_floats());
            chunk.gradients = network.zero_gradients(*chunk.memory);
        }
        for (int b = 0; b < step.batches; ++b) {
            Batch& batch = step.batch[b];
            Costs costs;
            const int from = int64_t(batch.sequences) * index / step.chunks;
            const int to = int64_t(batch.sequences) * (index + 1) / step.chunks;
            for (int first = from; first < to; first += batch.group) {
                const int count = std::min(batch.group, to - first);
                costs += network.run(batch, first, count, weights,
                                     network.training() ? &chunk.gradients : nullptr);
            }
            chunk.costs.push_back(costs);
        }
    });
    for (const Chunk& chunk : chunks)
        for (int b = 0; b < step.batches; ++b) step.batch[b].costs += chunk.costs[b];
    if (!network.training()) return;
    const auto& sum = chunks[0].gradients;
    for (int index = 1; index < step.chunks; ++index) {
        const float* more = chunks[index].gradients.first;
        for (float* place = sum.first; place < sum.end; ++place, ++more) *place += *more;
    }
    network.unpack(sum);
}

template <template <int> class Network>
const char* run_lanes(Step* step) {
    try {
        // Whole vectors of maps: a sequence a vector, and no number of a kernel stored twice.
        if (step->maps % LANES == 0) run_step<Network<1>>(*step);
        else run_step<Network<2>>(*step);
        return nullptr;
    } catch (const std::bad_alloc&) {
        return "out of memory";
    } catch (const std::exception&) {
        return "the native engine failed";
    }
}

}  // namespace

// All else is hidden: libraries for several processors may be loaded side by side.
#pragma GCC visibility push(default)
extern "C" {

// Both families' training step, or forward pass where no gradient is asked for.
const char* ngpu_neural_gpu(Step* step) { return run_lanes<NeuralGpu>(step); }
const char* ngpu_diagonal(Step* step) { return run_lanes<Diagonal>(step); }

// Give working memory back to the system.
void ngpu_release() { Memory::release(); }

int ngpu_lanes() { return LANES; }

// Multiply-adds a second, times two, of one thread that does nothing else: the ceiling.
double ngpu_peak_flops(double seconds) {
    constexpr int chains = LANES == 16 ? 24 : 12;
    Vector sums[chains];
    for (int chain = 0; chain < chains; ++chain) sums[chain] = every(float(chain));
    Vector factor = every(0.999999f), more = every(1e-6f);
    const auto start = std::chrono::steady_clock::now();
    double passed = 0, count = 0;
    while (passed < seconds) {
        for (int repeat = 0; repeat < 10000; ++repeat)
#pragma GCC unroll 24
            for (int chain = 0; chain < chains; ++chain) sums[chain] = sums[chain] * factor + more;
        count += 10000.0 * chains * LANES * 2;
        passed = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }
    Vector sum{};
    for (int chain = 0; chain < chains; ++chain) sum += sums[chain];
    volatile float kept = total(sum);
    (void)kept;
    return count / passed;
}
}
#pragma GCC visibility pop

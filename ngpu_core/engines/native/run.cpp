// The exported functions. Errors are returned as a message, or null.
#include <exception>
#include <memory>

#include "diagonal.h"
#include "neural_gpu.h"
#include "optimizer.h"

namespace {

// A network over a step: weights packed once, the batch in chunks with gradients of their own.
//
// What is added to what depends on the chunks and not on the threads, so that a seed's numbers are
// the same on every number of threads.
template <class Network>
void run_step(Step& step) {
    const Network network(step);
    Memory weight_memory(Use::weights, network.weight_floats());
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
            chunk.memory = std::make_unique<Memory>(Use::gradients, network.gradient_floats());
            chunk.gradients = network.begin_gradients(*chunk.memory);
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
        if (network.training()) chunk.gradients.finish();
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

// The row hashes of the dropout masks, (times, sequences), as in ngpu_core/dropout.py.
void ngpu_row_hashes(uint64_t key, uint64_t bin, int32_t times, int32_t sequences, uint32_t* out) {
    for (uint64_t time = 0; time < uint64_t(times); ++time)
        for (uint64_t sequence = 0; sequence < uint64_t(sequences); ++sequence) {
            const uint64_t place = (bin << 48) + (time << 24) + sequence;
            uint64_t x = key + place * 0x9E3779B97F4A7C15u;
            x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
            x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
            *out++ = x >> 32;
        }
}

// What follows the gradient: 1 if it is finite.
int32_t ngpu_adam(const Descent* descent) { return descend(*descent, adam); }
int32_t ngpu_adamax(const Descent* descent) { return descend(*descent, adamax); }

// Sizes of the structures, so that a library built from other sources is not mistaken for this one.
int64_t ngpu_layout() { return int64_t(sizeof(Batch)) << 32 | sizeof(Step); }
int64_t ngpu_descent_layout() { return sizeof(Descent); }

// Give working memory back to the system.
void ngpu_release() { Memory::release(); }
}
#pragma GCC visibility pop
